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
    /// Part of a transaction, or a control batch.
    Transactional,
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

    /// Checks what a producer sent.
    pub fn check(batch: &[u8]) -> Result<Header, Refused> {
        if batch.len() > MAX_BATCH {
            return Err(Refused::TooLarge);
        }
        // A produce request of our versions carries one batch a partition. Older formats and trailing bytes are refused.
        let header = Header::read(batch).filter(|_| batch.len() >= HEADER).ok_or(Refused::Corrupt)?;
        let number =
            |at: usize| u32::from_be_bytes(batch[at..at + 4].try_into().expect("the header is there"));
        let whole = number(8) as usize + 12 == batch.len() && batch[16] == 2;
        if !whole || crc32c::crc32c(&batch[21..]) != number(17) {
            return Err(Refused::Corrupt);
        }
        if header.records <= 0 || header.last_delta != header.records - 1 {
            return Err(Refused::Corrupt);
        }
        if header.attributes & 0x30 != 0 {
            return Err(Refused::Transactional);
        }
        Ok(header)
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

/// The timestamp and offset of the first record that is not older than `timestamp`. In a compressed batch it is the first
/// record: a reader gets some that are older, and none too few.
pub fn find_timestamp(batch: &[u8], timestamp: i64) -> Option<(i64, i64)> {
    let header = Header::read(batch)?;
    if header.max_timestamp < timestamp {
        return None;
    }
    let first = (header.base_timestamp, header.base);
    if header.attributes & 7 != 0 {
        return Some(first);
    }
    let mut rest = batch.get(HEADER..)?;
    for _ in 0..header.records {
        let Some(length) = varint(&mut rest).and_then(|n| usize::try_from(n).ok()) else {
            return Some(first);
        };
        let Some((mut record, after)) = rest.split_at_checked(length) else { return Some(first) };
        rest = after;
        // One byte of attributes, then the differences of time and offset.
        record = record.get(1..).unwrap_or_default();
        let (Some(time), Some(offset)) = (varint(&mut record), varint(&mut record)) else {
            return Some(first);
        };
        let time = header.base_timestamp.wrapping_add(time);
        if time >= timestamp {
            return Some((time, header.base.wrapping_add(offset)));
        }
    }
    Some(first)
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

    /// An uncompressed batch of these (timestamp, value).
    pub(crate) fn batch(records: &[(i64, &[u8])], producer: i64, sequence: i32) -> Vec<u8> {
        let zigzag = |out: &mut Vec<u8>, n: i64| {
            let mut n = ((n << 1) ^ (n >> 63)) as u64;
            while n >= 0x80 {
                out.push(n as u8 | 0x80);
                n >>= 7;
            }
            out.push(n as u8);
        };
        let base_time = records[0].0;
        let mut body = vec![];
        for (i, (time, value)) in records.iter().enumerate() {
            let mut record = vec![0];
            zigzag(&mut record, time - base_time);
            zigzag(&mut record, i as i64);
            zigzag(&mut record, -1);
            zigzag(&mut record, value.len() as i64);
            record.extend_from_slice(value);
            zigzag(&mut record, 0);
            zigzag(&mut body, record.len() as i64);
            body.extend(record);
        }
        let mut out = vec![0; 8];
        out.extend(((HEADER - 12 + body.len()) as i32).to_be_bytes());
        out.extend((-1i32).to_be_bytes());
        out.push(2);
        out.extend([0; 4]);
        out.extend(0i16.to_be_bytes());
        out.extend((records.len() as i32 - 1).to_be_bytes());
        out.extend(base_time.to_be_bytes());
        out.extend(records.iter().map(|r| r.0).max().expect("some").to_be_bytes());
        out.extend(producer.to_be_bytes());
        out.extend(0i16.to_be_bytes());
        out.extend(sequence.to_be_bytes());
        out.extend((records.len() as i32).to_be_bytes());
        out.extend(body);
        let crc = crc32c::crc32c(&out[21..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
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
