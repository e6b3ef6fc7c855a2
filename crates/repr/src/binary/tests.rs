use super::*;
use crate::text;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn boxed(ty: ScalarType) -> Box<ScalarType> {
    Box::new(ty)
}

fn pair() -> ScalarType {
    ScalarType::Record(vec![
        ("a".into(), ScalarType::Int32.nullable(true)),
        ("b".into(), ScalarType::Text.nullable(true)),
    ])
}

/// Types with texts of their values.
fn samples() -> Vec<(ScalarType, Vec<&'static str>)> {
    use ScalarType as T;
    vec![
        (T::Bool, vec!["t", "f"]),
        (T::Int16, vec!["-2"]),
        (T::Int32, vec!["-2", "2147483647"]),
        (T::Int64, vec!["9223372036854775807"]),
        (T::UInt16, vec!["65535"]),
        (T::UInt32, vec!["4294967295"]),
        (T::UInt64, vec!["18446744073709551615"]),
        (T::MzTimestamp, vec!["1700000000000"]),
        (T::Float32, vec!["1.5", "NaN"]),
        (T::Float64, vec!["-1e-300", "Infinity"]),
        (
            T::Numeric { scale: None },
            vec![
                "0",
                "1",
                "-49.99",
                "10000",
                "0.0001",
                "0.00001",
                "999999999999999999999999999999999999999",
                "-0.000000000000000000000000000000000000001",
                "100000000000000000000000000000000000000",
                "NaN",
                "-Infinity",
                "Infinity",
            ],
        ),
        (T::Text, vec!["", "ä\u{1F600}"]),
        (T::VarChar { length: Some(3) }, vec!["abc"]),
        (T::Char { length: Some(3) }, vec!["a", ""]),
        (T::PgChar, vec!["", "r"]),
        (T::Name, vec!["x"]),
        (T::Bytes, vec!["\\x00ff"]),
        (T::Jsonb, vec!["{\"a\":[1,null,\"x\"]}"]),
        (T::Date, vec!["1969-12-31", "4714-11-24 BC", "5874897-12-31"]),
        (T::Time, vec!["23:59:59.999999", "24:00:00"]),
        (
            T::Timestamp { precision: None },
            vec!["1999-12-31 23:59:59.5", "4714-11-24 BC", "294246-12-31 23:59:59.999999"],
        ),
        (T::TimestampTz { precision: None }, vec!["2024-01-01 00:00:00+02"]),
        (T::Interval, vec!["-1 mons +1 day -2:00"]),
        (T::Uuid, vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        (T::Oid, vec!["26"]),
        (T::RegClass, vec!["1259"]),
        (T::Array(boxed(T::Int32)), vec!["{}", "{1,NULL,3}", "[0:1][2:3]={{1,2},{3,4}}"]),
        (T::Array(boxed(T::Text)), vec!["{\"\",a}"]),
        (T::List(boxed(T::List(boxed(T::Text)))), vec!["{{a,NULL},{},NULL}"]),
        (T::Map(boxed(T::Map(boxed(T::Int32)))), vec!["{}", "{a=>{b=>1,c=>NULL}}"]),
        (pair(), vec!["(1,\"a b\")", "(,)"]),
        (T::Range(boxed(T::Int32)), vec!["[1,5)", "empty", "(,)", "(,5)"]),
        (T::Range(boxed(T::Numeric { scale: None })), vec!["(1.5,2.5]"]),
        (T::Int2Vector, vec!["1 2 3", ""]),
    ]
}

#[test]
fn every_type_comes_back() {
    let arena = Arena::new();
    for (ty, texts) in samples() {
        for t in texts {
            let d = text::parse(t, &ty, &arena).unwrap_or_else(|e| panic!("{t}: {e}"));
            let mut bytes = vec![];
            write(d, &ty, &mut bytes);
            let back =
                read(&bytes, &ty, &arena).unwrap_or_else(|e| panic!("{t} as {ty}: {e} {:?}", e.detail()));
            assert_eq!(Row::pack([back]), Row::pack([d]), "{t} as {ty}");
        }
    }
}

#[test]
fn the_layout_is_that_of_postgres() {
    use ScalarType as T;
    // What `encode(…_send(…), 'hex')` of Postgres 15 prints.
    for (ty, value, expected) in [
        (T::Numeric { scale: None }, "49.99", "00020000000000020031 26ac"),
        (T::Numeric { scale: None }, "10000", "00010001000000000001"),
        (T::Numeric { scale: None }, "-0.00001", "0001fffe40000005 03e8"),
        (T::Numeric { scale: None }, "0", "0000000000000000"),
        (T::Numeric { scale: None }, "NaN", "00000000c0000000"),
        (T::Date, "2000-01-01", "00000000"),
        (T::Timestamp { precision: None }, "1999-12-31 23:59:59", "fffffffffff0bdc0"),
        (T::Interval, "1 year 2 mons 3 days 00:00:01", "00000000000f4240 00000003 0000000e"),
        (T::Jsonb, "1", "0131"),
        (
            T::Array(boxed(T::Int32)),
            "{1,NULL}",
            "00000001 00000001 00000017 00000002 00000001 00000004 00000001 ffffffff",
        ),
        (T::Array(boxed(T::Int32)), "{}", "00000000 00000000 00000017"),
        (pair(), "(1,a)", "00000002 00000017 00000004 00000001 00000019 00000001 61"),
        (T::Range(boxed(T::Int32)), "[1,5)", "02 00000004 00000001 00000004 00000005"),
        (T::Range(boxed(T::Int32)), "(,5)", "08 00000004 00000005"),
        (T::Range(boxed(T::Int32)), "empty", "01"),
    ] {
        let arena = Arena::new();
        let mut bytes = vec![];
        write(text::parse(value, &ty, &arena).expect("a valid text"), &ty, &mut bytes);
        assert_eq!(hex(&bytes), expected.replace(' ', ""), "{value} as {ty}");
    }
}

#[test]
fn damaged_bytes_are_errors() {
    let arena = Arena::new();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for (ty, texts) in samples() {
        for t in texts {
            let d = text::parse(t, &ty, &arena).expect("a valid text");
            let mut bytes = vec![];
            write(d, &ty, &mut bytes);
            for n in 0..bytes.len() {
                // Some types are whatever bytes there are.
                let open_ended = ty.is_string() || matches!(ty, ScalarType::Bytes | ScalarType::Jsonb);
                let cut = read(&bytes[..n], &ty, &arena);
                assert!(open_ended || cut.is_err(), "{t} as {ty} cut at {n}");
            }
            for _ in 0..300 {
                let mut damaged = bytes.clone();
                for _ in 0..2 {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    if !damaged.is_empty() {
                        let at = (seed >> 8) as usize % damaged.len();
                        damaged[at] = seed as u8;
                    }
                }
                if let Ok(d) = read(&damaged, &ty, &arena) {
                    let mut out = String::new();
                    text::print(d, &ty, &mut out);
                }
            }
        }
    }
}

#[test]
fn sizes_from_the_network_are_not_believed() {
    let arena = Arena::new();
    let array = ScalarType::Array(boxed(ScalarType::Int32));
    let head = |dims: &[(i32, i32)]| {
        let mut out = vec![];
        write_array_head(dims, false, &ScalarType::Int32, &mut out);
        out
    };
    for bytes in [
        head(&[(i32::MAX, 1)]),
        head(&[(i32::MAX, 0), (i32::MAX, 0), (i32::MAX, 0)]),
        head(&[(-1, 1)]),
        head(&[(1, i32::MAX)]),
        head(&[(1, 1); 7]),
        [255; 12].to_vec(),
    ] {
        let e = read(&bytes, &array, &arena).expect_err("not an array");
        assert_eq!(e.code(), code::INVALID_BINARY_REPRESENTATION);
    }
    let map = ScalarType::Map(boxed(ScalarType::Text));
    assert!(read(&i32::MAX.to_be_bytes(), &map, &arena).is_err());
    // An array of another type.
    let mut bytes = vec![];
    write(arena.array1(&[Datum::Int64(1)]), &ScalarType::Array(boxed(ScalarType::Int64)), &mut bytes);
    assert!(read(&bytes, &array, &arena).is_err());
}

#[test]
fn values_out_of_range_are_refused() {
    let arena = Arena::new();
    let code_of = |bytes: &[u8], ty: ScalarType| read(bytes, &ty, &arena).map_err(|e| e.code());
    // Postgres' infinities.
    let ts = ScalarType::Timestamp { precision: None };
    assert_eq!(code_of(&i64::MAX.to_be_bytes(), ts.clone()), Err(code::DATETIME_FIELD_OVERFLOW));
    assert_eq!(code_of(&i64::MIN.to_be_bytes(), ts), Err(code::DATETIME_FIELD_OVERFLOW));
    assert_eq!(code_of(&i32::MAX.to_be_bytes(), ScalarType::Date), Err(code::DATETIME_FIELD_OVERFLOW));
    assert_eq!(code_of(&(-1i64).to_be_bytes(), ScalarType::Time), Err(code::DATETIME_FIELD_OVERFLOW));
    assert_eq!(code_of(&[0xff], ScalarType::Text), Err(code::CHARACTER_NOT_IN_REPERTOIRE));
    assert_eq!(code_of(b"a\0", ScalarType::Text), Err(code::CHARACTER_NOT_IN_REPERTOIRE));
    assert_eq!(code_of(&[2, b'1'], ScalarType::Jsonb), Err(code::INVALID_BINARY_REPRESENTATION));
    assert_eq!(
        code_of(b"abcd", ScalarType::VarChar { length: Some(3) }),
        Err(code::STRING_DATA_RIGHT_TRUNCATION)
    );
    let numeric = ScalarType::Numeric { scale: None };
    // 9999 with 40 digits behind it, before the point.
    assert_eq!(
        code_of(&[0, 1, 0, 10, 0, 0, 0, 0, 39, 15], numeric.clone()),
        Err(code::NUMERIC_VALUE_OUT_OF_RANGE)
    );
    assert_eq!(
        code_of(&[0, 1, 0, 0, 0, 0, 0, 0, 39, 16], numeric.clone()),
        Err(code::INVALID_BINARY_REPRESENTATION)
    );
    assert_eq!(code_of(&[0, 0, 0, 0, 0x12, 0, 0, 0], numeric), Err(code::INVALID_BINARY_REPRESENTATION));
}
