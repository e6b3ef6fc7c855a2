use std::collections::BTreeMap;

use super::*;
use crate::catalog::Record;

/// Whether a value is one of a type.
fn fits(datum: &Datum<'_>, ty: &ScalarType) -> bool {
    match (datum, ty) {
        (Datum::Bool(_), ScalarType::Bool)
        | (Datum::Int16(_), ScalarType::Int16)
        | (Datum::Int32(_), ScalarType::Int32)
        | (Datum::Int64(_), ScalarType::Int64)
        | (Datum::UInt32(_), ScalarType::UInt32 | ScalarType::Oid | ScalarType::RegProc)
        | (Datum::UInt64(_), ScalarType::UInt64)
        | (Datum::Float32(_), ScalarType::Float32)
        | (Datum::Float64(_), ScalarType::Float64)
        | (Datum::Text(_), ScalarType::Text | ScalarType::Name | ScalarType::PgChar)
        | (Datum::Jsonb(_), ScalarType::Jsonb)
        | (Datum::TimestampTz(_), ScalarType::TimestampTz { .. })
        | (Datum::Interval(_), ScalarType::Interval)
        | (Datum::MzTimestamp(_), ScalarType::MzTimestamp) => true,
        (Datum::Array(a), ScalarType::Array(element)) => {
            a.elements().iter().all(|d| d.is_null() || fits(&d, element))
        }
        (Datum::Array(a), ScalarType::Int2Vector) => {
            a.elements().iter().all(|d| fits(&d, &ScalarType::Int16))
        }
        _ => false,
    }
}

fn item(id: u64, kind: ItemKind, name: &str, create_sql: &str) -> CatalogItem {
    let mut item = relation_item(GlobalId::User(id), "public", name, RelationDesc::default());
    item.kind = kind;
    item.create_sql = create_sql.into();
    item.desc = None;
    item
}

fn record(item: &CatalogItem, applied: bool) -> Record {
    let GlobalId::User(id) = item.id else { panic!("users' objects have records") };
    Record {
        id,
        name: (item.name.database.clone(), item.name.schema.clone(), item.name.item.clone()),
        kind: item.kind,
        create_sql: item.create_sql.clone(),
        raw: None,
        second: None,
        start_offsets: BTreeMap::new(),
        fingerprint: None,
        applied: applied.then(|| ("set".into(), "hash".into())),
        comment: Some("what it is".into()),
        column_comments: BTreeMap::from([(0, "its first column".into())]),
    }
}

/// One object of each kind.
fn sample() -> CatalogState {
    let mut catalog = CatalogState::new();
    let desc = RelationDesc::new([
        ("id", ScalarType::Int64.nullable(false)),
        ("Amount", ScalarType::Numeric { scale: Some(2) }.nullable(true)),
        ("at", ScalarType::TimestampTz { precision: None }.nullable(true)),
        ("tags", ScalarType::Array(Box::new(ScalarType::Text)).nullable(true)),
        ("headers", ScalarType::Map(Box::new(ScalarType::Text)).nullable(true)),
    ]);
    let mut table = item(1, ItemKind::Table, "events", "CREATE TABLE materialize.public.events (id int8)");
    table.desc = Some(desc.clone());
    table.defaults = vec![Some("1".into()), None, None, None, None];
    let mut source =
        item(2, ItemKind::Source, "feed", "CREATE SOURCE materialize.public.feed FROM KAFKA … FORMAT JSON");
    source.desc = Some(desc.clone());
    source.connection = None;
    source.uses = vec![GlobalId::User(3)];
    let sql =
        "CREATE MATERIALIZED VIEW materialize.public.\"by as\" WITH (x = 1) AS SELECT id AS a FROM events";
    let mut view = item(5, ItemKind::MaterializedView, "by as", sql);
    view.desc = Some(desc.clone());
    view.uses = vec![GlobalId::User(2), GlobalId::User(1)];
    let sql = "CREATE INDEX i IN CLUSTER quickstart ON materialize.public.\"by as\" (id, (lower(x, 'a,b')))";
    let mut index = item(6, ItemKind::Index, "i", sql);
    let call = plan::ScalarExpr::literal(Datum::Text("x"), ScalarType::Text);
    index.index = Some((GlobalId::User(5), vec![plan::ScalarExpr::Column(0), call]));
    index.uses = vec![GlobalId::User(5)];
    let mut plain = item(7, ItemKind::View, "v", "CREATE VIEW materialize.public.v AS SELECT 1");
    plain.desc = Some(desc);
    plain.uses = vec![GlobalId::User(5)];
    let mut connection =
        item(8, ItemKind::Connection, "k", "CREATE CONNECTION materialize.public.k TO KAFKA …");
    connection.connection = Some(sql::plan::ConnectionPlan::Kafka(sql::plan::KafkaConnectionPlan {
        brokers: vec!["b:9092".into()],
        ..Default::default()
    }));
    let secret = item(9, ItemKind::Secret, "s", "CREATE SECRET materialize.public.s AS ENV X");
    for item in [table, source, view, index, plain, connection, secret] {
        let record = record(&item, item.kind == ItemKind::MaterializedView);
        catalog.insert(item, Some(record));
    }
    catalog.sources.insert(
        GlobalId::User(2),
        crate::catalog::SourceItem {
            raw: GlobalId::User(3),
            from: sql::plan::SourceFrom::Kafka {
                connection: Some(GlobalId::User(8)),
                inline: None,
                topic: "t".into(),
                start_offsets: vec![],
                start_timestamp: None,
                group_id_prefix: None,
                metadata_refresh: None,
            },
            refused: None,
            headers: false,
            start_offsets: BTreeMap::new(),
            progress_name: "feed_progress".into(),
            retention: None,
        },
    );
    let name =
        ObjectName { database: DATABASE.into(), schema: "public".into(), item: "feed_progress".into() };
    catalog.insert(progress_item(2, name, GlobalId::User(2)), None);
    catalog
}

fn with_state<T>(f: impl FnOnce(&State<'_>) -> T) -> T {
    let catalog = sample();
    let session = SessionInfo { user: "ada".into(), database: DATABASE.into(), pid: 7, settings: vec![] };
    let status = SourceStatus {
        status: "stalled".into(),
        error: Some("the broker \"b\" is gone".into()),
        since: 1_000,
        messages_received: 3,
        bytes_received: 30,
        committed: BTreeMap::from([(0, 2), (1, 1)]),
        known: BTreeMap::from([(0, 5), (1, 1)]),
        ..SourceStatus::default()
    };
    let statuses = BTreeMap::from([(GlobalId::User(2), status)]);
    let frontiers = BTreeMap::from([(GlobalId::User(5), (1_500, true)), (GlobalId::User(6), (0, false))]);
    let push = Default::default();
    f(&State {
        catalog: &catalog,
        session: &session,
        now: 2_000,
        statuses: &statuses,
        frontiers: &frontiers,
        stored: &|_| None,
        push: &push,
        sinks: &BTreeMap::new(),
    })
}

fn rows(schema: &str, name: &str) -> Vec<BTreeMap<String, String>> {
    let builtin = builtins().iter().find(|b| b.schema == schema && b.name == name).expect("it is there");
    with_state(|s| {
        let show = |row: Row| {
            let cells = builtin.desc.columns.iter().zip(row.iter()).map(|(c, d)| {
                let mut out = String::new();
                match d {
                    Datum::Null => out.push_str("NULL"),
                    d => repr::text::print(d, &c.ty.scalar, &mut out),
                }
                (c.name.clone(), out)
            });
            cells.collect()
        };
        builtin.rows(s).into_iter().map(show).collect()
    })
}

fn row(schema: &str, name: &str, column: &str, value: &str) -> BTreeMap<String, String> {
    let found = rows(schema, name).into_iter().find(|r| r[column] == value);
    found.unwrap_or_else(|| panic!("{schema}.{name} has no row with {column} = {value}"))
}

#[test]
fn rows_have_the_columns_that_are_described() {
    with_state(|s| {
        for b in builtins() {
            for row in b.rows(s) {
                let datums = row.unpack();
                assert_eq!(datums.len(), b.desc.arity(), "{}.{}", b.schema, b.name);
                for (d, c) in datums.iter().zip(&b.desc.columns) {
                    let fits = if d.is_null() { c.ty.nullable } else { fits(d, &c.ty.scalar) };
                    assert!(fits, "{}.{}.{}: {d:?} is no {:?}", b.schema, b.name, c.name, c.ty);
                }
            }
        }
    });
}

#[test]
fn names_are_unique_in_a_schema_and_columns_in_a_relation() {
    let mut seen = BTreeSet::new();
    for b in builtins() {
        assert!(seen.insert((b.schema, b.name)), "{}.{} is there twice", b.schema, b.name);
        let columns: BTreeSet<&str> = b.desc.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(columns.len(), b.desc.arity(), "{}.{}", b.schema, b.name);
    }
    let items = items();
    let ids: BTreeSet<GlobalId> = items.iter().map(|i| i.id).collect();
    assert_eq!(ids.len(), items.len());
    // Numbers of built-in objects stay below what Postgres leaves to users.
    assert!(items.iter().all(|i| sql::catalog::oid(i.id) < 16_384));
}

#[test]
fn numbers_of_the_catalog_are_unique() {
    for relation in [
        "pg_class",
        "pg_type",
        "pg_proc",
        "pg_operator",
        "pg_namespace",
        "pg_database",
        "pg_rewrite",
        "pg_roles",
    ] {
        let rows = rows("pg_catalog", relation);
        let oids: BTreeSet<&String> = rows.iter().map(|r| &r["oid"]).collect();
        assert_eq!(oids.len(), rows.len(), "{relation}");
    }
}

#[test]
fn references_of_the_catalog_lead_somewhere() {
    let oids = |relation: &str| -> BTreeSet<String> {
        rows("pg_catalog", relation).into_iter().map(|r| r["oid"].clone()).collect()
    };
    let check = |relation: &str, column: &str, to: &str| {
        let known = oids(to);
        for r in rows("pg_catalog", relation) {
            let oid = &r[column];
            assert!(oid == "0" || known.contains(oid), "{relation}.{column} = {oid} is not in {to}: {r:?}");
        }
    };
    check("pg_class", "relnamespace", "pg_namespace");
    check("pg_class", "relam", "pg_am");
    check("pg_attribute", "attrelid", "pg_class");
    check("pg_attribute", "atttypid", "pg_type");
    check("pg_attribute", "attcollation", "pg_collation");
    check("pg_type", "typnamespace", "pg_namespace");
    check("pg_type", "typelem", "pg_type");
    check("pg_type", "typarray", "pg_type");
    check("pg_type", "typinput", "pg_proc");
    check("pg_type", "typsend", "pg_proc");
    check("pg_index", "indexrelid", "pg_class");
    check("pg_index", "indrelid", "pg_class");
    check("pg_depend", "refobjid", "pg_class");
    check("pg_proc", "prorettype", "pg_type");
    check("pg_range", "rngtypid", "pg_type");
}

#[test]
fn kinds_of_objects_show_as_postgres_has_them() {
    let kind = |name: &str| row("pg_catalog", "pg_class", "relname", name)["relkind"].clone();
    assert_eq!(
        ["events", "feed", "feed_progress", "by as", "v", "i", "pg_class"].map(kind),
        ["r", "r", "r", "m", "v", "i", "v"]
    );
    let amount = row("pg_catalog", "pg_attribute", "attname", "Amount");
    assert_eq!((amount["atttypid"].as_str(), amount["atttypmod"].as_str()), ("1700", "2555910"));
    assert_eq!(row("information_schema", "tables", "table_name", "by as")["table_type"], "MATERIALIZED VIEW");
    assert_eq!(row("mz_catalog", "mz_objects", "name", "by as")["type"], "materialized-view");
    assert_eq!(row("mz_catalog", "mz_sources", "name", "feed_progress")["type"], "progress");
    assert_eq!(row("mz_catalog", "mz_sources", "name", "feed")["value_format"], "json");
}

#[test]
fn definitions_are_found_in_statements() {
    assert_eq!(
        row("pg_catalog", "pg_matviews", "matviewname", "by as")["definition"],
        "SELECT id AS a FROM events;"
    );
    let index = row("pg_catalog", "pg_indexes", "indexname", "i");
    assert_eq!(index["indexdef"], "CREATE INDEX i ON public.\"by as\" USING btree (id, (lower(x, 'a,b')))");
    let index = row("pg_catalog", "pg_index", "indrelid", "20005");
    assert_eq!((index["indkey"].as_str(), index["indexprs"].as_str()), ("1 0", "(lower(x, 'a,b'))"));
}

#[test]
fn sources_show_what_they_do() {
    let status = row("mz_internal", "mz_source_statuses", "name", "feed");
    assert_eq!(status["status"], "stalled");
    assert_eq!(status["error"], "the broker \"b\" is gone");
    assert_eq!(status["details"], r#"{"errors":["the broker \"b\" is gone"]}"#);
    assert_eq!(status["last_status_change_at"], "1970-01-01 00:00:01+00");
    let statistics = row("mz_internal", "mz_source_statistics", "name", "feed");
    assert_eq!((statistics["offset_known"].as_str(), statistics["offset_committed"].as_str()), ("6", "3"));
    assert_eq!(statistics["snapshot_committed"], "f");
}

#[test]
fn dependencies_lead_from_user_to_used() {
    let all: BTreeSet<(String, String)> = rows("mz_internal", "mz_object_dependencies")
        .into_iter()
        .map(|r| (r["object_id"].clone(), r["referenced_object_id"].clone()))
        .collect();
    let expected = [("s1000002", "u2"), ("u5", "u1"), ("u5", "u2"), ("u6", "u5"), ("u7", "u5")];
    assert_eq!(all, expected.map(|(a, b)| (a.to_string(), b.to_string())).into());
    let transitive = rows("mz_internal", "mz_object_transitive_dependencies");
    assert!(
        transitive.iter().any(|r| r["object_id"] == "u7" && r["referenced_object_id"] == "u1"),
        "{transitive:?}"
    );
}

#[test]
fn applied_objects_can_be_dropped_by_their_full_names() {
    let applied = rows("mz_internal", "mz_applied_objects");
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0]["kind"], "MATERIALIZED VIEW");
    assert_eq!(
        applied[0]["full_name"],
        "materialize.\"public\".\"by as\"".replace("\"public\"", &sql_name("public"))
    );
    assert_eq!(applied[0]["name"], "by as");
}

/// As canonical statements write it.
fn sql_name(name: &str) -> String {
    let whole = ObjectName { database: "d".into(), schema: name.into(), item: "i".into() };
    sql::quoted(&whole).split('.').nth(1).expect("three parts").to_string()
}

#[test]
fn words_are_found_outside_of_parentheses_and_quotes() {
    let at = |sql: &str| word_at_top(sql, "as").map(|i| sql[i..].trim().to_string());
    assert_eq!(at("VIEW \"as\" (a, \"b as c\") AS SELECT 1"), Some("SELECT 1".into()));
    assert_eq!(at("VIEW x /* as */ WITH (o = 'as') -- as\n as TABLE t"), Some("TABLE t".into()));
    assert_eq!(at("VIEW 'as"), None);
    assert_eq!(
        split_at_commas("(a, f(b, c), 'd,e')"),
        Some(vec!["a".into(), "f(b, c)".into(), "'d,e'".into()])
    );
    assert_eq!(split_at_commas("(a"), None);
}
