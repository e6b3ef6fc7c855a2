//! Making and changing HIR: small builders, walking, moving between levels, fresh local names.

use std::collections::BTreeMap;

use crate::scope::{Env, Scope};
use plan::func::{FuncRef, ids};
use plan::hir::{ColumnRef, HirRelationExpr, HirScalarExpr, JoinKind};
use plan::scalar::Context;
use plan::{LocalId, ScalarExpr};
use repr::{Arena, ColumnType, Datum, Row, ScalarType, SqlError};

/// A column of the query at hand.
pub(crate) fn column(position: usize) -> HirScalarExpr {
    HirScalarExpr::Column(ColumnRef { level: 0, column: position })
}

/// A constant.
pub(crate) fn literal(datum: Datum<'_>, ty: ScalarType) -> HirScalarExpr {
    let nullable = datum.is_null();
    HirScalarExpr::Literal(Ok(Row::pack([datum])), ty.nullable(nullable))
}

/// A truth value.
pub(crate) fn boolean(b: bool) -> HirScalarExpr {
    literal(Datum::Bool(b), ScalarType::Bool)
}

/// A function that the planner writes by itself.
pub(crate) fn call(id: &'static str, args: Vec<HirScalarExpr>, ty: ScalarType) -> HirScalarExpr {
    HirScalarExpr::Call { func: FuncRef::of(id), args, ty }
}

pub(crate) fn not(e: HirScalarExpr) -> HirScalarExpr {
    call(ids::NOT, vec![e], ScalarType::Bool)
}

pub(crate) fn is_null(e: HirScalarExpr) -> HirScalarExpr {
    call(ids::IS_NULL, vec![e], ScalarType::Bool)
}

/// All of them; the parts of ANDs are taken apart.
pub(crate) fn and(parts: Vec<HirScalarExpr>) -> HirScalarExpr {
    let mut out = vec![];
    for part in parts {
        match part {
            HirScalarExpr::And(inner) => out.extend(inner),
            other => out.push(other),
        }
    }
    match out.len() {
        0 => boolean(true),
        1 => out.remove(0),
        _ => HirScalarExpr::And(out),
    }
}

/// Any of them.
pub(crate) fn or(parts: Vec<HirScalarExpr>) -> HirScalarExpr {
    let mut out = vec![];
    for part in parts {
        match part {
            HirScalarExpr::Or(inner) => out.extend(inner),
            other => out.push(other),
        }
    }
    match out.len() {
        0 => boolean(false),
        1 => out.remove(0),
        _ => HirScalarExpr::Or(out),
    }
}

pub(crate) fn if_then(cond: HirScalarExpr, then: HirScalarExpr, els: HirScalarExpr) -> HirScalarExpr {
    HirScalarExpr::If { cond: Box::new(cond), then: Box::new(then), els: Box::new(els) }
}

/// One row without columns.
pub(crate) fn unit() -> HirRelationExpr {
    HirRelationExpr::Constant { rows: Ok(vec![(Row::default(), 1)]), typ: vec![] }
}

/// Whether it is [`unit`].
pub(crate) fn is_unit(rel: &HirRelationExpr) -> bool {
    matches!(rel, HirRelationExpr::Constant { rows: Ok(rows), typ } if typ.is_empty() && matches!(&rows[..], [(_, 1)]))
}

/// Whether it is the constant true.
pub(crate) fn is_true(e: &HirScalarExpr) -> bool {
    matches!(e, HirScalarExpr::Literal(Ok(row), _) if matches!(row.iter().next(), Some(Datum::Bool(true))))
}

/// The same condition where NULL counts as false: what says "unknown" goes, so that `IN (query)` is a plain EXISTS.
pub(crate) fn as_condition(e: HirScalarExpr) -> HirScalarExpr {
    match e {
        HirScalarExpr::And(parts) => and(parts.into_iter().map(as_condition).collect()),
        HirScalarExpr::Or(parts) => or(parts.into_iter().map(as_condition).collect()),
        HirScalarExpr::Call { func, mut args, ty } if func.0.id == ids::NOT => match three_valued(&args[0]) {
            Some((true, decisive, unknown)) => and(vec![not(decisive.clone()), not(unknown.clone())]),
            Some((false, decisive, _)) => decisive.clone(),
            None => {
                let arg = args.remove(0);
                HirScalarExpr::Call { func, args: vec![arg], ty }
            }
        },
        e => match three_valued(&e) {
            Some((true, decisive, _)) => decisive.clone(),
            Some((false, decisive, unknown)) => and(vec![not(decisive.clone()), not(unknown.clone())]),
            None => e,
        },
    }
}

/// `CASE WHEN decisive THEN value ELSE CASE WHEN unknown THEN NULL ELSE NOT value END END`: value, decisive, unknown.
fn three_valued(e: &HirScalarExpr) -> Option<(bool, &HirScalarExpr, &HirScalarExpr)> {
    let constant = |e: &HirScalarExpr| match e {
        HirScalarExpr::Literal(Ok(row), _) => match row.iter().next() {
            Some(Datum::Bool(b)) => Some(Some(b)),
            Some(Datum::Null) => Some(None),
            _ => None,
        },
        _ => None,
    };
    let HirScalarExpr::If { cond: decisive, then, els } = e else { return None };
    let HirScalarExpr::If { cond: unknown, then: null, els: rest } = &**els else { return None };
    let value = constant(then)??;
    (constant(null) == Some(None) && constant(rest) == Some(Some(!value))).then_some((
        value,
        &**decisive,
        &**unknown,
    ))
}

pub(crate) fn filter(input: HirRelationExpr, predicates: Vec<HirScalarExpr>) -> HirRelationExpr {
    let predicates = predicates.into_iter().map(as_condition).collect();
    let predicates: Vec<HirScalarExpr> = match and(predicates) {
        HirScalarExpr::And(parts) => parts,
        one if is_true(&one) => return input,
        one => vec![one],
    };
    HirRelationExpr::Filter { input: Box::new(input), predicates }
}

pub(crate) fn map(input: HirRelationExpr, scalars: Vec<HirScalarExpr>) -> HirRelationExpr {
    if scalars.is_empty() { input } else { HirRelationExpr::Map { input: Box::new(input), scalars } }
}

/// Projects, unless all `arity` columns stay as they are.
pub(crate) fn project(input: HirRelationExpr, columns: Vec<usize>, arity: usize) -> HirRelationExpr {
    if columns.iter().copied().eq(0..arity) {
        return input;
    }
    HirRelationExpr::Project { input: Box::new(input), columns }
}

/// Visits an expression and its parts, parents first; subqueries included. `f` gets how many levels outwards the
/// expression's own level is; if it returns true the parts are left alone.
pub(crate) fn rewrite(
    e: &mut HirScalarExpr,
    depth: usize,
    f: &mut dyn FnMut(&mut HirScalarExpr, usize) -> bool,
) {
    if f(e, depth) {
        return;
    }
    match e {
        HirScalarExpr::Column(_)
        | HirScalarExpr::Literal(..)
        | HirScalarExpr::Context(_)
        | HirScalarExpr::Parameter(..) => {}
        HirScalarExpr::Call { args, .. }
        | HirScalarExpr::And(args)
        | HirScalarExpr::Or(args)
        | HirScalarExpr::Coalesce(args) => args.iter_mut().for_each(|a| rewrite(a, depth, f)),
        HirScalarExpr::If { cond, then, els } => {
            rewrite(cond, depth, f);
            rewrite(then, depth, f);
            rewrite(els, depth, f);
        }
        HirScalarExpr::Try(inner) => rewrite(inner, depth, f),
        HirScalarExpr::Exists(rel) | HirScalarExpr::Scalar(rel) => rewrite_relation(rel, depth + 1, f),
    }
}

/// Visits every expression in a relation, as [`rewrite`] does.
pub(crate) fn rewrite_relation(
    rel: &mut HirRelationExpr,
    depth: usize,
    f: &mut dyn FnMut(&mut HirScalarExpr, usize) -> bool,
) {
    use HirRelationExpr::*;
    match rel {
        Constant { .. } | Get { .. } | LocalGet { .. } => {}
        Let { value, body, .. } => {
            rewrite_relation(value, depth, f);
            rewrite_relation(body, depth, f);
        }
        LetRec { bindings, body, .. } => {
            bindings.iter_mut().for_each(|(_, value, _)| rewrite_relation(value, depth, f));
            rewrite_relation(body, depth, f);
        }
        Project { input, .. }
        | Distinct { input }
        | TopK { input, .. }
        | Negate { input }
        | Catch { input, .. }
        | Threshold { input } => rewrite_relation(input, depth, f),
        Map { input, scalars }
        | Filter { input, predicates: scalars }
        | FlatMap { input, args: scalars, .. } => {
            rewrite_relation(input, depth, f);
            scalars.iter_mut().for_each(|e| rewrite(e, depth, f));
        }
        Join { left, right, on, .. } => {
            rewrite_relation(left, depth, f);
            rewrite_relation(right, depth + 1, f);
            rewrite(on, depth, f);
        }
        Reduce { input, aggregates, .. } => {
            rewrite_relation(input, depth, f);
            for a in aggregates {
                let order_by = a.order_by.iter_mut().map(|(e, _)| e);
                a.args.iter_mut().chain(order_by).chain(&mut a.filter).for_each(|e| rewrite(e, depth, f));
            }
        }
        Union { inputs } => inputs.iter_mut().for_each(|i| rewrite_relation(i, depth, f)),
    }
}

/// Moves an expression `by` levels inwards: what was its own level is then `by` levels outwards.
pub(crate) fn inwards(mut e: HirScalarExpr, by: usize) -> HirScalarExpr {
    rewrite(&mut e, 0, &mut |e, depth| {
        if let HirScalarExpr::Column(c) = e
            && c.level >= depth
        {
            c.level += by;
        }
        false
    });
    e
}

/// Moves an expression one level outwards: its level 1 becomes its own. It must not use its own level.
pub(crate) fn outwards(e: &mut HirScalarExpr) {
    rewrite(e, 0, &mut |e, depth| {
        if let HirScalarExpr::Column(c) = e
            && c.level > depth
        {
            c.level -= 1;
        }
        false
    });
}

/// Whether an expression reads columns of its own level.
pub(crate) fn uses_own_level(e: &HirScalarExpr) -> bool {
    let mut found = false;
    rewrite(&mut e.clone(), 0, &mut |e, depth| {
        if let HirScalarExpr::Column(c) = e {
            found |= c.level == depth;
        }
        false
    });
    found
}

/// Visits a relation and the relations in it (those in expressions too), parents first.
pub(crate) fn relations(rel: &mut HirRelationExpr, f: &mut dyn FnMut(&mut HirRelationExpr)) {
    use HirRelationExpr::*;
    f(rel);
    let mut scalars: Vec<&mut HirScalarExpr> = vec![];
    match rel {
        Constant { .. } | Get { .. } | LocalGet { .. } => {}
        Let { value, body, .. } => {
            relations(value, f);
            relations(body, f);
        }
        LetRec { bindings, body, .. } => {
            bindings.iter_mut().for_each(|(_, value, _)| relations(value, f));
            relations(body, f);
        }
        Project { input, .. }
        | Distinct { input }
        | TopK { input, .. }
        | Negate { input }
        | Catch { input, .. }
        | Threshold { input } => relations(input, f),
        Map { input, scalars: s } | Filter { input, predicates: s } | FlatMap { input, args: s, .. } => {
            relations(input, f);
            scalars.extend(s);
        }
        Join { left, right, on, .. } => {
            relations(left, f);
            relations(right, f);
            scalars.push(on);
        }
        Reduce { input, aggregates, .. } => {
            relations(input, f);
            for a in aggregates {
                let order_by = a.order_by.iter_mut().map(|(e, _)| e);
                scalars.extend(a.args.iter_mut().chain(order_by).chain(&mut a.filter));
            }
        }
        Union { inputs } => inputs.iter_mut().for_each(|i| relations(i, f)),
    }
    for e in scalars {
        rewrite(e, 0, &mut |e, _| match e {
            HirScalarExpr::Exists(rel) | HirScalarExpr::Scalar(rel) => {
                relations(rel, f);
                true
            }
            _ => false,
        });
    }
}

/// Gives every local name a new one, so that the relation can stand in another.
pub(crate) fn rename_locals(rel: &mut HirRelationExpr, fresh: &mut dyn FnMut() -> LocalId) {
    let mut names: BTreeMap<LocalId, LocalId> = BTreeMap::new();
    relations(rel, &mut |rel| match rel {
        HirRelationExpr::Let { id, .. } | HirRelationExpr::LocalGet { id, .. } => {
            *id = *names.entry(*id).or_insert_with(&mut *fresh);
        }
        HirRelationExpr::LetRec { bindings, .. } => {
            bindings.iter_mut().for_each(|(id, ..)| *id = *names.entry(*id).or_insert_with(&mut *fresh));
        }
        _ => {}
    });
}

/// How often a relation reads a local one.
pub(crate) fn count_local(rel: &HirRelationExpr, id: LocalId) -> usize {
    let mut count = 0;
    relations(&mut rel.clone(), &mut |rel| {
        count += usize::from(matches!(rel, HirRelationExpr::LocalGet { id: found, .. } if *found == id));
    });
    count
}

/// Why a relation is more than a row by row function of a local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    Twice,
    Subquery,
    OuterJoin,
    Except,
    Aggregate,
    /// It goes by how often rows occur, or by their order.
    Rows,
}

/// Whether a relation reads a local one more than once, or not row by row. `all`: how often rows occur matters.
pub(crate) fn beyond_linear(rel: &HirRelationExpr, id: LocalId, all: bool) -> Option<Beyond> {
    use HirRelationExpr::*;
    let inside = |rel: &HirRelationExpr| count_local(rel, id) > 0;
    match count_local(rel, id) {
        0 => return None,
        1 => {}
        _ => return Some(Beyond::Twice),
    }
    match rel {
        Constant { .. } | Get { .. } | LocalGet { .. } => None,
        Project { input, .. } | Map { input, .. } | Filter { input, .. } | FlatMap { input, .. } => {
            if inside(input) { beyond_linear(input, id, all) } else { Some(Beyond::Subquery) }
        }
        Join { left, right, kind, .. } => match (inside(left), inside(right), kind) {
            (true, _, JoinKind::RightOuter | JoinKind::FullOuter)
            | (_, true, JoinKind::LeftOuter | JoinKind::FullOuter) => Some(Beyond::OuterJoin),
            (true, ..) => beyond_linear(left, id, all),
            (_, true, _) => beyond_linear(right, id, all),
            _ => Some(Beyond::Subquery),
        },
        Union { inputs } => inputs.iter().find_map(|i| beyond_linear(i, id, all)),
        Let { id: inner, value, body } if inside(value) => match count_local(body, *inner) {
            0 => None,
            1 => beyond_linear(value, id, all).or_else(|| beyond_linear(body, *inner, all)),
            _ => Some(Beyond::Rows),
        },
        Let { body, .. } => beyond_linear(body, id, all),
        Distinct { input } if !all => beyond_linear(input, id, all),
        Reduce { input, aggregates, .. } => match inside(input) {
            false => Some(Beyond::Subquery),
            true if aggregates.iter().any(|a| a.func == plan::func::window::window()) => Some(Beyond::Rows),
            true => Some(Beyond::Aggregate),
        },
        Negate { .. } | Threshold { .. } | Catch { .. } => Some(Beyond::Except),
        Distinct { .. } | TopK { .. } | LetRec { .. } => Some(Beyond::Rows),
    }
}

/// The values of the statement's execution that a relation uses.
pub(crate) fn contexts(rel: &HirRelationExpr) -> Vec<Context> {
    let mut found = vec![];
    rewrite_relation(&mut rel.clone(), 0, &mut |e, _| {
        if let HirScalarExpr::Context(c) = e {
            found.push(*c);
        }
        false
    });
    found
}

fn is_now(e: &HirScalarExpr) -> bool {
    matches!(e, HirScalarExpr::Context(Context::MzNow))
}

fn reads_now(e: &HirScalarExpr) -> bool {
    let mut found = false;
    rewrite(&mut e.clone(), 0, &mut |e, _| {
        found |= is_now(e);
        found
    });
    found
}

const COMPARISONS: [&str; 5] = [ids::LT, ids::LE, ids::GT, ids::GE, ids::EQ];

/// Brings `mz_now()` alone to one side of comparisons: `ts > mz_now() - INTERVAL '1 hour'` is
/// `ts + INTERVAL '1 hour' > mz_now()`.
pub(crate) fn tidy_temporal(rel: &mut HirRelationExpr) {
    let tidy = |e: &mut HirScalarExpr| {
        let HirScalarExpr::Call { func, args, .. } = e else { return };
        if !COMPARISONS.contains(&func.0.id) {
            return;
        }
        let [a, b] = &mut args[..] else { return };
        let (now, other) = match (reads_now(a), reads_now(b)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            _ => return,
        };
        loop {
            let HirScalarExpr::Call { func, args, .. } = now else { return };
            let take = |e: &mut HirScalarExpr| std::mem::replace(e, HirScalarExpr::Context(Context::MzNow));
            let moved = match (func.0.id, &mut args[..]) {
                (id, [inner, interval]) if !reads_now(interval) => {
                    let back = match id {
                        "mz_timestamp_sub_interval" => "mz_timestamp_add_interval",
                        "mz_timestamp_add_interval" => "mz_timestamp_sub_interval",
                        _ => return,
                    };
                    let (inner, interval) = (take(inner), take(interval));
                    *other = call(back, vec![take(other), interval], ScalarType::MzTimestamp);
                    inner
                }
                (id, [inner]) => {
                    let back = match id {
                        "cast_mz_timestamp_timestamp" => "cast_timestamp_mz_timestamp",
                        "cast_mz_timestamp_timestamptz" => "cast_timestamptz_mz_timestamp",
                        _ => return,
                    };
                    let inner = take(inner);
                    *other = call(back, vec![take(other)], ScalarType::MzTimestamp);
                    inner
                }
                _ => return,
            };
            *now = moved;
            if is_now(now) {
                return;
            }
        }
    };
    relations(rel, &mut |rel| {
        if let HirRelationExpr::Filter { predicates, .. } = rel {
            predicates.iter_mut().for_each(tidy);
        }
    });
}

/// Whether `mz_now()` stands anywhere but alone on one side of a comparison that is a condition of its own.
pub(crate) fn misplaced_now(rel: &HirRelationExpr) -> bool {
    let mut rest = rel.clone();
    relations(&mut rest, &mut |rel| {
        let temporal = |e: &HirScalarExpr| match e {
            HirScalarExpr::Call { func, args, .. } if COMPARISONS.contains(&func.0.id) => match &args[..] {
                [a, b] => (is_now(a) && !reads_now(b)) || (is_now(b) && !reads_now(a)),
                _ => false,
            },
            _ => false,
        };
        match rel {
            HirRelationExpr::Filter { predicates, .. } => predicates.retain(|p| !temporal(p)),
            HirRelationExpr::Join { on, kind: JoinKind::Inner, .. } => match &mut **on {
                HirScalarExpr::And(parts) => parts.retain(|p| !temporal(p)),
                one if temporal(one) => *one = boolean(true),
                _ => {}
            },
            _ => {}
        }
    });
    contexts(&rest).contains(&Context::MzNow)
}

/// The function, if the expression itself is a call of one that gives another result each time.
fn volatile_call(e: &HirScalarExpr) -> Option<&'static str> {
    match e {
        HirScalarExpr::Call { func, .. } if func.0.volatile => Some(func.0.id),
        _ => None,
    }
}

/// A function in the expression that gives another result each time.
pub(crate) fn volatile(e: &HirScalarExpr) -> Option<&'static str> {
    let mut found = None;
    rewrite(&mut e.clone(), 0, &mut |e, _| {
        found = found.or(volatile_call(e));
        found.is_some()
    });
    found
}

/// A function in the relation that gives another result each time.
pub(crate) fn volatile_in(rel: &HirRelationExpr) -> Option<&'static str> {
    let mut found = None;
    rewrite_relation(&mut rel.clone(), 0, &mut |e, _| {
        found = found.or(volatile_call(e));
        found.is_some()
    });
    found
}

/// Takes volatile calls off the top of a relation. Gives the rest, the expressions to append to each of its rows, and
/// where the relation's columns then are.
pub(crate) fn take_volatile(
    mut rel: HirRelationExpr,
    arity: usize,
) -> (HirRelationExpr, Vec<HirScalarExpr>, Vec<usize>) {
    let mut taken: Vec<HirScalarExpr> = vec![];
    let mut places: Vec<usize> = (0..arity).collect();
    while volatile_in(&rel).is_some() {
        let move_all =
            |taken: &mut Vec<HirScalarExpr>, places: &mut Vec<usize>, f: &dyn Fn(usize) -> usize| {
                taken.iter_mut().for_each(|e| map_columns(e, f));
                places.iter_mut().for_each(|c| *c = f(*c));
            };
        match rel {
            HirRelationExpr::Project { input, columns } => {
                let (width, below) = (columns.len(), types(&input, &[]).len());
                let f = |c: usize| if c < width { columns[c] } else { below + c - width };
                move_all(&mut taken, &mut places, &f);
                rel = *input;
            }
            HirRelationExpr::Map { input, scalars } => {
                let below = types(&input, &[]).len();
                let all = volatile_in(&input).is_some();
                // What is computed from something that moves out moves too.
                let mut moves: Vec<bool> = vec![];
                for e in &scalars {
                    let mut from_moved = false;
                    rewrite(&mut e.clone(), 0, &mut |e, depth| {
                        if let HirScalarExpr::Column(c) = e {
                            from_moved |= c.level == depth && c.column >= below && moves[c.column - below];
                        }
                        false
                    });
                    moves.push(all || from_moved || volatile(e).is_some());
                }
                let kept = moves.iter().filter(|m| !**m).count();
                let rank = |i: usize| moves[..i].iter().filter(|m| **m == moves[i]).count();
                let f = |c: usize| match c.checked_sub(below) {
                    Some(i) if i < moves.len() && moves[i] => below + kept + rank(i),
                    Some(i) if i < moves.len() => below + rank(i),
                    _ => c,
                };
                move_all(&mut taken, &mut places, &f);
                let mut stay = vec![];
                let mut go = vec![];
                for (mut e, moves) in scalars.into_iter().zip(&moves) {
                    map_columns(&mut e, &f);
                    if *moves { go.push(e) } else { stay.push(e) }
                }
                go.append(&mut taken);
                taken = go;
                rel = map(*input, stay);
            }
            HirRelationExpr::Let { id, value, body } if volatile_in(&value).is_none() => {
                let width = types(&body, &[]).len();
                let (body, mut more, inner) = take_volatile(*body, width);
                let below = types(&body, &[]).len() + more.len();
                let f = |c: usize| if c < width { inner[c] } else { below + c - width };
                move_all(&mut taken, &mut places, &f);
                more.append(&mut taken);
                taken = more;
                rel = HirRelationExpr::Let { id, value, body: Box::new(body) };
                break;
            }
            other => {
                rel = other;
                break;
            }
        }
    }
    (rel, taken, places)
}

/// Renames the columns of an expression's own level.
pub(crate) fn map_columns(e: &mut HirScalarExpr, f: &dyn Fn(usize) -> usize) {
    rewrite(e, 0, &mut |e, depth| {
        if let HirScalarExpr::Column(c) = e
            && c.level == depth
        {
            c.column = f(c.column);
        }
        false
    });
}

/// An expression without subqueries and outer columns, as the evaluator takes it.
pub(crate) fn to_scalar(e: HirScalarExpr) -> Result<ScalarExpr, SqlError> {
    let all = |args: Vec<HirScalarExpr>| args.into_iter().map(to_scalar).collect::<Result<Vec<_>, _>>();
    Ok(match e {
        HirScalarExpr::Column(c) if c.level == 0 => ScalarExpr::Column(c.column),
        HirScalarExpr::Literal(row, ty) => ScalarExpr::Literal(row, ty),
        HirScalarExpr::Call { func, args, ty } => ScalarExpr::Call { func, args: all(args)?, ty },
        HirScalarExpr::And(args) => ScalarExpr::And(all(args)?),
        HirScalarExpr::Or(args) => ScalarExpr::Or(all(args)?),
        HirScalarExpr::Coalesce(args) => ScalarExpr::Coalesce(all(args)?),
        HirScalarExpr::If { cond, then, els } => ScalarExpr::If {
            cond: Box::new(to_scalar(*cond)?),
            then: Box::new(to_scalar(*then)?),
            els: Box::new(to_scalar(*els)?),
        },
        HirScalarExpr::Try(inner) => ScalarExpr::Try(Box::new(to_scalar(*inner)?)),
        HirScalarExpr::Context(c) => ScalarExpr::Context(c),
        HirScalarExpr::Parameter(n, ty) => ScalarExpr::Parameter(n, ty),
        HirScalarExpr::Column(_) | HirScalarExpr::Exists(_) | HirScalarExpr::Scalar(_) => {
            return Err(SqlError::unsupported("a subquery here", ""));
        }
    })
}

/// Computes an expression that reads nothing. None: it depends on the execution, or is not that simple.
pub(crate) fn evaluate(e: &HirScalarExpr) -> Option<Result<Row, repr::EvalError>> {
    let mut constant = true;
    rewrite(&mut e.clone(), 0, &mut |e, _| {
        constant &= !matches!(
            e,
            HirScalarExpr::Column(_)
                | HirScalarExpr::Context(_)
                | HirScalarExpr::Parameter(..)
                | HirScalarExpr::Exists(_)
                | HirScalarExpr::Scalar(_)
        ) && volatile_call(e).is_none();
        !constant
    });
    if !constant {
        return None;
    }
    let scalar = to_scalar(e.clone()).ok()?;
    let arena = Arena::new();
    Some(scalar.eval(&[], &arena).map(|d| Row::pack([d])))
}

/// The expression computed now if it reads nothing and succeeds.
pub(crate) fn folded(e: HirScalarExpr, ty: &ColumnType) -> HirScalarExpr {
    if matches!(e, HirScalarExpr::Literal(..)) {
        return e;
    }
    match evaluate(&e) {
        Some(Ok(row)) => {
            let nullable = row.iter().next().is_none_or(|d| d.is_null());
            HirScalarExpr::Literal(Ok(row), ty.scalar.clone().nullable(nullable))
        }
        _ => e,
    }
}

/// The columns' types of a relation in these surroundings.
pub(crate) fn types_in(rel: &HirRelationExpr, env: &Env) -> Vec<ColumnType> {
    let of = |scope: &Scope| {
        let width = scope.columns.iter().map(|c| c.position + 1).max().unwrap_or(0);
        let mut typ = vec![ScalarType::Text.nullable(true); width];
        scope.columns.iter().for_each(|c| typ[c.position] = c.ty.clone());
        typ
    };
    let outer: Vec<Vec<ColumnType>> = env.frames.iter().rev().map(|f| of(&f.scope)).collect();
    types(rel, &outer.iter().map(|t| &t[..]).collect::<Vec<_>>())
}

/// The columns' types. `outer[i]` has those of level `i + 1`.
pub(crate) fn types(rel: &HirRelationExpr, outer: &[&[ColumnType]]) -> Vec<ColumnType> {
    use HirRelationExpr::*;
    match rel {
        Constant { typ, .. } | Get { typ, .. } | LocalGet { typ, .. } => typ.clone(),
        Let { body, .. } | LetRec { body, .. } => types(body, outer),
        Project { input, columns } => {
            let typ = types(input, outer);
            columns.iter().map(|c| typ[*c].clone()).collect()
        }
        Map { input, scalars } => {
            let mut typ = types(input, outer);
            for e in scalars {
                let t = type_of(e, &typ, outer);
                typ.push(t);
            }
            typ
        }
        FlatMap { input, typ, .. } => types(input, outer).into_iter().chain(typ.iter().cloned()).collect(),
        Catch { input, side } => side.typ(|| types(input, outer)),
        Filter { input, .. }
        | Distinct { input }
        | TopK { input, .. }
        | Negate { input }
        | Threshold { input } => types(input, outer),
        Join { left, right, kind, .. } => {
            let l = types(left, outer);
            let inner: Vec<&[ColumnType]> = std::iter::once(&l[..]).chain(outer.iter().copied()).collect();
            let r = types(right, &inner);
            let nullable = |ts: Vec<ColumnType>, yes: bool| {
                ts.into_iter()
                    .map(move |t| ColumnType { nullable: t.nullable || yes, ..t })
                    .collect::<Vec<_>>()
            };
            let left_null = matches!(kind, JoinKind::RightOuter | JoinKind::FullOuter);
            let right_null = matches!(kind, JoinKind::LeftOuter | JoinKind::FullOuter);
            let mut out = nullable(l.clone(), left_null);
            out.extend(nullable(r, right_null));
            out
        }
        Reduce { input, group_key, aggregates } => {
            let typ = types(input, outer);
            let keys = group_key.iter().map(|k| typ[*k].clone());
            let aggs = aggregates.iter().map(|a| a.ty.clone().nullable(a.func.over_nothing().is_null()));
            keys.chain(aggs).collect()
        }
        Union { inputs } => {
            let mut all = inputs.iter().map(|i| types(i, outer));
            let mut out = all.next().unwrap_or_default();
            for typ in all {
                out.iter_mut().zip(typ).for_each(|(o, t)| o.nullable |= t.nullable);
            }
            out
        }
    }
}

/// The type of an expression over columns of these types.
pub(crate) fn type_of(e: &HirScalarExpr, own: &[ColumnType], outer: &[&[ColumnType]]) -> ColumnType {
    let sub = |rel: &HirRelationExpr| {
        let inner: Vec<&[ColumnType]> = std::iter::once(own).chain(outer.iter().copied()).collect();
        types(rel, &inner)
    };
    let bool = |args: &[HirScalarExpr]| {
        let nullable = args.iter().any(|a| type_of(a, own, outer).nullable);
        ScalarType::Bool.nullable(nullable)
    };
    match e {
        HirScalarExpr::Column(c) => {
            let level = if c.level == 0 { Some(own) } else { outer.get(c.level - 1).copied() };
            level.and_then(|l| l.get(c.column).cloned()).unwrap_or_else(|| ScalarType::Text.nullable(true))
        }
        HirScalarExpr::Literal(_, ty) => ty.clone(),
        HirScalarExpr::Call { func, args, ty } => {
            let nullable = !func.0.never_null || args.iter().any(|a| type_of(a, own, outer).nullable);
            ty.clone().nullable(nullable)
        }
        HirScalarExpr::And(args) | HirScalarExpr::Or(args) => bool(args),
        HirScalarExpr::Coalesce(args) => {
            let types: Vec<ColumnType> = args.iter().map(|a| type_of(a, own, outer)).collect();
            let nullable = types.iter().all(|t| t.nullable);
            types.into_iter().next().map_or_else(|| ScalarType::Text, |t| t.scalar).nullable(nullable)
        }
        HirScalarExpr::If { then, els, .. } => {
            let (t, e) = (type_of(then, own, outer), type_of(els, own, outer));
            t.scalar.nullable(t.nullable || e.nullable)
        }
        HirScalarExpr::Try(inner) => type_of(inner, own, outer).scalar.nullable(true),
        HirScalarExpr::Context(c) => match c {
            Context::Now => ScalarType::TimestampTz { precision: None },
            Context::MzNow => ScalarType::MzTimestamp,
            Context::BackendPid => ScalarType::Int32,
            Context::CurrentSchemas => ScalarType::Array(Box::new(ScalarType::Name)),
            Context::Version | Context::MzVersion => ScalarType::Text,
            Context::CurrentUser | Context::CurrentDatabase | Context::CurrentSchema => ScalarType::Name,
        }
        .nullable(matches!(c, Context::CurrentSchema)),
        HirScalarExpr::Parameter(_, ty) => ty.clone().nullable(true),
        HirScalarExpr::Exists(_) => ScalarType::Bool.nullable(false),
        HirScalarExpr::Scalar(rel) => {
            let ty = sub(rel).into_iter().next();
            ty.map_or_else(|| ScalarType::Text, |t| t.scalar).nullable(true)
        }
    }
}
