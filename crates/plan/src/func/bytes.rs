//! `bytea`: encodings, hashes, and what a webhook needs to check a signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use repr::error::{SqlState, code};
use repr::{Datum, EvalError};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::numeric::int4;
use super::registry::{FAILS, LAX, MAYBE, PURE, Table};

pub(super) fn bytes<'a>(d: &Datum<'a>) -> &'a [u8] {
    match d {
        Datum::Bytes(b) => b,
        Datum::Text(s) => s.as_bytes(),
        other => panic!("expected bytes, found {other:?}"),
    }
}

pub(super) fn register(t: &mut Table) {
    t.add("bytea_concat", "bytea || bytea -> bytea", PURE, |a, _, m| {
        Ok(Datum::Bytes(m.bytes(&[bytes(&a[0]), bytes(&a[1])].concat())))
    });
    t.add(
        "octet_length",
        "octet_length(text) -> int4; octet_length(bytea) -> int4 -- bytes",
        PURE,
        |a, _, _| Ok(Datum::Int32(bytes(&a[0]).len() as i32)),
    );
    t.also("octet_length", "length(bytea) -> int4");
    t.add("bit_length", "bit_length(text) -> int4; bit_length(bytea) -> int4", PURE, |a, _, _| {
        Ok(Datum::Int32(bytes(&a[0]).len() as i32 * 8))
    });
    t.add("bit_count", "bit_count(bytea) -> int8 -- how many bits are set", PURE, |a, _, _| {
        Ok(Datum::Int64(bytes(&a[0]).iter().map(|b| i64::from(b.count_ones())).sum()))
    });
    t.add("get_byte", "get_byte(bytea, int4) -> int4", FAILS, |a, _, _| {
        let b = bytes(&a[0]);
        Ok(Datum::Int32(b[index(int4(&a[1]).into(), b.len())?].into()))
    });
    t.add("set_byte", "set_byte(bytea, int4, int4) -> bytea", FAILS, |a, _, m| {
        let mut b = bytes(&a[0]).to_vec();
        let i = index(int4(&a[1]).into(), b.len())?;
        b[i] = int4(&a[2]) as u8;
        Ok(Datum::Bytes(m.bytes(&b)))
    });
    t.add("set_bit", "set_bit(bytea, int8, int4) -> bytea", FAILS, |a, _, m| {
        let mut b = bytes(&a[0]).to_vec();
        let i = index(a[1].int(), b.len() * 8)?;
        match int4(&a[2]) {
            0 => b[i / 8] &= !(1 << (i % 8)),
            1 => b[i / 8] |= 1 << (i % 8),
            _ => return Err(EvalError::new(code::INVALID_PARAMETER_VALUE, "new bit must be 0 or 1")),
        }
        Ok(Datum::Bytes(m.bytes(&b)))
    });
    t.add("get_bit", "get_bit(bytea, int8) -> int4", FAILS, |a, _, _| {
        let b = bytes(&a[0]);
        let i = index(a[1].int(), b.len() * 8)?;
        Ok(Datum::Int32((b[i / 8] >> (i % 8) & 1).into()))
    });
    t.add(
        "bytea_substring",
        "substring(bytea, int4) -> bytea; substr(bytea, int4) -> bytea",
        PURE,
        |a, _, _| {
            let b = bytes(&a[0]);
            let from = (i64::from(int4(&a[1])) - 1).clamp(0, b.len() as i64) as usize;
            Ok(Datum::Bytes(&b[from..]))
        },
    );
    t.add(
        "bytea_substring_for",
        "substring(bytea, int4, int4) -> bytea; substr(bytea, int4, int4) -> bytea",
        FAILS,
        |a, _, _| {
            let b = bytes(&a[0]);
            let (from, to) = super::text::substring_range(int4(&a[1]).into(), int4(&a[2]).into())?;
            let clamp = |n: i64| n.clamp(0, b.len() as i64) as usize;
            Ok(Datum::Bytes(&b[clamp(from)..clamp(to)]))
        },
    );
    t.add("bytea_position", "position(bytea, bytea) -> int4", PURE, |a, _, _| {
        let (all, part) = (bytes(&a[0]), bytes(&a[1]));
        let at = if part.is_empty() { Some(0) } else { all.windows(part.len()).position(|w| w == part) };
        Ok(Datum::Int32(at.map_or(0, |i| i as i32 + 1)))
    });

    t.add("encode", "encode(bytea, text) -> text -- as hex, base64 or escape", FAILS, |a, _, m| {
        encode(bytes(&a[0]), a[1].text()).map(|s| Datum::Text(m.text(&s)))
    });
    t.add("decode", "decode(text, text) -> bytea -- from hex, base64 or escape", FAILS, |a, _, m| {
        decode(a[0].text(), a[1].text()).map(|b| Datum::Bytes(m.bytes(&b)))
    });
    t.add(
        "convert_from",
        "convert_from(bytea, text) -> text -- text from bytes in an encoding",
        FAILS,
        |a, _, m| convert_from(bytes(&a[0]), a[1].text(), m),
    );
    t.add("convert_to", "convert_to(text, text) -> bytea -- bytes of text in an encoding", FAILS, |a, _, m| {
        let text = a[0].text();
        match encoding(a[1].text()) {
            Some(Encoding::Utf8) => Ok(Datum::Bytes(text.as_bytes())),
            Some(Encoding::Latin1) => {
                let byte = |c: char| {
                    u8::try_from(c as u32).map_err(|_| {
                        EvalError::new(
                            code::UNTRANSLATABLE_CHARACTER,
                            format!(
                                "character with byte sequence {} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
                                hex_list(c.encode_utf8(&mut [0; 4]).as_bytes())
                            ),
                        )
                    })
                };
                let bytes = text.chars().map(byte).collect::<Result<Vec<u8>, _>>()?;
                Ok(Datum::Bytes(m.bytes(&bytes)))
            }
            None => Err(unknown_encoding("destination", a[1].text())),
        }
    });

    t.add("md5", "md5(text) -> text; md5(bytea) -> text", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&hex::encode(md5::Md5::digest(bytes(&a[0]))))))
    });
    macro_rules! sha {
        ($($name:literal $hash:ty;)*) => {$(
            t.add($name, concat!($name, "(bytea) -> bytea"), PURE, |a, _, m| {
                Ok(Datum::Bytes(m.bytes(&<$hash>::digest(bytes(&a[0])))))
            });
        )*};
    }
    sha! { "sha1" Sha1; "sha224" Sha224; "sha256" Sha256; "sha384" Sha384; "sha512" Sha512; }
    t.add(
        "digest",
        "digest(text, text) -> bytea; digest(bytea, text) -> bytea -- a hash by the algorithm's name",
        FAILS,
        |a, _, m| digest(bytes(&a[0]), a[1].text()).map(|b| Datum::Bytes(m.bytes(&b))),
    );
    t.add(
        "hmac",
        "hmac(text, text, text) -> bytea; hmac(bytea, bytea, text) -> bytea -- a keyed hash of (data, key, algorithm)",
        FAILS,
        |a, _, m| hmac(bytes(&a[0]), bytes(&a[1]), a[2].text()).map(|b| Datum::Bytes(m.bytes(&b))),
    );
    t.add(
        "constant_time_eq",
        "constant_time_eq(text, text) -> bool; constant_time_eq(bytea, bytea) -> bool -- equality whose time tells nothing",
        PURE,
        |a, _, _| {
            let (x, y) = (bytes(&a[0]), bytes(&a[1]));
            let differing = x.iter().zip(y).fold(0, |d, (x, y)| d | (x ^ y));
            Ok(Datum::Bool(x.len() == y.len() && std::hint::black_box(differing) == 0))
        },
    );
    t.add(
        "segment_signature_valid",
        "segment_signature_valid(text, text, text) -> bool; segment_signature_valid(bytea, text, bytea) -> bool \
         -- whether Segment signed the body: (body, x-signature, secret)",
        LAX,
        |a, _, _| {
            if a.iter().any(Datum::is_null) {
                return Ok(Datum::Bool(false));
            }
            Ok(Datum::Bool(segment_signature_valid(bytes(&a[0]), a[1].text(), bytes(&a[2]))))
        },
    );
    t.add(
        "json_array_first_raw",
        "json_array_first_raw(text) -> text; json_array_first_raw(bytea) -> bytea \
         -- the first element of a JSON array as it stands there, else NULL",
        MAYBE,
        |a, _, _| {
            let first = first_element(bytes(&a[0]));
            Ok(match (a[0], first) {
                (_, None) => Datum::Null,
                (Datum::Text(_), Some(s)) => Datum::Text(s),
                (_, Some(s)) => Datum::Bytes(s.as_bytes()),
            })
        },
    );
    t.add("crc32", "crc32(text) -> uint4; crc32(bytea) -> uint4", PURE, |a, _, _| {
        let table = crc32_table();
        let crc = bytes(&a[0]).iter().fold(!0u32, |c, b| table[usize::from(c as u8 ^ b)] ^ (c >> 8));
        Ok(Datum::UInt32(!crc))
    });
    t.add("seahash", "seahash(text) -> uint8; seahash(bytea) -> uint8", PURE, |a, _, _| {
        Ok(Datum::UInt64(seahash::hash(bytes(&a[0]))))
    });
    t.add(
        "kafka_murmur2",
        "kafka_murmur2(text) -> int4; kafka_murmur2(bytea) -> int4 -- the hash of Kafka's default partitioner",
        PURE,
        |a, _, _| Ok(Datum::Int32(murmur2(bytes(&a[0])))),
    );
    t.add(
        "uuid_generate_v5",
        "uuid_generate_v5(uuid, text) -> uuid -- a UUID from a name",
        PURE,
        |a, _, _| {
            let Datum::Uuid(namespace) = a[0] else { panic!("expected a uuid") };
            let hash = Sha1::new().chain_update(namespace).chain_update(a[1].text()).finalize();
            let mut uuid: [u8; 16] = hash[..16].try_into().expect("SHA-1 has 20 bytes");
            uuid[6] = uuid[6] & 0x0f | 0x50;
            uuid[8] = uuid[8] & 0x3f | 0x80;
            Ok(Datum::Uuid(uuid))
        },
    );
}

fn index(i: i64, len: usize) -> Result<usize, EvalError> {
    usize::try_from(i).ok().filter(|i| *i < len).ok_or_else(|| {
        let last = len as i64 - 1;
        EvalError::new(SqlState::new("2202E"), format!("index {i} out of valid range, 0..{last}"))
    })
}

fn unknown_format(format: &str) -> EvalError {
    EvalError::new(code::INVALID_PARAMETER_VALUE, format!("unrecognized encoding: \"{format}\""))
}

fn encode(bytes: &[u8], format: &str) -> Result<String, EvalError> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => Ok(hex::encode(bytes)),
        "base64" => {
            let text = STANDARD.encode(bytes);
            // Postgres follows the mail standard: lines of 76.
            let lines: Vec<&str> =
                text.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap_or_default()).collect();
            Ok(lines.join("\n"))
        }
        "escape" => {
            let mut out = String::new();
            for b in bytes {
                match b {
                    b'\\' => out.push_str("\\\\"),
                    0 | 0x80.. => out.push_str(&format!("\\{b:03o}")),
                    b => out.push(char::from(*b)),
                }
            }
            Ok(out)
        }
        _ => Err(unknown_format(format)),
    }
}

fn decode(text: &str, format: &str) -> Result<Vec<u8>, EvalError> {
    let invalid = |message: String| EvalError::new(code::INVALID_PARAMETER_VALUE, message);
    let dense = || text.chars().filter(|c| !matches!(c, ' ' | '\n' | '\r' | '\t'));
    match format.to_ascii_lowercase().as_str() {
        "hex" => {
            let digits = dense()
                .map(|c| c.to_digit(16).ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\""))))
                .collect::<Result<Vec<u32>, _>>()?;
            if !digits.len().is_multiple_of(2) {
                return Err(invalid("invalid hexadecimal data: odd number of digits".into()));
            }
            Ok(digits.chunks(2).map(|d| (d[0] << 4 | d[1]) as u8).collect())
        }
        "base64" => {
            let dense: String = dense().collect();
            if let Some(c) =
                dense.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')))
            {
                return Err(invalid(format!("invalid symbol \"{c}\" found while decoding base64 sequence")));
            }
            STANDARD.decode(&dense).map_err(|_| {
                invalid("invalid base64 end sequence".into())
                    .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
            })
        }
        "escape" => {
            let bad =
                || EvalError::new(code::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea");
            let (mut out, mut rest) = (vec![], text.as_bytes());
            while let [b, tail @ ..] = rest {
                rest = tail;
                if *b != b'\\' {
                    out.push(*b);
                    continue;
                }
                match tail {
                    [b'\\', after @ ..] => {
                        out.push(b'\\');
                        rest = after;
                    }
                    [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                        out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                        rest = after;
                    }
                    _ => return Err(bad()),
                }
            }
            Ok(out)
        }
        _ => Err(unknown_format(format)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Latin1,
}

/// Postgres compares encoding names without case and punctuation.
fn encoding(name: &str) -> Option<Encoding> {
    // The spelling on the hot path.
    if name == "utf8" {
        return Some(Encoding::Utf8);
    }
    let bare: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match bare.as_str() {
        "utf8" | "unicode" | "sqlascii" => Some(Encoding::Utf8),
        "latin1" | "iso88591" => Some(Encoding::Latin1),
        _ => None,
    }
}

fn unknown_encoding(which: &str, name: &str) -> EvalError {
    EvalError::new(code::INVALID_PARAMETER_VALUE, format!("invalid {which} encoding name \"{name}\""))
}

fn hex_list(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("0x{b:02x}")).collect::<Vec<_>>().join(" ")
}

fn convert_from<'a>(bytes: &'a [u8], name: &str, arena: &'a repr::Arena) -> Result<Datum<'a>, EvalError> {
    match encoding(name) {
        Some(Encoding::Utf8) => repr::json::decode_utf8(bytes).map(Datum::Text),
        Some(Encoding::Latin1) => {
            let text: String = bytes.iter().map(|b| char::from(*b)).collect();
            // Only its check for zero bytes can fail here.
            repr::json::decode_utf8(text.as_bytes())?;
            Ok(Datum::Text(arena.text(&text)))
        }
        None => Err(unknown_encoding("source", name)),
    }
}

fn no_algorithm(name: &str) -> EvalError {
    EvalError::new(code::INVALID_PARAMETER_VALUE, format!("Cannot use \"{name}\": No such hash algorithm"))
        .with_hint("Algorithms are md5, sha1, sha224, sha256, sha384 and sha512.")
}

fn digest(data: &[u8], algorithm: &str) -> Result<Vec<u8>, EvalError> {
    Ok(match algorithm.to_ascii_lowercase().as_str() {
        "md5" => md5::Md5::digest(data).to_vec(),
        "sha1" => Sha1::digest(data).to_vec(),
        "sha224" => Sha224::digest(data).to_vec(),
        "sha256" => Sha256::digest(data).to_vec(),
        "sha384" => Sha384::digest(data).to_vec(),
        "sha512" => Sha512::digest(data).to_vec(),
        _ => return Err(no_algorithm(algorithm)),
    })
}

fn hmac(data: &[u8], key: &[u8], algorithm: &str) -> Result<Vec<u8>, EvalError> {
    macro_rules! run {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(key).expect("HMAC takes keys of any length");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    Ok(match algorithm.to_ascii_lowercase().as_str() {
        "md5" => run!(md5::Md5),
        "sha1" => run!(Sha1),
        "sha224" => run!(Sha224),
        "sha256" => run!(Sha256),
        "sha384" => run!(Sha384),
        "sha512" => run!(Sha512),
        _ => return Err(no_algorithm(algorithm)),
    })
}

/// The first element of a JSON array, as it stands there.
fn first_element(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok().filter(|t| repr::json::is_json(t))?;
    repr::json::elements(text)?.first().copied()
}

/// Segment signs the body by HMAC-SHA1, in hex; of a batch (an array) only the first element.
fn segment_signature_valid(body: &[u8], signature: &str, secret: &[u8]) -> bool {
    let Ok(signature) = hex::decode(signature.trim()) else { return false };
    let signs = |part: &[u8]| {
        let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(part);
        mac.verify_slice(&signature).is_ok()
    };
    // An empty secret would be everybody's.
    !secret.is_empty() && (signs(body) || first_element(body).is_some_and(|e| signs(e.as_bytes())))
}

fn crc32_table() -> &'static [u32; 256] {
    static TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut i = 0;
        while i < 256 {
            let (mut c, mut k) = (i as u32, 0);
            while k < 8 {
                c = if c & 1 != 0 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
                k += 1;
            }
            table[i] = c;
            i += 1;
        }
        table
    };
    &TABLE
}

/// MurmurHash2, 32 bits, with the seed of Kafka's partitioner.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for c in &mut chunks {
        let mut k = u32::from_le_bytes(c.try_into().expect("four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, b) in rest.iter().enumerate() {
            h ^= u32::from(*b) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ h >> 15) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func::resolve::tests::{error, run};

    #[test]
    fn invalid_bytes_are_named_as_postgres_names_them() {
        let message = |b: &[u8]| {
            let arena = repr::Arena::new();
            let e = convert_from(b, "UTF-8", &arena).unwrap_err();
            format!("{:?} {e}", e.code())
        };
        assert_eq!(message(b"\xff"), "22021 invalid byte sequence for encoding \"UTF8\": 0xff");
        assert_eq!(
            message(b"ab\xe2\x28\xa1"),
            "22021 invalid byte sequence for encoding \"UTF8\": 0xe2 0x28 0xa1"
        );
        assert_eq!(message(b"ab\xc3"), "22021 invalid byte sequence for encoding \"UTF8\": 0xc3");
        assert_eq!(message(b"a\0b"), "22021 invalid byte sequence for encoding \"UTF8\": 0x00");
        assert_eq!(
            error("convert_from", &["\\x61::bytea", "klingon"]),
            "22023 invalid source encoding name \"klingon\""
        );
        assert_eq!(run("convert_from", &["\\xe4::bytea", "latin1"]), "ä");
    }

    #[test]
    fn encodings_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        for format in ["hex", "base64", "escape"] {
            assert_eq!(decode(&encode(&all, format).unwrap(), format).unwrap(), all, "{format}");
        }
        assert_eq!(error("decode", &["abc", "hex"]), "22023 invalid hexadecimal data: odd number of digits");
        assert_eq!(error("decode", &["zz", "hex"]), "22023 invalid hexadecimal digit: \"z\"");
        assert_eq!(
            error("decode", &["a?", "base64"]),
            "22023 invalid symbol \"?\" found while decoding base64 sequence"
        );
        assert_eq!(error("encode", &["\\x00::bytea", "zip"]), "22023 unrecognized encoding: \"zip\"");
    }

    #[test]
    fn segment_signs_a_batch_by_its_first_element() {
        let sign = |part: &str| hex::encode(hmac(part.as_bytes(), b"abc123", "sha1").unwrap());
        let first = r#"{"b": 1,  "a":"ä"}"#;
        let batch = format!(" [ {first} , {{\"x\":2}}]");
        let valid = |body: &str, signature: &str, secret: &str| {
            segment_signature_valid(body.as_bytes(), signature, secret.as_bytes())
        };
        assert!(valid(first, &sign(first), "abc123"));
        assert!(valid(&batch, &sign(first), "abc123"));
        assert!(valid(&batch, &sign(&batch).to_uppercase(), "abc123"));
        for (body, signature, secret) in [
            (&batch[..], sign(r#"{"x":2}"#), "abc123"),
            (first, sign(first), "abc124"),
            (first, String::new(), "abc123"),
            (first, "not hex".into(), "abc123"),
            (first, hex::encode(hmac(first.as_bytes(), b"", "sha1").unwrap()), ""),
            ("[]", sign(""), "abc123"),
        ] {
            assert!(!valid(body, &signature, secret), "{body} {signature} {secret}");
        }
        assert_eq!(run("json_array_first_raw", &["[ {\"a\" : 1}, 2]"]), "{\"a\" : 1}");
        assert_eq!(run("segment_signature_valid", &["{}", "NULL", "s"]), "f");
    }

    #[test]
    fn hashes_are_the_published_ones() {
        assert_eq!(run("md5", &["abc"]), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            run("hmac", &["The quick brown fox jumps over the lazy dog", "key", "sha1"]),
            "\\xde7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9"
        );
        assert_eq!(run("sha224", &["\\x616263::bytea"])[..10], *"\\x23097d22");
        assert_eq!(run("crc32", &["123456789"]), "3421780262");
        assert_eq!(run("seahash", &["to be or not to be"]), "1988685042348123509");
        assert_eq!(murmur2(b"21"), -973_932_308);
        assert_eq!(murmur2(b"foobar"), -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string"), -985_981_536);
        assert_eq!(
            run("uuid_generate_v5", &["6ba7b810-9dad-11d1-80b4-00c04fd430c8::uuid", "www.example.com"]),
            "2ed6657d-e927-568b-95e1-2665a8aea6a2"
        );
        assert_eq!(error("digest", &["a", "rot13"]), "22023 Cannot use \"rot13\": No such hash algorithm");
        assert_eq!(run("constant_time_eq", &["abc", "abd"]), "f");
    }
}
