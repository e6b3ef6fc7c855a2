//! The plans of the six W1 views, as the optimizer would have them.

use plan::func::AggRef;
use plan::func::resolve::{Cast, CastContext, Implementation, cast, function, operator};
use plan::{AggregateExpr, ColumnOrder, RelationExpr, ScalarExpr};
use repr::{ColumnType, Datum, GlobalId, ScalarType};

/// The stored collection `segment_events(data bytea)`.
pub const SOURCE: GlobalId = GlobalId::User(1);

const NUMERIC: ScalarType = ScalarType::Numeric { scale: None };

/// Its columns.
pub fn source() -> Vec<ColumnType> {
    vec![ScalarType::Bytes.nullable(false)]
}

fn text(s: &str) -> ScalarExpr {
    ScalarExpr::literal(Datum::Text(s), ScalarType::Text)
}

fn column(i: usize) -> ScalarExpr {
    ScalarExpr::Column(i)
}

/// A function or operator of arguments of these types.
fn call(name: &str, args: Vec<(ScalarExpr, ScalarType)>) -> ScalarExpr {
    let types: Vec<_> = args.iter().map(|(_, t)| Some(t.clone())).collect();
    let resolved = match name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => function(name, &types),
        false => operator(name, &types),
    };
    let resolved = resolved.unwrap_or_else(|e| panic!("{name}: {e}"));
    let Implementation::Scalar(func) = resolved.imp else { panic!("{name} is no scalar function") };
    ScalarExpr::call(func, args.into_iter().map(|(e, _)| e).collect(), resolved.ret)
}

fn to(e: ScalarExpr, from: ScalarType, into: ScalarType) -> ScalarExpr {
    match cast(&from, &into, CastContext::Explicit).expect("there is such a cast") {
        Cast::Same => e,
        Cast::Func(func) => ScalarExpr::call(func, vec![e], into),
    }
}

fn member(document: ScalarExpr, op: &str, key: &str) -> ScalarExpr {
    call(op, vec![(document, ScalarType::Jsonb), (text(key), ScalarType::Text)])
}

fn aggregate(name: &str, arg: ScalarExpr, ty: ScalarType) -> AggregateExpr {
    let resolved = function(name, &[Some(ty)]).unwrap_or_else(|e| panic!("{name}: {e}"));
    let Implementation::Aggregate(func) = resolved.imp else { panic!("{name} is no aggregate") };
    let func: AggRef = func;
    AggregateExpr { func, args: vec![arg], distinct: false, order_by: vec![], filter: None, ty: resolved.ret }
}

fn count() -> AggregateExpr {
    aggregate("count", ScalarExpr::bool(true), ScalarType::Bool)
}

fn equal(e: ScalarExpr, s: &str) -> ScalarExpr {
    call("=", vec![(e, ScalarType::Text), (text(s), ScalarType::Text)])
}

fn known(e: ScalarExpr) -> ScalarExpr {
    let func = plan::func::FuncRef::of(plan::func::ids::IS_NOT_NULL);
    ScalarExpr::call(func, vec![e], ScalarType::Bool)
}

/// `w1_event`: type, event, user_id, ts, message_id, revenue, plan, logins.
fn event() -> RelationExpr {
    let utf8 = call("convert_from", vec![(column(0), ScalarType::Bytes), (text("utf8"), ScalarType::Text)]);
    let data = to(utf8, ScalarType::Text, ScalarType::Jsonb);
    let part = |key| member(data.clone(), "->>", key);
    let deep = |outer, key| member(member(data.clone(), "->", outer), "->>", key);
    RelationExpr::get(SOURCE, source())
        .map([
            part("type"),
            part("event"),
            part("userId"),
            part("timestamp"),
            part("messageId"),
            to(deep("properties", "revenue"), ScalarType::Text, NUMERIC),
            deep("traits", "plan"),
            to(deep("traits", "logins"), ScalarType::Text, ScalarType::Int64),
        ])
        .project(1..9)
}

fn order(column: usize, desc: bool) -> ColumnOrder {
    ColumnOrder { column, desc, nulls_first: desc }
}

/// Name and plan of each view; f reads b and c.
pub fn views() -> Vec<(GlobalId, &'static str, RelationExpr)> {
    let id = GlobalId::User;
    let int4 = |n| ScalarExpr::literal(Datum::Int32(n), ScalarType::Int32);
    let minute = call(
        "substr",
        vec![(column(3), ScalarType::Text), (int4(1), ScalarType::Int32), (int4(16), ScalarType::Int32)],
    );
    let a = event().reduce(vec![column(0), minute], vec![count()]);
    let ordered = [equal(column(0), "track"), equal(column(1), "Order Completed"), known(column(2))];
    let b =
        event().filter(ordered).reduce(vec![column(2)], vec![aggregate("sum", column(5), NUMERIC), count()]);
    let c = event()
        .filter([equal(column(0), "identify")])
        .project([2, 6, 7, 3, 4])
        .top_k(vec![0], vec![order(3, true), order(4, true)], Some(1), 0)
        .project([0, 1, 2]);
    let d = event().filter([equal(column(0), "track")]).reduce(vec![column(1)], vec![count()]).top_k(
        vec![],
        vec![order(1, true), order(0, false)],
        Some(10),
        0,
    );
    let did = |name| aggregate("bool_or", equal(column(1), name), ScalarType::Bool);
    let filtered = |steps: &[usize]| {
        let all = steps.iter().map(|c| column(*c)).collect();
        let cond = if steps.len() == 1 { column(steps[0]) } else { ScalarExpr::And(all) };
        let one = ScalarExpr::If {
            cond: Box::new(cond),
            then: Box::new(ScalarExpr::bool(true)),
            els: Box::new(ScalarExpr::null(ScalarType::Bool)),
        };
        aggregate("count", one, ScalarType::Bool)
    };
    let e = event()
        .filter([equal(column(0), "track"), known(column(2))])
        .reduce(vec![column(2)], vec![did("Product Viewed"), did("Product Added"), did("Order Completed")])
        .reduce(vec![], vec![filtered(&[1]), filtered(&[1, 2]), filtered(&[1, 2, 3])]);
    let (b_typ, c_typ) = (b.typ(), c.typ());
    let f = RelationExpr::join(
        vec![RelationExpr::get(id(3), b_typ), RelationExpr::get(id(4), c_typ)],
        vec![vec![column(0), column(3)]],
    )
    .reduce(
        vec![column(4)],
        vec![aggregate("sum", column(1), NUMERIC), aggregate("sum", column(2), ScalarType::Int64)],
    );
    vec![
        (id(2), "w1_a", a),
        (id(3), "w1_b", b),
        (id(4), "w1_c", c),
        (id(5), "w1_d", d),
        (id(6), "w1_e", e),
        (id(7), "w1_f", f),
    ]
}
