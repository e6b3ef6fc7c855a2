//! Rows arranged by keys in contiguous memory: the containers that differential sorts, merges and reads.
//!
//! ```text
//!   batch = keys   k0 k1 k2 …          each end to end in one allocation, offsets beside
//!           values v0 v1 | v2 | v3 …
//!           times, diffs               none for a value whose only update is like the one before
//! ```

use std::rc::Rc;

use differential_dataflow::batcher::merge::{MergeBatcher, chunker::ContainerChunker, vec::VecMerger};
use differential_dataflow::operators::arrange::{Arranged, TraceAgent, arrangement::arrange_core};
use differential_dataflow::trace::cursor::{CursorList, cursor_list};
use differential_dataflow::trace::implementations::{
    BatchContainer, OffsetList, ord_neu::*, spine_fueled::Spine,
};
use differential_dataflow::trace::{BatchCursor, TraceReader};
use differential_dataflow::{Hashable, VecCollection};
use repr::{Diff, EvalError, GlobalId, Row, RowRef, Timestamp, error::code};
use timely::container::PushInto;
use timely::dataflow::channels::pact::Exchange;
use timely::progress::Antichain;

/// Updates of keys and values.
pub type KeyedRows<'s> = VecCollection<'s, Timestamp, (Row, Row), Diff>;
/// Rows by keys, within a dataflow.
pub type RowArranged<'s> = Arranged<'s, RowTrace>;
/// A handle on arranged rows.
pub type RowTrace = TraceAgent<RowSpine>;

type Layout = (Slab, Slab, Vec<Timestamp>, Vec<Diff>, OffsetList);
/// Some of the rows of an arrangement.
pub type RowBatch = Rc<OrdValBatch<Layout>>;
type RowSpine = Spine<RowBatch>;
type RowBuilder = OrdValBuilder<Layout, Vec<((Row, Row), Timestamp, Diff)>>;
type RowBatcher = MergeBatcher<
    ContainerChunker<Vec<((Row, Row), Timestamp, Diff)>>,
    VecMerger<(Row, Row), Timestamp, Diff>,
    RowBuilder,
>;
/// Walks a stable snapshot of an arrangement.
pub type RowCursor = CursorList<BatchCursor<RowTrace>>;

/// Packed rows end to end in one allocation.
pub struct Slab {
    ends: OffsetList,
    data: Vec<u8>,
}

impl PushInto<Row> for Slab {
    #[inline]
    fn push_into(&mut self, row: Row) {
        self.push_ref(row.as_ref())
    }
}

impl BatchContainer for Slab {
    type Owned = Row;
    type ReadItem<'a> = RowRef<'a>;

    #[inline]
    fn into_owned<'a>(item: RowRef<'a>) -> Row {
        item.to_row()
    }

    #[inline]
    fn push_ref(&mut self, item: RowRef<'_>) {
        self.data.extend_from_slice(item.bytes());
        self.ends.push(self.data.len());
    }

    fn push_own(&mut self, item: &Row) {
        self.push_ref(item.as_ref())
    }

    fn clear(&mut self) {
        *self = Self::with_capacity(0)
    }

    fn with_capacity(rows: usize) -> Self {
        let mut ends = OffsetList::with_capacity(rows + 1);
        ends.push(0);
        Slab { ends, data: Vec::new() }
    }

    /// Called once a merge: reserving exactly here keeps big batches free of slack.
    fn merge_capacity(a: &Self, b: &Self) -> Self {
        let mut slab = Self::with_capacity(a.len() + b.len());
        slab.data.reserve_exact(a.data.len() + b.data.len());
        slab
    }

    #[inline]
    fn reborrow<'b, 'a: 'b>(item: RowRef<'a>) -> RowRef<'b> {
        item
    }

    #[inline]
    fn index(&self, i: usize) -> RowRef<'_> {
        RowRef::new(&self.data[self.ends.index(i)..self.ends.index(i + 1)])
    }

    fn len(&self) -> usize {
        self.ends.len() - 1
    }
}

/// The worker on which a key lives, before reduction to the number of workers. The same for all operators, so that an
/// index can be joined where it is.
#[inline]
pub fn hash(key: RowRef<'_>) -> u64 {
    key.hashed()
}

/// Sends each key to its worker and arranges it there.
pub fn arrange<'s>(rows: KeyedRows<'s>, name: &str) -> RowArranged<'s> {
    let by_key = Exchange::new(|u: &((Row, Row), Timestamp, Diff)| hash(u.0.0.as_ref()));
    arrange_core::<_, _, RowBatcher, RowSpine>(rows.inner, by_key, name, RowBatcher::new)
}

/// An arranged collection as peeks and other dataflows see it: rows by key, and errors (the error as key, no value).
pub struct Arrangement {
    /// Whose rows these are: the indexed object, or the view itself.
    pub on: GlobalId,
    /// The key, over the object's columns. None: the whole row is the key and the value is empty.
    pub key: Option<Vec<plan::ScalarExpr>>,
    /// Rows by key.
    pub rows: RowTrace,
    /// Errors.
    pub errs: RowTrace,
    /// The least time that can be read.
    pub since: Timestamp,
    /// Whether its object is dropped, and it only lives on for those who import it.
    pub closed: bool,
}

impl Arrangement {
    /// Lets times before `since` run together.
    pub fn compact(&mut self, since: Timestamp) {
        self.since = since.max(self.since);
        let since = Antichain::from_elem(self.since);
        for trace in [&mut self.rows, &mut self.errs] {
            trace.set_logical_compaction(since.borrow());
        }
        self.merge();
    }

    /// Lets batches of such times merge, as far as there are any: joins count on batches that end where those that they
    /// have not seen begin.
    pub fn merge(&mut self) {
        for trace in [&mut self.rows, &mut self.errs] {
            let mut upper = Antichain::new();
            trace.read_upper(&mut upper);
            upper.insert(self.since);
            trace.set_physical_compaction(upper.borrow());
        }
    }

    /// Whether everything at `time` has arrived.
    pub fn complete_at(&mut self, time: Timestamp) -> bool {
        [&mut self.rows, &mut self.errs].into_iter().all(|trace| {
            let mut upper = Antichain::new();
            trace.read_upper(&mut upper);
            !upper.less_equal(&time)
        })
    }
}

/// A cursor over all that has arrived.
pub fn snapshot(trace: &mut RowTrace) -> (RowCursor, Vec<RowBatch>) {
    let batches = trace.batches_through(Antichain::new().borrow()).unwrap_or_default();
    cursor_list(batches)
}

/// Why a peek or an import at `time` cannot be right.
pub fn too_old(time: Timestamp, since: Timestamp) -> EvalError {
    EvalError::new(
        code::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("timestamp {time} is no longer readable, the oldest is {since}"),
    )
}

/// Whether a packed key has a NULL, which joins with nothing.
pub fn has_null(key: RowRef<'_>) -> bool {
    let mut datums = key.iter();
    while let Some(datum) = datums.skip_one() {
        if datum == [0] {
            return true;
        }
    }
    false
}
