//! `rank(v) WITHIN GROUP (ORDER BY x)` and its kin: which place v would have among the group's rows.
//!
//! They are counts of rows that come before, so they are written as such:
//!
//! ```text
//!   rank(v)         1 + count(*) FILTER (WHERE x before v)
//!   dense_rank(v)   1 + count(DISTINCT ROW(x)) FILTER (WHERE x before v)
//!   percent_rank(v) (rank − 1) / count(*), 0 of no rows
//!   cume_dist(v)    (1 + count(*) FILTER (WHERE x before or equal to v)) / (1 + count(*))
//! ```

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, OrderByExpr, OrderBySort, Spanned, Value,
};

use crate::dialect;

/// The call as counts; none if it has not one argument a sort key.
pub(crate) fn expr(name: &str, args: &[&Expr], f: &Function) -> Option<Expr> {
    let keys = &f.within_group;
    if args.len() != keys.len() {
        return None;
    }
    let pairs: Vec<(&OrderByExpr, &Expr)> = keys.iter().zip(args.iter().copied()).collect();
    let count = |distinct: Option<Expr>, filter: Option<Expr>| count(f, distinct, filter);
    let own = f.filter.as_deref().cloned();
    let among = |condition: Expr| match own.clone() {
        Some(own) => binary(condition, BinaryOperator::And, own),
        None => condition,
    };
    let before = among(before(&pairs)?);
    let row = || dialect::call("row", f.name.span(), keys.iter().map(|k| k.expr.clone()).collect());
    let plus_one = |e: Expr| binary(number(1), BinaryOperator::Plus, e);
    Some(match name {
        "rank" => plus_one(count(None, Some(before))),
        "dense_rank" => plus_one(count(Some(row()), Some(before))),
        "percent_rank" => {
            let all = count(None, own.clone());
            let share = divided(
                count(None, Some(before)),
                dialect::call("nullif", f.name.span(), vec![all, number(0)]),
            );
            dialect::call("coalesce", f.name.span(), vec![share, float(number(0))])
        }
        _ => {
            let upto = binary(before, BinaryOperator::Or, among(equal(&pairs)?));
            divided(plus_one(count(None, Some(upto))), plus_one(count(None, own.clone())))
        }
    })
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nested = |e: Expr| Box::new(Expr::Nested(Box::new(e)));
    Expr::BinaryOp { left: nested(left), op, right: nested(right) }
}

fn number(n: u8) -> Expr {
    Expr::Value(Value::Number(n.to_string(), false).into())
}

fn float(e: Expr) -> Expr {
    let ty = DataType::DoublePrecision;
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(e), data_type: ty, format: None }
}

fn divided(a: Expr, b: Expr) -> Expr {
    binary(float(a), BinaryOperator::Divide, float(b))
}

fn count(f: &Function, distinct: Option<Expr>, filter: Option<Expr>) -> Expr {
    let star = FunctionArgExpr::Wildcard;
    let duplicate_treatment = distinct.as_ref().map(|_| DuplicateTreatment::Distinct);
    let arg = FunctionArg::Unnamed(distinct.map_or(star, FunctionArgExpr::Expr));
    let Expr::Function(mut call) = dialect::call("count", f.name.span(), vec![]) else {
        unreachable!("it is a call")
    };
    call.args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment,
        args: vec![arg],
        clauses: vec![],
    });
    call.filter = filter.map(Box::new);
    Expr::Function(call)
}

/// x sorts before v: by the first key in which they differ.
fn before(pairs: &[(&OrderByExpr, &Expr)]) -> Option<Expr> {
    let (key, v) = pairs.first()?;
    let (x, v) = (key.expr.clone(), (*v).clone());
    let desc = matches!(key.options.sort, Some(OrderBySort::Desc));
    let nulls_first = key.options.nulls_first.unwrap_or(desc);
    let less = if desc { BinaryOperator::Gt } else { BinaryOperator::Lt };
    let (null, value) = if nulls_first { (x.clone(), v.clone()) } else { (v.clone(), x.clone()) };
    let by_null = binary(Expr::IsNull(Box::new(null)), BinaryOperator::And, Expr::IsNotNull(Box::new(value)));
    let first = binary(by_null, BinaryOperator::Or, binary(x, less, v));
    Some(match before(&pairs[1..]) {
        None => first,
        Some(rest) => {
            binary(first, BinaryOperator::Or, binary(equal(&pairs[..1])?, BinaryOperator::And, rest))
        }
    })
}

fn equal(pairs: &[(&OrderByExpr, &Expr)]) -> Option<Expr> {
    let one = |(key, v): &(&OrderByExpr, &Expr)| {
        Expr::IsNotDistinctFrom(Box::new(key.expr.clone()), Box::new((*v).clone()))
    };
    pairs.iter().map(one).reduce(|a, b| binary(a, BinaryOperator::And, b))
}
