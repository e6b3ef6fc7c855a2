//! HIR as text, for `EXPLAIN RAW PLAN` and tests: a line a node, inputs indented.

use std::fmt::Write;

use plan::hir::{HirAggregateExpr, HirRelationExpr, HirScalarExpr, JoinKind};
use plan::{ColumnOrder, ScalarExpr};
use repr::GlobalId;

/// The plan as text. `name` says what an object is called.
pub(crate) fn explain(rel: &HirRelationExpr, name: &dyn Fn(GlobalId) -> String) -> String {
    let mut out = String::new();
    Printer { name }.relation(rel, 0, &mut out);
    out
}

struct Printer<'p> {
    name: &'p dyn Fn(GlobalId) -> String,
}

fn list<T>(items: &[T], f: impl Fn(&T) -> String) -> String {
    items.iter().map(f).collect::<Vec<_>>().join(", ")
}

fn columns(cs: &[usize]) -> String {
    list(cs, |c| format!("#{c}"))
}

fn order(o: &ColumnOrder) -> String {
    format!(
        "#{}{}{}",
        o.column,
        if o.desc { " desc" } else { "" },
        if o.nulls_first != o.desc { " nulls" } else { "" }
    )
}

impl Printer<'_> {
    fn relation(&self, rel: &HirRelationExpr, depth: usize, out: &mut String) {
        use HirRelationExpr::*;
        let mut line = |text: String| {
            let _ = writeln!(out, "{:width$}{text}", "", width = 2 * depth);
        };
        match rel {
            Constant { rows: Err(e), .. } => line(format!("Error {}", e.message())),
            Constant { rows: Ok(rows), .. } => {
                let row = |(row, diff): &(repr::Row, repr::Diff)| {
                    let times = if *diff == 1 { String::new() } else { format!(" x {diff}") };
                    format!("({}){times}", list(&row.unpack(), |d| datum(*d)))
                };
                line(format!("Constant {}", list(rows, row)))
            }
            Get { id, .. } => line(format!("Get {}", (self.name)(*id))),
            LocalGet { id, .. } => line(format!("Get l{}", id.0)),
            Let { id, value, body } => {
                line(format!("With l{} =", id.0));
                self.relation(value, depth + 1, out);
                self.relation(body, depth, out);
            }
            LetRec { bindings, limit, body } => {
                let limit = limit.map_or_else(String::new, |(n, e)| {
                    format!(" limit={n}{}", if e { " error" } else { "" })
                });
                line(format!("With recursive{limit}"));
                for (id, value, _) in bindings {
                    let _ = writeln!(out, "{:width$}l{} =", "", id.0, width = 2 * depth + 2);
                    self.relation(value, depth + 2, out);
                }
                self.relation(body, depth, out);
            }
            Project { input, columns: cs } => {
                line(format!("Project {}", columns(cs)));
                self.relation(input, depth + 1, out);
            }
            Map { input, scalars } => {
                line(format!("Map {}", list(scalars, |e| self.scalar(e))));
                self.relation(input, depth + 1, out);
            }
            Filter { input, predicates } => {
                line(format!("Filter {}", list(predicates, |e| self.scalar(e))));
                self.relation(input, depth + 1, out);
            }
            FlatMap { input, func, args, .. } => {
                line(format!("FlatMap {}({})", func.0.id, list(args, |e| self.scalar(e))));
                self.relation(input, depth + 1, out);
            }
            Join { left, right, on, kind } => {
                let kind = match kind {
                    JoinKind::Inner => "Join",
                    JoinKind::LeftOuter => "LeftJoin",
                    JoinKind::RightOuter => "RightJoin",
                    JoinKind::FullOuter => "FullJoin",
                };
                line(format!("{kind} {}", self.scalar(on)));
                self.relation(left, depth + 1, out);
                self.relation(right, depth + 1, out);
            }
            Reduce { input, group_key, aggregates } => {
                line(format!("Reduce [{}] {}", columns(group_key), list(aggregates, |a| self.aggregate(a))));
                self.relation(input, depth + 1, out);
            }
            Distinct { input } => {
                line("Distinct".into());
                self.relation(input, depth + 1, out);
            }
            TopK { input, group_key, order_key, limit, offset } => {
                let mut text = format!("TopK [{}] order=[{}]", columns(group_key), list(order_key, order));
                if let Some(n) = limit {
                    let _ = write!(text, " limit={n}");
                }
                if *offset > 0 {
                    let _ = write!(text, " offset={offset}");
                }
                line(text);
                self.relation(input, depth + 1, out);
            }
            Negate { input } => {
                line("Negate".into());
                self.relation(input, depth + 1, out);
            }
            Threshold { input } => {
                line("Threshold".into());
                self.relation(input, depth + 1, out);
            }
            Catch { input, side } => {
                line(match side {
                    plan::Side::Rows => "Without errors".into(),
                    plan::Side::Errors => "Errors".into(),
                });
                self.relation(input, depth + 1, out);
            }
            Union { inputs } => {
                line("Union".into());
                inputs.iter().for_each(|i| self.relation(i, depth + 1, out));
            }
        }
    }

    fn aggregate(&self, a: &HirAggregateExpr) -> String {
        let distinct = if a.distinct { "distinct " } else { "" };
        let mut out = format!("{}({distinct}{}", a.func.0.id, list(&a.args, |e| self.scalar(e)));
        if !a.order_by.is_empty() {
            let key = |(e, o): &(HirScalarExpr, ColumnOrder)| {
                format!("{}{}", self.scalar(e), if o.desc { " desc" } else { "" })
            };
            let _ = write!(out, " order by {}", list(&a.order_by, key));
        }
        out.push(')');
        if let Some(f) = &a.filter {
            let _ = write!(out, " filter {}", self.scalar(f));
        }
        out
    }

    fn scalar(&self, e: &HirScalarExpr) -> String {
        let sub = |rel: &HirRelationExpr| {
            let mut out = String::new();
            self.relation(rel, 0, &mut out);
            let lines: Vec<String> = out.lines().map(|l| l.trim_end().to_string()).collect();
            // One line: indentation becomes parentheses.
            inline(&lines)
        };
        match e {
            HirScalarExpr::Column(c) => format!("#{}{}", "^".repeat(c.level), c.column),
            HirScalarExpr::Literal(Ok(row), _) => row.iter().next().map_or_else(String::new, datum),
            HirScalarExpr::Literal(Err(e), _) => format!("error({})", e.message()),
            HirScalarExpr::Call { func, args, .. } => {
                format!("{}({})", func.0.id, list(args, |e| self.scalar(e)))
            }
            HirScalarExpr::And(args) => {
                format!("({})", args.iter().map(|e| self.scalar(e)).collect::<Vec<_>>().join(" and "))
            }
            HirScalarExpr::Or(args) => {
                format!("({})", args.iter().map(|e| self.scalar(e)).collect::<Vec<_>>().join(" or "))
            }
            HirScalarExpr::Coalesce(args) => format!("coalesce({})", list(args, |e| self.scalar(e))),
            HirScalarExpr::If { cond, then, els } => {
                format!(
                    "case when {} then {} else {} end",
                    self.scalar(cond),
                    self.scalar(then),
                    self.scalar(els)
                )
            }
            HirScalarExpr::Try(inner) => format!("try({})", self.scalar(inner)),
            HirScalarExpr::Context(c) => plan::explain::explain_scalar(&ScalarExpr::Context(*c), &[]),
            HirScalarExpr::Parameter(n, _) => format!("${}", n + 1),
            HirScalarExpr::Exists(rel) => format!("exists[{}]", sub(rel)),
            HirScalarExpr::Scalar(rel) => format!("scalar[{}]", sub(rel)),
        }
    }
}

fn datum(d: repr::Datum<'_>) -> String {
    let ty = repr::ScalarType::Text.nullable(true);
    plan::explain::explain_scalar(&ScalarExpr::Literal(Ok(repr::Row::pack([d])), ty), &[])
}

/// Indented lines as one: each block of deeper lines in braces.
fn inline(lines: &[String]) -> String {
    let depth = |l: &String| l.len() - l.trim_start().len();
    let mut out = String::new();
    let mut i = 0;
    while i < lines.len() {
        if i > 0 {
            out.push_str("; ");
        }
        out.push_str(lines[i].trim_start());
        let mut end = i + 1;
        while end < lines.len() && depth(&lines[end]) > depth(&lines[i]) {
            end += 1;
        }
        if end > i + 1 {
            let _ = write!(out, " {{{}}}", inline(&lines[i + 1..end]));
        }
        i = end;
    }
    out
}
