//! How rows are read: which way a query takes, scans of storage, and the end of a query (order, limit, projection).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dataflow::Dataflows;
use plan::mfp::Mfp;
use plan::scalar::Context;
use plan::{ColumnOrder, RelationExpr, ScalarExpr, Side};
use repr::error::{EvalError, code};
use repr::{Arena, Datum, Diff, GlobalId, Origin, Row, RowBlock, ScalarType, SqlError, Timestamp};
use sql::plan::Finishing;
use storage::{BlockKind, ShardId, Storage};
use tokio::sync::mpsc;

use crate::coordinator::{Object, ObjectKind};
use crate::introspection;
use crate::rows::ResultLimit;

/// The way of a query.
pub(crate) enum Route {
    /// It is known already.
    Constant(Result<Vec<(Row, Diff)>, EvalError>),
    /// From an arrangement in memory.
    Arranged { id: GlobalId, keys: Option<Vec<Row>>, mfp: Box<Mfp> },
    /// From stored rows, or one side of them alone.
    Stored { id: GlobalId, side: Option<Side>, mfp: Box<Mfp> },
    /// By a one-off dataflow.
    Dataflow,
}

/// The cheapest way to answer, at a time: arrangements may have forgotten it.
pub(crate) fn route(relation: &RelationExpr, objects: &BTreeMap<GlobalId, Object>, time: Timestamp) -> Route {
    if let RelationExpr::Constant { rows, .. } = relation {
        return Route::Constant(rows.clone());
    }
    let (mfp, rest) = Mfp::extract(relation);
    let (side, rest) = match rest {
        RelationExpr::Catch { input, side } => (Some(*side), &**input),
        rest => (None, rest),
    };
    let RelationExpr::Get { id, .. } = rest else { return Route::Dataflow };
    let mfp = Box::new(mfp);
    if side == Some(Side::Errors) {
        return Route::Stored { id: *id, side, mfp };
    }
    let mut by_index = None;
    for (index, object) in objects {
        if let ObjectKind::Index { on, key } = &object.kind
            && on == id
            && object.since <= time
        {
            let keys = literal_keys(&mfp, key);
            let better = by_index.is_none() || keys.is_some();
            if better {
                by_index = Some((*index, keys));
            }
        }
    }
    if let Some((index, keys)) = by_index {
        return Route::Arranged { id: index, keys, mfp };
    }
    match objects.get(id) {
        Some(Object { kind: ObjectKind::View { arranged: true }, since, .. })
            if side.is_none() && *since <= time =>
        {
            Route::Arranged { id: *id, keys: None, mfp }
        }
        _ => Route::Stored { id: *id, side, mfp },
    }
}

/// The keys that the filters leave, if they fix every part of the key.
fn literal_keys(mfp: &Mfp, key: &[ScalarExpr]) -> Option<Vec<Row>> {
    let mut row = Row::default();
    for part in key {
        let fixed = mfp.filters.iter().find_map(|(_, filter)| {
            let mut filter = filter.clone();
            // Computed columns stand for their expressions; those may use earlier ones.
            while filter.columns().iter().any(|c| *c >= mfp.arity) {
                filter.substitute(&mut |c| c.checked_sub(mfp.arity).map(|i| mfp.maps[i].clone()));
            }
            let ScalarExpr::Call { func, args, .. } = &filter else { return None };
            let literal = match (func.0.id == plan::func::ids::EQ, args.as_slice()) {
                (true, [a, b]) if a == part => b,
                (true, [a, b]) if b == part => a,
                _ => return None,
            };
            literal.as_literal().filter(|d| !d.is_null()).map(|d| Row::pack([d]))
        })?;
        row.extend_packed(fixed.as_ref());
    }
    Some(vec![row])
}

/// Whether the query uses the time at which it runs.
pub(crate) fn wants_now(relation: &RelationExpr) -> bool {
    let mut found = false;
    relation.visit_pre(&mut |r| {
        r.for_each_scalar(&mut |s| s.walk(&mut |e| found |= matches!(e, ScalarExpr::Context(Context::MzNow))))
    });
    found
}

/// Puts the time in the place of `mz_now()`.
pub(crate) fn replace_mz_now(relation: &mut RelationExpr, time: Timestamp) {
    relation.visit_scalars_mut(&mut |s| {
        s.walk_mut(&mut |e| {
            if matches!(e, ScalarExpr::Context(Context::MzNow)) {
                *e = ScalarExpr::literal(Datum::MzTimestamp(time), ScalarType::MzTimestamp);
            }
        })
    });
}

/// Puts the rows of built-in relations in the place of their names.
pub(crate) fn fill_built_in(relation: &mut RelationExpr, state: &introspection::State<'_>) {
    let mut builtins = None;
    relation.visit_pre_mut(&mut |r| {
        let RelationExpr::Get { id, typ } = r else { return };
        let rows = match id {
            GlobalId::System(n) => {
                let all = builtins.get_or_insert_with(introspection::builtins);
                let builtin = usize::try_from(*n).ok().and_then(|n| all.get(n.checked_sub(1)?));
                builtin.map(|b| b.rows(state)).or_else(|| introspection::virtual_rows(*id, state))
            }
            _ => None,
        };
        if let Some(rows) = rows {
            let rows = Ok(rows.into_iter().map(|row| (row, 1)).collect());
            *r = RelationExpr::Constant { rows, typ: typ.clone() };
        }
    });
}

/// A pass over stored rows.
pub(crate) struct Scan {
    pub shard: ShardId,
    pub as_of: Timestamp,
    /// Only what was computed, or only the errors, as rows.
    pub side: Option<Side>,
    pub mfp: Box<Mfp>,
    pub limit: Option<usize>,
    /// The columns that say where a record came from.
    pub origin: Option<(usize, usize)>,
}

/// How many rows go in one message.
const BATCH: usize = 1_000;

/// Runs a scan on a thread of its own. Which blocks it reads is decided here, before storage may forget its time.
pub(crate) fn start_scan(
    storage: &Storage,
    scan: Scan,
    to: mpsc::Sender<Result<Vec<(Row, Diff)>, SqlError>>,
) {
    let append_only = storage.shard_stats(scan.shard).is_none_or(|s| s.append_only);
    let blocks = storage.scan(scan.shard, 0, scan.as_of);
    let run = move || {
        let done = blocks.map_err(storage_error).and_then(|b| run_scan(b, append_only, &scan, &to));
        if let Err(e) = done {
            let _ = to.blocking_send(Err(e));
        }
    };
    if let Err(e) = std::thread::Builder::new().name("scan".into()).spawn(run) {
        tracing::error!(error = %e, "a scan could not start");
    }
}

fn run_scan(
    blocks: storage::Scan,
    append_only: bool,
    scan: &Scan,
    to: &mpsc::Sender<Result<Vec<(Row, Diff)>, SqlError>>,
) -> Result<(), SqlError> {
    // Where rows also go, sums are known only at the end; else they can be sent as they are met.
    let mut sums: Option<HashMap<Row, Diff>> =
        if scan.side != Some(Side::Errors) && append_only { None } else { Some(HashMap::new()) };
    let mut errors: BTreeMap<EvalError, Diff> = BTreeMap::new();
    let mut batch = vec![];
    let mut sent = 0;
    let mut arena = Arena::new();
    for block in blocks {
        let (_, kind, block) = block.map_err(storage_error)?;
        if to.is_closed() {
            return Ok(());
        }
        let wanted = match scan.side {
            None => true,
            Some(Side::Rows) => kind == BlockKind::Rows,
            Some(Side::Errors) => kind == BlockKind::Errors,
        };
        if !wanted {
            continue;
        }
        if kind == BlockKind::Errors && scan.side.is_none() {
            for (row, diff) in block.iter() {
                *errors.entry(EvalError::from_row(row)).or_default() += diff;
            }
            continue;
        }
        for (row, diff) in block.iter() {
            match project(&scan.mfp, row, &arena, scan.origin) {
                Ok(None) => {}
                Ok(Some(out)) => match &mut sums {
                    Some(sums) => *sums.entry(out).or_default() += diff,
                    None => {
                        batch.push((out, diff));
                        sent += 1;
                    }
                },
                Err(e) => *errors.entry(e).or_default() += diff,
            }
            if batch.len() >= BATCH
                && errors.is_empty()
                && to.blocking_send(Ok(std::mem::take(&mut batch))).is_err()
            {
                return Ok(());
            }
            if sums.is_none() && scan.limit.is_some_and(|limit| sent >= limit) && errors.is_empty() {
                let _ = to.blocking_send(Ok(batch));
                return Ok(());
            }
        }
        arena.reset();
    }
    if let Some((error, _)) = errors.into_iter().find(|(_, diff)| *diff != 0) {
        return Err(error.into());
    }
    batch.extend(sums.into_iter().flatten().filter(|(_, diff)| *diff != 0));
    let _ = to.blocking_send(Ok(batch));
    Ok(())
}

/// One row through the pass: a row, none, or an error that names its record.
fn project(
    mfp: &Mfp,
    row: repr::RowRef<'_>,
    arena: &Arena,
    origin: Option<(usize, usize)>,
) -> Result<Option<Row>, EvalError> {
    let mut datums: Vec<Datum<'_>> = row.iter().collect();
    let known = origin.and_then(|(p, o)| Some((datums.get(p).copied()?, datums.get(o).copied()?)));
    let result = plan::scalar::guarded(|| mfp.eval(&mut datums, arena)).map_err(|e| match known {
        Some((Datum::Int32(partition), Datum::Int64(offset))) => e.with_origin(Origin { partition, offset }),
        _ => e,
    })?;
    Ok(result.then(|| Row::pack(mfp.project.iter().map(|i| datums[*i]))))
}

/// An error of storage as a statement's.
pub(crate) fn storage_error(e: storage::StorageError) -> SqlError {
    SqlError::new(code::IO_ERROR, format!("stored rows cannot be read: {e}"))
}

/// Feeds the history of one input to a dataflow, on a thread of its own.
pub(crate) fn start_history(
    scan: storage::Scan,
    dataflows: Arc<Dataflows>,
    dataflow: GlobalId,
    input: GlobalId,
    read: Arc<AtomicU64>,
) {
    let run = move || {
        let mut blocks: Vec<(Timestamp, bool, Arc<RowBlock>)> = vec![];
        let mut bytes = 0;
        let mut ahead = Ahead::default();
        for block in scan {
            let (time, kind, block) = match block {
                Ok(block) => block,
                Err(e) => return history_failed(&e),
            };
            bytes += block.byte_len();
            read.fetch_add(block.len() as u64, Ordering::Relaxed);
            ahead.add(&block);
            blocks.push((time, kind == BlockKind::Errors, block));
            if bytes >= 8 << 20 {
                let blocks = std::mem::take(&mut blocks);
                bytes = 0;
                dataflows.send(dataflow::Command::History { dataflow, input, blocks, done: false });
                ahead.wait();
            }
        }
        dataflows.send(dataflow::Command::History { dataflow, input, blocks, done: true });
    };
    if let Err(e) = std::thread::Builder::new().name("history".into()).spawn(run) {
        tracing::error!(error = %e, "the history of a view could not be read");
    }
}

/// What a history has sent and workers have not used up: a view over gigabytes is filled in bounded memory.
#[derive(Default)]
struct Ahead(Vec<(Weak<RowBlock>, usize)>);

impl Ahead {
    /// So many bytes may be ahead.
    const BYTES: usize = 64 << 20;
    /// How often it is looked, and how often at most before the history goes on anyway: an operator may have to hold what it
    /// was given until it has all.
    const LOOK: Duration = Duration::from_millis(1);
    const LOOKS: usize = 2_000;

    /// A block that is about to be sent. What is in memory anyway does not count.
    fn add(&mut self, block: &Arc<RowBlock>) {
        if Arc::strong_count(block) == 1 {
            self.0.push((Arc::downgrade(block), block.byte_len()));
        }
    }

    fn wait(&mut self) {
        for _ in 0..Self::LOOKS {
            self.0.retain(|(block, _)| block.strong_count() > 0);
            if self.0.iter().map(|(_, bytes)| bytes).sum::<usize>() < Self::BYTES {
                return;
            }
            std::thread::sleep(Self::LOOK);
        }
    }
}

/// Stored rows are damaged: a view over them would be wrong, so it stays behind, and the log says why.
pub(crate) fn history_failed(e: &storage::StorageError) {
    tracing::error!(error = %e, "stored rows cannot be read; a view that needs them stays behind");
}

/// The end of a query: sorts, counts out, cuts and projects.
pub fn finish(
    rows: Vec<(Row, Diff)>,
    finishing: &Finishing,
    size: &mut ResultLimit,
) -> Result<Vec<Row>, SqlError> {
    let mut rows = mapped(rows, &finishing.map)?;
    // Equal rows may come from several workers or batches.
    if finishing.order_by.is_empty() {
        rows.sort_unstable_by(|a, b| a.0.bytes().len().cmp(&b.0.bytes().len()).then_with(|| a.0.cmp(&b.0)));
    } else {
        rows.sort_by(|a, b| compare(&a.0, &b.0, &finishing.order_by).then_with(|| a.0.cmp(&b.0)));
    }
    let mut out = vec![];
    let (mut skip, limit) = (finishing.offset, finishing.limit.unwrap_or(u64::MAX));
    for (row, diff) in rows {
        if diff < 0 {
            return Err(SqlError::internal(format!("a row occurs {diff} times")));
        }
        for _ in 0..diff {
            if out.len() as u64 >= limit {
                return Ok(out);
            }
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let row = project_row(&row, &finishing.project);
            size.count([&row])?;
            out.push(row);
        }
    }
    Ok(out)
}

/// Rows with columns appended that differ each time a row occurs.
pub(crate) fn mapped(rows: Vec<(Row, Diff)>, map: &[ScalarExpr]) -> Result<Vec<(Row, Diff)>, SqlError> {
    if map.is_empty() {
        return Ok(rows);
    }
    let mut arena = Arena::new();
    let mut out = Vec::with_capacity(rows.len());
    for (row, diff) in rows {
        if diff < 0 {
            out.push((row, diff));
            continue;
        }
        for _ in 0..diff {
            arena.reset();
            let mut datums = row.unpack();
            for e in map {
                let value = plan::scalar::guarded(|| e.eval(&datums, &arena))?;
                datums.push(value);
            }
            out.push((Row::pack(datums), 1));
        }
    }
    Ok(out)
}

/// Of rows that come in parts: those that can still be among the first `n` in this order.
pub(crate) fn keep_first(rows: &mut Vec<(Row, Diff)>, order: &[ColumnOrder], n: usize) {
    rows.sort_by(|a, b| compare(&a.0, &b.0, order).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(n);
}

/// These columns of a row.
pub(crate) fn project_row(row: &Row, columns: &[usize]) -> Row {
    let datums = row.unpack();
    if columns.len() == datums.len() && columns.iter().enumerate().all(|(i, c)| i == *c) {
        return row.clone();
    }
    Row::pack(columns.iter().map(|c| datums[*c]))
}

/// Rows in the order of `ORDER BY`.
pub(crate) fn compare(a: &Row, b: &Row, order: &[ColumnOrder]) -> std::cmp::Ordering {
    let (a, b) = (a.unpack(), b.unpack());
    for o in order {
        let (x, y) = (a[o.column], b[o.column]);
        let ordering = match (x.is_null(), y.is_null()) {
            (true, true) => continue,
            (true, false) if o.nulls_first => std::cmp::Ordering::Less,
            (true, false) => std::cmp::Ordering::Greater,
            (false, true) if o.nulls_first => std::cmp::Ordering::Greater,
            (false, true) => std::cmp::Ordering::Less,
            (false, false) if o.desc => y.cmp(&x),
            (false, false) => x.cmp(&y),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    std::cmp::Ordering::Equal
}
