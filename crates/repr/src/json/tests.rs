use super::*;
use crate::jsonb::MAX_DEPTH;

fn path(steps: &[Step], kind: SlotKind) -> SlotPath {
    SlotPath { steps: steps.to_vec(), kind }
}

fn key(k: &str) -> Step {
    Step::Key(k.into())
}

/// What the scanner must give, by way of the parser.
fn expected<'a>(document: &[u8], path: &SlotPath, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let document = parse(decode_utf8(document)?, arena)?.jsonb();
    Ok(match (path.follow(document), path.kind) {
        (None, _) => Datum::Null,
        (Some(j), SlotKind::Jsonb) => Datum::Jsonb(j),
        (Some(j), SlotKind::Text) => j.as_text(arena).map_or(Datum::Null, Datum::Text),
    })
}

/// The text of a document, or the code of its error.
fn outcome(text: &str) -> String {
    match parse(text, &Arena::new()) {
        Ok(j) => j.jsonb().to_string(),
        Err(e) => e.code().as_str().to_string(),
    }
}

fn detail(text: &str) -> String {
    let e = parse(text, &Arena::new()).expect_err("the document is bad");
    e.detail().unwrap_or_default().to_string()
}

#[test]
fn text_is_compact_with_keys_in_byte_order_and_the_last_of_equal_keys() {
    assert_eq!(outcome(r#" { "b" : [ 1 , 2 ] , "a" : 1 } "#), r#"{"a":1,"b":[1,2]}"#);
    assert_eq!(outcome(r#"{"bb":1,"a":2,"b":3,"é":4,"Z":5}"#), r#"{"Z":5,"a":2,"b":3,"bb":1,"é":4}"#);
    assert_eq!(outcome(r#"{"a":1,"a":{"b":2},"\u0061":3,"c":{"d":1,"d":2}}"#), r#"{"a":3,"c":{"d":2}}"#);
    assert_eq!(outcome("[]"), "[]");
    assert_eq!(outcome("{ }"), "{}");
    assert_eq!(outcome("[[],{},[[]]]"), "[[],{},[[]]]");
    assert_eq!(outcome("\t\r\n null "), "null");
}

#[test]
fn numbers_keep_every_digit_or_fail() {
    for (text, printed) in [
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e999999999999", "0"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("-0.5", "-0.5"),
        ("100", "100"),
        ("1e2", "100"),
        ("1E+2", "100"),
        ("120e-1", "12"),
        ("18446744073709551616", "18446744073709551616"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("123456789012345678901234567890123456789", "123456789012345678901234567890123456789"),
        ("1e-39", "0.000000000000000000000000000000000000001"),
        ("0.10000000000000000000000000000000000000000000000000", "0.1"),
        ("1234567890123456789012345678901234567890", "22003"),
        ("1e39", "22003"),
        ("1e400", "22003"),
        ("1e-40", "22003"),
        ("4.9E-324", "22003"),
        ("1e99999999999999999999999", "22003"),
        ("01", "22P02"),
        ("-", "22P02"),
        ("+1", "22P02"),
        ("1.", "22P02"),
        (".5", "22P02"),
        ("1e", "22P02"),
        ("1e+", "22P02"),
        ("0x10", "22P02"),
        ("NaN", "22P02"),
        ("Infinity", "22P02"),
    ] {
        assert_eq!(outcome(text), printed, "{text}");
        assert_eq!(outcome(&format!("[{text}]")).trim_matches(['[', ']']), printed, "[{text}]");
    }
}

#[test]
fn escapes_become_characters_and_only_the_necessary_ones_are_printed() {
    let arena = Arena::new();
    let all = parse(r#""\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\u001f\u007f\uFFFF""#, &arena).unwrap().jsonb();
    assert_eq!(all.as_str(), Some("\"\\/\u{8}\u{c}\n\r\té😀\u{1f}\u{7f}\u{ffff}"));
    assert_eq!(all.to_string(), "\"\\\"\\\\/\\b\\f\\n\\r\\té😀\\u001f\u{7f}\u{ffff}\"");
    assert_eq!(outcome(r#""\u0000""#), "22P05");
    assert_eq!(outcome(r#"{"\u0000":1}"#), "22P05");
    for bad in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\u0041""#,
        r#""\ud800\u""#,
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u12"#,
        r#""\"#,
        "\"\n\"",
        "\"\0\"",
        "\"",
    ] {
        assert_eq!(outcome(bad), "22P02", "{bad}");
    }
}

#[test]
fn bad_syntax_says_what_and_where() {
    for (text, said) in [
        ("", "The input string ended unexpectedly at byte 0."),
        ("{\"a\":", "The input string ended unexpectedly at byte 5."),
        ("[1,]", "Expected JSON value, but found \"]\" at byte 3."),
        ("{\"a\" 1}", "Expected \":\", but found \"1\" at byte 5."),
        ("{1}", "Expected string or \"}\", but found \"1\" at byte 1."),
        ("{\"a\":1,}", "Expected string, but found \"}\" at byte 7."),
        ("[1 2]", "Expected \",\" or \"]\", but found \"2\" at byte 3."),
        ("{\"a\":1]", "Expected \",\" or \"}\", but found \"]\" at byte 6."),
        ("true false", "Expected end of input, but found \"false\" at byte 5."),
        ("{\"a\":tru}", "Token \"tru\" at byte 5 is invalid."),
        ("[012]", "Token \"012\" at byte 1 is invalid."),
        ("\u{feff}{}", "Token \"\u{feff}\" at byte 0 is invalid."),
        ("\"a\tb\"", "Character with value 0x09 at byte 2 must be escaped."),
        ("\"\\q\"", "Escape sequence \"\\q\" at byte 1 is invalid."),
    ] {
        assert_eq!(detail(text), said, "{text}");
        assert!(!is_json(text), "{text}");
    }
    assert!(detail(&"x".repeat(1000)).len() < 100, "details do not repeat whole documents");
}

#[test]
fn invalid_utf8_names_its_bytes() {
    let message = |b: &[u8]| decode_utf8(b).expect_err("the bytes are bad").message().to_string();
    assert!(message(b"a\xff").ends_with("\"UTF8\": 0xff"));
    assert!(message(b"\xe2\x28\xa1").ends_with("\"UTF8\": 0xe2 0x28 0xa1"));
    assert!(
        message(b"{\"a\":\"\xed\xa0\x80\"}").ends_with("\"UTF8\": 0xed 0xa0 0x80"),
        "an encoded surrogate"
    );
    assert!(message(b"\xc0\xaf").ends_with("\"UTF8\": 0xc0 0xaf"), "an overlong form");
    assert!(message(b"a\0\xff").ends_with("\"UTF8\": 0x00"), "the first fault counts");
    assert!(message(b"\xe2\x82").ends_with("\"UTF8\": 0xe2 0x82"), "a cut character");
}

#[test]
fn nesting_has_a_limit_and_takes_no_stack() {
    let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let check = move || {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            let most = MAX_DEPTH / open.matches(['[', '{']).count();
            for (n, ok) in [(most, true), (most + 1, false), (10_000, false), (1_000_000, false)] {
                let text = nested(open, close, n);
                let parsed = parse(&text, &Arena::new()).map(|d| d.jsonb().to_string());
                assert_eq!(parsed.is_ok(), ok, "{open} {n}");
                assert_eq!(is_json(&text), ok);
                if let Err(e) = &parsed {
                    assert_eq!(e.code(), code::STATEMENT_TOO_COMPLEX);
                }
                for steps in [vec![], vec![key("a")], vec![Step::Index(-1); 2], vec![key("a"); 600]] {
                    let paths = [path(&steps, SlotKind::Text), path(&[key("x")], SlotKind::Text)];
                    let mut columns = SlotColumn::for_paths(&paths);
                    Scanner::new(&paths).scan(text.as_bytes(), &mut columns);
                    assert_eq!(columns[0].get(0).is_ok(), ok, "{open} {n}");
                    assert_eq!(columns[0].error(0), parsed.as_ref().err());
                }
            }
        }
        let deep = nested("[", "]", MAX_DEPTH);
        let arena = Arena::new();
        let j = parse(&deep, &arena).unwrap().jsonb();
        assert!(j.contains(j) && j == j.strip_nulls(&arena) && !j.to_pretty().is_empty());
        assert!(Jsonb::array([j], &arena).is_err(), "the limit holds for what is built, too");
        let paths = [path(&vec![Step::Index(0); MAX_DEPTH], SlotKind::Jsonb)];
        let mut columns = SlotColumn::for_paths(&paths);
        Scanner::new(&paths).scan(deep.as_bytes(), &mut columns);
        assert_eq!(columns[0].get(0), expected(deep.as_bytes(), &paths[0], &arena).as_ref().copied());
    };
    // A quarter of what threads have, and not optimised.
    std::thread::Builder::new().stack_size(512 << 10).spawn(check).unwrap().join().unwrap();
}

#[test]
fn a_message_of_16_mib_is_read() {
    let long = "x".repeat(16 << 20);
    let document = format!("{{\"b\":\"{long}\",\"a\":[{}1]}}", "1,".repeat(1 << 20));
    let arena = Arena::new();
    let j = parse(&document, &arena).unwrap().jsonb();
    assert_eq!(j.get("b").and_then(Jsonb::as_str), Some(&*long));
    assert_eq!(j.get("a").and_then(Jsonb::array_length), Some((1 << 20) + 1));
    let paths = [path(&[key("b")], SlotKind::Text), path(&[key("a"), Step::Index(-1)], SlotKind::Jsonb)];
    let mut columns = SlotColumn::for_paths(&paths);
    Scanner::new(&paths).scan(document.as_bytes(), &mut columns);
    for (path, column) in paths.iter().zip(&columns) {
        assert_eq!(column.get(0), expected(document.as_bytes(), path, &arena).as_ref().copied());
    }
}

#[test]
fn columns_hold_values_nulls_and_errors_in_order_and_can_be_used_again() {
    let paths = [path(&[key("a")], SlotKind::Text), path(&[key("a")], SlotKind::Jsonb)];
    let mut scanner = Scanner::new(&paths);
    assert_eq!(scanner.paths(), paths);
    let mut columns = SlotColumn::for_paths(&paths);
    for _ in 0..2 {
        for document in [r#"{"a":"x"}"#, r#"{"a":null}"#, "{}", "oops", r#"{"a":[1.0,{"z":1,"y":"\n"}]}"#] {
            scanner.scan(document.as_bytes(), &mut columns);
        }
        columns.iter_mut().for_each(SlotColumn::push_null);
        let [text, jsonb] = &columns[..] else { panic!("there are two columns") };
        assert_eq!((text.len(), jsonb.len()), (6, 6));
        assert_eq!(text.get(0), Ok(Datum::Text("x")));
        assert_eq!((text.get(1), text.get(2)), (Ok(Datum::Null), Ok(Datum::Null)));
        assert_eq!(jsonb.get(1), Ok(Datum::Jsonb(Jsonb::NULL)));
        assert!(jsonb.is_null(2) && text.is_null(5) && text.is_error(3));
        assert_eq!(text.get(3), jsonb.get(3));
        assert_eq!(text.errors().len(), 1);
        assert_eq!(text.get(4), Ok(Datum::Text(r#"[1,{"y":"\n","z":1}]"#)));
        assert_eq!((text.raw(0), jsonb.raw(2)), (Some(&b"x"[..]), None));
        columns.iter_mut().for_each(SlotColumn::clear);
        assert!(columns.iter().all(SlotColumn::is_empty));
    }
}

#[test]
fn an_object_is_not_taken_for_a_member() {
    let paths = [path(&[key("a")], SlotKind::Text)];
    let mut scanner = Scanner::new(&paths);
    let mut columns = SlotColumn::for_paths(&paths);
    for document in [r#"{"a":1,"b":2}"#, r#"{"a":1{"b":2}"#, r#"{,"a":1}"#, r#"{"a":1}}"#, r#"{"a":1,"b":2"#]
    {
        scanner.scan(document.as_bytes(), &mut columns);
    }
    assert_eq!(columns[0].errors().len(), 4);
}

/// A small generator of pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % n as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn white(&mut self, out: &mut String) {
        if self.below(6) == 0 {
            out.push_str(self.pick(&[" ", "\n", "\t\r", "   ", "\n        "]));
        }
    }

    fn key(&mut self, out: &mut String) {
        out.push('"');
        let common = ["a", "b", "c", "d"];
        let rare =
            ["", "\\u0061", "é", "\\n", "key with a long name", "a name that is too long to be learned"];
        match self.below(12) {
            0 => out.push_str(self.pick(&rare)),
            1 => out.push_str(&format!("k{}", self.below(500))),
            _ => out.push_str(self.pick(&common)),
        }
        out.push('"');
    }

    fn value(&mut self, out: &mut String, depth: usize) {
        let scalars = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "1.0",
            "-12.50",
            "1e3",
            "0.1e-2",
            "12345678901234567890123456789",
            "1234567890123456789012345678901234567890",
            "1e400",
            "0.000000000000000000000000000000000000000000000000",
            "\"\"",
            "\"text\"",
            "\"longer text than one word of eight\"",
            "\"\\u00e9\\\"\\\\ 😀 \\ud83d\\ude00\"",
            "\"ünïcödé\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
        ];
        self.white(out);
        match self.below(if depth > 5 { 4 } else { 9 }) {
            // The last ones of the list are errors; most documents should be valid.
            0..4 => {
                let n = if self.below(20) == 0 { scalars.len() } else { 10 };
                out.push_str(scalars[self.below(n)]);
            }
            4..7 => {
                out.push('{');
                for i in 0..self.below(6) {
                    if i > 0 {
                        out.push(',');
                    }
                    self.white(out);
                    self.key(out);
                    self.white(out);
                    out.push(':');
                    self.value(out, depth + 1);
                }
                self.white(out);
                out.push('}');
            }
            _ => {
                out.push('[');
                for i in 0..self.below(4) {
                    if i > 0 {
                        out.push(',');
                    }
                    self.value(out, depth + 1);
                }
                self.white(out);
                out.push(']');
            }
        }
        self.white(out);
    }

    fn mutate(&mut self, document: &mut Vec<u8>) {
        let at = self.below(document.len() + 1);
        match self.below(6) {
            0 => document.truncate(at),
            1 if at < document.len() => document[at] ^= 1 << self.below(8),
            2 if at < document.len() => drop(document.remove(at)),
            3 => document.insert(at, b"{}[]:,\"\\ 0-e.tu\x00\x1f\xff\xc3\n"[self.below(20)]),
            4 => {
                let piece = document[at..].iter().take(self.below(12)).copied().collect::<Vec<_>>();
                document.splice(at..at, piece);
            }
            _ => {
                let end = (at + self.below(8)).min(document.len());
                document.drain(at..end);
            }
        }
    }
}

fn fuzz(rounds: usize, seed: u64) {
    let index = Step::Index;
    let steps = [
        vec![],
        vec![key("a")],
        vec![key("a"), key("b")],
        vec![key("a"), key("b"), key("c")],
        vec![key("b")],
        vec![key("é")],
        vec![key("")],
        vec![key("a"), index(0)],
        vec![key("a"), index(-1)],
        vec![key("a"), index(-1), key("b")],
        vec![key("a"), index(1), key("b")],
        vec![key("c"), index(-2), index(0)],
        vec![key("c"), index(0), index(-1), key("a")],
        vec![index(0)],
        vec![index(-1), key("a")],
        vec![index(i64::MIN)],
        vec![key("d"), key("a"), key("d")],
    ];
    let paths: Vec<SlotPath> =
        steps.iter().flat_map(|s| [path(s, SlotKind::Text), path(s, SlotKind::Jsonb)]).collect();
    // One that wants everything, one that skips nearly everything; both learn from all documents, good and bad.
    let few = [path(&[key("d"), key("a")], SlotKind::Text)];
    let mut random = Random(seed);
    let mut scanners = [Scanner::new(&paths), Scanner::new(&few)];
    let mut columns = [SlotColumn::for_paths(&paths), SlotColumn::for_paths(&few)];
    let (mut good, mut arena) = (0, Arena::new());
    for _ in 0..rounds {
        let mut text = String::new();
        random.value(&mut text, 0);
        let mut document = text.into_bytes();
        for _ in 0..[0, 0, 1, 2][random.below(4)] {
            random.mutate(&mut document);
        }
        arena.reset();
        let shown = String::from_utf8_lossy(&document);

        for (scanner, columns) in scanners.iter_mut().zip(&mut columns) {
            columns.iter_mut().for_each(SlotColumn::clear);
            scanner.scan(&document, columns);
            for (path, column) in scanner.paths().iter().zip(columns.iter()) {
                let want = expected(&document, path, &arena);
                assert_eq!(column.len(), 1);
                assert_eq!(column.get(0), want.as_ref().copied(), "{path:?} of {shown}");
            }
        }

        let Ok(text) = std::str::from_utf8(&document) else { continue };
        let ours = parse(text, &arena);
        assert_eq!(is_json(text), ours.is_ok(), "{shown}");
        assert_eq!(scanners[0].read(&document).is_some(), ours.is_ok(), "the fast path gave up: {shown}");
        let theirs = serde_json::from_str::<serde_json::Value>(text);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                good += 1;
                let ours = ours.jsonb();
                same(ours, theirs);
                assert_eq!(parse(&ours.to_string(), &arena), Ok(Datum::Jsonb(ours)), "{shown}");
                assert_eq!(parse(&ours.to_pretty(), &arena), Ok(Datum::Jsonb(ours)), "{shown}");
            }
            (Err(e), Ok(_)) => {
                let known = [code::UNTRANSLATABLE_CHARACTER, code::NUMERIC_VALUE_OUT_OF_RANGE];
                assert!(known.contains(&e.code()), "{e:?} for {shown}");
            }
            (Ok(_), Err(e)) => panic!("we accept {shown}: {e}"),
            (Err(_), Err(_)) => {}
        }
    }
    assert!(good > rounds / 3, "only {good} of {rounds} documents were good");
}

/// Whether our value is that of another parser, but for the digits that it drops.
fn same(ours: Jsonb<'_>, theirs: &serde_json::Value) {
    use crate::jsonb::JsonbValue as Ours;
    use serde_json::Value as Theirs;
    match (ours.value(), theirs) {
        (Ours::Null, Theirs::Null) => {}
        (Ours::Boolean(a), Theirs::Bool(b)) => assert_eq!(a, *b),
        (Ours::String(a), Theirs::String(b)) => assert_eq!(a, b),
        (Ours::Number(a), Theirs::Number(b)) => {
            let (a, b) = (a.to_f64(), b.as_f64().expect("numbers are floats there"));
            assert!((a - b).abs() <= b.abs() * 1e-14, "{a} {b}");
        }
        (Ours::Array(a), Theirs::Array(b)) => {
            assert_eq!(a.count(), b.len());
            a.zip(b).for_each(|(a, b)| same(a, b));
        }
        (Ours::Object(a), Theirs::Object(b)) => {
            assert_eq!(a.count(), b.len());
            for (key, value) in a {
                same(value, &b[key]);
            }
        }
        (_, theirs) => panic!("{ours:?} is not {theirs}"),
    }
}

#[test]
fn scanner_parser_and_another_parser_agree_on_random_and_damaged_documents() {
    for seed in 1..5 {
        fuzz(5_000, seed * 0x9e37_79b9);
    }
}

#[test]
#[ignore = "minutes"]
fn they_agree_on_many_more() {
    for seed in 1..200 {
        fuzz(20_000, seed * 0x2545_f491_4f6c_dd1d);
    }
}

#[test]
fn events_of_one_shape_and_of_many_are_read_alike() {
    let paths = [
        path(&[key("type")], SlotKind::Text),
        path(&[key("properties"), key("revenue")], SlotKind::Text),
        path(&[key("context")], SlotKind::Jsonb),
    ];
    let mut scanner = Scanner::new(&paths);
    let mut columns = SlotColumn::for_paths(&paths);
    let arena = Arena::new();
    for i in 0..2_000 {
        // Data in keys, members that come and go, and an order that changes now and then.
        let map = format!("\"map\":{{\"user-{i}\":{{\"n\":{i}}},\"user-{}\":1}}", i / 2);
        let revenue = if i % 3 == 0 { format!("\"revenue\":{}.50,", i) } else { String::new() };
        let properties = format!("\"properties\":{{{revenue}\"sku\":\"s{i}\"}}");
        let context = "\"context\":{\"ip\":\"10.0.0.1\",\"app\":{\"name\":\"x\"}}";
        let kind = format!("\"type\":\"{}\"", ["track", "page", "identify"][i % 3]);
        let document = match i % 7 {
            0 => format!("{{{kind},{properties},{context},{map}}}"),
            1 => format!("{{{context}, {map}, {kind}}}"),
            _ => format!("{{{map},{context},{properties},{kind}}}"),
        };
        columns.iter_mut().for_each(SlotColumn::clear);
        scanner.scan(document.as_bytes(), &mut columns);
        for (path, column) in paths.iter().zip(&columns) {
            assert_eq!(
                column.get(0),
                expected(document.as_bytes(), path, &arena).as_ref().copied(),
                "{document}"
            );
        }
    }
}

#[test]
fn documents_elements_and_members_are_cut_where_they_stand() {
    assert_eq!(
        documents(" {\"a\": [1, 2]}\n[3]4 \"x\"\r\n").unwrap(),
        ["{\"a\": [1, 2]}", "[3]", "4", "\"x\""]
    );
    assert_eq!(documents(" \n").unwrap(), [""; 0]);
    for bad in ["{", "{} ]", "{} NaN", "[1,]", "\"\\ud800\""] {
        assert!(documents(bad).is_err(), "{bad}");
    }
    assert_eq!(elements(" [ 1 ,[2,3], {\"a\": \"],\"} ]").unwrap(), ["1", "[2,3]", "{\"a\": \"],\"}"]);
    assert_eq!(elements("[]").unwrap(), [""; 0]);
    assert_eq!(elements("{}"), None);
    let all = members("{ \"a\" : 1 , \"\\u0062\\n\":{\"c\":[]}, \"a\":2}").unwrap();
    let all: Vec<_> = all.iter().map(|(k, v)| (k.as_ref(), *v)).collect();
    assert_eq!(all, [("a", "1"), ("b\n", "{\"c\":[]}"), ("a", "2")]);
    assert_eq!(members("[]"), None);
    assert_eq!(members("{}").unwrap(), []);
}
