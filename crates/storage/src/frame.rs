//! The bytes of the log: file header, frames, blocks of rows, the trailer of a sealed file. `FORMAT.md` draws them.

use repr::{RowBlock, Timestamp};

use crate::codec::{Reader, put_i64, put_u64};
use crate::group::{BlockKind, ShardId};

/// The format that this program writes; it reads all before.
pub const VERSION: u32 = 2;
pub(crate) const FILE_HEADER: usize = 32;
pub(crate) const FRAME_HEADER: usize = 88;
pub(crate) const TRAILER: usize = 32;

const FILE_MAGIC: &[u8; 8] = b"DELTALOG";
const TRAILER_MAGIC: &[u8; 8] = b"DELTAEND";
const FRAME_MAGIC: [u8; 2] = *b"dM";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All that is not rows, as it was when the file was begun.
    Checkpoint = 1,
    /// A block of rows.
    Data = 2,
    /// The end of a group.
    Commit = 3,
    /// Which blocks the file holds.
    Footer = 4,
    /// Background work is done: runs in the place of parts of older files.
    Swap = 5,
}

/// The payload, or its compressible part, is an lz4 block.
pub(crate) const LZ4: u8 = 1;
/// No diff of the block is negative.
pub(crate) const APPEND_ONLY: u8 = 2;
/// The block has a diff a row; else each is +1.
pub(crate) const DIFFS: u8 = 4;

/// The fixed part of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// Bytes of the payload, as stored.
    pub(crate) length: u32,
    /// Bytes of the compressible part before compression.
    pub(crate) raw: u32,
    /// Checksum of the payload, as stored.
    pub(crate) crc: u32,
    /// One more than the frame before, over all files.
    pub(crate) sequence: u64,
    /// [`hash`] of the frame header before, over all files.
    pub(crate) previous: u64,
    /// The offset in this file below which all was durable when the frame was written.
    pub(crate) durable: u64,
    pub(crate) shard: ShardId,
    pub(crate) lower: Timestamp,
    pub(crate) upper: Timestamp,
    /// The sum of the diffs.
    pub(crate) net: i64,
    /// Data: how many rows. Commit: how many data frames the group has.
    pub(crate) rows: u32,
    /// Which of several logs (§12 of the design); 0 so far.
    pub(crate) log: u16,
    pub(crate) block: BlockKind,
}

impl Header {
    /// A header with nothing in it yet.
    pub(crate) fn new(kind: Kind) -> Header {
        Header {
            kind,
            flags: 0,
            length: 0,
            raw: 0,
            crc: 0,
            sequence: 0,
            previous: 0,
            durable: 0,
            shard: ShardId(0),
            lower: 0,
            upper: 0,
            net: 0,
            rows: 0,
            log: 0,
            block: BlockKind::Rows,
        }
    }

    pub(crate) fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut h = [0; FRAME_HEADER];
        h[..2].copy_from_slice(&FRAME_MAGIC);
        h[2] = self.kind as u8;
        h[3] = self.flags;
        h[4..8].copy_from_slice(&self.length.to_le_bytes());
        h[8..12].copy_from_slice(&self.raw.to_le_bytes());
        h[12..16].copy_from_slice(&self.crc.to_le_bytes());
        h[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        h[24..32].copy_from_slice(&self.previous.to_le_bytes());
        h[32..40].copy_from_slice(&self.durable.to_le_bytes());
        h[40..48].copy_from_slice(&self.shard.0.to_le_bytes());
        h[48..56].copy_from_slice(&self.lower.to_le_bytes());
        h[56..64].copy_from_slice(&self.upper.to_le_bytes());
        h[64..72].copy_from_slice(&self.net.to_le_bytes());
        h[72..76].copy_from_slice(&self.rows.to_le_bytes());
        h[76..78].copy_from_slice(&self.log.to_le_bytes());
        h[78] = block_code(self.block);
        let crc = crc32c::crc32c(&h[..84]);
        h[84..].copy_from_slice(&crc.to_le_bytes());
        h
    }

    /// The header at the front of `bytes`, if there is one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let h: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
        if h[..2] != FRAME_MAGIC || u32_at(h, 84) != crc32c::crc32c(&h[..84]) {
            return None;
        }
        let kind = match h[2] {
            1 => Kind::Checkpoint,
            2 => Kind::Data,
            3 => Kind::Commit,
            4 => Kind::Footer,
            5 => Kind::Swap,
            _ => return None,
        };
        Some(Header {
            kind,
            flags: h[3],
            length: u32_at(h, 4),
            raw: u32_at(h, 8),
            crc: u32_at(h, 12),
            sequence: u64_at(h, 16),
            previous: u64_at(h, 24),
            durable: u64_at(h, 32),
            shard: ShardId(u64_at(h, 40)),
            lower: u64_at(h, 48),
            upper: u64_at(h, 56),
            net: u64_at(h, 64) as i64,
            rows: u32_at(h, 72),
            log: u16::from_le_bytes([h[76], h[77]]),
            block: block_kind(h[78])?,
        })
    }

    /// The bytes of the frame, header included.
    pub(crate) fn frame_len(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.length)
    }
}

pub(crate) fn block_code(kind: BlockKind) -> u8 {
    match kind {
        BlockKind::Rows => 0,
        BlockKind::Errors => 1,
    }
}

pub(crate) fn block_kind(code: u8) -> Option<BlockKind> {
    match code {
        0 => Some(BlockKind::Rows),
        1 => Some(BlockKind::Errors),
        _ => None,
    }
}

fn u32_at(h: &[u8], i: usize) -> u32 {
    u32::from_le_bytes([h[i], h[i + 1], h[i + 2], h[i + 3]])
}

fn u64_at(h: &[u8], i: usize) -> u64 {
    u64::from(u32_at(h, i)) | u64::from(u32_at(h, i + 4)) << 32
}

/// What the next frame says about this encoded header (FNV-1a of its bytes, finished as in murmur).
pub(crate) fn hash(header: &[u8; FRAME_HEADER]) -> u64 {
    let mut h = header
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ (h >> 33)
}

/// The start of a log file or run.
pub(crate) fn file_header(number: u64, run: bool) -> [u8; FILE_HEADER] {
    let mut h = [0; FILE_HEADER];
    h[..8].copy_from_slice(FILE_MAGIC);
    h[8..12].copy_from_slice(&VERSION.to_le_bytes());
    h[12..16].copy_from_slice(&u32::from(run).to_le_bytes());
    h[16..24].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&h[..28]);
    h[28..].copy_from_slice(&crc.to_le_bytes());
    h
}

/// What a file header turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileHeader {
    /// A file of this number and kind, of a version that is known here.
    Good(u32),
    /// Sound, but of another file.
    Number(u64),
    /// Of a version that is not known here.
    Version(u32),
    /// Not a header.
    Bad,
}

pub(crate) fn check_file_header(h: &[u8; FILE_HEADER], number: u64, run: bool) -> FileHeader {
    if h[..8] != *FILE_MAGIC {
        return FileHeader::Bad;
    }
    // Of another version nothing but the place of its number is known.
    match u32_at(h, 8) {
        0 => FileHeader::Bad,
        ..=VERSION if u32_at(h, 28) != crc32c::crc32c(&h[..28]) => FileHeader::Bad,
        ..=VERSION if u32_at(h, 12) != u32::from(run) => FileHeader::Bad,
        ..=VERSION if u64_at(h, 16) != number => FileHeader::Number(u64_at(h, 16)),
        version @ ..=VERSION => FileHeader::Good(version),
        other => FileHeader::Version(other),
    }
}

/// The end of a sealed file: where its footer frame is, and that frame's hash.
pub(crate) fn trailer(footer: u64, hash: u64) -> [u8; TRAILER] {
    let mut t = [0; TRAILER];
    t[..8].copy_from_slice(TRAILER_MAGIC);
    t[8..16].copy_from_slice(&footer.to_le_bytes());
    t[16..24].copy_from_slice(&hash.to_le_bytes());
    let crc = crc32c::crc32c(&t[..28]);
    t[28..].copy_from_slice(&crc.to_le_bytes());
    t
}

/// (offset, hash) of the footer frame that a trailer names, if it is one.
pub(crate) fn check_trailer(t: &[u8; TRAILER]) -> Option<(u64, u64)> {
    let good = t[..8] == *TRAILER_MAGIC && u32_at(t, 28) == crc32c::crc32c(&t[..28]);
    good.then(|| (u64_at(t, 8), u64_at(t, 16)))
}

/// Appends bytes, compressed if that makes them smaller; whether it did.
fn put_compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    if bytes.len() < 64 {
        out.extend_from_slice(bytes);
        return false;
    }
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
    match lz4_flex::block::compress_into(bytes, &mut out[start..]) {
        Ok(n) if n < bytes.len() => {
            out.truncate(start + n);
            true
        }
        _ => {
            out.truncate(start);
            out.extend_from_slice(bytes);
            false
        }
    }
}

fn decompress(stored: &[u8], compressed: bool, raw: u32) -> Option<Vec<u8>> {
    if !compressed {
        return (stored.len() == raw as usize).then(|| stored.to_vec());
    }
    let mut out = vec![0; raw as usize];
    let n = lz4_flex::block::decompress_into(stored, &mut out).ok()?;
    (n == out.len()).then_some(out)
}

/// Appends the payload of a checkpoint, commit or footer, and completes its header.
pub(crate) fn put_plain(out: &mut Vec<u8>, header: &mut Header, payload: &[u8]) {
    let start = out.len();
    header.flags = if put_compressed(out, payload) { LZ4 } else { 0 };
    header.raw = payload.len().try_into().expect("catalogs are far below 4 GiB");
    header.length = (out.len() - start).try_into().expect("no longer than raw");
    header.crc = crc32c::crc32c(&out[start..]);
}

/// What [`put_plain`] was given.
pub(crate) fn take_plain(header: &Header, stored: &[u8]) -> Option<Vec<u8>> {
    decompress(stored, header.flags & LZ4 != 0, header.raw)
}

/// Appends the payload of a data frame for rows `from..to` of a block, and completes its header.
pub(crate) fn put_block(out: &mut Vec<u8>, header: &mut Header, block: &RowBlock, from: usize, to: usize) {
    let (data, ends, diffs) = block.parts();
    let first = if from == 0 { 0 } else { ends[from - 1] };
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut last = first;
    for end in &ends[from..to] {
        put_u64(out, u64::from(end - last));
        last = *end;
    }
    header.flags = APPEND_ONLY;
    header.net = (to - from) as i64;
    if !diffs.is_empty() {
        header.net = 0;
        header.flags |= DIFFS;
        for diff in &diffs[from..to] {
            put_i64(out, *diff);
            header.net = header.net.saturating_add(*diff);
            if *diff < 0 {
                header.flags &= !APPEND_ONLY;
            }
        }
    }
    let columns = u32::try_from(out.len() - start - 4).expect("blocks are cut before 4 GiB");
    out[start..start + 4].copy_from_slice(&columns.to_le_bytes());
    let data = &data[first as usize..last as usize];
    if put_compressed(out, data) {
        header.flags |= LZ4;
    }
    header.raw = data.len().try_into().expect("blocks are cut before 4 GiB");
    header.rows = (to - from).try_into().expect("blocks are cut before 4 GiB");
    header.length = (out.len() - start).try_into().expect("blocks are cut before 4 GiB");
    header.crc = crc32c::crc32c(&out[start..]);
}

/// The end of the rows from `from` on that a block of so many bytes holds: at least one.
pub(crate) fn cut(ends: &[u32], from: usize, bytes: usize) -> usize {
    let start = if from == 0 { 0 } else { ends[from - 1] as usize };
    let rows = ends[from..].partition_point(|end| (*end as usize) < start + bytes);
    (from + rows + 1).min(ends.len())
}

/// The rows of a data frame, if its payload is one.
pub(crate) fn take_block(header: &Header, stored: &[u8]) -> Option<RowBlock> {
    let (columns_len, rest) = stored.split_first_chunk()?;
    let (columns, data) = rest.split_at_checked(u32::from_le_bytes(*columns_len) as usize)?;
    let rows = header.rows as usize;
    if rows > columns.len() || header.raw as usize > RowBlock::MAX_BYTES {
        return None;
    }
    let mut reader = Reader(columns);
    let mut end = 0u32;
    let mut ends = Vec::with_capacity(rows);
    for _ in 0..rows {
        end = end.checked_add(reader.u32()?)?;
        ends.push(end);
    }
    let mut diffs = Vec::new();
    if header.flags & DIFFS != 0 {
        diffs.reserve(rows);
        for _ in 0..rows {
            diffs.push(reader.i64()?);
        }
    }
    reader.end()?;
    let data = decompress(data, header.flags & LZ4 != 0, header.raw)?;
    (end as usize == data.len()).then(|| RowBlock::from_parts(data, ends, diffs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use repr::{Datum, Row};

    fn block(rows: usize, diffs: bool) -> RowBlock {
        let mut block = RowBlock::default();
        for i in 0..rows {
            let row = Row::pack([Datum::Int64(i as i64), Datum::Text(&"abc".repeat(i % 50))]);
            block.push(row.as_ref(), if diffs && i % 3 == 0 { -2 } else { 1 });
        }
        block
    }

    #[test]
    fn blocks_come_back_whole_and_in_parts() {
        for (rows, diffs) in [(0, false), (1, false), (1, true), (1000, false), (1000, true)] {
            let block = block(rows, diffs);
            for (from, to) in [(0, rows), (rows / 3, rows / 2), (rows, rows)] {
                let (mut out, mut header) = (b"before".to_vec(), Header::new(Kind::Data));
                put_block(&mut out, &mut header, &block, from, to);
                let back = take_block(&header, &out[6..]).expect("sound");
                assert!(back.iter().eq(block.iter().skip(from).take(to - from)));
                assert_eq!(header.net, back.iter().map(|(_, d)| d).sum::<i64>());
                assert_eq!(header.flags & APPEND_ONLY != 0, back.is_append_only());
            }
        }
    }

    #[test]
    fn headers_come_back_and_every_bit_counts() {
        let mut header = Header::new(Kind::Commit);
        header.sequence = 7;
        header.net = -3;
        header.block = BlockKind::Errors;
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..FRAME_HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), None);
            assert_ne!(hash(&flipped), hash(&bytes));
        }
    }

    #[test]
    fn damaged_payloads_are_refused_without_a_panic() {
        let (mut out, mut header) = (Vec::new(), Header::new(Kind::Data));
        put_block(&mut out, &mut header, &block(100, true), 0, 100);
        for cut in 0..out.len() {
            assert!(take_block(&header, &out[..cut]).is_none());
        }
        for at in 0..out.len() {
            let mut damaged = out.clone();
            damaged[at] ^= 0x55;
            // The checksum catches these; here only that nothing worse than nonsense comes out.
            let _ = take_block(&header, &damaged);
        }
    }
}
