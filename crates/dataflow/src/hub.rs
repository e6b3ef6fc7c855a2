//! Stored collections outside the dataflows: each tick is scanned once, whatever number of dataflows reads it.
//!
//! A hub takes this worker's share of a tick's blocks, reads from their JSON documents the *slots* that any reader wants,
//! and hands every reader one shared [`ScanBatch`]. Slots have numbers that are given once: a new reader widens the scan
//! from the next tick, and nobody's columns shift. A reader that comes later gets the past in batches of the same kind,
//! scanned for its own slots only.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use repr::json::{Scanner, SlotColumn, SlotPath};
use repr::{Datum, GlobalId, Origin, RowBlock, RowRef, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;

/// A worker's share of a block, at one time, with the slots that were read from its documents.
pub struct ScanBatch {
    /// When the rows happen.
    pub time: Timestamp,
    /// Whether these are error rows.
    pub errors: bool,
    /// The slots by number; those that no receiver reads are empty.
    pub slots: Vec<SlotColumn>,
    block: Arc<RowBlock>,
    range: Range<usize>,
}

impl ScanBatch {
    /// Rows whose documents nobody reads.
    pub fn new(time: Timestamp, block: Arc<RowBlock>, range: Range<usize>, errors: bool) -> ScanBatch {
        ScanBatch { time, errors, slots: vec![], block, range }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Row `i`.
    #[inline]
    pub fn row(&self, i: usize) -> RowRef<'_> {
        self.block.row(self.range.start + i)
    }

    /// The diff of row `i`.
    #[inline]
    pub fn diff(&self, i: usize) -> i64 {
        self.block.diff(self.range.start + i)
    }
}

/// What a dataflow's input is fed with.
pub type ScanInput = InputHandle<Timestamp, CapacityContainerBuilder<Vec<Rc<ScanBatch>>>>;

/// A slot: a path into the documents of a column.
struct Slot {
    column: usize,
    path: SlotPath,
    /// How many readers want it.
    readers: usize,
}

/// The slots of one column that are read together.
struct ColumnScan {
    column: usize,
    /// Which slot each of the scanner's columns is.
    slots: Vec<usize>,
    scanner: Scanner,
}

/// One dataflow's interest in the collection.
struct Reader {
    dataflow: GlobalId,
    input: ScanInput,
    slots: Vec<usize>,
    /// For its history; built when history comes.
    scans: Option<Vec<ColumnScan>>,
    /// Times up to this are in the history, later ones are offered.
    live_after: Timestamp,
    /// Where times of history before it are moved to.
    floor: Timestamp,
    /// Times of history up to this are left out: the reader has resumed after it.
    resumed: Option<Timestamp>,
    hydrated: bool,
}

/// A stored collection on one worker.
pub struct Hub {
    /// Whether it only grows.
    pub append_only: bool,
    /// The columns that say where a record came from.
    pub origin: Option<(usize, usize)>,
    /// Whether a dataflow on these workers computes it; else it comes with ticks.
    pub computed: bool,
    slots: Vec<Slot>,
    scans: Vec<ColumnScan>,
    readers: Vec<Reader>,
    /// All times before have been offered.
    upper: Timestamp,
}

impl Hub {
    /// A hub without readers, complete before `upper`.
    pub fn new(append_only: bool, origin: Option<(usize, usize)>, upper: Timestamp) -> Hub {
        Hub { append_only, origin, computed: false, slots: vec![], scans: vec![], readers: vec![], upper }
    }

    /// Adds a reader, whose history is yet to come: times up to `live_after`, those before `as_of` collapsed to it. If the
    /// reader resumes, only what came after that, at its own times.
    pub fn subscribe(
        &mut self,
        dataflow: GlobalId,
        input: ScanInput,
        as_of: Timestamp,
        live_after: Timestamp,
        resumed: Option<Timestamp>,
    ) {
        let floor = if resumed.is_some() { 0 } else { as_of };
        let reader = Reader {
            dataflow,
            input,
            slots: vec![],
            scans: None,
            live_after,
            floor,
            resumed,
            hydrated: false,
        };
        self.readers.push(reader);
    }

    /// The number of a slot that a reader wants from now on.
    pub fn slot(&mut self, dataflow: GlobalId, column: usize, path: &SlotPath) -> usize {
        let known = self.slots.iter().position(|s| s.column == column && s.path == *path);
        let slot = known.unwrap_or_else(|| {
            self.slots.push(Slot { column, path: path.clone(), readers: 0 });
            self.slots.len() - 1
        });
        let reader = self.readers.iter_mut().find(|r| r.dataflow == dataflow);
        if let Some(reader) = reader.filter(|r| !r.slots.contains(&slot)) {
            reader.slots.push(slot);
            self.slots[slot].readers += 1;
            self.scans = self.scans_of(|s| self.slots[s].readers > 0);
        }
        slot
    }

    /// Removes a reader; slots that nobody reads any more are not scanned, and keep their numbers.
    pub fn unsubscribe(&mut self, dataflow: GlobalId) {
        for reader in self.readers.extract_if(.., |r| r.dataflow == dataflow) {
            for slot in reader.slots {
                self.slots[slot].readers -= 1;
            }
        }
        self.scans = self.scans_of(|s| self.slots[s].readers > 0);
    }

    fn scans_of(&self, wanted: impl Fn(usize) -> bool) -> Vec<ColumnScan> {
        let mut by_column: Vec<(usize, Vec<usize>)> = vec![];
        for slot in (0..self.slots.len()).filter(|s| wanted(*s)) {
            let column = self.slots[slot].column;
            match by_column.iter_mut().find(|(c, _)| *c == column) {
                Some((_, slots)) => slots.push(slot),
                None => by_column.push((column, vec![slot])),
            }
        }
        let scan = |(column, slots): (usize, Vec<usize>)| {
            let paths: Vec<SlotPath> = slots.iter().map(|s| self.slots[*s].path.clone()).collect();
            ColumnScan { column, slots, scanner: Scanner::new(&paths) }
        };
        by_column.into_iter().map(scan).collect()
    }

    /// Hands new rows (or errors) of one time to all readers.
    pub fn offer(&mut self, time: Timestamp, block: &Arc<RowBlock>, range: Range<usize>, errors: bool) {
        if range.is_empty() || self.readers.iter().all(|r| time <= r.live_after) {
            return;
        }
        let scans = if errors { &mut [][..] } else { &mut self.scans[..] };
        let slots = scan(&self.slots, scans, block, range.clone());
        let batch = Rc::new(ScanBatch { time, errors, slots, block: block.clone(), range });
        for reader in self.readers.iter_mut().filter(|r| time > r.live_after) {
            reader.input.send_batch(&mut vec![batch.clone()]);
        }
    }

    /// Promises that nothing more comes before `upper`.
    pub fn advance(&mut self, upper: Timestamp) {
        self.upper = upper.max(self.upper);
        for reader in self.readers.iter_mut().filter(|r| r.hydrated) {
            reader.advance(self.upper);
        }
    }

    /// Hands rows (or errors) of the past to one reader.
    pub fn history(
        &mut self,
        dataflow: GlobalId,
        time: Timestamp,
        block: &Arc<RowBlock>,
        range: Range<usize>,
        errors: bool,
    ) {
        let Some(at) = self.readers.iter().position(|r| r.dataflow == dataflow) else { return };
        let reader = &self.readers[at];
        if range.is_empty() || reader.hydrated || reader.resumed.is_some_and(|after| time <= after) {
            return;
        }
        let scans = self.readers[at].scans.take();
        let mut scans = scans.unwrap_or_else(|| self.scans_of(|s| self.readers[at].slots.contains(&s)));
        let used = if errors { &mut [][..] } else { &mut scans[..] };
        let slots = scan(&self.slots, used, block, range.clone());
        let reader = &mut self.readers[at];
        reader.scans = Some(scans);
        let time = time.max(reader.floor);
        let batch = ScanBatch { time, errors, slots, block: block.clone(), range };
        reader.input.send_batch(&mut vec![Rc::new(batch)]);
    }

    /// Says that a reader has all of its history.
    pub fn hydrated(&mut self, dataflow: GlobalId) {
        if let Some(reader) = self.readers.iter_mut().find(|r| r.dataflow == dataflow) {
            reader.hydrated = true;
            reader.scans = None;
            reader.advance(self.upper);
        }
    }
}

impl Reader {
    fn advance(&mut self, upper: Timestamp) {
        let upper = upper.max(self.live_after.saturating_add(1));
        if *self.input.time() < upper {
            self.input.advance_to(upper);
        }
    }
}

/// Reads the documents of a share once.
fn scan(known: &[Slot], scans: &mut [ColumnScan], block: &RowBlock, range: Range<usize>) -> Vec<SlotColumn> {
    if scans.is_empty() {
        return vec![];
    }
    let mut slots: Vec<SlotColumn> = known.iter().map(|s| SlotColumn::new(s.path.kind)).collect();
    for scan in scans {
        let mut columns: Vec<_> = scan.slots.iter().map(|s| SlotColumn::new(known[*s].path.kind)).collect();
        for i in range.clone() {
            let mut datums = block.row(i).iter();
            (0..scan.column).for_each(|_| {
                datums.skip_one();
            });
            match datums.next() {
                Some(Datum::Bytes(document)) => scan.scanner.scan(document, &mut columns),
                Some(Datum::Text(document)) => scan.scanner.scan(document.as_bytes(), &mut columns),
                _ => columns.iter_mut().for_each(SlotColumn::push_null),
            }
        }
        for (slot, column) in scan.slots.iter().zip(columns) {
            slots[*slot] = column;
        }
    }
    slots
}

/// Where a row came from, by the columns that say so.
pub fn origin_of(row: RowRef<'_>, columns: (usize, usize)) -> Option<Origin> {
    let datum = |i: usize| {
        let mut datums = row.iter();
        (0..i).for_each(|_| {
            datums.skip_one();
        });
        datums.next().filter(|d| !d.is_null())
    };
    Some(Origin { partition: datum(columns.0)?.int() as i32, offset: integer(datum(columns.1)?)? })
}

fn integer(datum: Datum<'_>) -> Option<i64> {
    match datum {
        Datum::UInt64(n) => i64::try_from(n).ok(),
        other => Some(other.int()),
    }
}
