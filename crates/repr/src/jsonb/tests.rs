use std::cmp::Ordering;

use super::*;
use crate::json::parse;
use crate::{Datum, Row};

fn j<'a>(text: &str, arena: &'a Arena) -> Jsonb<'a> {
    parse(text, arena).unwrap_or_else(|e| panic!("{text}: {e:?}")).jsonb()
}

fn text(value: Option<Jsonb<'_>>) -> Option<String> {
    value.map(|v| v.to_string())
}

#[test]
fn accessors_give_none_on_the_wrong_kind() {
    let arena = Arena::new();
    let d = j(r#"{"a":{"b":[10,null,"x"]},"n":null,"t":true,"z":{"":1}}"#, &arena);
    assert_eq!(text(d.get("a")), Some(r#"{"b":[10,null,"x"]}"#.into()));
    assert_eq!(text(d.get("a").and_then(|a| a.get("b")).and_then(|b| b.get_index(-1))), Some("\"x\"".into()));
    let at = |path: &[&str]| text(d.get_path(path.iter().copied()));
    assert_eq!(at(&["a", "b", "0"]), Some("10".into()));
    assert_eq!(at(&["a", "b", "-3"]), Some("10".into()));
    assert_eq!(at(&["a", "b", "-4"]), None);
    assert_eq!(at(&["a", "b", "x"]), None);
    assert_eq!(at(&["a", "b", "0", "0"]), None);
    assert_eq!(at(&["z", ""]), Some("1".into()));
    assert_eq!(at(&[]), Some(d.to_string()));
    assert_eq!((text(d.get_index(0)), d.array_length(), d.elements().count()), (None, None, 0));
    let array = j("[1,2]", &arena);
    assert_eq!((array.get("1"), array.get_index(2), array.get_index(i64::MIN)), (None, None, None));
    assert_eq!(array.entries().count(), 0);
    assert_eq!(d.get("n").and_then(|n| n.as_text(&arena)), None);
    assert_eq!(d.get("t").and_then(|n| n.as_text(&arena)), Some("true"));
    assert_eq!(j("1.50", &arena).as_text(&arena), Some("1.5"));
    assert_eq!(j("\"q\\\"\"", &arena).as_text(&arena), Some("q\""));
    assert_eq!(j("[\"q\"]", &arena).as_text(&arena), Some("[\"q\"]"));
    let kinds: Vec<&str> = d.entries().map(|(_, v)| v.kind().name()).collect();
    assert_eq!(kinds, ["object", "null", "boolean", "object"]);
}

#[test]
fn long_strings_keys_and_containers_come_back() {
    let arena = Arena::new();
    for n in [0, 1, 127, 128, 129, 16_383, 16_384, 70_000] {
        let s = "s".repeat(n);
        let source = format!("{{\"{s}\":[\"{s}\",\"{s}\"],\"zz\":{{\"k\":\"{s}\"}}}}");
        let d = j(&source, &arena);
        assert_eq!(d.to_string(), source);
        assert_eq!(d.get_path([&*s, "1"]).and_then(Jsonb::as_str), Some(&*s));
        assert_eq!(d.get_path(["zz", "k"]).and_then(Jsonb::as_str), Some(&*s));
        assert_eq!(d.depth(), 2);
    }
}

#[test]
fn equal_values_have_equal_bytes() {
    let arena = Arena::new();
    for (a, b) in [
        ("1.0", "1"),
        ("-0", "0"),
        ("100", "1e2"),
        (r#"{"a":1,"b":2}"#, r#"{ "b":2.0, "a":9, "a":1 }"#),
        (r#""\u0041""#, r#""A""#),
        (r#"{"b":{"d":1,"c":[]},"a":null}"#, r#"{"a":null,"b":{"c":[],"d":1}}"#),
    ] {
        assert_eq!(j(a, &arena).bytes(), j(b, &arena).bytes(), "{a} {b}");
        assert_eq!(Row::pack([Datum::Jsonb(j(a, &arena))]), Row::pack([Datum::Jsonb(j(b, &arena))]));
    }
}

#[test]
fn order_is_that_of_postgres() {
    let arena = Arena::new();
    let rising = [
        "null",
        r#""""#,
        r#""a""#,
        r#""b""#,
        "-10",
        "-1.5",
        "0",
        "2",
        "10",
        "1e30",
        "false",
        "true",
        "[]",
        "[null]",
        "[9]",
        "[1,2]",
        "[2,1]",
        "[0,0,0]",
        "{}",
        r#"{"b":1}"#,
        r#"{"b":2}"#,
        r#"{"c":0}"#,
        r#"{"a":1,"b":1}"#,
        r#"{"a":1,"b":[]}"#,
    ];
    for (i, a) in rising.iter().enumerate() {
        for (k, b) in rising.iter().enumerate() {
            let (x, y) = (j(a, &arena), j(b, &arena));
            assert_eq!(x.cmp(&y), i.cmp(&k), "{a} {b}");
            assert_eq!(x == y, x.cmp(&y) == Ordering::Equal);
        }
    }
}

#[test]
fn containment_is_that_of_postgres() {
    let arena = Arena::new();
    for (a, b, contains) in [
        (r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#, true),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
        (r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"b":1}}"#, true),
        (r#"{"a":{"b":1}}"#, r#"{"b":1}"#, false),
        (r#"{"a":[1,2]}"#, r#"{"a":1}"#, false),
        ("[1,2,3]", "[3,1]", true),
        ("[1,2,3]", "[1,1,1]", true),
        ("[1,2]", "[1,[2]]", false),
        ("[1,[2,3]]", "[[3]]", true),
        ("[\"a\"]", "\"a\"", true),
        ("[[\"a\"]]", "[\"a\"]", false),
        ("\"a\"", "[\"a\"]", false),
        (r#"[{"a":1}]"#, r#"{"a":1}"#, false),
        (r#"[{"a":1,"b":2}]"#, r#"[{"b":2}]"#, true),
        ("[]", "[]", true),
        ("{}", "{}", true),
        ("[]", "{}", false),
        ("1", "1.0", true),
        ("null", "null", true),
        ("[null]", "null", true),
    ] {
        assert_eq!(j(a, &arena).contains(j(b, &arena)), contains, "{a} @> {b}");
    }
    for (a, key, exists) in [
        (r#"{"a":null}"#, "a", true),
        (r#"{"a":null}"#, "b", false),
        (r#"["a",1]"#, "a", true),
        (r#"["a",1]"#, "1", false),
        (r#""a""#, "a", true),
        ("1", "1", false),
    ] {
        assert_eq!(j(a, &arena).exists(key), exists, "{a} ? {key}");
    }
}

#[test]
fn joining_and_deleting() {
    let arena = Arena::new();
    for (a, b, joined) in [
        (r#"{"a":1,"b":2}"#, r#"{"b":3,"c":4}"#, Some(r#"{"a":1,"b":3,"c":4}"#)),
        ("[1]", "[2,3]", Some("[1,2,3]")),
        ("[1]", "2", Some("[1,2]")),
        ("1", "[2]", Some("[1,2]")),
        ("[1]", r#"{"a":1}"#, Some(r#"[1,{"a":1}]"#)),
        (r#"{"a":1}"#, "[1]", Some(r#"[{"a":1},1]"#)),
        ("1", "\"a\"", Some("[1,\"a\"]")),
        (r#"{"a":1}"#, "1", None),
        ("null", "{}", None),
    ] {
        let got = j(a, &arena).concat(j(b, &arena), &arena).unwrap();
        assert_eq!(text(got).as_deref(), joined, "{a} || {b}");
    }
    let delete = |a: &str, key: &str| text(j(a, &arena).delete_key(key, &arena));
    assert_eq!(delete(r#"{"a":1,"b":2}"#, "a").as_deref(), Some(r#"{"b":2}"#));
    assert_eq!(delete(r#"["a","b","a",1]"#, "a").as_deref(), Some(r#"["b",1]"#));
    assert_eq!(delete("3", "a"), None);
    let delete = |a: &str, index: i64| text(j(a, &arena).delete_index(index, &arena));
    assert_eq!(delete("[1,2,3]", -1).as_deref(), Some("[1,2]"));
    assert_eq!(delete("[1,2,3]", 3).as_deref(), Some("[1,2,3]"));
    assert_eq!(delete("[1,2,3]", i64::MIN).as_deref(), Some("[1,2,3]"));
    assert_eq!(delete("{}", 1), None);
}

#[test]
fn set_insert_and_delete_at_paths() {
    let arena = Arena::new();
    let d = j(r#"{"a":[1,{"b":2}],"c":{}}"#, &arena);
    let new = j("9", &arena);
    let set = |path: &[&str], create| d.set(path, new, create, &arena).unwrap().to_string();
    assert_eq!(set(&["a", "1", "b"], true), r#"{"a":[1,{"b":9}],"c":{}}"#);
    assert_eq!(set(&["a", "-1"], true), r#"{"a":[1,9],"c":{}}"#);
    assert_eq!(set(&["a", "7"], true), r#"{"a":[1,{"b":2},9],"c":{}}"#);
    assert_eq!(set(&["a", "-7"], true), r#"{"a":[9,1,{"b":2}],"c":{}}"#);
    assert_eq!(set(&["b"], true), r#"{"a":[1,{"b":2}],"b":9,"c":{}}"#);
    for unchanged in [set(&["b"], false), set(&["a", "7"], false), set(&["x", "y"], true), set(&[], true)] {
        assert_eq!(unchanged, d.to_string());
    }
    assert_eq!(d.set(&["a", "x"], new, true, &arena).unwrap_err().code().as_str(), "22P02");
    assert_eq!(new.set(&["a"], new, true, &arena).unwrap_err().code().as_str(), "22023");
    let insert = |path: &[&str], after| d.insert(path, new, after, &arena).map(|v| v.to_string());
    assert_eq!(insert(&["a", "0"], false).unwrap(), r#"{"a":[9,1,{"b":2}],"c":{}}"#);
    assert_eq!(insert(&["a", "0"], true).unwrap(), r#"{"a":[1,9,{"b":2}],"c":{}}"#);
    assert_eq!(insert(&["c", "x"], true).unwrap(), r#"{"a":[1,{"b":2}],"c":{"x":9}}"#);
    assert_eq!(insert(&["c"], true).unwrap_err().code().as_str(), "22023");
    let delete = |path: &[&str]| d.delete_path(path, &arena).unwrap().to_string();
    assert_eq!(delete(&["a", "1", "b"]), r#"{"a":[1,{}],"c":{}}"#);
    assert_eq!(delete(&["a", "-2"]), r#"{"a":[{"b":2}],"c":{}}"#);
    assert_eq!(delete(&["x"]), d.to_string());
    let nulls = j(r#"{"a":null,"b":[null,{"c":null,"d":1}],"e":{"f":null}}"#, &arena);
    assert_eq!(nulls.strip_nulls(&arena).to_string(), r#"{"b":[null,{"d":1}],"e":{}}"#);
}

#[test]
fn pretty_text_is_that_of_postgres() {
    let arena = Arena::new();
    let d = j(r#"{"a":[1,{}],"b":"x"}"#, &arena);
    let want = "{\n    \"a\": [\n        1,\n        {\n        }\n    ],\n    \"b\": \"x\"\n}";
    assert_eq!(d.to_pretty(), want);
    assert_eq!(j("1", &arena).to_pretty(), "1");
}

#[test]
fn built_values_are_canonical_and_reuse_the_builder() {
    let arena = Arena::new();
    let mut b = Builder::default();
    for _ in 0..2 {
        b.begin_object();
        b.key("z");
        b.begin_array();
        b.null();
        b.boolean(true);
        b.number(Numeric::from_i64(-5));
        b.number(Numeric::NAN);
        b.string("s");
        b.end_array();
        b.key("a");
        b.value(j("{\"k\":1}", &arena));
        b.end_object();
        let built = b.finish(&arena).unwrap();
        assert_eq!(built, j(r#"{"a":{"k":1},"z":[null,true,-5,"NaN","s"]}"#, &arena));
    }
    let one = Jsonb::string("x", &arena);
    let object = Jsonb::object([("b", one), ("a", Jsonb::TRUE), ("b", Jsonb::NULL)], &arena).unwrap();
    assert_eq!(object.to_string(), r#"{"a":true,"b":null}"#);
    assert_eq!(Jsonb::array([], &arena).unwrap(), Jsonb::EMPTY_ARRAY);
    assert_eq!(Jsonb::object([], &arena).unwrap(), Jsonb::EMPTY_OBJECT);
}

#[test]
fn values_built_around_each_other_do_not_nest_without_limit() {
    let arena = Arena::new();
    let mut value = Jsonb::EMPTY_ARRAY;
    let mut levels = 1;
    let error = loop {
        match Jsonb::array([value, Jsonb::NULL], &arena) {
            Ok(v) => value = v,
            Err(e) => break e,
        }
        levels += 1;
    };
    assert_eq!((levels, error.code().as_str()), (MAX_DEPTH, "54001"));
}
