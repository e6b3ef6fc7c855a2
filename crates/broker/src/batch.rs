//! Record batches of Kafka (format 2), looked at as far as a broker must: the header, and timestamps where they are not
//! compressed.
//!
//! ```text
//!   0  base offset i64        17  crc-32c of 21.. u32      43  producer id i64
//!   8  length of 12.. i32     21  attributes i16           51  producer epoch i16
//!   12 leader epoch i32       23  last offset delta i32    53  base sequence i32
//!   16 format i8 = 2          27  base timestamp i64       57  records i32
//!                             35  max timestamp i64        61  records …
//! ```
//!
//! Base offset and leader epoch lie outside the checksum and the records hold only differences, so a batch is stored and
//! served as it was produced, compressed or not.

use bytes::Bytes;

use crate::codec;

/// The bytes before the records.
pub const HEADER: usize = 61;

/// The largest batch that is taken.
pub const MAX_BATCH: usize = 64 << 20;

/// What a batch's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The offset of its first record.
    pub base: i64,
    /// The offset of its last record less `base`.
    pub last_delta: i32,
    /// Compression, kind of timestamp, transactional, control.
    pub attributes: i16,
    /// What record timestamps are differences to.
    pub base_timestamp: i64,
    /// The greatest timestamp of its records.
    pub max_timestamp: i64,
    /// The idempotent producer, or -1.
    pub producer: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The producer's number of the first record.
    pub sequence: i32,
    /// How many records.
    pub records: i32,
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not exactly one batch of format 2 with a fitting checksum.
    Corrupt,
    /// Bigger than [`MAX_BATCH`].
    TooLarge,
    /// A marker, which only the broker writes.
    Control,
}

impl Header {
    /// Reads a header that was checked before. None if there are too few bytes.
    pub fn read(batch: &[u8]) -> Option<Header> {
        let i16_at = |at: usize| Some(i16::from_be_bytes(batch.get(at..at + 2)?.try_into().ok()?));
        let i32_at = |at: usize| Some(i32::from_be_bytes(batch.get(at..at + 4)?.try_into().ok()?));
        let i64_at = |at: usize| Some(i64::from_be_bytes(batch.get(at..at + 8)?.try_into().ok()?));
        Some(Header {
            base: i64_at(0)?,
            attributes: i16_at(21)?,
            last_delta: i32_at(23)?,
            base_timestamp: i64_at(27)?,
            max_timestamp: i64_at(35)?,
            producer: i64_at(43)?,
            epoch: i16_at(51)?,
            sequence: i32_at(53)?,
            records: i32_at(57)?,
        })
    }

    /// The header of exactly one batch of format 2 with a fitting checksum.
    pub fn sound(batch: &[u8]) -> Option<Header> {
        let header = Header::read(batch).filter(|_| batch.len() >= HEADER)?;
        let number = |at: usize| Some(u32::from_be_bytes(batch.get(at..at + 4)?.try_into().ok()?));
        let whole = number(8)? as usize + 12 == batch.len() && batch[16] == 2;
        (whole && crc32c::crc32c(&batch[21..]) == number(17)?).then_some(header)
    }

    /// Checks what a producer sent. A produce request of our versions carries one batch a partition.
    pub fn check(batch: &[u8]) -> Result<Header, Refused> {
        if batch.len() > MAX_BATCH {
            return Err(Refused::TooLarge);
        }
        let header = Header::sound(batch).ok_or(Refused::Corrupt)?;
        if header.records <= 0 || header.last_delta != header.records - 1 {
            return Err(Refused::Corrupt);
        }
        if header.is_control() {
            return Err(Refused::Control);
        }
        if header.is_transactional() && header.producer < 0 {
            return Err(Refused::Corrupt);
        }
        Ok(header)
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it is a marker at the end of a transaction.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// The offset of its last record.
    pub fn last(&self) -> i64 {
        self.base + i64::from(self.last_delta)
    }

    /// The producer's number of the last record; numbers wrap at 2^31.
    pub fn last_sequence(&self) -> i32 {
        self.sequence.wrapping_add(self.last_delta) & i32::MAX
    }
}

/// Gives a batch its place in a partition.
pub fn place(batch: &mut [u8], base: i64) {
    batch[..8].copy_from_slice(&base.to_be_bytes());
    batch[12..16].copy_from_slice(&0i32.to_be_bytes());
}

/// Gives all records of a batch one timestamp, that of their arrival.
pub fn stamp(batch: &mut [u8], time: i64) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&time.to_be_bytes());
    seal(batch);
}

/// Computes the checksum of a batch.
fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// In a batch's attributes: it is part of a transaction; it is a marker of the broker.
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
/// The bytes of a marker's record.
pub const MARKER: usize = 17;

/// The marker that ends a producer's transaction in a partition.
pub fn marker(producer: i64, epoch: i16, committed: bool, time: i64, base: i64) -> (Header, Bytes) {
    let header = Header {
        base,
        last_delta: 0,
        attributes: TRANSACTIONAL | CONTROL,
        base_timestamp: time,
        max_timestamp: time,
        producer,
        epoch,
        sequence: -1,
        records: 1,
    };
    // Length, attributes, differences; a key of version 0 and what it is; a value of version 0 and epoch 0; no headers.
    let mut record = [0; MARKER];
    (record[0], record[4], record[9]) = (2 * (MARKER as u8 - 1), 2 * 4, 2 * 6);
    record[8] = u8::from(committed);
    with_records(&header, 1, &record).expect("it is not packed")
}

/// Whether a marker says that its transaction was committed.
pub fn committed(batch: &[u8]) -> Option<bool> {
    let header = Header::read(batch)?;
    let record = records(&header, batch.get(HEADER..)?).next()??;
    Some(record.key? == [0, 0, 0, 1])
}

/// In a batch's attributes: all its records have its greatest timestamp.
const APPEND_TIME: i16 = 8;

/// The timestamp and offset of the first record that is not older than `timestamp`. In a compressed batch it is the first
/// record: a reader gets some that are older, and none too few.
pub fn find_timestamp(batch: &[u8], timestamp: i64) -> Option<(i64, i64)> {
    let header = Header::read(batch)?;
    if header.max_timestamp < timestamp {
        return None;
    }
    if header.attributes & APPEND_TIME != 0 {
        return Some((header.max_timestamp, header.base));
    }
    let first = (header.base_timestamp, header.base);
    if header.attributes & 7 != 0 {
        return Some(first);
    }
    let records = records(&header, batch.get(HEADER..)?);
    let found = records.map_while(|r| r).find(|r| r.timestamp >= timestamp);
    Some(found.map_or(first, |r| (r.timestamp, r.offset)))
}

/// A record of an unpacked batch.
pub struct Record<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Its time.
    pub timestamp: i64,
    /// Its place in the partition.
    pub offset: i64,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Whether it has a value.
    pub has_value: bool,
}

/// The records of a batch whose records are unpacked. After one that is damaged (None) there are no more.
pub fn records<'a>(header: &Header, mut rest: &'a [u8]) -> impl Iterator<Item = Option<Record<'a>>> {
    let (base, base_timestamp) = (header.base, header.base_timestamp);
    let mut sound = true;
    (0..header.records).map_while(move |_| {
        if !sound {
            return None;
        }
        let record = record(&mut rest, base, base_timestamp);
        sound = record.is_some();
        Some(record)
    })
}

fn record<'a>(rest: &mut &'a [u8], base: i64, base_timestamp: i64) -> Option<Record<'a>> {
    let all = *rest;
    let length = usize::try_from(varint(rest)?).ok()?;
    let (mut record, after) = rest.split_at_checked(length)?;
    let bytes = &all[..all.len() - after.len()];
    *rest = after;
    // One byte of attributes, then the differences of time and offset, then key and value.
    record = record.get(1..)?;
    let timestamp = base_timestamp.wrapping_add(varint(&mut record)?);
    let offset = base.wrapping_add(varint(&mut record)?);
    let key = match usize::try_from(varint(&mut record)?) {
        Ok(n) => {
            let (key, after) = record.split_at_checked(n)?;
            record = after;
            Some(key)
        }
        Err(_) => None,
    };
    let has_value = varint(&mut record)? >= 0;
    Some(Record { bytes, timestamp, offset, key, has_value })
}

/// A batch with only some of its records (their bytes, unpacked), at the same offsets.
pub fn with_records(header: &Header, n: i32, records: &[u8]) -> Option<(Header, Bytes)> {
    let header = Header { records: n, ..*header };
    let packed = codec::pack(header.attributes, records)?;
    let mut out = Vec::with_capacity(HEADER + packed.len());
    out.extend(header.base.to_be_bytes());
    out.extend(((HEADER - 12 + packed.len()) as i32).to_be_bytes());
    out.extend(0i32.to_be_bytes());
    out.push(2);
    out.extend([0; 4]);
    out.extend(header.attributes.to_be_bytes());
    out.extend(header.last_delta.to_be_bytes());
    out.extend(header.base_timestamp.to_be_bytes());
    out.extend(header.max_timestamp.to_be_bytes());
    out.extend(header.producer.to_be_bytes());
    out.extend(header.epoch.to_be_bytes());
    out.extend(header.sequence.to_be_bytes());
    out.extend(header.records.to_be_bytes());
    out.extend_from_slice(&packed);
    seal(&mut out);
    Some((header, Bytes::from(out)))
}

/// A zigzag varint of at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (b, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(b & 0x7f) << shift;
        if *b < 0x80 {
            return Some((n >> 1) as i64 ^ -((n & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn zigzag(out: &mut Vec<u8>, n: i64) {
        let mut n = ((n << 1) ^ (n >> 63)) as u64;
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }

    fn optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
        zigzag(out, bytes.map_or(-1, |b| b.len() as i64));
        out.extend_from_slice(bytes.unwrap_or_default());
    }

    type Written<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>);

    /// An uncompressed batch of these (timestamp, key, value).
    fn written(records: &[Written], producer: i64, sequence: i32) -> Vec<u8> {
        let mut body = vec![];
        for (i, (time, key, value)) in records.iter().enumerate() {
            let mut record = vec![0];
            zigzag(&mut record, time - records[0].0);
            zigzag(&mut record, i as i64);
            optional(&mut record, *key);
            optional(&mut record, *value);
            zigzag(&mut record, 0);
            zigzag(&mut body, record.len() as i64);
            body.extend(record);
        }
        let header = Header {
            base: 0,
            last_delta: records.len() as i32 - 1,
            attributes: 0,
            base_timestamp: records[0].0,
            max_timestamp: records.iter().map(|r| r.0).max().expect("some"),
            producer,
            epoch: 0,
            sequence,
            records: 0,
        };
        with_records(&header, records.len() as i32, &body).expect("not packed").1.to_vec()
    }

    /// An uncompressed batch of these (timestamp, value).
    pub(crate) fn batch(records: &[(i64, &[u8])], producer: i64, sequence: i32) -> Vec<u8> {
        let records: Vec<Written> = records.iter().map(|(t, v)| (*t, None, Some(*v))).collect();
        written(&records, producer, sequence)
    }

    /// An uncompressed batch of these (key, value).
    pub(crate) fn keyed(records: &[(&str, Option<&str>)]) -> Vec<u8> {
        let records: Vec<Written> =
            records.iter().map(|(k, v)| (0, Some(k.as_bytes()), v.map(str::as_bytes))).collect();
        written(&records, -1, -1)
    }

    #[test]
    fn a_batch_keeps_its_checksum_when_it_gets_its_place() {
        let mut b = batch(&[(10, b"a"), (30, b"b"), (20, b"c")], 7, 5);
        place(&mut b, 100);
        let header = Header::check(&b).expect("sound");
        assert_eq!((header.base, header.last(), header.last_sequence()), (100, 102, 7));
        assert_eq!(find_timestamp(&b, 5), Some((10, 100)));
        assert_eq!(find_timestamp(&b, 15), Some((30, 101)));
        assert_eq!(find_timestamp(&b, 31), None);
    }

    /// Makes a batch part of a transaction.
    pub(crate) fn make_transactional(batch: &mut [u8]) {
        batch[22] |= TRANSACTIONAL as u8;
        seal(batch);
    }

    #[test]
    fn markers_say_how_it_ended() {
        for end in [true, false] {
            let (header, bytes) = marker(7, 3, end, 1_000, 42);
            assert_eq!(Header::sound(&bytes), Some(header));
            assert_eq!(committed(&bytes), Some(end));
            assert_eq!(bytes.len(), HEADER + MARKER);
            assert_eq!(Header::check(&bytes), Err(Refused::Control), "no client writes them");
        }
    }

    #[test]
    fn damage_anywhere_is_refused() {
        let good = batch(&[(10, b"abc")], -1, -1);
        for at in (8..12).chain(16..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(Header::check(&bad), Err(Refused::Corrupt), "byte {at}");
        }
        for cut in 0..good.len() {
            assert_eq!(Header::check(&good[..cut]), Err(Refused::Corrupt));
        }
    }
}
