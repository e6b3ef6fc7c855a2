//! Statements as parsed: names not looked up yet. Queries and expressions are sqlparser's; the heads are ours.

use sqlparser::ast::{ColumnDef, Expr, Ident, ObjectName, Query as SqlQuery, TableConstraint};
use sqlparser::tokenizer::Location;

use crate::statement::{
    alter, comment, connection, copy, cursor, database, prepared, secret, show, sink, source, subscribe,
    transaction, types, variable,
};

/// A statement. One variant a family; a family of more than one statement has an enum of its own in its module.
#[derive(Debug)]
pub(crate) enum Statement {
    Empty,
    /// Accepted, without effect; the command tag.
    NoOp(&'static str),
    Query(Query),
    Insert(Box<sqlparser::ast::Insert>),
    Update(Box<sqlparser::ast::Update>),
    Delete(Box<sqlparser::ast::Delete>),
    CreateView(CreateView),
    CreateTable(CreateTable),
    CreateIndex(CreateIndex),
    Drop(DropObjects),
    Explain(Explain),
    Secret(secret::Statement),
    Connection(connection::Statement),
    Source(source::Statement),
    Sink(sink::Statement),
    Show(show::Statement),
    Subscribe(subscribe::Statement),
    Copy(copy::Statement),
    Cursor(cursor::Statement),
    Transaction(transaction::Statement),
    Variable(variable::Statement),
    Prepared(prepared::Statement),
    /// Databases, schemas, clusters, roles.
    Database(database::Statement),
    Alter(alter::Statement),
    Comment(comment::Statement),
    Type(types::Statement),
    /// `TRUNCATE`.
    Truncate(Vec<ObjectName>),
}

/// A query, and the time it is to be read at.
#[derive(Debug)]
pub(crate) struct Query {
    pub body: Box<SqlQuery>,
    pub as_of: Option<AsOf>,
    /// Where its text begins and ends.
    pub from: Location,
    pub to: Location,
}

/// `AS OF [AT LEAST] expr`.
#[derive(Debug)]
pub(crate) struct AsOf {
    pub time: Expr,
    pub at_least: bool,
}

/// `CREATE [OR REPLACE] [TEMP] [MATERIALIZED] VIEW`.
#[derive(Debug)]
pub(crate) struct CreateView {
    pub name: ObjectName,
    pub columns: Vec<Ident>,
    pub replace: bool,
    pub temporary: bool,
    pub if_not_exists: bool,
    pub materialized: bool,
    pub cluster: Option<Ident>,
    pub options: Vec<WithOption>,
    pub query: Query,
}

/// `CREATE [TEMP] TABLE`.
#[derive(Debug)]
pub(crate) struct CreateTable {
    pub name: ObjectName,
    pub columns: Vec<ColumnDef>,
    pub keys: Vec<TableConstraint>,
    pub temporary: bool,
    pub if_not_exists: bool,
    pub options: Vec<WithOption>,
    pub query: Option<TableQuery>,
}

/// `(name, …) AS query [WITH [NO] DATA]`.
#[derive(Debug)]
pub(crate) struct TableQuery {
    pub names: Vec<Ident>,
    pub query: Query,
    pub data: bool,
}

/// `CREATE [DEFAULT] INDEX`.
#[derive(Debug)]
pub(crate) struct CreateIndex {
    pub name: Option<Ident>,
    pub default: bool,
    pub if_not_exists: bool,
    pub cluster: Option<Ident>,
    pub on: ObjectName,
    pub key: Vec<Expr>,
    pub options: Vec<WithOption>,
    /// Where `(key…)` begins and ends.
    pub from: Location,
    pub to: Location,
}

/// `DROP kind [IF EXISTS] names [CASCADE]`.
#[derive(Debug)]
pub(crate) struct DropObjects {
    /// In capitals, as in the command tag.
    pub kind: &'static str,
    pub if_exists: bool,
    pub names: Vec<ObjectName>,
    pub cascade: bool,
}

/// `EXPLAIN`.
#[derive(Debug)]
pub(crate) struct Explain {
    pub stage: ExplainStage,
    pub json: bool,
    pub of: Explained,
}

/// How far a plan is taken before it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExplainStage {
    Raw,
    Decorrelated,
    Optimized,
    Physical,
    /// No plan: the time that a query would be read at.
    Timestamp,
}

/// What is shown the plan of.
#[derive(Debug)]
pub(crate) enum Explained {
    Statement(Box<Statement>),
    View(ObjectName),
    MaterializedView(ObjectName),
    Index(ObjectName),
    /// `EXPLAIN WHY`: not its plan, but how it is.
    Why(ObjectName),
}

/// `name [= value]` in a `WITH (…)`. Values: words, strings, numbers, lists.
#[derive(Clone, Debug)]
pub(crate) struct WithOption {
    /// Words in capitals, one blank between: `RETAIN HISTORY FOR`.
    pub name: String,
    pub value: Option<OptionValue>,
    pub at: Location,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OptionValue {
    /// An unquoted or quoted name, as written.
    Word(String),
    String(String),
    Number(String),
    /// `(a, b)` or `[a, b]`.
    List(Vec<OptionValue>),
    /// `SECRET name`.
    Secret(ObjectName),
    /// `a => b, …` in brackets.
    Map(Vec<(String, OptionValue)>),
}
