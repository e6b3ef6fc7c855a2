//! Workers driven through their commands, and plans computed the slow way to compare with.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dataflow::{Command, DataflowDesc, Dataflows, Output, Response};
use plan::func::{AggFunc, AggKind, AggRef};
use plan::mfp::Mfp;
use plan::{AggregateExpr, ColumnOrder, LocalId, RelationExpr, ScalarExpr};
use repr::{
    Arena, ColumnType, Datum, Diff, EvalError, GlobalId, Numeric, Row, RowBlock, ScalarType, Timestamp,
};

/// Rows with how often each occurs.
pub type Bag = BTreeMap<Row, Diff>;

/// Nothing takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Workers, and all that they said.
pub struct Harness {
    dataflows: Dataflows,
    responses: Receiver<Response>,
    pub frontiers: BTreeMap<GlobalId, Timestamp>,
    pub changes: BTreeMap<GlobalId, Changes>,
    pub installed: BTreeMap<GlobalId, Vec<GlobalId>>,
    pub dropped: Vec<GlobalId>,
    pub deadline: Option<Timestamp>,
    peeks: BTreeMap<u64, Result<Vec<(Row, Diff)>, EvalError>>,
    next_peek: u64,
    /// What each stored collection holds, by time.
    pub stored: BTreeMap<GlobalId, Vec<(Timestamp, Arc<RowBlock>)>>,
    pub now: Timestamp,
}

/// All changes of one object, and how far they are complete.
#[derive(Default)]
pub struct Changes {
    pub rows: Vec<(Timestamp, Row, Diff)>,
    pub errors: Vec<(Timestamp, Row, Diff)>,
    pub upto: Timestamp,
}

impl Changes {
    /// The rows at a time.
    pub fn at(&self, time: Timestamp) -> Bag {
        sum(self.rows.iter().filter(|u| u.0 <= time).map(|u| (u.1.clone(), u.2)))
    }

    /// The errors at a time.
    pub fn errors_at(&self, time: Timestamp) -> Vec<EvalError> {
        let errors = sum(self.errors.iter().filter(|u| u.0 <= time).map(|u| (u.1.clone(), u.2)));
        errors.keys().map(|row| EvalError::from_row(row.as_ref())).collect()
    }
}

pub fn sum(rows: impl IntoIterator<Item = (Row, Diff)>) -> Bag {
    let mut bag = Bag::new();
    for (row, n) in rows {
        *bag.entry(row).or_default() += n;
    }
    bag.retain(|_, n| *n != 0);
    bag
}

pub fn id(n: u64) -> GlobalId {
    GlobalId::User(n)
}

pub fn int8() -> ColumnType {
    ScalarType::Int64.nullable(true)
}

pub fn text() -> ColumnType {
    ScalarType::Text.nullable(true)
}

impl Harness {
    pub fn new(workers: usize) -> Harness {
        let (sender, responses) = channel();
        // The receiver is gone only when the test is over.
        let dataflows = Dataflows::start(workers, Box::new(move |r| drop(sender.send(r))));
        Harness {
            dataflows,
            responses,
            frontiers: BTreeMap::new(),
            changes: BTreeMap::new(),
            installed: BTreeMap::new(),
            dropped: vec![],
            deadline: None,
            peeks: BTreeMap::new(),
            next_peek: 0,
            stored: BTreeMap::new(),
            now: 0,
        }
    }

    pub fn send(&self, command: Command) {
        self.dataflows.send(command)
    }

    pub fn create(&mut self, id: GlobalId, typ: Vec<ColumnType>, append_only: bool) {
        self.create_with_origin(id, typ, append_only, None)
    }

    pub fn create_with_origin(
        &mut self,
        id: GlobalId,
        typ: Vec<ColumnType>,
        append_only: bool,
        origin: Option<(usize, usize)>,
    ) {
        self.stored.entry(id).or_default();
        self.send(Command::CreateCollection { id, typ, append_only, origin });
    }

    /// One tick with these rows.
    pub fn tick(&mut self, rows: &[(GlobalId, Vec<(Row, Diff)>)]) -> Timestamp {
        self.now += 10;
        let time = self.now;
        let blocks: Vec<_> = rows
            .iter()
            .map(|(id, rows)| {
                let mut block = RowBlock::default();
                rows.iter().for_each(|(row, n)| block.push(row.as_ref(), *n));
                (*id, Arc::new(block))
            })
            .collect();
        for (id, block) in &blocks {
            self.stored.entry(*id).or_default().push((time, block.clone()));
        }
        self.send(Command::Tick { time, blocks });
        time
    }

    pub fn contents(&self, id: GlobalId) -> Bag {
        let blocks = self.stored.get(&id).into_iter().flatten();
        sum(blocks.flat_map(|(_, b)| b.iter().map(|(row, n)| (row.to_row(), n)).collect::<Vec<_>>()))
    }

    /// Installs a dataflow as of now and sends it the history of what it needs.
    pub fn install(&mut self, id: GlobalId, plan: RelationExpr, output: Output) {
        self.install_with(id, plan, output, |_| {});
    }

    pub fn install_with(
        &mut self,
        id: GlobalId,
        plan: RelationExpr,
        output: Output,
        change: impl FnOnce(&mut DataflowDesc),
    ) {
        let mut desc = DataflowDesc {
            id,
            name: format!("object {id}"),
            plan,
            as_of: self.now,
            until: None,
            output,
            resume_after: None,
            dropped: Default::default(),
        };
        change(&mut desc);
        self.installed.remove(&id);
        self.send(Command::Install(Box::new(desc)));
        self.until(|h| h.installed.contains_key(&id));
        for input in self.installed[&id].clone() {
            self.hydrate(id, input);
        }
    }

    /// Sends all that is stored of an input.
    pub fn hydrate(&mut self, dataflow: GlobalId, input: GlobalId) {
        let blocks = self.stored.get(&input).cloned().unwrap_or_default();
        let blocks = blocks.into_iter().map(|(t, b)| (t, false, b)).collect();
        self.send(Command::History { dataflow, input, blocks, done: false });
        self.send(Command::History { dataflow, input, blocks: vec![], done: true });
    }

    pub fn receive(&mut self) {
        let response = self.responses.recv_timeout(PATIENCE).expect("workers answer in time");
        match response {
            Response::Frontiers(frontiers) => {
                for (id, t) in frontiers {
                    let before = self.frontiers.insert(id, t);
                    assert!(before.is_none_or(|b| b < t), "the frontier of {id} goes from {before:?} to {t}");
                }
            }
            Response::Peek(peek, answer) => {
                assert!(self.peeks.insert(peek, answer).is_none(), "one answer a peek");
            }
            Response::Changes { id, rows, errors, upto } => {
                let entry = self.changes.entry(id).or_default();
                let flat = |blocks: Vec<(Timestamp, RowBlock)>| -> Vec<_> {
                    let of = |(t, b): (Timestamp, RowBlock)| -> Vec<_> {
                        b.iter().map(|(row, n)| (t, row.to_row(), n)).collect()
                    };
                    blocks.into_iter().flat_map(of).collect()
                };
                let (rows, errors) = (flat(rows), flat(errors));
                for (t, ..) in rows.iter().chain(&errors) {
                    assert!(
                        *t >= entry.upto && *t < upto,
                        "{id}: time {t} outside of {}..{upto}",
                        entry.upto
                    );
                }
                entry.rows.extend(rows);
                entry.errors.extend(errors);
                assert!(upto > entry.upto);
                entry.upto = upto;
            }
            Response::Installed { id, needs } => {
                self.installed.insert(id, needs);
            }
            Response::Deadline(deadline) => self.deadline = deadline,
            Response::Dropped(id) => self.dropped.push(id),
        }
    }

    pub fn until(&mut self, done: impl Fn(&Harness) -> bool) {
        while !done(self) {
            self.receive();
        }
    }

    /// Waits until an object's changes are complete at a time.
    pub fn wait(&mut self, id: GlobalId, time: Timestamp) {
        self.until(|h| h.changes.get(&id).is_some_and(|c| c.upto > time));
    }

    pub fn peek_with(
        &mut self,
        id: GlobalId,
        time: Timestamp,
        keys: Option<Vec<Row>>,
        mfp: Mfp,
        limit: Option<usize>,
    ) -> Result<Bag, EvalError> {
        self.next_peek += 1;
        let peek = self.next_peek;
        self.send(Command::Peek { peek, id, time, keys, mfp: Box::new(mfp), limit });
        self.until(|h| h.peeks.contains_key(&peek));
        self.peeks.remove(&peek).unwrap().map(sum)
    }

    /// Whether a peek of this number was answered.
    pub fn answered(&self, peek: u64) -> bool {
        self.peeks.contains_key(&peek)
    }

    pub fn peek(&mut self, id: GlobalId, time: Timestamp, arity: usize) -> Result<Bag, EvalError> {
        self.peek_with(id, time, None, Mfp::identity(arity), None)
    }

    /// A one-off query, as of now.
    pub fn once(&mut self, plan: RelationExpr) -> Result<Bag, EvalError> {
        self.next_peek += 1;
        let peek = self.next_peek;
        let id = GlobalId::Transient(peek);
        self.install(id, plan, Output::Once(peek));
        self.until(|h| h.peeks.contains_key(&peek) && h.dropped.contains(&id));
        self.peeks.remove(&peek).unwrap().map(sum)
    }
}

/// A plan's rows, computed from nothing.
pub fn naive(plan: &RelationExpr, stored: &BTreeMap<GlobalId, Bag>) -> Bag {
    naive_in(plan, stored, &mut BTreeMap::new())
}

fn eval(e: &ScalarExpr, row: &Row) -> Row {
    let arena = Arena::new();
    Row::pack([e.eval(&row.unpack(), &arena).expect("random data have no errors")])
}

fn datum(row: &Row) -> Datum<'_> {
    row.iter().next().unwrap()
}

fn naive_in(
    plan: &RelationExpr,
    stored: &BTreeMap<GlobalId, Bag>,
    locals: &mut BTreeMap<LocalId, Bag>,
) -> Bag {
    let mut of = |p: &RelationExpr| naive_in(p, stored, locals);
    match plan {
        RelationExpr::Constant { rows, .. } => sum(rows.clone().unwrap()),
        RelationExpr::Get { id, .. } => stored[id].clone(),
        RelationExpr::LocalGet { id, .. } => locals[id].clone(),
        RelationExpr::Let { id, value, body } => {
            let value = of(value);
            locals.insert(*id, value);
            naive_in(body, stored, locals)
        }
        RelationExpr::LetRec { bindings, body, limit } => {
            bindings.iter().for_each(|b| drop(locals.insert(b.0, Bag::new())));
            for _ in 0..limit.map_or(30, |l| l.0) {
                for (id, plan, _) in bindings {
                    let value = naive_in(plan, stored, locals);
                    locals.insert(*id, value);
                }
            }
            naive_in(body, stored, locals)
        }
        RelationExpr::Project { input, columns } => sum(of(input).into_iter().map(|(row, n)| {
            let datums = row.unpack();
            (Row::pack(columns.iter().map(|c| datums[*c])), n)
        })),
        RelationExpr::Map { input, scalars } => sum(of(input).into_iter().map(|(mut row, n)| {
            for s in scalars {
                let value = eval(s, &row);
                row.extend_packed(value.as_ref());
            }
            (row, n)
        })),
        RelationExpr::Filter { input, predicates } => {
            let keep = |row: &Row| predicates.iter().all(|p| datum(&eval(p, row)) == Datum::Bool(true));
            of(input).into_iter().filter(|(row, _)| keep(row)).collect()
        }
        RelationExpr::Join { inputs, equivalences } => {
            let mut all: Vec<(Row, Diff)> = vec![(Row::default(), 1)];
            for input in inputs {
                let right = of(input);
                let pair = |(a, n): &(Row, Diff)| {
                    let (a, n) = (a.clone(), *n);
                    let combine = move |(b, m): (&Row, &Diff)| {
                        let mut row = a.clone();
                        row.extend_packed(b.as_ref());
                        (row, n * m)
                    };
                    right.iter().map(combine).collect::<Vec<_>>()
                };
                all = all.iter().flat_map(pair).collect();
            }
            all.retain(|(row, _)| {
                equivalences.iter().all(|class| {
                    let values: Vec<Row> = class.iter().map(|e| eval(e, row)).collect();
                    values.iter().all(|v| *v == values[0] && !datum(v).is_null())
                })
            });
            sum(all)
        }
        RelationExpr::Reduce { input, group_key, aggregates } => {
            let mut groups: BTreeMap<Row, Vec<(Row, Diff)>> = BTreeMap::new();
            for (row, n) in of(input) {
                let key =
                    Row::pack(group_key.iter().map(|k| eval(k, &row)).collect::<Vec<_>>().iter().map(datum));
                groups.entry(key).or_default().push((row, n));
            }
            let make = |(mut key, rows): (Row, Vec<(Row, Diff)>)| {
                for a in aggregates {
                    let value = naive_aggregate(a, &rows);
                    key.extend_packed(value.as_ref());
                }
                (key, 1)
            };
            sum(groups.into_iter().map(make))
        }
        RelationExpr::TopK { input, group_key, order_key, limit, offset } => {
            let mut groups: BTreeMap<Vec<Row>, Vec<Row>> = BTreeMap::new();
            for (row, n) in of(input) {
                let key = group_key.iter().map(|c| Row::pack([row.unpack()[*c]])).collect();
                let rows = groups.entry(key).or_default();
                (0..n).for_each(|_| rows.push(row.clone()));
            }
            let choose = |mut rows: Vec<Row>| {
                rows.sort_by(|a, b| compare(a, b, order_key));
                let limit = limit.map_or(usize::MAX, |n| n as usize);
                rows.into_iter().skip(*offset as usize).take(limit).map(|r| (r, 1)).collect::<Vec<_>>()
            };
            sum(groups.into_values().flat_map(choose))
        }
        RelationExpr::Negate { input } => of(input).into_iter().map(|(row, n)| (row, -n)).collect(),
        RelationExpr::Threshold { input } => of(input).into_iter().filter(|(_, n)| *n > 0).collect(),
        RelationExpr::Union { inputs } => sum(inputs.iter().flat_map(of)),
        RelationExpr::ArrangeBy { input, .. } => of(input),
        other => panic!("the test has no way to compute {other:?}"),
    }
}

fn compare(a: &Row, b: &Row, by: &[ColumnOrder]) -> std::cmp::Ordering {
    let (x, y) = (a.unpack(), b.unpack());
    for by in by {
        let (x, y) = (x[by.column], y[by.column]);
        let order = match (x.is_null(), y.is_null()) {
            (true, true) => std::cmp::Ordering::Equal,
            (true, false) => {
                if by.nulls_first {
                    std::cmp::Ordering::Less
                } else {
                    std::cmp::Ordering::Greater
                }
            }
            (false, true) => {
                if by.nulls_first {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Less
                }
            }
            _ if by.desc => y.cmp(&x),
            _ => x.cmp(&y),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.bytes().cmp(b.bytes())
}

fn naive_aggregate(a: &AggregateExpr, rows: &[(Row, Diff)]) -> Row {
    // Sort keys, then arguments, as often as they occur.
    let mut all: Vec<(Row, Row)> = vec![];
    for (row, n) in rows {
        if a.filter.as_ref().is_some_and(|f| datum(&eval(f, row)) != Datum::Bool(true)) {
            continue;
        }
        let pack = |exprs: Vec<&ScalarExpr>| {
            Row::pack(exprs.iter().map(|e| eval(e, row)).collect::<Vec<_>>().iter().map(datum))
        };
        let (keys, args) = (pack(a.order_by.iter().map(|o| &o.0).collect()), pack(a.args.iter().collect()));
        (0..*n).for_each(|_| all.push((keys.clone(), args.clone())));
    }
    let order: Vec<ColumnOrder> =
        a.order_by.iter().enumerate().map(|(column, (_, by))| ColumnOrder { column, ..*by }).collect();
    all.sort_by(|(k, x), (l, y)| compare(k, l, &order).then_with(|| x.bytes().cmp(y.bytes())));
    if a.distinct {
        all.dedup();
    }
    let args: Vec<Row> = all.into_iter().map(|(_, args)| args).collect();
    let values: Vec<Datum<'_>> = args.iter().map(datum).filter(|d| !d.is_null()).collect();
    let ints = || values.iter().map(|d| d.int() as i128).collect::<Vec<i128>>();
    let n = values.len() as i64;
    let one = |d: Datum<'_>| Row::pack([d]);
    if values.is_empty() && !matches!(a.func.0.kind, AggKind::Count | AggKind::Collect) {
        return one(Datum::Null);
    }
    match a.func.0.kind {
        AggKind::Count => one(Datum::Int64(n)),
        AggKind::Sum => one(Datum::Int64(ints().iter().sum::<i128>() as i64)),
        AggKind::Avg => {
            let sum = Numeric::from_i128(ints().iter().sum());
            one(Datum::Numeric(sum.div(Numeric::from_i64(n)).unwrap()))
        }
        AggKind::Min => one(*values.iter().min().unwrap()),
        AggKind::Max => one(*values.iter().max().unwrap()),
        AggKind::BoolAnd => one(Datum::Bool(values.iter().all(|d| d.bool()))),
        AggKind::BoolOr => one(Datum::Bool(values.iter().any(|d| d.bool()))),
        AggKind::Collect => a.func.evaluate(&args, &a.ty).unwrap(),
        other => panic!("the test has no way to compute {other:?}"),
    }
}

macro_rules! aggregates {
    ($($name:ident = $id:literal $kind:expr, $collect:expr;)*) => {
        $(pub static $name: AggFunc = AggFunc { id: $id, kind: $kind, collect: $collect };)*
    };
}
aggregates! {
    COUNT = "t_count" AggKind::Count, None;
    SUM = "t_sum" AggKind::Sum, None;
    AVG = "t_avg" AggKind::Avg, None;
    MIN = "t_min" AggKind::Min, None;
    MAX = "t_max" AggKind::Max, None;
    LIST = "t_list" AggKind::Collect, Some(|rows, _| {
        let arena = Arena::new();
        let datums: Vec<Datum<'_>> = rows.iter().map(datum).collect();
        Ok(Row::pack([arena.list(datums)]))
    });
}

/// An aggregate of one argument.
pub fn aggregate(func: &'static AggFunc, arg: ScalarExpr, ty: ScalarType) -> AggregateExpr {
    AggregateExpr { func: AggRef(func), args: vec![arg], distinct: false, order_by: vec![], filter: None, ty }
}

pub fn column(i: usize) -> ScalarExpr {
    ScalarExpr::Column(i)
}

pub fn get(n: u64, columns: usize) -> RelationExpr {
    RelationExpr::Get { id: id(n), typ: vec![int8(); columns] }
}

pub fn ints(values: &[i64]) -> Row {
    Row::pack(values.iter().map(|n| if *n == NULL { Datum::Null } else { Datum::Int64(*n) }))
}

/// Stands for NULL in [`ints`].
pub const NULL: i64 = i64::MIN;

/// Numbers that look random and are the same in each run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}
