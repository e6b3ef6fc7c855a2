//! The heads of statements: which family a text belongs to, and that family's parser and planner.
//!
//! Each module owns a family: an AST `Statement`, `parse` (from just behind the words that chose the family, or from
//! the start where it says so) and `plan`.

pub(crate) mod alter;
pub(crate) mod comment;
pub(crate) mod connection;
pub(crate) mod copy;
pub(crate) mod cursor;
pub(crate) mod database;
pub(crate) mod drop;
pub(crate) mod errors;
pub(crate) mod explain;
pub(crate) mod index;
pub(crate) mod kafka_sink;
pub(crate) mod names;
pub(crate) mod prepared;
pub(crate) mod secret;
pub(crate) mod show;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod subscribe;
pub(crate) mod table;
pub(crate) mod transaction;
pub(crate) mod types;
pub(crate) mod variable;
pub(crate) mod view;
mod webhook;
pub(crate) mod write;

use repr::SqlError;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use crate::ast::Statement;
use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// What stands between `CREATE` and the kind of object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CreateModifiers {
    pub replace: bool,
    pub temporary: bool,
}

/// Parses a whole statement.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    if p.at_end() {
        return Ok(Statement::Empty);
    }
    let with = matches!(p.peek(), Token::Word(w) if w.keyword == Keyword::WITH);
    if with || *p.peek() == Token::LParen || ["select", "values", "table"].iter().any(|w| p.is(w)) {
        return Ok(Statement::Query(p.query()?));
    }
    if p.word("create") {
        return create(p);
    }
    if p.word("drop") {
        return drop::parse(p);
    }
    if ["insert", "update", "delete"].iter().any(|w| p.is(w)) {
        return write::parse(p);
    }
    if p.word("explain") {
        return Ok(Statement::Explain(explain::parse(p)?));
    }
    if p.word("show") {
        return Ok(Statement::Show(show::parse(p)?));
    }
    if p.word("subscribe") || p.word("tail") {
        return Ok(Statement::Subscribe(subscribe::parse(p)?));
    }
    if p.word("copy") {
        return Ok(Statement::Copy(copy::parse(p)?));
    }
    if p.word("alter") {
        return Ok(Statement::Alter(alter::parse(p)?));
    }
    if p.word("comment on") {
        return Ok(Statement::Comment(comment::parse(p)?));
    }
    if p.is("validate connection") {
        return Ok(Statement::Connection(connection::parse_validate(p)?));
    }
    if ["declare", "fetch", "close"].iter().any(|w| p.is(w)) {
        return Ok(Statement::Cursor(cursor::parse(p)?));
    }
    if ["prepare", "execute", "deallocate"].iter().any(|w| p.is(w)) {
        return Ok(Statement::Prepared(prepared::parse(p)?));
    }
    if ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"]
        .iter()
        .any(|w| p.is(w))
    {
        return Ok(Statement::Transaction(transaction::parse(p)?));
    }
    if ["set", "reset", "discard"].iter().any(|w| p.is(w)) {
        return Ok(Statement::Variable(variable::parse(p)?));
    }
    if ["grant", "revoke", "reassign"].iter().any(|w| p.is(w)) {
        return Ok(Statement::Database(database::parse_grant(p)?));
    }
    if p.word("truncate") {
        p.word("table");
        let tables = p.comma_separated(|p| p.object_name())?;
        let _ = p.one_of(&["restart identity", "continue identity"]);
        let _ = p.one_of(&["cascade", "restrict"]);
        return Ok(Statement::Truncate(tables));
    }
    for (word, instead) in [
        ("refresh", "Materialized views are always up to date here."),
        ("listen", "Use SUBSCRIBE."),
        ("notify", "Use SUBSCRIBE."),
        ("lock", "Reads here are consistent without locks."),
        ("merge", "Use INSERT, UPDATE and DELETE."),
        ("call", "Use SELECT."),
        ("do", "Run the statements one by one."),
        ("import", ""),
    ] {
        if p.is(word) {
            return Err(crate::plan::unsupported(&word.to_uppercase(), instead));
        }
    }
    for (word, tag) in
        [("unlisten", "UNLISTEN"), ("vacuum", "VACUUM"), ("analyze", "ANALYZE"), ("checkpoint", "CHECKPOINT")]
    {
        if p.word(word) {
            while !p.at_end() {
                p.next();
            }
            return Ok(Statement::NoOp(tag));
        }
    }
    Err(p.error("a statement"))
}

/// Behind `CREATE`.
fn create(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let mut modifiers = CreateModifiers { replace: p.word("or replace"), ..CreateModifiers::default() };
    if p.word("temp") || p.word("temporary") {
        modifiers.temporary = true;
    }
    if p.word("materialized source") || p.word("source") {
        return Ok(Statement::Source(source::parse(p, modifiers)?));
    }
    if p.word("materialized view") {
        return Ok(Statement::CreateView(view::parse(p, modifiers, true)?));
    }
    if p.word("view") {
        return Ok(Statement::CreateView(view::parse(p, modifiers, false)?));
    }
    if p.word("table") {
        return Ok(Statement::CreateTable(table::parse(p, modifiers)?));
    }
    if p.word("default index") {
        return Ok(Statement::CreateIndex(index::parse(p, true)?));
    }
    if p.word("index") {
        return Ok(Statement::CreateIndex(index::parse(p, false)?));
    }
    if p.word("secret") {
        return Ok(Statement::Secret(secret::parse(p)?));
    }
    if p.word("connection") {
        return Ok(Statement::Connection(connection::parse(p)?));
    }
    if p.word("sink") {
        return Ok(Statement::Sink(sink::parse(p)?));
    }
    if ["database", "schema", "cluster", "role", "user"].iter().any(|w| p.is(w)) {
        return Ok(Statement::Database(database::parse_create(p)?));
    }
    if p.word("type") {
        return Ok(Statement::Type(types::parse(p)?));
    }
    for (word, instead) in [
        ("domain", "Use the type itself; a view can check values."),
        ("network policy", "Listen on 127.0.0.1, or use a firewall."),
        ("unique index", "An index here only makes reads fast. Use CREATE INDEX."),
        ("function", "Use a view."),
        ("trigger", "Use a materialized view or SUBSCRIBE."),
        ("sequence", ""),
        ("extension", ""),
        ("unlogged table", "Use CREATE TABLE."),
    ] {
        if p.is(word) {
            return Err(crate::plan::unsupported(&format!("CREATE {}", word.to_uppercase()), instead));
        }
    }
    Err(p.error("the kind of object to create"))
}

/// Plans a statement.
pub(crate) fn plan(planner: &Planner<'_>, statement: Statement) -> Result<Plan, SqlError> {
    match statement {
        Statement::Empty => Ok(Plan::Empty),
        Statement::NoOp(tag) => Ok(Plan::NoOp(tag)),
        Statement::Query(query) => match variable::plan_set_config(planner, &query)? {
            Some(plan) => Ok(plan),
            None => match variable::plan_sleep(planner, &query)? {
                Some(plan) => Ok(plan),
                None => Ok(Plan::Select(planner.plan_select(&query)?)),
            },
        },
        Statement::Insert(s) => write::plan_insert(planner, *s),
        Statement::Update(s) => write::plan_update(planner, *s),
        Statement::Delete(s) => write::plan_delete(planner, *s),
        Statement::CreateView(s) => view::plan(planner, s),
        Statement::CreateTable(s) => table::plan(planner, s),
        Statement::CreateIndex(s) => index::plan(planner, s),
        Statement::Drop(s) => drop::plan(planner, s),
        Statement::Explain(s) => explain::plan(planner, s),
        Statement::Secret(s) => secret::plan(planner, s),
        Statement::Connection(s) => connection::plan(planner, s),
        Statement::Source(s) => source::plan(planner, s),
        Statement::Sink(s) => sink::plan(planner, s),
        Statement::Show(s) => show::plan(planner, s),
        Statement::Subscribe(s) => subscribe::plan(planner, s),
        Statement::Copy(s) => copy::plan(planner, s),
        Statement::Cursor(s) => cursor::plan(planner, s),
        Statement::Transaction(s) => transaction::plan(planner, s),
        Statement::Variable(s) => variable::plan(planner, s),
        Statement::Prepared(s) => prepared::plan(planner, s),
        Statement::Database(s) => database::plan(planner, s),
        Statement::Alter(s) => alter::plan(planner, s),
        Statement::Comment(s) => comment::plan(planner, s),
        Statement::Type(s) => types::plan(planner, s),
        Statement::Truncate(tables) => write::plan_truncate(planner, &tables),
    }
}
