//! The table itself: how entries are written, and where they end up.
//!
//! An entry is a line of text beside the code that computes it:
//!
//! ```text
//!   lower(text) -> text -- lower case                 a function; several signatures are separated by ';'
//!   text || text -> text                              an operator; `- int4 -> int4` is a prefix one
//!   concat(variadic any) -> text                      any number of arguments
//!   each(jsonb) -> (key text, value jsonb)            a table function with named columns
//! ```
//!
//! Types have their short Postgres names; `any`, `anyelement`, `anyarray`, `anycompatible`, … are polymorphic as there.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use repr::{Arena, Datum, EvalError, ScalarType};

use super::resolve::CastContext;
use super::{AggFunc, AggKind, ScalarFunc, TableFunc};
use crate::scalar::Context;

/// How a scalar function is computed.
pub(super) type Eval =
    for<'a> fn(args: &[Datum<'a>], ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError>;

/// What an entry computes.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    Scalar(&'static ScalarFunc),
    Aggregate(&'static AggFunc),
    Table(&'static TableFunc),
    Window(&'static str),
    Context(Context),
}

/// What a parameter takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Param {
    Exact(ScalarType),
    Any,
    /// `anyelement`, `anynonarray`, `anyarray`, list, map and range of it: one type for the whole call.
    Element,
    NonArray,
    Array,
    List,
    Map,
    Range,
    /// `anycompatible` and its array and list: the common type of all.
    Compatible,
    CompatibleArray,
    CompatibleList,
    AnyRecord,
}

/// The kinds of entries, as `pg_proc.prokind` and the docs tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum FunctionKind {
    Function,
    Operator,
    Aggregate,
    Window,
    Table,
}

pub(super) struct Overload {
    pub name: &'static str,
    pub kind: FunctionKind,
    pub params: Vec<Param>,
    /// The last parameter may be given any number of times, at least once.
    pub variadic: bool,
    pub ret: Param,
    /// Of a table function.
    pub columns: Vec<(&'static str, Param)>,
    pub entry: Entry,
    pub description: &'static str,
}

/// A line of the table, for `pg_proc` and the docs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// As called: `lower`, `->>`.
    pub name: &'static str,
    /// Which kind.
    pub kind: FunctionKind,
    /// The parameters' types, as Postgres prints them.
    pub args: Vec<String>,
    /// Their oids.
    pub arg_oids: Vec<u32>,
    /// Whether the last may be given any number of times.
    pub variadic: bool,
    /// What it returns.
    pub ret: String,
    /// Its oid.
    pub ret_oid: u32,
    /// Whether it returns rows.
    pub set: bool,
    /// NULL if any argument is.
    pub strict: bool,
    /// The id of what computes it.
    pub id: &'static str,
    /// In a few words; may be empty.
    pub description: &'static str,
}

#[derive(Clone, Copy)]
pub(super) struct CastEntry {
    pub context: CastContext,
    /// None: the same bytes.
    pub func: Option<&'static ScalarFunc>,
}

/// Everything there is, by name and by id.
#[derive(Default)]
pub(super) struct Table {
    pub overloads: Vec<Overload>,
    pub functions: BTreeMap<&'static str, Vec<usize>>,
    pub operators: BTreeMap<&'static str, Vec<usize>>,
    pub scalars: BTreeMap<&'static str, &'static ScalarFunc>,
    pub aggregates: BTreeMap<&'static str, &'static AggFunc>,
    pub tables: BTreeMap<&'static str, &'static TableFunc>,
    /// By the short names of the types.
    pub casts: BTreeMap<(&'static str, &'static str), CastEntry>,
}

/// The table, built at first use.
pub(super) fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        let mut t = Table::default();
        super::compare::register(&mut t);
        super::numeric::register(&mut t);
        super::text::register(&mut t);
        super::pattern::register(&mut t);
        super::bytes::register(&mut t);
        super::time::register(&mut t);
        super::jsonb::register(&mut t);
        super::jsonpath::register(&mut t);
        super::schema::register(&mut t);
        super::array::register(&mut t);
        super::cast::register(&mut t);
        super::aggregate::register(&mut t);
        super::table::register(&mut t);
        super::system::register(&mut t);
        t
    });
    &TABLE
}

/// Every line of the table: functions and operators by name, then in the order of the source.
pub fn signatures() -> impl Iterator<Item = Signature> {
    let t = table();
    t.functions.values().chain(t.operators.values()).flatten().map(|i| {
        let o = &t.overloads[*i];
        let (id, strict) = match o.entry {
            Entry::Scalar(f) => (f.id, f.strict),
            Entry::Aggregate(f) => (f.id, false),
            Entry::Table(f) => (f.id, f.strict),
            Entry::Window(name) => (name, false),
            Entry::Context(_) => (o.name, true),
        };
        Signature {
            name: o.name,
            kind: o.kind,
            args: o.params.iter().map(Param::name).collect(),
            arg_oids: o.params.iter().map(Param::oid).collect(),
            variadic: o.variadic,
            ret: o.ret.name(),
            ret_oid: o.ret.oid(),
            set: o.kind == FunctionKind::Table,
            strict,
            id,
            description: o.description,
        }
    })
}

/// Every cast between types that have an oid: from, to, and where it happens as `pg_cast.castcontext` says it.
pub fn casts() -> impl Iterator<Item = (u32, u32, &'static str)> {
    table().casts.iter().filter_map(|((from, to), entry)| {
        let oid = |name: &str| super::resolve::type_by_name(name, &[]).map(|t| t.oid());
        let context = match entry.context {
            CastContext::Implicit => "i",
            CastContext::Assignment => "a",
            CastContext::Explicit => "e",
        };
        Some((oid(from)?, oid(to)?, context)).filter(|(from, to, _)| from != to)
    })
}

/// How a scalar function treats NULL and whether it fails.
#[derive(Clone, Copy)]
pub(super) struct Nature {
    strict: bool,
    can_fail: bool,
    never_null: bool,
}

/// Strict, cannot fail, NULL only for NULL.
pub(super) const PURE: Nature = Nature { strict: true, can_fail: false, never_null: true };
/// Strict, can fail, NULL only for NULL.
pub(super) const FAILS: Nature = Nature { strict: true, can_fail: true, never_null: true };
/// Strict, cannot fail, may be NULL for what is not.
pub(super) const MAYBE: Nature = Nature { strict: true, can_fail: false, never_null: false };
/// Strict, can fail, may be NULL for what is not.
pub(super) const MAYBE_FAILS: Nature = Nature { strict: true, can_fail: true, never_null: false };
/// Sees NULLs, cannot fail, never NULL when no argument is.
pub(super) const LAX: Nature = Nature { strict: false, can_fail: false, never_null: true };
/// Sees NULLs, cannot fail, may be NULL for what is not.
pub(super) const LAX_NULLABLE: Nature = Nature { strict: false, can_fail: false, never_null: false };
/// Sees NULLs, can fail, never NULL when no argument is.
pub(super) const LAX_FAILS: Nature = Nature { strict: false, can_fail: true, never_null: true };
/// Sees NULLs, can fail, may be NULL for what is not.
pub(super) const LAX_MAYBE: Nature = Nature { strict: false, can_fail: true, never_null: false };

impl Table {
    /// Adds a scalar function under its id, with its signatures (none for what only the planner writes).
    pub fn add(&mut self, id: &'static str, signatures: &'static str, nature: Nature, eval: Eval) {
        self.add_scalar(id, signatures, nature, false, eval);
    }

    /// Adds a scalar function that gives another result each time.
    pub fn volatile(&mut self, id: &'static str, signatures: &'static str, eval: Eval) {
        self.add_scalar(id, signatures, PURE, true, eval);
    }

    fn add_scalar(
        &mut self,
        id: &'static str,
        signatures: &'static str,
        nature: Nature,
        volatile: bool,
        eval: Eval,
    ) {
        let Nature { strict, can_fail, never_null } = nature;
        let func = &*Box::leak(Box::new(ScalarFunc { id, strict, can_fail, never_null, volatile, eval }));
        assert!(self.scalars.insert(id, func).is_none(), "two functions with the id {id}");
        self.sign(signatures, FunctionKind::Function, Entry::Scalar(func));
    }

    /// More signatures for a function that is there.
    pub fn also(&mut self, id: &'static str, signatures: &'static str) {
        let func = self.scalars[id];
        self.sign(signatures, FunctionKind::Function, Entry::Scalar(func));
    }

    /// Adds an aggregate.
    #[allow(clippy::type_complexity)]
    pub fn aggregate(
        &mut self,
        id: &'static str,
        signatures: &'static str,
        kind: AggKind,
        collect: Option<fn(rows: &[repr::Row], ty: &ScalarType) -> Result<repr::Row, EvalError>>,
    ) {
        let func = &*Box::leak(Box::new(AggFunc { id, kind, collect }));
        assert!(self.aggregates.insert(id, func).is_none(), "two aggregates with the id {id}");
        self.sign(signatures, FunctionKind::Aggregate, Entry::Aggregate(func));
    }

    /// Adds a table function.
    #[allow(clippy::type_complexity)]
    pub fn rows(
        &mut self,
        id: &'static str,
        signatures: &'static str,
        strict: bool,
        eval: for<'a> fn(
            args: &[Datum<'a>],
            arena: &'a Arena,
            emit: &mut dyn FnMut(&[Datum<'a>]),
        ) -> Result<(), EvalError>,
    ) {
        let func = &*Box::leak(Box::new(TableFunc { id, strict, eval }));
        assert!(self.tables.insert(id, func).is_none(), "two table functions with the id {id}");
        self.sign(signatures, FunctionKind::Table, Entry::Table(func));
    }

    /// Adds a window function.
    pub fn window(&mut self, name: &'static str, signatures: &'static str) {
        self.sign(signatures, FunctionKind::Window, Entry::Window(name));
    }

    /// Adds names of a value of the statement's execution.
    pub fn context(&mut self, context: Context, signatures: &'static str) {
        self.sign(signatures, FunctionKind::Function, Entry::Context(context));
    }

    /// Adds a cast computed by `eval`, under the id `cast_FROM_TO`.
    pub fn cast(
        &mut self,
        from: &'static str,
        to: &'static str,
        context: CastContext,
        nature: Nature,
        eval: Eval,
    ) {
        let id: &'static str = Box::leak(format!("cast_{from}_{to}").into_boxed_str());
        let Nature { strict, can_fail, never_null } = nature;
        let func =
            &*Box::leak(Box::new(ScalarFunc { id, strict, can_fail, never_null, volatile: false, eval }));
        assert!(self.scalars.insert(id, func).is_none(), "two casts from {from} to {to}");
        self.casts.insert((from, to), CastEntry { context, func: Some(func) });
    }

    /// Adds a cast that changes no bytes.
    pub fn same(&mut self, from: &'static str, to: &'static str, context: CastContext) {
        self.casts.insert((from, to), CastEntry { context, func: None });
    }

    fn sign(&mut self, text: &'static str, kind: FunctionKind, entry: Entry) {
        let (signatures, description) = text.split_once("--").unwrap_or((text, ""));
        for signature in signatures.split(';').map(str::trim).filter(|s| !s.is_empty()) {
            let overload = parse_signature(signature, kind, entry, description.trim());
            let index = self.overloads.len();
            let names = match overload.kind {
                FunctionKind::Operator => &mut self.operators,
                _ => &mut self.functions,
            };
            names.entry(overload.name).or_default().push(index);
            self.overloads.push(overload);
        }
    }
}

/// Reads what the head of this file describes; the table is ours, so a mistake panics (and a test builds it).
fn parse_signature(
    text: &'static str,
    kind: FunctionKind,
    entry: Entry,
    description: &'static str,
) -> Overload {
    let (call, ret) = text.split_once(" -> ").unwrap_or((text, ""));
    // `jsonb -> text -> jsonb` splits at its last arrow.
    let (call, ret) = match ret.rsplit_once(" -> ") {
        Some((_, last)) if !ret.starts_with('(') => (&text[..text.len() - last.len() - 4], last),
        _ => (call, ret),
    };
    let is_function = call.split_once('(').is_some_and(|(name, _)| !name.trim().contains(' '));
    let (name, kind, params, variadic) = if is_function {
        let (name, rest) = call.split_once('(').expect("just found");
        let list = rest.strip_suffix(')').unwrap_or_else(|| panic!("no closing parenthesis in {text}"));
        let mut variadic = false;
        let params = list.split(',').map(str::trim).filter(|p| !p.is_empty()).map(|p| {
            let p = p.strip_prefix("variadic ").inspect(|_| variadic = true).unwrap_or(p);
            Param::parse(p)
        });
        let params = params.collect();
        (name, kind, params, variadic)
    } else {
        let words: Vec<&'static str> = call.split_whitespace().collect();
        match words[..] {
            [op, right] => (op, FunctionKind::Operator, vec![Param::parse(right)], false),
            [left, op, right] => {
                (op, FunctionKind::Operator, vec![Param::parse(left), Param::parse(right)], false)
            }
            _ => panic!("not a signature: {text}"),
        }
    };
    let (ret, columns) = match ret.strip_prefix('(').and_then(|r| r.strip_suffix(')')) {
        Some(list) => {
            let column = |c: &'static str| {
                let (name, ty) = c.trim().split_once(' ').unwrap_or_else(|| panic!("not a column: {c}"));
                (name, Param::parse(ty.trim()))
            };
            let columns: Vec<_> = list.split(',').map(column).collect();
            let ret = if let [(_, one)] = &columns[..] { one.clone() } else { Param::AnyRecord };
            (ret, columns)
        }
        None => {
            let ret = Param::parse(ret.trim());
            let columns = if kind == FunctionKind::Table { vec![(name, ret.clone())] } else { vec![] };
            (ret, columns)
        }
    };
    Overload { name, kind, params, variadic, ret, columns, entry, description }
}

impl Param {
    fn parse(text: &str) -> Param {
        match text {
            "any" => Param::Any,
            "anyelement" => Param::Element,
            "anynonarray" => Param::NonArray,
            "anyarray" => Param::Array,
            "anylist" => Param::List,
            "anymap" => Param::Map,
            "anyrange" => Param::Range,
            "anycompatible" => Param::Compatible,
            "anycompatiblearray" => Param::CompatibleArray,
            "anycompatiblelist" => Param::CompatibleList,
            "record" => Param::AnyRecord,
            other => Param::Exact(type_of(other).unwrap_or_else(|| panic!("no type is called {other}"))),
        }
    }

    /// As Postgres prints it.
    pub fn name(&self) -> String {
        match self {
            Param::Exact(t) => t.name(),
            Param::Any => "\"any\"".into(),
            Param::Element => "anyelement".into(),
            Param::NonArray => "anynonarray".into(),
            Param::Array => "anyarray".into(),
            Param::List => "list".into(),
            Param::Map => "map".into(),
            Param::Range => "anyrange".into(),
            Param::Compatible => "anycompatible".into(),
            Param::CompatibleArray => "anycompatiblearray".into(),
            Param::CompatibleList => "anycompatiblelist".into(),
            Param::AnyRecord => "record".into(),
        }
    }

    pub fn oid(&self) -> u32 {
        match self {
            Param::Exact(t) => t.oid(),
            Param::Any => 2276,
            Param::Element => 2283,
            Param::NonArray => 2776,
            Param::Array => 2277,
            Param::List | Param::CompatibleList => 16_384,
            Param::Map => 16_385,
            Param::Range => 3831,
            Param::Compatible => 5077,
            Param::CompatibleArray => 5078,
            Param::AnyRecord => 2249,
        }
    }
}

/// The type with a short name, as entries write it.
pub(super) fn type_of(short: &str) -> Option<ScalarType> {
    if let Some(element) = short.strip_suffix("[]") {
        return Some(ScalarType::Array(Box::new(type_of(element)?)));
    }
    Some(match short {
        "bool" => ScalarType::Bool,
        "int2" => ScalarType::Int16,
        "int4" => ScalarType::Int32,
        "int8" => ScalarType::Int64,
        "uint2" => ScalarType::UInt16,
        "uint4" => ScalarType::UInt32,
        "uint8" => ScalarType::UInt64,
        "float4" => ScalarType::Float32,
        "float8" => ScalarType::Float64,
        "numeric" => ScalarType::Numeric { scale: None },
        "text" => ScalarType::Text,
        "varchar" => ScalarType::VarChar { length: None },
        "bpchar" => ScalarType::Char { length: None },
        "char" => ScalarType::PgChar,
        "name" => ScalarType::Name,
        "bytea" => ScalarType::Bytes,
        "jsonb" => ScalarType::Jsonb,
        "date" => ScalarType::Date,
        "time" => ScalarType::Time,
        "timestamp" => ScalarType::Timestamp { precision: None },
        "timestamptz" => ScalarType::TimestampTz { precision: None },
        "interval" => ScalarType::Interval,
        "uuid" => ScalarType::Uuid,
        "oid" => ScalarType::Oid,
        "regclass" => ScalarType::RegClass,
        "regproc" => ScalarType::RegProc,
        "regtype" => ScalarType::RegType,
        "mz_timestamp" => ScalarType::MzTimestamp,
        "int2vector" => ScalarType::Int2Vector,
        "int4range" => ScalarType::Range(Box::new(ScalarType::Int32)),
        "int8range" => ScalarType::Range(Box::new(ScalarType::Int64)),
        "numrange" => ScalarType::Range(Box::new(ScalarType::Numeric { scale: None })),
        "daterange" => ScalarType::Range(Box::new(ScalarType::Date)),
        "tsrange" => ScalarType::Range(Box::new(ScalarType::Timestamp { precision: None })),
        "tstzrange" => ScalarType::Range(Box::new(ScalarType::TimestampTz { precision: None })),
        "textlist" => ScalarType::List(Box::new(ScalarType::Text)),
        "textmap" => ScalarType::Map(Box::new(ScalarType::Text)),
        _ => return None,
    })
}

/// The short name of a type, by which casts are looked up; containers by their kind alone.
pub(super) fn short_name(ty: &ScalarType) -> &'static str {
    match ty {
        ScalarType::Bool => "bool",
        ScalarType::Int16 => "int2",
        ScalarType::Int32 => "int4",
        ScalarType::Int64 => "int8",
        ScalarType::UInt16 => "uint2",
        ScalarType::UInt32 => "uint4",
        ScalarType::UInt64 => "uint8",
        ScalarType::Float32 => "float4",
        ScalarType::Float64 => "float8",
        ScalarType::Numeric { .. } => "numeric",
        ScalarType::Text => "text",
        ScalarType::VarChar { .. } => "varchar",
        ScalarType::Char { .. } => "bpchar",
        ScalarType::PgChar => "char",
        ScalarType::Name => "name",
        ScalarType::Bytes => "bytea",
        ScalarType::Jsonb => "jsonb",
        ScalarType::Date => "date",
        ScalarType::Time => "time",
        ScalarType::Timestamp { .. } => "timestamp",
        ScalarType::TimestampTz { .. } => "timestamptz",
        ScalarType::Interval => "interval",
        ScalarType::Uuid => "uuid",
        ScalarType::Oid => "oid",
        ScalarType::RegClass => "regclass",
        ScalarType::RegProc => "regproc",
        ScalarType::RegType => "regtype",
        ScalarType::MzTimestamp => "mz_timestamp",
        ScalarType::Array(_) => "array",
        ScalarType::List(_) => "list",
        ScalarType::Map(_) => "map",
        ScalarType::Record(_) => "record",
        ScalarType::Range(_) => "range",
        ScalarType::Int2Vector => "int2vector",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The page of the docs, from the table.
    fn page() -> String {
        let mut out = String::from(
            "# Functions\n\nEvery function and operator, from the table that the planner resolves calls against. \
             `UPDATE_EXPECTED=1 cargo test -p deltamill-plan the_page` writes this page.\n",
        );
        let kinds = [
            (FunctionKind::Function, "Functions"),
            (FunctionKind::Operator, "Operators"),
            (FunctionKind::Aggregate, "Aggregates"),
            (FunctionKind::Window, "Window functions"),
            (FunctionKind::Table, "Table functions"),
        ];
        for (kind, title) in kinds {
            let _ = write!(out, "\n## {title}\n\n| call | result | |\n|---|---|---|\n");
            for s in signatures().filter(|s| s.kind == kind) {
                let variadic = if s.variadic { "VARIADIC " } else { "" };
                let mut args = s.args.clone();
                if let Some(last) = args.last_mut() {
                    *last = format!("{variadic}{last}");
                }
                let call = match (kind, &args[..]) {
                    (FunctionKind::Operator, [right]) => format!("{} {right}", s.name),
                    (FunctionKind::Operator, [left, right]) => format!("{left} {} {right}", s.name),
                    _ => format!("{}({})", s.name, args.join(", ")),
                };
                let cell = |text: &str| text.replace('|', "\\|");
                let set = if s.set { "rows of " } else { "" };
                let _ = writeln!(out, "| {} | {set}{} | {} |", cell(&call), s.ret, cell(s.description));
            }
        }
        out
    }

    #[test]
    fn the_page_of_functions_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FUNCTIONS.md");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path, page()).expect("the page can be written");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == page(),
            "FUNCTIONS.md is behind: UPDATE_EXPECTED=1 cargo test -p deltamill-plan the_page"
        );
    }
}
