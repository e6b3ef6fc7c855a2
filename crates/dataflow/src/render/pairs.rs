//! Pairs of rows with equal keys, made in pieces of bounded work.
//!
//! Differential's own join makes all pairs of one key in one go, so that a key with many rows on both sides (a cross join
//! has but one key) would keep its worker to itself and hold all pairs in memory. Here a place in both cursors is all
//! that is kept between two pieces; after a few of them the operator gives way to the others.
//!
//! ```text
//!   key ── left value ── right value ┐
//!          left value    right value ├─ one piece: at most PIECE pairs
//!                        right value ┘
//! ```

use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

use differential_dataflow::operators::join::{Fresh, JoinTactic, join_with_tactic};
use differential_dataflow::trace::cursor::{Cursor, cursor_list};
use repr::{Diff, RowRef, Timestamp};
use timely::container::Accountable;
use timely::dataflow::Stream;

use crate::arrangement::{RowArranged, RowBatch, RowCursor, has_null};
use crate::{Dropped, work};

/// How many pairs, or steps from key to key, a piece takes at most.
const PIECE: i64 = 1 << 10;

/// What a pair costs in the units of differential's driver, which spends a million of them for each side before it gives
/// way: some ten milliseconds.
const PAIR: i64 = 1 << 7;

/// What came of some pairs. It counts as much as it cost to make, also where no pair gave a row.
#[derive(Clone, Debug)]
pub struct Piece<R> {
    rows: Vec<(R, Timestamp, Diff)>,
    cost: i64,
}

impl<R> Default for Piece<R> {
    fn default() -> Self {
        Piece { rows: vec![], cost: 0 }
    }
}

impl<R> Accountable for Piece<R> {
    fn record_count(&self) -> i64 {
        self.cost
    }
}

impl<R> Piece<R> {
    /// Takes the rows out. What it counts stays, as the counts of what is sent and what is received must agree.
    pub fn take(&mut self) -> Vec<(R, Timestamp, Diff)> {
        std::mem::take(&mut self.rows)
    }
}

/// Joins two arrangements: `result` makes at most one row of a left and a right value. Times before `as_of`, which
/// imported history has, count as `as_of`. Once `dropped` is set nothing more is made.
pub fn join<'s, R: Clone + 'static>(
    left: RowArranged<'s>,
    right: RowArranged<'s>,
    as_of: Timestamp,
    dropped: Dropped,
    result: impl FnMut(RowRef<'_>, RowRef<'_>) -> Option<R> + 'static,
) -> Stream<'s, Timestamp, Piece<R>> {
    let tactic = Tactic { result: Rc::new(RefCell::new(result)), as_of, dropped };
    join_with_tactic(left, right, "Join", tactic)
}

struct Tactic<L> {
    result: Rc<RefCell<L>>,
    as_of: Timestamp,
    dropped: Dropped,
}

impl<R, L> JoinTactic<Timestamp, RowBatch, RowBatch, Piece<R>> for Tactic<L>
where
    R: Clone + 'static,
    L: FnMut(RowRef<'_>, RowRef<'_>) -> Option<R> + 'static,
{
    fn prep(
        &mut self,
        left: Vec<RowBatch>,
        right: Vec<RowBatch>,
        fresh: Fresh,
        meet: Timestamp,
    ) -> Box<dyn Iterator<Item = Piece<R>>> {
        let since = meet.max(self.as_of);
        let fresh_is_left = matches!(fresh, Fresh::Input0);
        let (outer, inner) = if fresh_is_left { (left, right) } else { (right, left) };
        Box::new(Pairs {
            outer: Side::new(outer),
            inner: Side::new(inner),
            fresh_is_left,
            since,
            result: self.result.clone(),
            dropped: self.dropped.clone(),
        })
    }
}

/// A place in rows by key.
struct Side {
    cursor: RowCursor,
    batches: Vec<RowBatch>,
    /// The times of the current value, none twice, and how often it comes and goes. Empty: not looked at yet.
    edits: Vec<(Timestamp, Diff)>,
}

impl Side {
    fn new(batches: Vec<RowBatch>) -> Side {
        let (cursor, batches) = cursor_list(batches);
        Side { cursor, batches, edits: vec![] }
    }

    /// Looks at the times of the current value; false: it is none that counts.
    fn look(&mut self, since: Timestamp) -> bool {
        let edits = &mut self.edits;
        edits.clear();
        // Times are totally ordered, so what is before `since` is one.
        self.cursor.map_times(&self.batches, |time, diff| edits.push((since.max(*time), *diff)));
        differential_dataflow::consolidation::consolidate(edits);
        !edits.is_empty()
    }
}

/// The pairs that are still to be made of new rows on one side and all rows on the other.
struct Pairs<L> {
    /// The new rows. Each of their values meets all of the other side.
    outer: Side,
    inner: Side,
    fresh_is_left: bool,
    since: Timestamp,
    result: Rc<RefCell<L>>,
    dropped: Dropped,
}

impl<R: Clone, L: FnMut(RowRef<'_>, RowRef<'_>) -> Option<R>> Iterator for Pairs<L> {
    type Item = Piece<R>;

    fn next(&mut self) -> Option<Piece<R>> {
        let Pairs { outer, inner, .. } = self;
        let mut result = self.result.borrow_mut();
        let mut rows = vec![];
        let mut steps = 0;
        while steps < PIECE {
            let keys = (outer.cursor.get_key(&outer.batches), inner.cursor.get_key(&inner.batches));
            let (Some(a), Some(b)) = keys else { break };
            if self.dropped.is_set() {
                return None;
            }
            steps += 1;
            match a.cmp(&b) {
                Ordering::Less => outer.cursor.seek_key(&outer.batches, b),
                Ordering::Greater => inner.cursor.seek_key(&inner.batches, a),
                // NULL joins with nothing; indexes have such keys.
                Ordering::Equal if has_null(a) => outer.cursor.step_key(&outer.batches),
                Ordering::Equal => {
                    let counts = !outer.edits.is_empty() || outer.look(self.since);
                    if counts && inner.look(self.since) {
                        let own = outer.cursor.val(&outer.batches);
                        let other = inner.cursor.val(&inner.batches);
                        let (left, right) = if self.fresh_is_left { (own, other) } else { (other, own) };
                        if let Some(row) = result(left, right) {
                            for (time, diff) in &outer.edits {
                                let at = |(t, d): &(Timestamp, Diff)| (row.clone(), *t.max(time), d * diff);
                                rows.extend(inner.edits.iter().map(at));
                            }
                        }
                    }
                    inner.cursor.step_val(&inner.batches);
                    if counts && inner.cursor.val_valid(&inner.batches) {
                        continue;
                    }
                    outer.edits.clear();
                    outer.cursor.step_val(&outer.batches);
                    if outer.cursor.val_valid(&outer.batches) {
                        inner.cursor.rewind_vals(&inner.batches);
                    } else {
                        outer.cursor.step_key(&outer.batches);
                        inner.cursor.step_key(&inner.batches);
                    }
                }
            }
        }
        work::touch(steps as usize);
        work::publish();
        // Less than a piece: nothing is left.
        (!rows.is_empty() || steps == PIECE).then_some(Piece { rows, cost: steps * PAIR })
    }
}
