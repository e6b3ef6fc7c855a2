//! Plans as text: a tree, inputs indented by two, scalar expressions as SQL writes them.
//!
//! ```text
//!   Reduce by #0{type} → count(*)
//!     Filter #0{type} = 'track'
//!       Get materialize.public.events
//! ```
//!
//! A column is its position, and its name where one is known.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use repr::{ColumnType, Datum, EvalError, GlobalId, Row, ScalarType};

use crate::func::{FunctionKind, ids, signatures};
use crate::mfp::Mfp;
use crate::{AggregateExpr, ColumnOrder, LocalId, RelationExpr, ScalarExpr, Side, known};

/// The plan as text, ending in a newline. `names` says what an object is called, `columns` what its columns are (none or
/// too few: not known).
pub fn explain(
    plan: &RelationExpr,
    names: &dyn Fn(GlobalId) -> String,
    columns: &dyn Fn(GlobalId) -> Vec<String>,
) -> String {
    let mut explainer = Explainer { names, columns, locals: BTreeMap::new(), out: String::new() };
    explainer.relation(plan, 0);
    explainer.out
}

/// A scalar expression as text. `columns` are the names of its columns; empty or missing: not known.
pub fn explain_scalar(expr: &ScalarExpr, columns: &[String]) -> String {
    let names: Names = columns.iter().map(|c| Some(c.clone()).filter(|c| !c.is_empty())).collect();
    let mut out = String::new();
    scalar(expr, &names, false, &mut out);
    out
}

/// A fused pass as text, a line each for what is computed, tested and returned.
pub fn explain_mfp(mfp: &Mfp, columns: &[String]) -> String {
    let name = |c: usize| explain_scalar(&ScalarExpr::Column(c), columns);
    let mut out = String::new();
    let mut done = 0;
    let compute = |from: usize, to: usize, out: &mut String| {
        for i in from..to {
            let _ = writeln!(out, "compute #{} = {}", mfp.arity + i, explain_scalar(&mfp.maps[i], columns));
        }
    };
    for (at, p) in &mfp.filters {
        compute(done, *at, &mut out);
        done = done.max(*at);
        let _ = writeln!(out, "test {}", explain_scalar(p, columns));
    }
    compute(done, mfp.maps.len(), &mut out);
    let _ = writeln!(out, "return {}", mfp.project.iter().map(|c| name(*c)).collect::<Vec<_>>().join(", "));
    out
}

type Names = Vec<Option<String>>;

struct Explainer<'a> {
    names: &'a dyn Fn(GlobalId) -> String,
    columns: &'a dyn Fn(GlobalId) -> Vec<String>,
    locals: BTreeMap<LocalId, Names>,
    out: String,
}

impl Explainer<'_> {
    fn line(&mut self, depth: usize, text: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{:1$}{text}", "", depth * 2);
    }

    /// Writes the plan below `depth`; returns the names of its columns. A line is written before its inputs, but its
    /// text needs their names: inputs are written apart and appended.
    fn relation(&mut self, plan: &RelationExpr, depth: usize) -> Names {
        match plan {
            RelationExpr::Constant { rows: Ok(rows), typ } => {
                self.line(depth, constant(rows, typ));
                vec![None; typ.len()]
            }
            RelationExpr::Constant { rows: Err(e), typ } => {
                self.line(depth, format_args!("Error {}", error(e)));
                vec![None; typ.len()]
            }
            RelationExpr::Get { id, typ } => {
                self.line(depth, format_args!("Get {}", (self.names)(*id)));
                let mut names: Names = (self.columns)(*id).into_iter().map(Some).collect();
                names.resize(typ.len(), None);
                names
            }
            RelationExpr::LocalGet { id, typ } => {
                self.line(depth, format_args!("Get l{}", id.0));
                self.locals.get(id).cloned().unwrap_or_else(|| vec![None; typ.len()])
            }
            RelationExpr::Let { .. } => {
                self.line(depth, "With");
                let mut plan = plan;
                while let RelationExpr::Let { id, value, body } = plan {
                    self.line(depth + 1, format_args!("l{} =", id.0));
                    let names = self.relation(value, depth + 2);
                    self.locals.insert(*id, names);
                    plan = body;
                }
                self.line(depth, "Return");
                self.relation(plan, depth + 1)
            }
            RelationExpr::LetRec { bindings, limit, body } => {
                let limit = match limit {
                    Some((n, true)) => format!(" (error at recursion limit {n})"),
                    Some((n, false)) => format!(" (return at recursion limit {n})"),
                    None => String::new(),
                };
                self.line(depth, format_args!("With Mutually Recursive{limit}"));
                for (id, value, _) in bindings {
                    self.line(depth + 1, format_args!("l{} =", id.0));
                    self.relation(value, depth + 2);
                }
                self.line(depth, "Return");
                self.relation(body, depth + 1)
            }
            RelationExpr::Project { input, columns } => self.above(depth, &[input], |names| {
                let new: Names = columns.iter().map(|c| names[*c].clone()).collect();
                let list = columns.iter().map(|c| column(*c, names));
                (format!("Project {}", list.collect::<Vec<_>>().join(", ")), new)
            }),
            RelationExpr::Map { input, scalars } => self.above(depth, &[input], |names| {
                let mut all = names.clone();
                let mut texts = vec![];
                for s in scalars {
                    texts.push(text(s, &all));
                    all.push(match s {
                        ScalarExpr::Column(c) => all[*c].clone(),
                        _ => None,
                    });
                }
                (format!("Map {}", texts.join(", ")), all)
            }),
            RelationExpr::Filter { input, predicates } => self.above(depth, &[input], |names| {
                let all = if let [one] = &predicates[..] {
                    text(one, names)
                } else {
                    predicates.iter().map(|p| operand(p, names)).collect::<Vec<_>>().join(" AND ")
                };
                (format!("Filter {all}"), names.clone())
            }),
            RelationExpr::FlatMap { input, func, args, typ } => self.above(depth, &[input], |names| {
                let args = args.iter().map(|a| text(a, names)).collect::<Vec<_>>().join(", ");
                let mut all = names.clone();
                all.resize(names.len() + typ.len(), None);
                (format!("FlatMap {}({args})", name_of(func.0.id)), all)
            }),
            RelationExpr::Join { inputs, equivalences } => {
                let inputs: Vec<&RelationExpr> = inputs.iter().collect();
                self.above(depth, &inputs, |names| {
                    let class = |c: &Vec<ScalarExpr>| {
                        c.iter().map(|e| operand(e, names)).collect::<Vec<_>>().join(" = ")
                    };
                    let on = equivalences.iter().map(class).collect::<Vec<_>>().join(" AND ");
                    let line = if on.is_empty() { "CrossJoin".to_string() } else { format!("Join on {on}") };
                    (line, names.clone())
                })
            }
            RelationExpr::Reduce { input, group_key, aggregates } => self.above(depth, &[input], |names| {
                let key = |k: &ScalarExpr| match k {
                    ScalarExpr::Column(c) => names[*c].clone(),
                    _ => None,
                };
                let mut new: Names = group_key.iter().map(key).collect();
                new.resize(group_key.len() + aggregates.len(), None);
                let keys = group_key.iter().map(|k| text(k, names)).collect::<Vec<_>>().join(", ");
                let line = if aggregates.is_empty() {
                    format!("Distinct {keys}").trim_end().to_string()
                } else {
                    let by = if keys.is_empty() { String::new() } else { format!(" by {keys}") };
                    let all = aggregates.iter().map(|a| aggregate(a, names)).collect::<Vec<_>>().join(", ");
                    format!("Reduce{by} → {all}")
                };
                (line, new)
            }),
            RelationExpr::TopK { input, group_key, order_key, limit, offset } => {
                self.above(depth, &[input], |names| {
                    let mut line = "TopK".to_string();
                    if !group_key.is_empty() {
                        let keys = group_key.iter().map(|c| column(*c, names)).collect::<Vec<_>>().join(", ");
                        let _ = write!(line, " by {keys}");
                    }
                    if !order_key.is_empty() {
                        let keys = order_key.iter().map(|o| order(o, &column(o.column, names)));
                        let _ = write!(line, " order {}", keys.collect::<Vec<_>>().join(", "));
                    }
                    if let Some(n) = limit {
                        let _ = write!(line, " limit {n}");
                    }
                    if *offset > 0 {
                        let _ = write!(line, " offset {offset}");
                    }
                    (line, names.clone())
                })
            }
            RelationExpr::Negate { input } => self.above(depth, &[input], |n| ("Negate".into(), n.clone())),
            RelationExpr::Catch { input, side: Side::Rows } => {
                self.above(depth, &[input], |n| ("Without errors".into(), n.clone()))
            }
            RelationExpr::Catch { input, side: Side::Errors } => self.above(depth, &[input], |_| {
                let names = EvalError::desc().columns.into_iter().map(|c| Some(c.name)).collect();
                ("Errors".into(), names)
            }),
            RelationExpr::Threshold { input } => {
                self.above(depth, &[input], |n| ("Threshold".into(), n.clone()))
            }
            RelationExpr::Union { inputs } => {
                self.line(depth, "Union");
                let mut names: Option<Names> = None;
                for input in inputs {
                    let of = self.relation(input, depth + 1);
                    names.get_or_insert(of);
                }
                names.unwrap_or_default()
            }
            RelationExpr::ArrangeBy { input, keys } => self.above(depth, &[input], |names| {
                let key = |k: &Vec<ScalarExpr>| {
                    format!("({})", k.iter().map(|e| text(e, names)).collect::<Vec<_>>().join(", "))
                };
                (format!("ArrangeBy {}", keys.iter().map(key).collect::<Vec<_>>().join(", ")), names.clone())
            }),
        }
    }

    /// Writes a line that `make` makes of the inputs' names, then the inputs.
    fn above(
        &mut self,
        depth: usize,
        inputs: &[&RelationExpr],
        make: impl FnOnce(&Names) -> (String, Names),
    ) -> Names {
        let before = std::mem::take(&mut self.out);
        let names: Names = inputs.iter().flat_map(|i| self.relation(i, depth + 1)).collect();
        let below = std::mem::replace(&mut self.out, before);
        let (line, names) = make(&names);
        self.line(depth, line);
        self.out.push_str(&below);
        names
    }
}

fn constant(rows: &[(Row, repr::Diff)], typ: &[ColumnType]) -> String {
    const SHOWN: usize = 5;
    if rows.is_empty() {
        return "Constant (no rows)".into();
    }
    let row = |(row, diff): &(Row, repr::Diff)| {
        let values = row.iter().zip(typ).map(|(d, t)| literal(d, &t.scalar)).collect::<Vec<_>>().join(", ");
        if *diff == 1 { format!("({values})") } else { format!("({values}) × {diff}") }
    };
    let shown = rows.iter().take(SHOWN).map(row).collect::<Vec<_>>().join(", ");
    match rows.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("Constant {shown}, … {more} more"),
        _ => format!("Constant {shown}"),
    }
}

fn error(e: &EvalError) -> String {
    format!("{} \"{}\"", e.code().as_str(), e.message())
}

fn column(c: usize, names: &Names) -> String {
    match names.get(c) {
        Some(Some(name)) => format!("#{c}{{{name}}}"),
        _ => format!("#{c}"),
    }
}

fn order(o: &ColumnOrder, what: &str) -> String {
    let desc = if o.desc { " desc" } else { "" };
    // What is usual is not said: NULLs last, first when descending.
    let nulls = match (o.desc, o.nulls_first) {
        (false, true) => " nulls first",
        (true, false) => " nulls last",
        _ => "",
    };
    format!("{what}{desc}{nulls}")
}

fn aggregate(a: &AggregateExpr, names: &Names) -> String {
    let mut out = format!("{}(", name_of(a.func.0.id));
    if a.distinct {
        out.push_str("distinct ");
    }
    if a.func.0.id == ids::COUNT && a.args.iter().all(ScalarExpr::is_literal_true) && !a.distinct {
        out.push('*');
    } else {
        out.push_str(&a.args.iter().map(|e| text(e, names)).collect::<Vec<_>>().join(", "));
    }
    if !a.order_by.is_empty() {
        let keys = a.order_by.iter().map(|(e, o)| order(o, &text(e, names)));
        let _ = write!(out, " order by {}", keys.collect::<Vec<_>>().join(", "));
    }
    out.push(')');
    if let Some(f) = &a.filter {
        let _ = write!(out, " filter ({})", text(f, names));
    }
    out
}

fn text(e: &ScalarExpr, names: &Names) -> String {
    let mut out = String::new();
    scalar(e, names, false, &mut out);
    out
}

fn operand(e: &ScalarExpr, names: &Names) -> String {
    let mut out = String::new();
    scalar(e, names, true, &mut out);
    out
}

/// `inner`: inside an operator, where operators need parentheses.
fn scalar(e: &ScalarExpr, names: &Names, inner: bool, out: &mut String) {
    let infix = |parts: Vec<String>, between: &str, out: &mut String| {
        let all = parts.join(between);
        let _ = if inner { write!(out, "({all})") } else { write!(out, "{all}") };
    };
    let list = |args: &[ScalarExpr]| args.iter().map(|a| text(a, names)).collect::<Vec<_>>().join(", ");
    let operands = |args: &[ScalarExpr]| args.iter().map(|a| operand(a, names)).collect::<Vec<_>>();
    match e {
        ScalarExpr::Column(c) => out.push_str(&column(*c, names)),
        ScalarExpr::Literal(Ok(row), typ) => {
            out.push_str(&literal(row.iter().next().unwrap_or(Datum::Null), &typ.scalar))
        }
        ScalarExpr::Literal(Err(e), _) => {
            let _ = write!(out, "error({})", error(e));
        }
        ScalarExpr::And(args) => infix(operands(args), " AND ", out),
        ScalarExpr::Or(args) => infix(operands(args), " OR ", out),
        ScalarExpr::Coalesce(args) => {
            let _ = write!(out, "coalesce({})", list(args));
        }
        ScalarExpr::If { cond, then, els } => {
            let _ = write!(
                out,
                "CASE WHEN {} THEN {} ELSE {} END",
                text(cond, names),
                text(then, names),
                text(els, names)
            );
        }
        ScalarExpr::Try(inner) => {
            let _ = write!(out, "try({})", text(inner, names));
        }
        ScalarExpr::Context(c) => out.push_str(c.name()),
        ScalarExpr::Parameter(n, _) => {
            let _ = write!(out, "${}", n + 1);
        }
        ScalarExpr::Call { func, args, ty } => match (func.0.id, &args[..]) {
            (ids::NOT, [a]) => infix(vec![format!("NOT {}", operand(a, names))], "", out),
            (ids::IS_NULL, [a]) => infix(vec![format!("{} IS NULL", operand(a, names))], "", out),
            (ids::IS_NOT_NULL, [a]) => infix(vec![format!("{} IS NOT NULL", operand(a, names))], "", out),
            (ids::IS_TRUE, [a]) => infix(vec![format!("{} IS TRUE", operand(a, names))], "", out),
            (ids::IS_NOT_TRUE, [a]) => infix(vec![format!("{} IS NOT TRUE", operand(a, names))], "", out),
            (ids::IS_FALSE, [a]) => infix(vec![format!("{} IS FALSE", operand(a, names))], "", out),
            (ids::IS_NOT_FALSE, [a]) => infix(vec![format!("{} IS NOT FALSE", operand(a, names))], "", out),
            (ids::IS_DISTINCT, [_, _]) => infix(operands(args), " IS DISTINCT FROM ", out),
            (ids::IS_NOT_DISTINCT, [_, _]) => infix(operands(args), " IS NOT DISTINCT FROM ", out),
            (id, _) if id.starts_with("cast_") && !args.is_empty() => {
                let _ = write!(out, "CAST({} AS {ty})", text(&args[0], names));
            }
            (id, [a, b]) if operator_of(id).is_some() => {
                let op = operator_of(id).unwrap_or(id);
                infix(vec![operand(a, names), operand(b, names)], &format!(" {op} "), out)
            }
            (id, [a]) if operator_of(id).is_some() => {
                infix(vec![format!("{} {}", operator_of(id).unwrap_or(id), operand(a, names))], "", out)
            }
            (id, _) if known::null_safe_of(e).is_some() => {
                let _ = write!(out, "{}({})", id.trim_end_matches("_key"), list(args));
            }
            (id, _) => {
                let _ = write!(out, "{}({})", name_of(id), list(args));
            }
        },
    }
}

/// What is called or written for the function with an id: the first signature's name.
fn signature_of(id: &str) -> Option<(&'static str, FunctionKind)> {
    static NAMES: LazyLock<BTreeMap<&'static str, (&'static str, FunctionKind)>> = LazyLock::new(|| {
        let mut names = BTreeMap::new();
        // `!=` is another way to write `<>`.
        for s in signatures().filter(|s| s.name != "!=") {
            names.entry(s.id).or_insert((s.name, s.kind));
        }
        names
    });
    NAMES.get(id).copied()
}

fn operator_of(id: &str) -> Option<&'static str> {
    signature_of(id).filter(|s| s.1 == FunctionKind::Operator).map(|s| s.0)
}

fn name_of(id: &str) -> &str {
    signature_of(id).map_or(id, |s| s.0)
}

fn literal(d: Datum<'_>, ty: &ScalarType) -> String {
    let quoted = |s: &str| format!("'{}'", s.replace('\'', "''"));
    match d {
        Datum::Null => "NULL".into(),
        Datum::Bool(b) => b.to_string(),
        Datum::Text(s) if ty.is_string() => quoted(s),
        Datum::Int16(_)
        | Datum::Int32(_)
        | Datum::Int64(_)
        | Datum::UInt16(_)
        | Datum::UInt32(_)
        | Datum::UInt64(_)
        | Datum::Float32(_)
        | Datum::Float64(_)
        | Datum::Numeric(_) => {
            let mut out = String::new();
            repr::text::print(d, ty, &mut out);
            out
        }
        other => {
            let mut out = String::new();
            repr::text::print(other, ty, &mut out);
            format!("{}::{ty}", quoted(&out))
        }
    }
}
