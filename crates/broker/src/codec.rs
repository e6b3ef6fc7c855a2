//! Compression of record batches. A few bytes can claim to be gigabytes, so there is a limit to what is unpacked.

use std::io::Read;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};

/// The most that a batch may be when it is unpacked.
pub const MAX_UNPACKED: usize = 256 << 20;

/// Unpacks the records of a batch with these attributes. None: they are damaged, too big, or of an unknown codec.
pub fn unpack(attributes: i16, packed: &[u8]) -> Option<Vec<u8>> {
    match attributes & 7 {
        0 => Some(packed.to_vec()),
        1 => read(flate2::read::MultiGzDecoder::new(packed)),
        2 => unsnap(packed),
        3 => read(lz4_flex::frame::FrameDecoder::new(packed)),
        4 => read(zstd::stream::read::Decoder::new(packed).ok()?),
        _ => None,
    }
}

fn read(reader: impl Read) -> Option<Vec<u8>> {
    let mut out = vec![];
    let n = reader.take(MAX_UNPACKED as u64 + 1).read_to_end(&mut out).ok()?;
    (n <= MAX_UNPACKED).then_some(out)
}

/// Snappy as one block, or in the frames of Java's library: a header of 16 bytes, then (length, block) of each.
fn unsnap(packed: &[u8]) -> Option<Vec<u8>> {
    const MAGIC: &[u8] = b"\x82SNAPPY\0";
    let block = |out: &mut Vec<u8>, block: &[u8]| {
        let n = snap::raw::decompress_len(block).ok().filter(|n| out.len() + n <= MAX_UNPACKED)?;
        let start = out.len();
        out.resize(start + n, 0);
        snap::raw::Decoder::new().decompress(block, &mut out[start..]).ok()
    };
    let mut out = vec![];
    if !packed.starts_with(MAGIC) {
        block(&mut out, packed)?;
        return Some(out);
    }
    let mut rest = packed.get(16..)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let (this, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        block(&mut out, this)?;
        rest = after;
    }
    Some(out)
}

/// Packs records as the attributes say. None: the library failed.
pub fn pack(attributes: i16, records: &[u8]) -> Option<Bytes> {
    let mut out = BytesMut::new();
    let put = |b: &mut BytesMut| {
        b.put_slice(records);
        Ok(())
    };
    match attributes & 7 {
        1 => Gzip::compress(&mut out, put),
        2 => Snappy::compress(&mut out, put),
        3 => Lz4::compress(&mut out, put),
        4 => Zstd::compress(&mut out, put),
        _ => put(&mut out),
    }
    .ok()?;
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_damage_does_not() {
        let records: Vec<u8> = (0..100_000u32).map(|n| (n / 7) as u8).collect();
        for codec in 0..5 {
            let packed = pack(codec, &records).expect("packed");
            assert!(codec == 0 || packed.len() < records.len() / 2, "{codec}");
            assert_eq!(unpack(codec, &packed).as_ref(), Some(&records), "{codec}");
            if codec != 0 {
                assert_eq!(unpack(codec, &packed[..packed.len() / 2]), None, "{codec}");
                assert_eq!(unpack(codec, b"no such thing"), None, "{codec}");
            }
        }
        assert_eq!(unpack(5, &records), None);
        assert_eq!(
            unpack(2, &snap::raw::Encoder::new().compress_vec(&records).expect("packed")),
            Some(records)
        );
    }

    #[test]
    fn bombs_are_not_unpacked() {
        let zeros = vec![0; MAX_UNPACKED + 1];
        for codec in [2, 4] {
            let packed = pack(codec, &zeros).expect("packed");
            assert_eq!(unpack(codec, &packed), None, "{codec}");
        }
        // One block that claims four gigabytes.
        assert_eq!(unpack(2, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]), None);
    }
}
