//! Rows as bytes.
//!
//! ```text
//!   row    = datum …                              no header: a relation knows its arity
//!   datum  = tag payload
//!   tag    = kind (integers: kind + number of payload bytes, 0 to 8, little endian, sign extended)
//!   string, bytes, jsonb, array, list, map, record, range = tag, length as LEB128, payload
//! ```
//!
//! One value has one encoding: numerics are reduced, floats have one NaN and one zero. So SQL equality is equality of
//! bytes, and `Row`'s `Ord` and `Hash` are those of its bytes (an order that is consistent, not SQL's).

use std::cmp::Ordering;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{Datum, Diff, Interval, Jsonb, Numeric};

/// A packed row; up to 24 bytes are held inline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Row(SmallVec<[u8; 24]>);

/// A borrowed packed row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RowRef<'a>(&'a [u8]);

impl Row {
    /// Packs datums in order.
    pub fn pack<'a>(datums: impl IntoIterator<Item = Datum<'a>>) -> Row {
        let mut row = Row::default();
        datums.into_iter().for_each(|d| row.push(d));
        row
    }

    /// Appends one datum.
    pub fn push(&mut self, datum: Datum<'_>) {
        encode(&mut self.0, datum)
    }

    /// Appends all datums of a packed row without decoding them.
    pub fn extend_packed(&mut self, row: RowRef<'_>) {
        self.0.extend_from_slice(row.0)
    }

    /// Takes bytes that this module encoded before (from storage, a block or an arrangement).
    pub fn from_bytes(bytes: &[u8]) -> Row {
        Row(SmallVec::from_slice(bytes))
    }

    /// The encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Borrows the row.
    pub fn as_ref(&self) -> RowRef<'_> {
        RowRef(&self.0)
    }

    /// The datums in order.
    pub fn iter(&self) -> DatumIter<'_> {
        self.as_ref().iter()
    }

    /// All datums.
    pub fn unpack(&self) -> Vec<Datum<'_>> {
        self.iter().collect()
    }

    /// Empties the row and keeps its memory.
    pub fn clear(&mut self) {
        self.0.clear()
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl<'a> RowRef<'a> {
    /// Views bytes that this module encoded before.
    pub fn new(bytes: &'a [u8]) -> RowRef<'a> {
        RowRef(bytes)
    }

    /// The encoding.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The datums in order.
    pub fn iter(self) -> DatumIter<'a> {
        DatumIter(self.0)
    }

    /// Copies into an owned row.
    pub fn to_row(self) -> Row {
        Row::from_bytes(self.0)
    }
}

/// Arrangements compare stored rows with owned ones.
impl PartialEq<&Row> for RowRef<'_> {
    fn eq(&self, other: &&Row) -> bool {
        self.0 == other.bytes()
    }
}

impl std::fmt::Debug for RowRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Decodes datums from the front of packed bytes.
#[derive(Clone, Copy, Debug)]
pub struct DatumIter<'a>(&'a [u8]);

impl<'a> DatumIter<'a> {
    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Steps over one datum without decoding it and returns its bytes; none at the end.
    pub fn skip_one(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        let (&tag, rest) = before.split_first()?;
        self.0 = match tag {
            tag::NULL | tag::FALSE | tag::TRUE => rest,
            t if t < tag::FLOAT32 => &rest[usize::from((t - tag::INTS) % 9)..],
            tag::FLOAT32 => &rest[4..],
            tag::FLOAT64 => &rest[8..],
            tag::UUID => &rest[16..],
            tag::INTERVAL => &rest[16..],
            _ => {
                let mut r = rest;
                take(&mut r);
                r
            }
        };
        Some(&before[..before.len() - self.0.len()])
    }
}

impl<'a> Iterator for DatumIter<'a> {
    type Item = Datum<'a>;
    fn next(&mut self) -> Option<Datum<'a>> {
        if self.0.is_empty() { None } else { Some(decode(&mut self.0)) }
    }
}

/// The tags. Integers of each kind take nine in a row, one for each payload length.
mod tag {
    pub const NULL: u8 = 0;
    pub const FALSE: u8 = 1;
    pub const TRUE: u8 = 2;
    pub const INTS: u8 = 3;
    pub const INT16: u8 = 3;
    pub const INT32: u8 = 12;
    pub const INT64: u8 = 21;
    pub const UINT16: u8 = 30;
    pub const UINT32: u8 = 39;
    pub const UINT64: u8 = 48;
    pub const DATE: u8 = 57;
    pub const TIME: u8 = 66;
    pub const TIMESTAMP: u8 = 75;
    pub const TIMESTAMPTZ: u8 = 84;
    pub const MZ_TIMESTAMP: u8 = 93;
    pub const FLOAT32: u8 = 102;
    pub const FLOAT64: u8 = 103;
    pub const UUID: u8 = 104;
    pub const INTERVAL: u8 = 105;
    // From here on: a length and a payload.
    pub const NUMERIC: u8 = 106;
    pub const TEXT: u8 = 107;
    pub const BYTES: u8 = 108;
    pub const JSONB: u8 = 109;
    pub const ARRAY: u8 = 110;
    pub const LIST: u8 = 111;
    pub const MAP: u8 = 112;
    pub const RECORD: u8 = 113;
    pub const RANGE: u8 = 114;
}

type Out = SmallVec<[u8; 24]>;

fn put_len(out: &mut Out, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put(out: &mut Out, tag: u8, payload: &[u8]) {
    out.push(tag);
    put_len(out, payload.len());
    out.extend_from_slice(payload);
}

/// The fewest little-endian bytes that sign-extend to `n`.
fn put_int(out: &mut Out, tag: u8, n: i64) {
    let bits = if n < 0 { 65 - n.leading_ones() } else { 65 - n.leading_zeros() };
    let len = if n == 0 { 0 } else { bits.div_ceil(8) as usize };
    out.push(tag + len as u8);
    out.extend_from_slice(&n.to_le_bytes()[..len]);
}

fn put_uint(out: &mut Out, tag: u8, n: u64) {
    let len = (64 - n.leading_zeros()).div_ceil(8) as usize;
    out.push(tag + len as u8);
    out.extend_from_slice(&n.to_le_bytes()[..len]);
}

fn encode(out: &mut Out, datum: Datum<'_>) {
    match datum {
        Datum::Null => out.push(tag::NULL),
        Datum::Bool(b) => out.push(if b { tag::TRUE } else { tag::FALSE }),
        Datum::Int16(n) => put_int(out, tag::INT16, n.into()),
        Datum::Int32(n) => put_int(out, tag::INT32, n.into()),
        Datum::Int64(n) => put_int(out, tag::INT64, n),
        Datum::UInt16(n) => put_uint(out, tag::UINT16, n.into()),
        Datum::UInt32(n) => put_uint(out, tag::UINT32, n.into()),
        Datum::UInt64(n) => put_uint(out, tag::UINT64, n),
        Datum::Date(n) => put_int(out, tag::DATE, n.into()),
        Datum::Time(n) => put_int(out, tag::TIME, n),
        Datum::Timestamp(n) => put_int(out, tag::TIMESTAMP, n),
        Datum::TimestampTz(n) => put_int(out, tag::TIMESTAMPTZ, n),
        Datum::MzTimestamp(n) => put_uint(out, tag::MZ_TIMESTAMP, n),
        Datum::Float32(x) => {
            let x = if x.is_nan() { f32::NAN } else { x + 0.0 };
            out.push(tag::FLOAT32);
            out.extend_from_slice(&x.to_le_bytes());
        }
        Datum::Float64(x) => {
            let x = if x.is_nan() { f64::NAN } else { x + 0.0 };
            out.push(tag::FLOAT64);
            out.extend_from_slice(&x.to_le_bytes());
        }
        Datum::Uuid(u) => {
            out.push(tag::UUID);
            out.extend_from_slice(&u);
        }
        Datum::Interval(i) => {
            out.push(tag::INTERVAL);
            out.extend_from_slice(&i.to_bytes());
        }
        Datum::Numeric(n) => {
            let mut buffer = [0; Numeric::MAX_BYTES];
            put(out, tag::NUMERIC, n.encode(&mut buffer))
        }
        Datum::Text(s) => put(out, tag::TEXT, s.as_bytes()),
        Datum::Bytes(b) => put(out, tag::BYTES, b),
        Datum::Jsonb(j) => put(out, tag::JSONB, j.bytes()),
        Datum::Array(a) => put(out, tag::ARRAY, a.0),
        Datum::List(e) => put(out, tag::LIST, e.0),
        Datum::Map(e) => put(out, tag::MAP, e.0),
        Datum::Record(e) => put(out, tag::RECORD, e.0),
        Datum::Range(r) => put(out, tag::RANGE, r.0),
    }
}

/// Takes a length and that many bytes.
fn take<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let (mut n, mut shift) = (0usize, 0);
    loop {
        let b = bytes[0];
        *bytes = &bytes[1..];
        n |= usize::from(b & 0x7f) << shift;
        if b < 0x80 {
            break;
        }
        shift += 7;
    }
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    head
}

fn take_array<'a, const N: usize>(bytes: &mut &'a [u8]) -> [u8; N] {
    let (head, tail): (&'a [u8; N], _) = bytes.split_first_chunk().expect("rows are written whole");
    *bytes = tail;
    *head
}

fn decode<'a>(bytes: &mut &'a [u8]) -> Datum<'a> {
    let tag = bytes[0];
    *bytes = &bytes[1..];
    if (tag::INTS..tag::FLOAT32).contains(&tag) {
        let (kind, len) = ((tag - tag::INTS) / 9 * 9 + tag::INTS, usize::from((tag - tag::INTS) % 9));
        let (head, tail) = bytes.split_at(len);
        *bytes = tail;
        let mut raw = [0; 8];
        raw[..len].copy_from_slice(head);
        let unsigned = u64::from_le_bytes(raw);
        let shift = 64 - 8 * len as u32;
        let signed = if len == 0 { 0 } else { ((unsigned << shift) as i64) >> shift };
        return match kind {
            tag::INT16 => Datum::Int16(signed as i16),
            tag::INT32 => Datum::Int32(signed as i32),
            tag::INT64 => Datum::Int64(signed),
            tag::UINT16 => Datum::UInt16(unsigned as u16),
            tag::UINT32 => Datum::UInt32(unsigned as u32),
            tag::UINT64 => Datum::UInt64(unsigned),
            tag::DATE => Datum::Date(signed as i32),
            tag::TIME => Datum::Time(signed),
            tag::TIMESTAMP => Datum::Timestamp(signed),
            tag::TIMESTAMPTZ => Datum::TimestampTz(signed),
            _ => Datum::MzTimestamp(unsigned),
        };
    }
    match tag {
        tag::NULL => Datum::Null,
        tag::FALSE => Datum::Bool(false),
        tag::TRUE => Datum::Bool(true),
        tag::FLOAT32 => Datum::Float32(f32::from_le_bytes(take_array(bytes))),
        tag::FLOAT64 => Datum::Float64(f64::from_le_bytes(take_array(bytes))),
        tag::UUID => Datum::Uuid(take_array(bytes)),
        tag::INTERVAL => Datum::Interval(Interval::from_bytes(take_array(bytes))),
        tag::NUMERIC => Datum::Numeric(Numeric::decode(take(bytes))),
        tag::TEXT => Datum::Text(std::str::from_utf8(take(bytes)).expect("text was text when it was packed")),
        tag::BYTES => Datum::Bytes(take(bytes)),
        tag::JSONB => Datum::Jsonb(Jsonb::new(take(bytes))),
        tag::ARRAY => Datum::Array(ArrayRef(take(bytes))),
        tag::LIST => Datum::List(ElementsRef(take(bytes))),
        tag::MAP => Datum::Map(ElementsRef(take(bytes))),
        tag::RECORD => Datum::Record(ElementsRef(take(bytes))),
        tag::RANGE => Datum::Range(RangeRef(take(bytes))),
        other => panic!("row bytes have no tag {other}"),
    }
}

/// The elements of a list, the fields of a record, or the keys and values of a map: packed datums.
#[derive(Clone, Copy, Debug)]
pub struct ElementsRef<'a>(pub(crate) &'a [u8]);

impl<'a> ElementsRef<'a> {
    /// Views packed datums.
    pub fn new(row: RowRef<'a>) -> ElementsRef<'a> {
        ElementsRef(row.0)
    }

    /// The datums in order.
    pub fn iter(self) -> DatumIter<'a> {
        DatumIter(self.0)
    }
}

impl Ord for ElementsRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}
impl PartialOrd for ElementsRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for ElementsRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for ElementsRef<'_> {}

/// A Postgres array: number of dimensions, (length, lower bound) of each as i32, then the elements row-major.
#[derive(Clone, Copy, Debug)]
pub struct ArrayRef<'a>(pub(crate) &'a [u8]);

impl<'a> ArrayRef<'a> {
    /// (length, lower bound) of each dimension; none for an empty array.
    pub fn dims(self) -> impl ExactSizeIterator<Item = (i32, i32)> + 'a {
        let n = self.0.first().map_or(0, |n| usize::from(*n));
        self.0[self.0.len().min(1)..][..8 * n].chunks_exact(8).map(|c| {
            let int = |b: &[u8]| i32::from_le_bytes(b.try_into().expect("four bytes"));
            (int(&c[..4]), int(&c[4..]))
        })
    }

    /// The elements of all dimensions, row-major.
    pub fn elements(self) -> ElementsRef<'a> {
        let n = self.0.first().map_or(0, |n| usize::from(*n));
        ElementsRef(&self.0[(1 + 8 * n).min(self.0.len())..])
    }
}

/// Postgres' order of arrays: elements first, then the number of dimensions, then their lengths.
impl Ord for ArrayRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.elements()
            .cmp(&other.elements())
            .then_with(|| self.dims().len().cmp(&other.dims().len()))
            .then_with(|| self.dims().cmp(other.dims()))
    }
}
impl PartialOrd for ArrayRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for ArrayRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for ArrayRef<'_> {}

/// A range: one flags byte (1 empty, 2 lower inclusive, 4 upper inclusive), then lower and upper, NULL where unbounded.
#[derive(Clone, Copy, Debug)]
pub struct RangeRef<'a>(pub(crate) &'a [u8]);

impl<'a> RangeRef<'a> {
    /// Views the payload described above.
    pub fn new(bytes: &'a [u8]) -> RangeRef<'a> {
        RangeRef(bytes)
    }
    /// Whether it holds nothing.
    pub fn is_empty(self) -> bool {
        self.0[0] & 1 != 0
    }
    /// The lower bound (NULL: none) and whether it belongs to the range.
    pub fn lower(self) -> (Datum<'a>, bool) {
        (DatumIter(&self.0[1..]).next().unwrap_or(Datum::Null), self.0[0] & 2 != 0)
    }
    /// The upper bound (NULL: none) and whether it belongs to the range.
    pub fn upper(self) -> (Datum<'a>, bool) {
        (DatumIter(&self.0[1..]).nth(1).unwrap_or(Datum::Null), self.0[0] & 4 != 0)
    }
}

/// Postgres' order: empty first, then by lower bound, then by upper.
impl Ord for RangeRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let lower = |r: &Self| match r.lower() {
            (Datum::Null, _) => (false, Datum::Null, false),
            (d, inclusive) => (true, d, !inclusive),
        };
        let upper = |r: &Self| match r.upper() {
            (Datum::Null, _) => (true, Datum::Null, false),
            (d, inclusive) => (false, d, inclusive),
        };
        other
            .is_empty()
            .cmp(&self.is_empty())
            .then_with(|| lower(self).cmp(&lower(other)))
            .then_with(|| upper(self).cmp(&upper(other)))
    }
}
impl PartialOrd for RangeRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for RangeRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for RangeRef<'_> {}

/// Memory for values that an evaluation makes. Reset it per row or per batch; nothing in it is dropped.
#[derive(Debug, Default)]
pub struct Arena(bumpalo::Bump);

impl Arena {
    /// An empty arena; takes no memory until used.
    pub fn new() -> Arena {
        Arena::default()
    }

    /// Frees what was put in, keeping the last chunk for reuse.
    pub fn reset(&mut self) {
        self.0.reset()
    }

    /// Keeps a string.
    pub fn text(&self, s: &str) -> &str {
        self.0.alloc_str(s)
    }

    /// Keeps bytes.
    pub fn bytes(&self, b: &[u8]) -> &[u8] {
        self.0.alloc_slice_copy(b)
    }

    /// Keeps a copy of a row's bytes and views them.
    pub fn row(&self, row: &Row) -> RowRef<'_> {
        RowRef(self.bytes(&row.0))
    }

    /// A list of elements.
    pub fn list<'a>(&'a self, elements: impl IntoIterator<Item = Datum<'a>>) -> Datum<'a> {
        Datum::List(ElementsRef(self.row(&Row::pack(elements)).0))
    }

    /// A record of fields.
    pub fn record<'a>(&'a self, fields: impl IntoIterator<Item = Datum<'a>>) -> Datum<'a> {
        Datum::Record(ElementsRef(self.row(&Row::pack(fields)).0))
    }

    /// A map; keys must rise and be distinct.
    pub fn map<'a>(&'a self, entries: impl IntoIterator<Item = (&'a str, Datum<'a>)>) -> Datum<'a> {
        let row = Row::pack(entries.into_iter().flat_map(|(k, v)| [Datum::Text(k), v]));
        Datum::Map(ElementsRef(self.row(&row).0))
    }

    /// An array with the given dimensions (length, lower bound); elements row-major. No dimension: the empty array.
    pub fn array<'a>(
        &'a self,
        dims: &[(i32, i32)],
        elements: impl IntoIterator<Item = Datum<'a>>,
    ) -> Datum<'a> {
        let mut out = Out::new();
        out.push(dims.len() as u8);
        for (length, lower) in dims {
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&lower.to_le_bytes());
        }
        elements.into_iter().for_each(|d| encode(&mut out, d));
        Datum::Array(ArrayRef(self.bytes(&out)))
    }

    /// A one-dimensional array from 1; empty without elements.
    pub fn array1<'a>(&'a self, elements: &[Datum<'a>]) -> Datum<'a> {
        let dims = [(elements.len() as i32, 1)];
        self.array(if elements.is_empty() { &[] } else { &dims }, elements.iter().copied())
    }

    /// A range in the layout of [`RangeRef`].
    pub fn range<'a>(&'a self, flags: u8, lower: Datum<'a>, upper: Datum<'a>) -> Datum<'a> {
        let mut out = Out::new();
        out.push(flags);
        encode(&mut out, lower);
        encode(&mut out, upper);
        Datum::Range(RangeRef(self.bytes(&out)))
    }
}

/// Many rows end to end with their diffs, all of one time: what a tick brings for one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBlock {
    /// Row bytes, end to end.
    data: Vec<u8>,
    /// Where each row ends in `data`.
    ends: Vec<u32>,
    /// A diff a row; empty when each is +1.
    diffs: Vec<Diff>,
}

/// The memory of large blocks that were dropped, for the next ones: fresh memory costs a page fault and a cleared page for
/// every 4 KiB, and a stream of events makes megabytes a tick, freed on other threads than those that fill them.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(vec![]);
/// How many are kept,
const SPARES: usize = 8;
/// and of which sizes.
const SPARE_BYTES: RangeInclusive<usize> = 1 << 20..=8 << 20;

impl Drop for RowBlock {
    fn drop(&mut self) {
        if SPARE_BYTES.contains(&self.data.capacity()) {
            let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < SPARES {
                let mut data = std::mem::take(&mut self.data);
                data.clear();
                spare.push(data);
            }
        }
    }
}

impl RowBlock {
    /// The most bytes that a block may hold: offsets are `u32`.
    pub const MAX_BYTES: usize = 1 << 31;

    /// From its parts, as storage read them: row bytes, ends, diffs (empty: all +1).
    pub fn from_parts(data: Vec<u8>, ends: Vec<u32>, diffs: Vec<Diff>) -> RowBlock {
        assert!(diffs.is_empty() || diffs.len() == ends.len(), "a diff a row");
        RowBlock { data, ends, diffs }
    }

    /// Row bytes, ends, diffs (empty: all +1).
    pub fn parts(&self) -> (&[u8], &[u32], &[Diff]) {
        (&self.data, &self.ends, &self.diffs)
    }

    /// An empty block with room for this many bytes of rows, in the memory of a dropped block where there is one.
    pub fn with_capacity(bytes: usize) -> RowBlock {
        let mut block = RowBlock::default();
        if SPARE_BYTES.contains(&bytes) {
            let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(fit) = spare.iter().position(|data| data.capacity() >= bytes) {
                block.data = spare.swap_remove(fit);
            }
        }
        block.data.reserve(bytes);
        block
    }

    /// Gives back memory that no row uses.
    pub fn shrink_to_fit(&mut self) {
        self.data.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Appends a row.
    pub fn push(&mut self, row: RowRef<'_>, diff: Diff) {
        self.push_with(|out| out.extend_from_slice(row.0), diff)
    }

    /// Appends a row of these datums without an intermediate `Row`.
    pub fn push_datums<'a>(&mut self, datums: impl IntoIterator<Item = Datum<'a>>, diff: Diff) {
        let mut out = Out::new();
        datums.into_iter().for_each(|d| encode(&mut out, d));
        self.push_with(|data| data.extend_from_slice(&out), diff)
    }

    fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>), diff: Diff) {
        if diff != 1 && self.diffs.is_empty() {
            self.diffs = vec![1; self.ends.len()];
        }
        write(&mut self.data);
        self.ends.push(u32::try_from(self.data.len()).expect("blocks are cut before 4 GiB"));
        if diff != 1 || !self.diffs.is_empty() {
            self.diffs.push(diff);
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all rows.
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Whether rows only come.
    pub fn is_append_only(&self) -> bool {
        self.diffs.iter().all(|d| *d > 0)
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> RowRef<'_> {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        RowRef(&self.data[start..self.ends[i] as usize])
    }

    /// The diff of row `i`.
    pub fn diff(&self, i: usize) -> Diff {
        if self.diffs.is_empty() { 1 } else { self.diffs[i] }
    }

    /// Rows and diffs in order.
    pub fn iter(&self) -> impl Iterator<Item = (RowRef<'_>, Diff)> {
        (0..self.len()).map(|i| (self.row(i), self.diff(i)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_come_back() {
        for n in [0, 1, -1, 127, 128, -128, -129, 32_767, i64::MAX, i64::MIN, 1 << 40, -(1 << 40)] {
            let row = Row::pack([Datum::Int64(n), Datum::UInt64(n as u64), Datum::Timestamp(n)]);
            assert_eq!(row.unpack(), [Datum::Int64(n), Datum::UInt64(n as u64), Datum::Timestamp(n)]);
        }
    }

    #[test]
    fn equal_floats_have_equal_bytes() {
        assert_eq!(Row::pack([Datum::Float64(0.0)]), Row::pack([Datum::Float64(-0.0)]));
        assert_eq!(Row::pack([Datum::Float64(f64::NAN)]), Row::pack([Datum::Float64(-f64::NAN)]));
    }

    #[test]
    fn skipping_agrees_with_decoding() {
        let arena = Arena::new();
        let datums = [
            Datum::Null,
            Datum::Bool(true),
            Datum::Int32(-7),
            Datum::Text("abc"),
            Datum::Float32(1.5),
            Datum::Uuid([7; 16]),
            arena.array1(&[Datum::Int32(1), Datum::Null]),
            Datum::Bytes(&[0; 300]),
        ];
        let row = Row::pack(datums);
        let mut skip = row.iter();
        for d in datums {
            assert_eq!(skip.skip_one(), Some(Row::pack([d]).bytes()));
        }
        assert_eq!(skip.skip_one(), None);
    }

    /// Values of every kind and shape; those of one kind in SQL's order.
    fn rising(arena: &Arena) -> Vec<Vec<Datum<'_>>> {
        use crate::text::parse;
        use crate::types::ScalarType as T;
        let text = |ty: T, texts: &[&str]| -> Vec<Datum<'_>> {
            texts.iter().map(|t| parse(t, &ty, arena).unwrap_or_else(|e| panic!("{t}: {e}"))).collect()
        };
        let boxed = |ty: T| Box::new(ty);
        vec![
            vec![Datum::Bool(false), Datum::Bool(true)],
            text(T::Int16, &["-32768", "-1", "0", "1", "32767"]),
            text(T::Int32, &["-2147483648", "-129", "-128", "127", "128", "2147483647"]),
            text(T::Int64, &["-9223372036854775808", "0", "9223372036854775807"]),
            text(T::UInt16, &["0", "255", "256", "65535"]),
            text(T::UInt32, &["0", "4294967295"]),
            text(T::UInt64, &["0", "9223372036854775808", "18446744073709551615"]),
            text(T::MzTimestamp, &["0", "18446744073709551615"]),
            text(T::Float32, &["-Infinity", "-1", "0", "1e-40", "1", "Infinity", "NaN"]),
            text(T::Float64, &["-Infinity", "-1", "0", "1e-310", "1", "Infinity", "NaN"]),
            text(
                T::Numeric { scale: None },
                &["-Infinity", "-1e38", "-0.1", "0", "0.01", "49.99", "1e38", "Infinity", "NaN"],
            ),
            text(T::Text, &["", "A", "a", "aa", "b", "ä", "日本"]),
            text(T::Bytes, &["\\x", "\\x00", "\\x0000", "\\xff"]),
            text(T::Jsonb, &["{\"a\":[1]}"]),
            text(T::Date, &["4714-11-24 BC", "1969-12-31", "1970-01-01", "5874897-12-31"]),
            text(T::Time, &["00:00", "23:59:59.999999", "24:00"]),
            text(T::Timestamp { precision: None }, &["4714-11-24 BC", "1970-01-01", "294246-12-31"]),
            text(T::TimestampTz { precision: None }, &["4714-11-24 BC", "1970-01-01", "294246-12-31"]),
            text(T::Interval, &["-1 month", "-29 days", "0", "24 hours", "1 day", "30 days", "1 month"]),
            text(T::Uuid, &["00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff"]),
            text(T::Array(boxed(T::Int32)), &["{}", "{1}", "{1,2}", "{{1,2}}", "{1,2,3}", "{2}", "{NULL}"]),
            text(T::List(boxed(T::Int32)), &["{}", "{1}", "{1,2}", "{2}", "{NULL}"]),
            text(T::Map(boxed(T::Int32)), &["{}", "{a=>1}", "{a=>1,b=>0}", "{a=>2}", "{b=>0}"]),
            text(
                T::Record(vec![("a".into(), T::Int32.nullable(true)), ("b".into(), T::Text.nullable(true))]),
                &["(1,a)", "(1,)", "(2,a)"],
            ),
            text(
                T::Range(boxed(T::Numeric { scale: None })),
                &["empty", "(,1)", "(,1]", "(,)", "[1,2)", "[1,2]", "[1,)", "(1,2)"],
            ),
        ]
    }

    #[test]
    fn bytes_are_equal_exactly_for_equal_values_of_every_kind() {
        let arena = Arena::new();
        for values in rising(&arena) {
            for (i, a) in values.iter().enumerate() {
                let row = Row::pack([Datum::Text("before"), *a, Datum::Null]);
                assert_eq!(row.unpack(), [Datum::Text("before"), *a, Datum::Null]);
                let mut skip = row.iter();
                skip.skip_one();
                assert_eq!(skip.skip_one(), Some(Row::pack([*a]).bytes()), "{a:?}");
                assert_eq!(skip.rest().len(), 1);
                for (j, b) in values.iter().enumerate() {
                    assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} {b:?}");
                    assert_eq!(Row::pack([*a]) == Row::pack([*b]), i == j, "{a:?} {b:?}");
                }
                assert!(*a < Datum::Null);
            }
        }
    }

    #[test]
    fn rows_end_to_end_come_apart_again() {
        let mut row = Row::pack([Datum::Int32(1)]);
        row.extend_packed(Row::pack([Datum::Text("x"), Datum::Null]).as_ref());
        assert_eq!(row.unpack(), [Datum::Int32(1), Datum::Text("x"), Datum::Null]);
        assert_eq!(Row::from_bytes(row.bytes()), row);
        row.clear();
        assert_eq!(row.iter().next(), None);
        assert_eq!(Row::default().as_ref().to_row(), Row::default());
    }

    #[test]
    fn blocks_keep_diffs_only_where_one_differs() {
        let mut block = RowBlock::default();
        assert!(block.is_empty() && block.is_append_only());
        block.push_datums([Datum::Int64(7)], 1);
        block.push(Row::default().as_ref(), 1);
        assert_eq!(block.parts().2, &[] as &[Diff]);
        block.push_datums([Datum::Text("gone")], -2);
        block.push_datums([Datum::Null], 1);
        assert_eq!(block.parts().2, [1, 1, -2, 1]);
        assert!(!block.is_append_only());
        let rows: Vec<(Row, Diff)> = block.iter().map(|(r, d)| (r.to_row(), d)).collect();
        assert_eq!(
            rows,
            [
                (Row::pack([Datum::Int64(7)]), 1),
                (Row::default(), 1),
                (Row::pack([Datum::Text("gone")]), -2),
                (Row::pack([Datum::Null]), 1)
            ]
        );
        let (data, ends, diffs) = block.parts();
        assert_eq!(RowBlock::from_parts(data.to_vec(), ends.to_vec(), diffs.to_vec()), block);
    }
}
