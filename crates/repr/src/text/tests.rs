use super::*;
use crate::types::ColumnType;

fn array(ty: ScalarType) -> ScalarType {
    ScalarType::Array(Box::new(ty))
}

fn list(ty: ScalarType) -> ScalarType {
    ScalarType::List(Box::new(ty))
}

fn map(ty: ScalarType) -> ScalarType {
    ScalarType::Map(Box::new(ty))
}

fn range(ty: ScalarType) -> ScalarType {
    ScalarType::Range(Box::new(ty))
}

fn record(types: &[ScalarType]) -> ScalarType {
    let field = |t: &ScalarType| ("f".to_string(), ColumnType { scalar: t.clone(), nullable: true });
    ScalarType::Record(types.iter().map(field).collect())
}

/// Text in, text out; or the code and message of the error.
fn through(text: &str, ty: &ScalarType) -> String {
    let arena = Arena::new();
    match parse(text, ty, &arena) {
        Ok(d) => {
            let mut out = String::new();
            print(d, ty, &mut out);
            // What is printed reads as the same value, in the same bytes.
            assert_eq!(parse(&out, ty, &arena).map(|d| Row::pack([d])), Ok(Row::pack([d])), "{text} → {out}");
            out
        }
        Err(e) => format!("{} {}", e.code().as_str(), e.message()),
    }
}

use crate::Row;

#[track_caller]
fn check(ty: ScalarType, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(through(text, &ty), *expected, "{text:?} as {ty}");
    }
}

#[test]
fn integers_have_the_errors_of_postgres() {
    check(
        ScalarType::Int32,
        &[
            (" 12 ", "12"),
            ("+5", "5"),
            ("-0", "0"),
            ("2147483647", "2147483647"),
            ("-2147483648", "-2147483648"),
            ("2147483648", "22003 value \"2147483648\" is out of range for type integer"),
            ("x", "22P02 invalid input syntax for type integer: \"x\""),
            ("", "22P02 invalid input syntax for type integer: \"\""),
            ("1.5", "22P02 invalid input syntax for type integer: \"1.5\""),
            ("1_0", "22P02 invalid input syntax for type integer: \"1_0\""),
        ],
    );
    check(ScalarType::Int16, &[("-32769", "22003 value \"-32769\" is out of range for type smallint")]);
    check(ScalarType::Int64, &[("-9223372036854775808", "-9223372036854775808")]);
    check(
        ScalarType::UInt64,
        &[
            ("18446744073709551615", "18446744073709551615"),
            ("-1", "22003 value \"-1\" is out of range for type uint8"),
        ],
    );
    check(
        ScalarType::Oid,
        &[("-1", "4294967295"), ("4294967296", "22003 value \"4294967296\" is out of range for type oid")],
    );
}

#[test]
fn floats_print_the_fewest_digits() {
    check(
        ScalarType::Float64,
        &[
            ("1e20", "1e+20"),
            ("1e15", "1e+15"),
            ("1e14", "100000000000000"),
            ("999999999999999", "999999999999999"),
            ("123456789012345678", "1.2345678901234568e+17"),
            ("0.1", "0.1"),
            ("1e-4", "0.0001"),
            ("1e-5", "1e-05"),
            ("-0", "-0"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("-inf", "-Infinity"),
            ("nan", "NaN"),
            ("1e400", "22003 \"1e400\" is out of range for type double precision"),
            ("1e-400", "22003 \"1e-400\" is out of range for type double precision"),
            ("1,5", "22P02 invalid input syntax for type double precision: \"1,5\""),
        ],
    );
    check(
        ScalarType::Float32,
        &[
            ("0.1", "0.1"),
            ("123456", "123456"),
            ("1234567", "1.234567e+06"),
            ("16777217", "1.6777216e+07"),
            ("3.5e38", "22003 \"3.5e38\" is out of range for type real"),
        ],
    );
}

#[test]
fn truth_values_may_be_abbreviated() {
    for text in ["t", "TRUE", " yes", "on", "1", "y", "tr"] {
        assert_eq!(parse_bool(text), Ok(true), "{text}");
    }
    for text in ["f", "False", "no", "of", "off", "0", "n"] {
        assert_eq!(parse_bool(text), Ok(false), "{text}");
    }
    check(
        ScalarType::Bool,
        &[
            ("o", "22P02 invalid input syntax for type boolean: \"o\""),
            ("2", "22P02 invalid input syntax for type boolean: \"2\""),
        ],
    );
}

#[test]
fn strings_keep_within_their_length() {
    check(
        ScalarType::VarChar { length: Some(3) },
        &[("äöü", "äöü"), ("abc  ", "abc"), ("abcd", "22001 value too long for type character varying(3)")],
    );
    check(
        ScalarType::Char { length: Some(3) },
        &[("a", "a  "), ("a    ", "a  "), ("abcd", "22001 value too long for type character(3)")],
    );
    assert_eq!(fit_varchar("abcd", Some(2), true), Ok("ab"));
    assert_eq!(fit_char("a b", Some(2), true), Ok("a"));
    // Blanks at the end do not count, so both are one value.
    let arena = Arena::new();
    let ty = ScalarType::Char { length: Some(5) };
    assert_eq!(parse("a ", &ty, &arena), parse("a", &ty, &arena));
    assert_eq!(through(&"é".repeat(40), &ScalarType::Name), "é".repeat(31));
}

#[test]
fn bytes_and_uuids() {
    check(
        ScalarType::Bytes,
        &[
            ("\\x", "\\x"),
            ("\\xDE ad", "\\xdead"),
            ("a\\\\b\\001", "\\x615c6201"),
            ("\\xg0", "22023 invalid hexadecimal digit: \"g\""),
            ("\\x0", "22023 invalid hexadecimal data: odd number of digits"),
            ("\\9", "22P02 invalid input syntax for type bytea"),
            ("\\x0ä", "22023 invalid hexadecimal digit: \"ä\""),
        ],
    );
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    check(
        ScalarType::Uuid,
        &[
            (uuid, uuid),
            ("{A0EEBC999C0B4EF8BB6D6BB9BD380A11}", uuid),
            ("a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", uuid),
            ("a0eebc99", "22P02 invalid input syntax for type uuid: \"a0eebc99\""),
        ],
    );
}

#[test]
fn arrays_quote_what_would_be_misread() {
    check(
        array(ScalarType::Text),
        &[
            ("{}", "{}"),
            (" { a , \"b c\" } ", "{a,\"b c\"}"),
            ("{\"\",NULL,\"null\",\"q\\\"\\\\\"}", "{\"\",NULL,\"null\",\"q\\\"\\\\\"}"),
            ("{a\\,b}", "{\"a,b\"}"),
            ("{\"a\"b}", "22P02 malformed array literal: \"{\"a\"b}\""),
            ("{{a,b},{c,d}}", "{{a,b},{c,d}}"),
        ],
    );
    check(
        array(ScalarType::Int32),
        &[
            ("[0:1]={1,2}", "[0:1]={1,2}"),
            ("[1:2]={1,2}", "{1,2}"),
            ("{{1},{2}}", "{{1},{2}}"),
            ("{{{{{{1}}}}}}", "{{{{{{1}}}}}}"),
            ("{{{{{{{1}}}}}}}", "54000 number of array dimensions (7) exceeds the maximum allowed (6)"),
            ("{{1},{2,3}}", "22P02 malformed array literal: \"{{1},{2,3}}\""),
            ("{1,{2}}", "22P02 malformed array literal: \"{1,{2}}\""),
            ("{{1},2}", "22P02 malformed array literal: \"{{1},2}\""),
            ("{1,}", "22P02 malformed array literal: \"{1,}\""),
            ("{{}}", "22P02 malformed array literal: \"{{}}\""),
            ("{1", "22P02 malformed array literal: \"{1\""),
            ("1", "22P02 malformed array literal: \"1\""),
            ("{x}", "22P02 invalid input syntax for type integer: \"x\""),
            ("[3:2]={1}", "2202E upper bound cannot be less than lower bound"),
        ],
    );
    check(ScalarType::Int2Vector, &[("1 2 3", "1 2 3"), ("", "")]);
}

#[test]
fn lists_and_maps_nest_by_braces() {
    check(list(ScalarType::Text), &[("{}", "{}"), ("{a,\"b,c\",NULL}", "{a,\"b,c\",NULL}")]);
    check(
        list(list(ScalarType::Int32)),
        &[("{{1,2},{},{NULL}}", "{{1,2},{},{NULL}}"), ("{{1}", "22P02 malformed list literal: \"{{1}\"")],
    );
    check(
        map(ScalarType::Text),
        &[
            ("{}", "{}"),
            ("{b=>2, a => \"x y\"}", "{a=>\"x y\",b=>2}"),
            ("{a=>1,a=>2}", "{a=>2}"),
            ("{\"k=>\"=>NULL}", "{\"k=>\"=>NULL}"),
            ("{content-type=>text/plain}", "{content-type=>text/plain}"),
            ("{a}", "22P02 malformed map literal: \"{a}\""),
            ("{NULL=>1}", "22P02 malformed map literal: \"{NULL=>1}\""),
        ],
    );
    check(map(map(list(ScalarType::Int32))), &[("{a=>{b=>{1,2}},c=>{}}", "{a=>{b=>{1,2}},c=>{}}")]);
}

#[test]
fn records_double_their_quotes() {
    check(
        record(&[ScalarType::Int32, ScalarType::Text]),
        &[
            ("(1,a)", "(1,a)"),
            ("(1,\"a b\")", "(1,\"a b\")"),
            ("(,)", "(,)"),
            ("(1,\"\")", "(1,\"\")"),
            ("(1,null)", "(1,null)"),
            ("(1,\"a\"\"b\\\\\")", "(1,\"a\"\"b\\\\\")"),
            ("(1)", "22P02 malformed record literal: \"(1)\""),
            ("(1,a,b)", "22P02 malformed record literal: \"(1,a,b)\""),
        ],
    );
    check(
        list(record(&[ScalarType::Int32, ScalarType::Text])),
        &[("{\"(1,\\\"a b\\\")\"}", "{\"(1,\\\"a b\\\")\"}")],
    );
}

#[test]
fn ranges_are_canonical() {
    check(
        range(ScalarType::Int32),
        &[
            ("(1,5]", "[2,6)"),
            ("[1,1]", "[1,2)"),
            ("[1,1)", "empty"),
            ("(,)", "(,)"),
            ("[,5]", "(,6)"),
            (" Empty ", "empty"),
            ("[5,1]", "22000 range lower bound must be less than or equal to range upper bound"),
            ("[1,2147483647]", "22003 integer out of range"),
            ("[1", "22P02 malformed range literal: \"[1\""),
            ("[1,2,3]", "22P02 malformed range literal: \"[1,2,3]\""),
        ],
    );
    check(
        range(ScalarType::Timestamp { precision: None }),
        &[("[2024-01-01,2024-01-02 10:00)", "[\"2024-01-01 00:00:00\",\"2024-01-02 10:00:00\")")],
    );
}

#[test]
fn modifiers_are_applied() {
    check(ScalarType::Numeric { scale: Some(2) }, &[("1.005", "1.01"), ("1.004", "1")]);
    check(ScalarType::Timestamp { precision: Some(0) }, &[("2024-01-01 00:00:59.5", "2024-01-01 00:01:00")]);
    check(
        ScalarType::MzTimestamp,
        &[
            ("1700000000000", "1700000000000"),
            ("1970-01-01 00:00:01", "1000"),
            ("x", "22P02 invalid input syntax for type mz_timestamp: \"x\""),
        ],
    );
}

#[test]
fn no_text_makes_a_parser_panic() {
    let types = [
        ScalarType::Int32,
        ScalarType::Float64,
        ScalarType::Numeric { scale: None },
        ScalarType::Bytes,
        ScalarType::Uuid,
        ScalarType::Date,
        ScalarType::Time,
        ScalarType::Timestamp { precision: None },
        ScalarType::TimestampTz { precision: Some(3) },
        ScalarType::Interval,
        ScalarType::Name,
        ScalarType::PgChar,
        ScalarType::MzTimestamp,
        array(ScalarType::Int32),
        array(array(ScalarType::Text)),
        list(list(ScalarType::Text)),
        map(map(ScalarType::Int32)),
        record(&[ScalarType::Int32, array(ScalarType::Text)]),
        range(ScalarType::Date),
        ScalarType::Int2Vector,
    ];
    let pieces = [
        "1",
        "99",
        "2024",
        "-",
        "-01",
        "-02",
        " ",
        "T",
        ":",
        "10:20",
        ".5",
        "e",
        "E9",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ",",
        "\"",
        "\\",
        "=>",
        "=",
        "NULL",
        "a",
        "ä",
        "日",
        "Jan",
        "PM",
        "BC",
        "Z",
        "+02",
        "/",
        "America/New_York",
        "ago",
        "days",
        "P",
        "M",
        "\\x",
        "é",
        "9999999999999999999999",
        "empty",
        "J",
        "@",
        "infinity",
        "\u{b}",
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n as u64) as usize
    };
    for _ in 0..20_000 {
        let text: String = (0..next(9)).map(|_| pieces[next(pieces.len())]).collect();
        let ty = &types[next(types.len())];
        let arena = Arena::new();
        if let Ok(d) = parse(&text, ty, &arena) {
            let mut out = String::new();
            print(d, ty, &mut out);
            assert_eq!(
                parse(&out, ty, &arena).map(|d| Row::pack([d])),
                Ok(Row::pack([d])),
                "{text:?} as {ty} printed as {out:?}"
            );
        }
        let _ = time::to_timestamp(&text, pieces[next(pieces.len())]);
        let _ = time::Zone::parse(&text);
    }
}
