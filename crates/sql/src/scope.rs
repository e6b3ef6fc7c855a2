//! Which names a query sees, and what they stand for.

use std::rc::Rc;

use plan::LocalId;
use repr::error::code;
use repr::{ColumnType, SqlError};

use crate::expr::Calls;

/// The columns of a FROM clause by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub columns: Vec<ScopeColumn>,
    pub tables: Vec<ScopeTable>,
}

/// A column that can be named.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    /// Of [`Scope::tables`]; none: merged by USING.
    pub table: Option<usize>,
    pub name: String,
    /// Where it is in the relation.
    pub position: usize,
    pub ty: ColumnType,
    /// Whether its bare name finds it and `*` shows it. False for what USING merged away.
    pub bare: bool,
}

/// An item of a FROM clause by name.
#[derive(Clone, Debug)]
pub(crate) struct ScopeTable {
    pub alias: String,
    /// Database and schema, if it is an object that goes by its own name.
    pub schema: Option<(String, String)>,
    /// A function of one column: its alias names the column too.
    pub scalar: bool,
    /// The object's own name, where an alias hides it.
    pub hidden: Option<String>,
}

/// A query around, or the part of a FROM clause to the left of a lateral item.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub scope: Rc<Scope>,
    /// False: it takes a level, but its names do not reach here.
    pub visible: bool,
    /// Where its aggregates go, if what is planned may hold some: one over outer columns alone is the outer query's.
    pub calls: Option<Rc<Calls>>,
    /// What is planned of it, as errors name it.
    pub clause: &'static str,
}

/// A query that WITH named.
#[derive(Clone, Debug)]
pub(crate) struct Cte {
    pub name: String,
    pub id: LocalId,
    pub columns: Vec<(String, ColumnType)>,
}

/// What a query sees of its surroundings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env {
    /// The last is level 1 (or 0, for what has no columns of its own).
    pub frames: Vec<Frame>,
    /// Later ones hide earlier ones.
    pub ctes: Vec<Rc<Cte>>,
}

impl Env {
    /// The same with another query around.
    pub fn within(&self, scope: Rc<Scope>, visible: bool) -> Env {
        let mut env = self.clone();
        env.frames.push(Frame {
            scope,
            visible,
            calls: None,
            clause: "FROM clause of their own query level",
        });
        env
    }
}

/// A column that a name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub level: usize,
    pub position: usize,
    pub ty: ColumnType,
}

/// What a name stands for.
pub(crate) enum Name {
    Column(Found),
    /// A whole row: the level, and its columns.
    Row(usize, Vec<(String, usize, ColumnType)>),
}

impl Scope {
    /// Of a single item.
    pub fn of(table: ScopeTable, columns: impl IntoIterator<Item = (String, ColumnType)>) -> Scope {
        let columns = columns
            .into_iter()
            .enumerate()
            .map(|(position, (name, ty))| ScopeColumn { table: Some(0), name, position, ty, bare: true })
            .collect();
        Scope { columns, tables: vec![table] }
    }

    /// Both, `right` at positions from `arity`.
    pub fn join(mut self, right: Scope, arity: usize) -> Result<Scope, SqlError> {
        let base = self.tables.len();
        for t in right.tables {
            // What has no name is no one's namesake.
            let same = |l: &ScopeTable| {
                l.alias == t.alias && (l.schema == t.schema || t.schema.is_none() || l.schema.is_none())
            };
            if !t.alias.is_empty() && self.tables.iter().any(same) {
                let message = format!("table name \"{}\" specified more than once", t.alias);
                return Err(SqlError::new(code::DUPLICATE_ALIAS, message));
            }
            self.tables.push(t);
        }
        self.columns.extend(right.columns.into_iter().map(|c| ScopeColumn {
            table: c.table.map(|t| t + base),
            position: c.position + arity,
            ..c
        }));
        Ok(self)
    }

    /// What `*` shows.
    pub fn all(&self) -> impl Iterator<Item = &ScopeColumn> {
        self.columns.iter().filter(|c| c.bare)
    }

    /// The item with this name.
    fn table(&self, path: &[String]) -> Option<usize> {
        let (alias, schema) = path.split_last()?;
        self.tables.iter().position(|t| {
            t.alias == *alias
                && match (schema, &t.schema) {
                    ([], _) => true,
                    ([s], Some((_, schema))) => s == schema,
                    ([d, s], Some((database, schema))) => d == database && s == schema,
                    _ => false,
                }
        })
    }

    /// The columns of an item, in its order.
    pub fn columns_of(&self, table: usize) -> impl Iterator<Item = &ScopeColumn> {
        self.columns.iter().filter(move |c| c.table == Some(table))
    }
}

fn ambiguous(name: &str) -> SqlError {
    SqlError::new(code::AMBIGUOUS_COLUMN, format!("column reference \"{name}\" is ambiguous"))
}

/// Level and scope of everything in sight, inner ones first.
fn levels<'s>(own: &'s Scope, env: &'s Env) -> impl Iterator<Item = (usize, &'s Scope, bool)> {
    let outer = env.frames.iter().rev().enumerate().map(|(i, f)| (i + 1, &*f.scope, f.visible));
    std::iter::once((0, own, true)).chain(outer)
}

/// What a name of one or more parts stands for.
pub(crate) fn resolve(own: &Scope, env: &Env, path: &[String]) -> Result<Name, SqlError> {
    let Some((name, table)) = path.split_last() else {
        return Err(SqlError::internal("a name without parts"));
    };
    if table.is_empty() {
        for (level, scope, _) in levels(own, env).filter(|l| l.2) {
            let mut found = scope.columns.iter().filter(|c| c.bare && c.name == *name);
            if let Some(c) = found.next() {
                if found.next().is_some() {
                    return Err(ambiguous(name));
                }
                return Ok(Name::Column(Found { level, position: c.position, ty: c.ty.clone() }));
            }
        }
        for (level, scope, _) in levels(own, env).filter(|l| l.2) {
            if let Some(t) = scope.table(path) {
                let columns: Vec<_> =
                    scope.columns_of(t).map(|c| (c.name.clone(), c.position, c.ty.clone())).collect();
                if let ([(_, position, ty)], true) = (&columns[..], scope.tables[t].scalar) {
                    return Ok(Name::Column(Found { level, position: *position, ty: ty.clone() }));
                }
                return Ok(Name::Row(level, columns));
            }
        }
        let error = SqlError::new(code::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"));
        return Err(with_near_column(error, own, env, None, name));
    }
    for (level, scope, _) in levels(own, env).filter(|l| l.2) {
        let Some(t) = scope.table(table) else { continue };
        let mut found = scope.columns_of(t).filter(|c| c.name == *name);
        if let Some(c) = found.next() {
            if found.next().is_some() {
                return Err(ambiguous(name));
            }
            return Ok(Name::Column(Found { level, position: c.position, ty: c.ty.clone() }));
        }
        let error = format!("column {}.{name} does not exist", table.join("."));
        let error = SqlError::new(code::UNDEFINED_COLUMN, error);
        return Err(with_near_column(error, own, env, Some(&scope.tables[t].alias), name));
    }
    Err(missing_table(own, env, table))
}

/// The columns of `table.*`: level, and each.
pub(crate) fn resolve_star<'s>(
    own: &'s Scope,
    env: &'s Env,
    table: &[String],
) -> Result<(usize, Vec<&'s ScopeColumn>), SqlError> {
    for (level, scope, _) in levels(own, env).filter(|l| l.2) {
        if let Some(t) = scope.table(table) {
            return Ok((level, scope.columns_of(t).collect()));
        }
    }
    Err(missing_table(own, env, table))
}

fn missing_table(own: &Scope, env: &Env, table: &[String]) -> SqlError {
    let name = table.join(".");
    if levels(own, env).any(|(_, scope, visible)| !visible && scope.table(table).is_some()) {
        let message = format!("invalid reference to FROM-clause entry for table \"{name}\"");
        return SqlError::new(code::UNDEFINED_TABLE, message)
            .with_detail(format!(
                "There is an entry for table \"{name}\", but it cannot be referenced from this part of the query."
            ))
            .with_hint("To reference that table, you must mark this subquery with LATERAL.");
    }
    let aliased = levels(own, env)
        .filter(|l| l.2)
        .flat_map(|(_, s, _)| &s.tables)
        .find(|t| t.hidden.is_some() && t.hidden.as_ref() == table.last());
    if let Some(t) = aliased {
        let message = format!("invalid reference to FROM-clause entry for table \"{name}\"");
        return SqlError::new(code::UNDEFINED_TABLE, message)
            .with_hint(format!("Perhaps you meant to reference the table alias \"{}\".", t.alias));
    }
    let error =
        SqlError::new(code::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{name}\""));
    let aliases =
        levels(own, env).filter(|l| l.2).flat_map(|(_, s, _)| s.tables.iter().map(|t| t.alias.clone()));
    match near(table.last().map_or("", |t| t), aliases) {
        Some(alias) => {
            error.with_hint(format!("Perhaps you meant to reference the table alias \"{alias}\"."))
        }
        None => error,
    }
}

fn with_near_column(error: SqlError, own: &Scope, env: &Env, table: Option<&str>, name: &str) -> SqlError {
    let alias = |scope: &Scope, c: &ScopeColumn| c.table.map(|t| scope.tables[t].alias.clone());
    // Hidden levels too: a column of the right name that cannot be reached deserves the hint most.
    if table.is_none() {
        for (_, scope, visible) in levels(own, env) {
            if let (false, Some(c)) = (visible, scope.columns.iter().find(|c| c.name == name)) {
                let table = alias(scope, c).unwrap_or_default();
                return error
                    .with_detail(format!(
                        "There is a column named \"{name}\" in table \"{table}\", but it cannot be referenced from \
                         this part of the query."
                    ))
                    .with_hint("To reference that column, you must mark this subquery with LATERAL.");
            }
        }
    }
    let candidates: Vec<(String, Option<String>)> = levels(own, env)
        .filter(|l| l.2)
        .flat_map(|(_, scope, _)| {
            scope.columns.iter().map(|c| (c.name.clone(), alias(scope, c))).collect::<Vec<_>>()
        })
        .filter(|(_, t)| table.is_none() || t.as_deref() == table)
        .collect();
    match near(name, candidates.iter().map(|(n, _)| n.clone())) {
        Some(found) => {
            let table = candidates.into_iter().find(|(n, _)| *n == found).and_then(|(_, t)| t);
            let found = table.map_or_else(|| found.clone(), |t| format!("{t}.{found}"));
            error.with_hint(format!("Perhaps you meant to reference the column \"{found}\"."))
        }
        None => error,
    }
}

/// The nearest of the names, if one is near.
pub(crate) fn near(name: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, String)> = None;
    for candidate in names {
        let d = distance(&name.to_lowercase(), &candidate.to_lowercase());
        if d <= most
            && d < name.chars().count().max(1)
            && best.as_ref().is_none_or(|b| (d, &candidate) < (b.0, &b.1))
        {
            best = Some((d, candidate));
        }
    }
    best.map(|b| b.1)
}

/// How many insertions, deletions and changes of characters lie between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = || ["user_id", "event", "sent_at"].map(String::from);
        assert_eq!(near("userid", names()), Some("user_id".into()));
        assert_eq!(near("evnt", names()), Some("event".into()));
        assert_eq!(near("x", names()), None);
        assert_eq!(near("revenue", names()), None);
    }
}
