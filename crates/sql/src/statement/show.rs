//! `SHOW …`: objects of the catalog, statements that made them, session variables.

use std::rc::Rc;

use plan::RelationExpr;
use plan::hir::HirRelationExpr;
use repr::error::code;
use repr::{Datum, GlobalId, RelationDesc, Row, ScalarType, SqlError};
use sqlparser::ast::ObjectName;

use super::names;
use crate::catalog::{CatalogItem, ItemKind};
use crate::expr::Ctx;
use crate::parse::{Heads, fold};
use crate::plan::{Finishing, Plan, SelectPlan, SinkInto};
use crate::planner::Planner;
use crate::scope::{Env, Scope, ScopeTable};

/// A statement of the family.
#[derive(Debug)]
pub(crate) enum Statement {
    /// `SHOW kind [FROM schema] [LIKE 'pattern' | WHERE expr]`.
    Objects {
        kind: &'static str,
        from: Option<ObjectName>,
        on: Option<ObjectName>,
        like: Option<String>,
        filter: Option<Box<sqlparser::ast::Expr>>,
    },
    /// `SHOW KAFKA TOPICS | PARTITIONS | GROUPS | OFFSETS [LIKE 'pattern' | WHERE expr]`: a query.
    Kafka(String),
    Create {
        kind: Option<ItemKind>,
        name: ObjectName,
    },
    Variable(String),
    AllVariables,
}

/// What can be listed.
const KINDS: [&str; 15] = [
    "materialized views",
    "views",
    "tables",
    "sources",
    "sinks",
    "connections",
    "secrets",
    "indexes",
    "columns",
    "objects",
    "schemas",
    "databases",
    "clusters",
    "roles",
    "types",
];

/// What the embedded Kafka has, and the query that shows it. The first column is the one of LIKE.
const KAFKA: [(&str, &str, &str); 4] = [
    (
        "topics",
        "name, partitions, messages, bytes, cleanup_policy, retention_ms, retention_bytes",
        "mz_kafka_broker_topics",
    ),
    ("partitions", "topic, partition, start_offset, end_offset, bytes", "mz_kafka_broker_partitions"),
    ("groups", "name, state, members, lag", "mz_kafka_broker_groups"),
    (
        "offsets",
        "group_name, topic, partition, committed_offset, end_offset, lag",
        "mz_kafka_broker_group_offsets",
    ),
];

/// Behind `SHOW KAFKA`.
fn kafka(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let found = KAFKA.iter().find(|(word, ..)| p.word(word));
    let (_, columns, relation) = found.ok_or_else(|| p.error("TOPICS, PARTITIONS, GROUPS or OFFSETS"))?;
    let first = columns.split(',').next().unwrap_or_default();
    let mut query = format!("SELECT * FROM (SELECT {columns} FROM mz_internal.{relation}) AS shown");
    if p.word("like") {
        query += &format!(" WHERE {first} LIKE {}", crate::parse::quote_string(&p.string()?));
    } else if p.word("where") {
        let from = p.here();
        p.expr()?;
        query += &format!(" WHERE {}", p.since(from));
    }
    let by: Vec<String> = (1..=columns.split(',').count().min(3)).map(|n| n.to_string()).collect();
    Ok(Statement::Kafka(format!("{query} ORDER BY {}", by.join(", "))))
}

/// Behind `SHOW`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.word("create") {
        let kinds = [
            ("materialized view", ItemKind::MaterializedView),
            ("view", ItemKind::View),
            ("table", ItemKind::Table),
            ("source", ItemKind::Source),
            ("sink", ItemKind::Sink),
            ("index", ItemKind::Index),
            ("connection", ItemKind::Connection),
            ("secret", ItemKind::Secret),
        ];
        let kind = kinds.iter().find(|(word, _)| p.word(word)).map(|(_, kind)| *kind);
        return Ok(Statement::Create { kind, name: p.object_name()? });
    }
    if p.word("all") {
        return Ok(Statement::AllVariables);
    }
    if p.word("kafka") {
        return kafka(p);
    }
    p.word("full");
    if let Some(kind) = p.one_of(&KINDS) {
        let (mut from, mut on) = (None, None);
        if p.word("on") {
            on = Some(p.object_name()?);
        }
        if p.word("from") {
            from = Some(p.object_name()?);
        }
        if p.word("in cluster") {
            p.ident()?;
        }
        let (mut like, mut filter) = (None, None);
        if p.word("like") {
            like = Some(p.string()?);
        } else if p.word("where") {
            filter = Some(Box::new(p.expr()?));
        }
        return Ok(Statement::Objects { kind, from, on, like, filter });
    }
    if p.word("time zone") {
        return Ok(Statement::Variable("timezone".into()));
    }
    if p.word("transaction isolation level") {
        return Ok(Statement::Variable("transaction_isolation".into()));
    }
    let mut name = fold(&p.ident()?);
    while p.token(&sqlparser::tokenizer::Token::Period) {
        name = format!("{name}.{}", fold(&p.ident()?));
    }
    Ok(Statement::Variable(name))
}

pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::Variable(name) => Ok(Plan::ShowVariable(name)),
        Statement::AllVariables => Ok(Plan::ShowAllVariables),
        Statement::Kafka(query) => Ok(Plan::Select(planner.plan_text(&query)?)),
        Statement::Create { kind, name } => {
            let item = match kind {
                Some(kind) => names::existing(planner, &name, kind)?,
                None => names::find(planner, &name)?.ok_or_else(|| {
                    let shown = names::parts(&name).join(".");
                    SqlError::new(code::UNDEFINED_OBJECT, format!("unknown catalog item '{shown}'"))
                })?,
            };
            let text = redacted(&item.create_sql);
            let columns = [("name", false), ("create_sql", false)];
            Ok(constant(&columns, vec![vec![Some(item.name.to_string()), Some(text)]]))
        }
        Statement::Objects { kind, from, on, like, filter } => {
            let plan = objects(planner, kind, from, on, like)?;
            match filter {
                Some(filter) => filtered(planner, plan, &filter),
                None => Ok(plan),
            }
        }
    }
}

/// The rows of a list for which a condition over its columns is true.
fn filtered(planner: &Planner<'_>, plan: Plan, filter: &sqlparser::ast::Expr) -> Result<Plan, SqlError> {
    let Plan::Select(SelectPlan { relation: RelationExpr::Constant { rows, typ }, finishing, desc, as_of }) =
        plan
    else {
        return Err(SqlError::internal("a list is not known when it is planned"));
    };
    let table = ScopeTable { alias: String::new(), schema: None, scalar: false, hidden: None };
    let columns: Vec<_> = desc.columns.iter().map(|c| (c.name.clone(), c.ty.clone())).collect();
    let (scope, env) = (Rc::new(Scope::of(table, columns)), Env::default());
    let predicate = planner.plan_bool(&Ctx::plain(&scope, &env, "WHERE"), filter, "WHERE")?;
    let all = HirRelationExpr::Constant { rows, typ };
    let relation = crate::query::lower(crate::hirs::filter(all, vec![predicate]))?;
    Ok(Plan::Select(SelectPlan { relation, finishing, desc, as_of }))
}

fn objects(
    planner: &Planner<'_>,
    kind: &'static str,
    from: Option<ObjectName>,
    on: Option<ObjectName>,
    like: Option<String>,
) -> Result<Plan, SqlError> {
    let matches = |name: &str| like.as_ref().is_none_or(|pattern| like_matches(name, pattern));
    let none = || Some(String::new());
    if kind == "columns" {
        let from = from.ok_or_else(|| SqlError::new(code::SYNTAX_ERROR, "SHOW COLUMNS requires FROM"))?;
        let shown = names::parts(&from).join(".");
        let item = names::find(planner, &from)?
            .ok_or_else(|| SqlError::new(code::UNDEFINED_TABLE, format!("unknown catalog item '{shown}'")))?;
        let desc = item
            .desc
            .as_ref()
            .ok_or_else(|| SqlError::new(code::WRONG_OBJECT_TYPE, format!("{shown} has no columns")))?;
        let columns = desc.columns.iter().filter(|c| matches(&c.name));
        let rows = columns.map(|c| {
            vec![Some(c.name.clone()), Some(c.ty.nullable.to_string()), Some(c.ty.scalar.name()), none()]
        });
        // Nullability is the one column that is no text.
        let rows: Vec<Row> = rows
            .map(|r| {
                let text = |i: usize| Datum::Text(r[i].as_deref().unwrap_or_default());
                Row::pack([text(0), Datum::Bool(r[1].as_deref() == Some("true")), text(2), text(3)])
            })
            .collect();
        let text = || ScalarType::Text.nullable(false);
        let desc = RelationDesc::new([
            ("name", text()),
            ("nullable", ScalarType::Bool.nullable(false)),
            ("type", text()),
            ("comment", text()),
        ]);
        return Ok(in_order(desc, rows));
    }
    #[allow(clippy::type_complexity, reason = "columns, and rows of cells")]
    let fixed: Option<(&[(&str, bool)], Vec<Vec<Option<String>>>)> = match kind {
        "schemas" => {
            let catalog = planner.catalog;
            let system = ["information_schema", "mz_catalog", "mz_internal", "pg_catalog"];
            let mut all: Vec<String> = system.iter().map(|s| s.to_string()).collect();
            all.extend(catalog.schema_names(catalog.current_database()));
            all.sort();
            all.dedup();
            Some((
                &[("name", false), ("comment", false)],
                all.into_iter().map(|s| vec![Some(s), none()]).collect(),
            ))
        }
        "databases" => {
            Some((&[("name", false), ("comment", false)], vec![vec![Some("materialize".into()), none()]]))
        }
        "clusters" => Some((
            &[("name", false), ("replicas", false), ("comment", false)],
            vec![vec![Some("quickstart".into()), Some("r1 (local)".into()), none()]],
        )),
        "roles" => {
            Some((&[("name", false), ("comment", false)], vec![vec![Some("materialize".into()), none()]]))
        }
        _ => None,
    };
    if let Some((columns, rows)) = fixed {
        let rows = rows.into_iter().filter(|r| matches(r[0].as_deref().unwrap_or_default())).collect();
        return Ok(constant(columns, rows));
    }
    let wanted: &[ItemKind] = match kind {
        "tables" => &[ItemKind::Table],
        "sources" => &[ItemKind::Source],
        "views" => &[ItemKind::View],
        "materialized views" => &[ItemKind::MaterializedView],
        "indexes" => &[ItemKind::Index],
        "sinks" => &[ItemKind::Sink],
        "connections" => &[ItemKind::Connection],
        "secrets" => &[ItemKind::Secret],
        "types" => &[ItemKind::Type],
        _ => &[
            ItemKind::Table,
            ItemKind::Source,
            ItemKind::View,
            ItemKind::MaterializedView,
            ItemKind::Index,
            ItemKind::Sink,
            ItemKind::Connection,
            ItemKind::Secret,
            ItemKind::Type,
        ],
    };
    // The old binary said FROM of the object, too.
    let of_object = |name: &ObjectName| {
        let schema = names::parts(name).pop().unwrap_or_default();
        kind == "indexes" && !planner.catalog.schema_exists(planner.catalog.current_database(), &schema)
    };
    let (from, on) = match from {
        Some(name) if on.is_none() && of_object(&name) => (None, Some(name)),
        from => (from, on),
    };
    let schema = match &from {
        Some(name) => names::parts(name).pop(),
        None => None,
    };
    if let Some(schema) = &schema
        && !planner.catalog.schema_exists(planner.catalog.current_database(), schema)
    {
        return Err(SqlError::new(code::INVALID_SCHEMA_NAME, format!("unknown schema '{schema}'")));
    }
    let on = match &on {
        Some(name) => match names::find(planner, name)? {
            Some(item) => Some(item.id),
            None => {
                let shown = names::parts(name).join(".");
                return Err(SqlError::new(code::UNDEFINED_TABLE, format!("unknown catalog item '{shown}'")));
            }
        },
        None => None,
    };
    let path = planner.catalog.search_path();
    let in_reach = |item: &&CatalogItem| {
        wanted.contains(&item.kind)
            && !matches!(item.id, GlobalId::System(_))
            && matches(&item.name.item)
            && match &schema {
                Some(schema) => item.name.schema == *schema,
                None => on.is_some() || path.contains(&item.name.schema),
            }
            && (on.is_none() || item.index.as_ref().map(|(on, _)| *on) == on)
    };
    let items = planner.catalog.items().values().filter(in_reach);
    let cluster = || Some("quickstart".to_string());
    let name = |item: &CatalogItem| Some(item.name.item.clone());
    Ok(match kind {
        "sources" | "sinks" => constant(
            &[("name", false), ("type", false), ("cluster", true), ("comment", false)],
            items
                .map(|i| {
                    let ty = i.sink.as_ref().map_or_else(|| source_type(&i.create_sql), SinkInto::type_name);
                    vec![name(i), Some(ty.into()), cluster(), none()]
                })
                .collect(),
        ),
        "materialized views" => constant(
            &[("name", false), ("cluster", true), ("comment", false)],
            items.map(|i| vec![name(i), cluster(), none()]).collect(),
        ),
        "connections" => constant(
            &[("name", false), ("type", false), ("comment", false)],
            items.map(|i| vec![name(i), Some("kafka".into()), none()]).collect(),
        ),
        "indexes" => {
            let rows = items.map(|i| {
                let (on, key) = i.index.as_ref().expect("an index has a key");
                let of = planner.catalog.item_by_id(*on);
                let desc = of.and_then(|o| o.desc.as_ref());
                let key: Vec<String> = key.iter().map(|k| key_text(k, desc)).collect();
                vec![name(i), of.and_then(name), cluster(), Some(format!("{{{}}}", key.join(","))), none()]
            });
            let columns =
                [("name", false), ("on", true), ("cluster", true), ("key", false), ("comment", false)];
            constant(&columns, rows.collect())
        }
        "objects" => constant(
            &[("name", false), ("type", false), ("comment", false)],
            items.map(|i| vec![name(i), Some(names::kind_name(i.kind).replace(' ', "-")), none()]).collect(),
        ),
        _ => constant(&[("name", false), ("comment", false)], items.map(|i| vec![name(i), none()]).collect()),
    })
}

/// A key's column by its name.
fn key_text(key: &plan::ScalarExpr, desc: Option<&RelationDesc>) -> String {
    match key {
        plan::ScalarExpr::Column(i) => {
            desc.and_then(|d| d.columns.get(*i)).map_or_else(|| format!("#{i}"), |c| c.name.clone())
        }
        _ => "expr".into(),
    }
}

/// What a source reads, from its canonical statement.
pub(crate) fn source_type(create_sql: &str) -> &'static str {
    let upper = create_sql.to_uppercase();
    let at = |what: &str| upper.find(what).unwrap_or(usize::MAX);
    let kinds = [
        ("FROM KAFKA", "kafka"),
        ("FROM FILE", "file"),
        ("FROM LOAD GENERATOR", "load-generator"),
        ("INTO KAFKA", "kafka"),
    ];
    let first = kinds.iter().min_by_key(|(word, _)| at(word));
    first.map_or("unknown", |(_, kind)| kind)
}

/// The statement without the passwords that the old source form holds in its text.
pub fn redacted(create_sql: &str) -> String {
    let lower = create_sql.to_ascii_lowercase();
    let mut out = String::new();
    let mut from = 0;
    for name in ["sasl_password", "ssl_key_password"] {
        // `sasl_password_env` names a variable, and is no secret.
        let Some(at) = lower[from..].find(name).map(|i| from + i + name.len()) else { continue };
        let rest = &create_sql[at..];
        let Some(open) = rest.find('\'') else { continue };
        if !rest[..open].trim().trim_start_matches('=').trim().is_empty() {
            continue;
        }
        let bytes = rest.as_bytes();
        let mut close = open + 1;
        while close < bytes.len() && (bytes[close] != b'\'' || bytes.get(close + 1) == Some(&b'\'')) {
            close += if bytes[close] == b'\'' { 2 } else { 1 };
        }
        out.push_str(&create_sql[from..at + open]);
        out.push_str("'<redacted>'");
        from = (at + close + 1).min(create_sql.len());
    }
    out.push_str(&create_sql[from..]);
    out
}

/// A result that is known already: text columns (name, nullable), ordered by the first.
fn constant(columns: &[(&str, bool)], rows: Vec<Vec<Option<String>>>) -> Plan {
    let desc = RelationDesc::new(columns.iter().map(|(n, null)| (*n, ScalarType::Text.nullable(*null))));
    let pack =
        |r: Vec<Option<String>>| Row::pack(r.iter().map(|t| t.as_deref().map_or(Datum::Null, Datum::Text)));
    rows_plan(desc, rows.into_iter().map(pack).collect(), 0)
}

/// As [`rows_plan`], in the order in which the rows are given: by a last column that is not shown.
fn in_order(desc: RelationDesc, rows: Vec<Row>) -> Plan {
    let numbered = (0i64..).zip(rows).map(|(n, mut row)| {
        row.push(Datum::Int64(n));
        row
    });
    rows_plan(desc.clone(), numbered.collect(), desc.arity())
}

/// Rows ordered by a column, which may be one behind those of `desc`.
fn rows_plan(desc: RelationDesc, rows: Vec<Row>, by: usize) -> Plan {
    let order_by = vec![plan::ColumnOrder { column: by, desc: false, nulls_first: false }];
    let project = (0..desc.arity()).collect();
    let mut typ = desc.types();
    if by == desc.arity() {
        typ.push(ScalarType::Int64.nullable(false));
    }
    Plan::Select(SelectPlan {
        relation: plan::RelationExpr::Constant { rows: Ok(rows.into_iter().map(|r| (r, 1)).collect()), typ },
        finishing: Finishing { order_by, project, ..Finishing::default() },
        desc,
        as_of: None,
    })
}

/// `LIKE` for names: `%` and `_`, backslash escapes.
fn like_matches(text: &str, pattern: &str) -> bool {
    fn go(text: &[char], pattern: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|i| go(&text[i..], rest)),
            ['_', rest @ ..] => !text.is_empty() && go(&text[1..], rest),
            ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && go(&text[1..], rest),
        }
    }
    // Runs of % are one: the search then takes polynomial time on names, which are short.
    let mut short: Vec<char> = vec![];
    for c in pattern.chars() {
        if c != '%' || short.last() != Some(&'%') {
            short.push(c);
        }
    }
    let text: Vec<char> = text.chars().collect();
    go(&text, &short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_show() {
        let sql = "CREATE SOURCE s FROM KAFKA BROKER 'b:1' TOPIC 't' WITH (sasl_password = 'se''cret', x = 'y') FORMAT BYTES";
        let shown = redacted(sql);
        assert!(!shown.contains("cret'"), "{shown}");
        assert!(shown.contains("sasl_password = '<redacted>', x = 'y') FORMAT BYTES"), "{shown}");
        assert_eq!(redacted("SELECT sasl_password_env = 'V'"), "SELECT sasl_password_env = 'V'");
    }

    #[test]
    fn names_match_patterns() {
        assert!(like_matches("segment_events", "seg%"));
        assert!(like_matches("ab", "a_"));
        assert!(!like_matches("abc", "a_"));
        assert!(like_matches("a%c", "a\\%c"));
    }
}
