//! Functions of jsonb. Wrong kinds give NULL or no rows, as in Materialize; see [`repr::jsonb`] for what they do.

use repr::error::code;
use repr::jsonb::{Builder, JsonbKind};
use repr::{Arena, Datum, EvalError, Jsonb, Numeric};

use super::compare::{elements, print_value};
use super::registry::{FAILS, LAX_FAILS, LAX_MAYBE, MAYBE, MAYBE_FAILS, PURE, Table};

/// The element at an index; the first or last of a scalar is itself.
fn at_index(of: Jsonb<'_>, index: i64) -> Option<Jsonb<'_>> {
    match of.kind() {
        JsonbKind::Object => None,
        JsonbKind::Array => of.get_index(index),
        _ => matches!(index, 0 | -1).then_some(of),
    }
}

pub(super) fn register(t: &mut Table) {
    t.add("jsonb_get", "jsonb -> text -> jsonb -- the member with this key", MAYBE, |a, _, _| {
        Ok(a[0].jsonb().get(a[1].text()).map_or(Datum::Null, Datum::Jsonb))
    });
    t.add(
        "jsonb_get_text",
        "jsonb ->> text -> text -- the member with this key, as text",
        MAYBE,
        |a, _, m| {
            Ok(a[0].jsonb().get(a[1].text()).and_then(|j| j.as_text(m)).map_or(Datum::Null, Datum::Text))
        },
    );
    t.add(
        "jsonb_get_index",
        "jsonb -> int4 -> jsonb; jsonb -> int2 -> jsonb; jsonb -> int8 -> jsonb -- the element at this index",
        MAYBE,
        |a, _, _| Ok(at_index(a[0].jsonb(), a[1].int()).map_or(Datum::Null, Datum::Jsonb)),
    );
    t.add(
        "jsonb_get_index_text",
        "jsonb ->> int4 -> text; jsonb ->> int2 -> text; jsonb ->> int8 -> text -- the element at this index, as text",
        MAYBE,
        |a, _, m| {
            let found = at_index(a[0].jsonb(), a[1].int()).and_then(|j| j.as_text(m));
            Ok(found.map_or(Datum::Null, Datum::Text))
        },
    );
    t.add("jsonb_get_path", "jsonb #> text[] -> jsonb -- what is at this path", MAYBE, |a, _, _| {
        Ok(at_path(a[0].jsonb(), elements(a[1])).map_or(Datum::Null, Datum::Jsonb))
    });
    t.add(
        "jsonb_get_path_text",
        "jsonb #>> text[] -> text -- what is at this path, as text",
        MAYBE,
        |a, _, m| {
            let found = at_path(a[0].jsonb(), elements(a[1])).and_then(|j| j.as_text(m));
            Ok(found.map_or(Datum::Null, Datum::Text))
        },
    );
    t.add(
        "jsonb_extract_path",
        "jsonb_extract_path(jsonb, variadic text) -> jsonb; json_extract_path(jsonb, variadic text) -> jsonb",
        MAYBE,
        |a, _, _| Ok(at_path(a[0].jsonb(), a[1..].iter().copied()).map_or(Datum::Null, Datum::Jsonb)),
    );
    t.add(
        "jsonb_extract_path_text",
        "jsonb_extract_path_text(jsonb, variadic text) -> text; json_extract_path_text(jsonb, variadic text) -> text",
        MAYBE,
        |a, _, m| {
            let found = at_path(a[0].jsonb(), a[1..].iter().copied()).and_then(|j| j.as_text(m));
            Ok(found.map_or(Datum::Null, Datum::Text))
        },
    );
    t.add("jsonb_contains", "jsonb @> jsonb -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(a[0].jsonb().contains(a[1].jsonb())))
    });
    t.add("jsonb_contained", "jsonb <@ jsonb -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(a[1].jsonb().contains(a[0].jsonb())))
    });
    t.add("jsonb_exists", "jsonb ? text -> bool; jsonb_exists(jsonb, text) -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(a[0].jsonb().exists(a[1].text())))
    });
    t.add(
        "jsonb_exists_any",
        "jsonb ?| text[] -> bool; jsonb_exists_any(jsonb, text[]) -> bool",
        PURE,
        |a, _, _| {
            let j = a[0].jsonb();
            Ok(Datum::Bool(elements(a[1]).any(|k| matches!(k, Datum::Text(k) if j.exists(k)))))
        },
    );
    t.add(
        "jsonb_exists_all",
        "jsonb ?& text[] -> bool; jsonb_exists_all(jsonb, text[]) -> bool",
        PURE,
        |a, _, _| {
            let j = a[0].jsonb();
            Ok(Datum::Bool(elements(a[1]).all(|k| match k {
                Datum::Text(k) => j.exists(k),
                _ => true,
            })))
        },
    );
    t.add(
        "jsonb_concat",
        "jsonb || jsonb -> jsonb -- objects merged, arrays joined",
        MAYBE_FAILS,
        |a, _, m| Ok(a[0].jsonb().concat(a[1].jsonb(), m)?.map_or(Datum::Null, Datum::Jsonb)),
    );
    t.add("jsonb_delete_key", "jsonb - text -> jsonb", MAYBE, |a, _, m| {
        Ok(a[0].jsonb().delete_key(a[1].text(), m).map_or(Datum::Null, Datum::Jsonb))
    });
    t.add("jsonb_delete_keys", "jsonb - text[] -> jsonb", MAYBE, |a, _, m| {
        let mut j = a[0].jsonb();
        for key in elements(a[1]) {
            if let Datum::Text(key) = key {
                match j.delete_key(key, m) {
                    Some(less) => j = less,
                    None => return Ok(Datum::Null),
                }
            }
        }
        Ok(Datum::Jsonb(j))
    });
    t.add(
        "jsonb_delete_index",
        "jsonb - int4 -> jsonb; jsonb - int2 -> jsonb; jsonb - int8 -> jsonb",
        MAYBE,
        |a, _, m| Ok(a[0].jsonb().delete_index(a[1].int(), m).map_or(Datum::Null, Datum::Jsonb)),
    );
    t.add(
        "jsonb_delete_path",
        "jsonb #- text[] -> jsonb; jsonb_delete_path(jsonb, text[]) -> jsonb",
        FAILS,
        |a, _, m| a[0].jsonb().delete_path(&path(a[1])?, m).map(Datum::Jsonb),
    );
    t.add(
        "jsonb_set",
        "jsonb_set(jsonb, text[], jsonb) -> jsonb; jsonb_set(jsonb, text[], jsonb, bool) -> jsonb -- with a new value at a path",
        FAILS,
        |a, _, m| {
            let create = a.get(3).is_none_or(Datum::bool);
            a[0].jsonb().set(&path(a[1])?, a[2].jsonb(), create, m).map(Datum::Jsonb)
        },
    );
    t.add(
        "jsonb_set_lax",
        "jsonb_set_lax(jsonb, text[], jsonb) -> jsonb; jsonb_set_lax(jsonb, text[], jsonb, bool) -> jsonb; \
         jsonb_set_lax(jsonb, text[], jsonb, bool, text) -> jsonb -- as jsonb_set; the last says what NULL does",
        LAX_MAYBE,
        |a, _, m| {
            if [0, 1].iter().any(|i| a[*i].is_null()) || a[3..].iter().any(|d| d.is_null()) {
                return Ok(Datum::Null);
            }
            let (of, path, create) = (a[0].jsonb(), path(a[1])?, a.get(3).is_none_or(Datum::bool));
            if !a[2].is_null() {
                return of.set(&path, a[2].jsonb(), create, m).map(Datum::Jsonb);
            }
            match a.get(4).map_or("use_json_null", |t| t.text()) {
                "use_json_null" => of.set(&path, Jsonb::NULL, create, m).map(Datum::Jsonb),
                "delete_key" => of.delete_path(&path, m).map(Datum::Jsonb),
                "return_target" => Ok(a[0]),
                "raise_exception" => Err(EvalError::new(
                    repr::SqlState::new("22004"),
                    "JSON value must not be null",
                )
                .with_hint("To avoid, either change the null_value_treatment argument or ensure that an SQL NULL is not passed.")),
                _ => Err(EvalError::new(
                    code::INVALID_PARAMETER_VALUE,
                    "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"",
                )),
            }
        },
    );
    t.add(
        "jsonb_insert",
        "jsonb_insert(jsonb, text[], jsonb) -> jsonb; jsonb_insert(jsonb, text[], jsonb, bool) -> jsonb",
        FAILS,
        |a, _, m| {
            let after = a.get(3).is_some_and(Datum::bool);
            a[0].jsonb().insert(&path(a[1])?, a[2].jsonb(), after, m).map(Datum::Jsonb)
        },
    );
    t.add("jsonb_typeof", "jsonb_typeof(jsonb) -> text; json_typeof(jsonb) -> text", PURE, |a, _, _| {
        Ok(Datum::Text(a[0].jsonb().kind().name()))
    });
    t.add(
        "jsonb_array_length",
        "jsonb_array_length(jsonb) -> int4; json_array_length(jsonb) -> int4 -- NULL unless it is an array",
        MAYBE,
        |a, _, _| Ok(a[0].jsonb().array_length().map_or(Datum::Null, |n| Datum::Int32(n as i32))),
    );
    t.add(
        "jsonb_strip_nulls",
        "jsonb_strip_nulls(jsonb) -> jsonb; json_strip_nulls(jsonb) -> jsonb -- without members that are null",
        PURE,
        |a, _, m| Ok(Datum::Jsonb(a[0].jsonb().strip_nulls(m))),
    );
    t.add("jsonb_pretty", "jsonb_pretty(jsonb) -> text", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&a[0].jsonb().to_pretty())))
    });
    t.add(
        "is_json",
        "is_json(text) -> bool; is_json(text, text) -> bool -- IS JSON; of a kind: value, scalar, array, object",
        FAILS,
        |a, _, m| {
            let kind = a.get(1).map_or("value", |k| k.text());
            if kind.eq_ignore_ascii_case("value") {
                return Ok(Datum::Bool(repr::json::is_json(a[0].text())));
            }
            let lower = kind.to_ascii_lowercase();
            let (kind, unique) = match lower.strip_suffix(" with unique keys") {
                Some(kind) => (kind, true),
                None => (lower.as_str(), false),
            };
            let Ok(d) = repr::json::parse(a[0].text(), m) else { return Ok(Datum::Bool(false)) };
            let of_kind = match (kind, d.jsonb().kind()) {
                ("value", _) => true,
                ("array", k) => k == JsonbKind::Array,
                ("object", k) => k == JsonbKind::Object,
                ("scalar", k) => !matches!(k, JsonbKind::Array | JsonbKind::Object),
                _ => {
                    return Err(EvalError::new(
                        code::INVALID_PARAMETER_VALUE,
                        format!("unknown kind of JSON: \"{kind}\""),
                    ));
                }
            };
            Ok(Datum::Bool(of_kind && (!unique || repr::json::has_unique_keys(a[0].text()))))
        },
    );

    t.add(
        "to_jsonb",
        "to_jsonb(anyelement) -> jsonb; to_json(anyelement) -> jsonb; array_to_json(anyarray) -> jsonb; row_to_json(record) -> jsonb",
        FAILS,
        |a, _, m| jsonb_of(a[0], m).map(Datum::Jsonb),
    );
    t.add("record_to_jsonb", "", LAX_MAYBE, |a, _, m| {
        if a[1].is_null() {
            return Ok(Datum::Null);
        }
        let mut b = Builder::default();
        let shape = match a[0] {
            Datum::Jsonb(j) => Some(j),
            _ => None,
        };
        build_shaped(a[1], shape, &mut b)?;
        b.finish(m).map(Datum::Jsonb)
    });
    t.add(
        "jsonb_build_array",
        "jsonb_build_array(variadic any) -> jsonb; jsonb_build_array() -> jsonb; json_build_array(variadic any) -> jsonb; \
         json_build_array() -> jsonb",
        LAX_FAILS,
        |a, _, m| {
            let mut b = Builder::default();
            b.begin_array();
            for d in a {
                build(*d, &mut b)?;
            }
            b.end_array();
            b.finish(m).map(Datum::Jsonb)
        },
    );
    t.add(
        "jsonb_build_object",
        "jsonb_build_object(variadic any) -> jsonb; jsonb_build_object() -> jsonb; json_build_object(variadic any) -> jsonb; \
         json_build_object() -> jsonb -- of keys and values in turn",
        LAX_FAILS,
        |a, _, m| {
            if !a.len().is_multiple_of(2) {
                return Err(EvalError::new(
                    code::INVALID_PARAMETER_VALUE,
                    "argument list must have even number of elements",
                )
                .with_hint("The arguments of jsonb_build_object() must consist of alternating keys and values."));
            }
            let mut b = Builder::default();
            b.begin_object();
            for (i, pair) in a.chunks_exact(2).enumerate() {
                if pair[0].is_null() {
                    return Err(EvalError::new(
                        code::INVALID_PARAMETER_VALUE,
                        format!("argument {}: key must not be null", 2 * i + 1),
                    ));
                }
                key(pair[0], &mut b);
                build(pair[1], &mut b)?;
            }
            b.end_object();
            b.finish(m).map(Datum::Jsonb)
        },
    );
    t.add("jsonb_object", "jsonb_object(text[]) -> jsonb; json_object(text[]) -> jsonb", FAILS, |a, _, m| {
        let all: Vec<Datum<'_>> = elements(a[0]).collect();
        if !all.len().is_multiple_of(2) {
            return Err(EvalError::new(subscript_error(), "array must have even number of elements"));
        }
        object(all.chunks_exact(2).map(|p| (p[0], p[1])), m)
    });
    t.add(
        "jsonb_object_of",
        "jsonb_object(text[], text[]) -> jsonb; json_object(text[], text[]) -> jsonb",
        FAILS,
        |a, _, m| {
            let (k, v): (Vec<_>, Vec<_>) = (elements(a[0]).collect(), elements(a[1]).collect());
            if k.len() != v.len() {
                return Err(EvalError::new(subscript_error(), "mismatched array dimensions"));
            }
            object(k.into_iter().zip(v), m)
        },
    );

    t.rows(
        "jsonb_array_elements",
        "jsonb_array_elements(jsonb) -> (value jsonb); json_array_elements(jsonb) -> (value jsonb)",
        true,
        |a, _, emit| {
            a[0].jsonb().elements().for_each(|e| emit(&[Datum::Jsonb(e)]));
            Ok(())
        },
    );
    t.rows(
        "jsonb_array_elements_text",
        "jsonb_array_elements_text(jsonb) -> (value text); json_array_elements_text(jsonb) -> (value text)",
        true,
        |a, m, emit| {
            a[0].jsonb().elements().for_each(|e| emit(&[e.as_text(m).map_or(Datum::Null, Datum::Text)]));
            Ok(())
        },
    );
    t.rows(
        "jsonb_each",
        "jsonb_each(jsonb) -> (key text, value jsonb); json_each(jsonb) -> (key text, value jsonb)",
        true,
        |a, _, emit| {
            a[0].jsonb().entries().for_each(|(k, v)| emit(&[Datum::Text(k), Datum::Jsonb(v)]));
            Ok(())
        },
    );
    t.rows(
        "jsonb_each_text",
        "jsonb_each_text(jsonb) -> (key text, value text); json_each_text(jsonb) -> (key text, value text)",
        true,
        |a, m, emit| {
            for (k, v) in a[0].jsonb().entries() {
                emit(&[Datum::Text(k), v.as_text(m).map_or(Datum::Null, Datum::Text)]);
            }
            Ok(())
        },
    );
    t.rows(
        "jsonb_object_keys",
        "jsonb_object_keys(jsonb) -> text; json_object_keys(jsonb) -> text",
        true,
        |a, _, emit| {
            a[0].jsonb().entries().for_each(|(k, _)| emit(&[Datum::Text(k)]));
            Ok(())
        },
    );
}

fn subscript_error() -> repr::SqlState {
    repr::SqlState::new("2202E")
}

/// Follows a path of text datums; a NULL step leads nowhere.
fn at_path<'a>(j: Jsonb<'a>, mut steps: impl Iterator<Item = Datum<'a>>) -> Option<Jsonb<'a>> {
    steps.try_fold(j, |j, step| match step {
        Datum::Text(step) => j.get_path([step]),
        _ => None,
    })
}

/// The steps of a path that must not hold NULL.
fn path(d: Datum<'_>) -> Result<Vec<&str>, EvalError> {
    elements(d)
        .enumerate()
        .map(|(i, step)| match step {
            Datum::Text(step) => Ok(step),
            _ => Err(EvalError::new(
                repr::SqlState::new("22004"),
                format!("path element at position {} is null", i + 1),
            )),
        })
        .collect()
}

fn object<'a>(
    pairs: impl Iterator<Item = (Datum<'a>, Datum<'a>)>,
    arena: &'a Arena,
) -> Result<Datum<'a>, EvalError> {
    let mut b = Builder::default();
    b.begin_object();
    for (k, v) in pairs {
        if k.is_null() {
            return Err(EvalError::new(
                repr::SqlState::new("22004"),
                "null value not allowed for object key",
            ));
        }
        b.key(k.text());
        match v {
            Datum::Text(v) => b.string(v),
            _ => b.null(),
        }
    }
    b.end_object();
    b.finish(arena).map(Datum::Jsonb)
}

/// An object's key: the text of any value.
pub(super) fn key(d: Datum<'_>, b: &mut Builder) {
    match d {
        Datum::Text(s) => b.key(s),
        Datum::Bool(x) => b.key(if x { "true" } else { "false" }),
        d => {
            let mut text = String::new();
            print_value(d, &mut text);
            b.key(&text);
        }
    }
}

/// `to_jsonb`.
pub(super) fn jsonb_of<'a>(d: Datum<'_>, arena: &'a Arena) -> Result<Jsonb<'a>, EvalError> {
    let mut b = Builder::default();
    build(d, &mut b)?;
    b.finish(arena)
}

/// Appends any value: numbers, truth values and containers as such, the rest as the string of its text.
pub(super) fn build(d: Datum<'_>, b: &mut Builder) -> Result<(), EvalError> {
    build_shaped(d, None, b)
}

/// As [`build`], with the names of records as [`super::resolve::jsonb_argument`] describes them.
fn build_shaped(d: Datum<'_>, shape: Option<Jsonb<'_>>, b: &mut Builder) -> Result<(), EvalError> {
    match d {
        Datum::Null => b.null(),
        Datum::Bool(x) => b.boolean(x),
        Datum::Int16(_) | Datum::Int32(_) | Datum::Int64(_) | Datum::UInt16(_) | Datum::UInt32(_) => {
            b.number(Numeric::from_i64(d.int()));
        }
        Datum::UInt64(n) => b.number(Numeric::from_u64(n)),
        Datum::Float32(x) => b.number(Numeric::from_f32(x)?),
        Datum::Float64(x) => b.number(Numeric::from_f64(x)?),
        Datum::Numeric(n) => b.number(n),
        Datum::Text(s) => b.string(s),
        Datum::Jsonb(j) => b.value(j),
        Datum::Array(a) => {
            let element = shape.and_then(|s| s.get("e"));
            let dims: Vec<usize> = a.dims().map(|(n, _)| n.max(0) as usize).collect();
            build_array(&dims, &mut a.elements().iter(), element, b)?;
        }
        Datum::List(e) => {
            let element = shape.and_then(|s| s.get("e"));
            b.begin_array();
            for d in e.iter() {
                build_shaped(d, element, b)?;
            }
            b.end_array();
        }
        Datum::Map(e) => {
            let element = shape.and_then(|s| s.get("e"));
            b.begin_object();
            let mut entries = e.iter();
            while let (Some(k), Some(v)) = (entries.next(), entries.next()) {
                key(k, b);
                build_shaped(v, element, b)?;
            }
            b.end_object();
        }
        Datum::Record(e) => {
            let fields = shape.and_then(|s| s.get("r"));
            b.begin_object();
            for (i, d) in e.iter().enumerate() {
                let field = fields.and_then(|f| f.get_index(i as i64));
                match field.and_then(|f| f.get_index(0)).and_then(|n| n.as_str()) {
                    Some(name) => b.key(name),
                    None => b.key(&format!("f{}", i + 1)),
                }
                build_shaped(d, field.and_then(|f| f.get_index(1)), b)?;
            }
            b.end_object();
        }
        d => {
            let mut text = String::new();
            print_value(d, &mut text);
            b.string(&text);
        }
    }
    Ok(())
}

fn build_array(
    dims: &[usize],
    elements: &mut repr::row::DatumIter<'_>,
    shape: Option<Jsonb<'_>>,
    b: &mut Builder,
) -> Result<(), EvalError> {
    b.begin_array();
    if let [n, inner @ ..] = dims {
        for _ in 0..*n {
            if inner.is_empty() {
                build_shaped(elements.next().unwrap_or(Datum::Null), shape, b)?;
            } else {
                build_array(inner, elements, shape, b)?;
            }
        }
    }
    b.end_array();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::func::resolve::tests::{error, run};

    #[test]
    fn accessors_are_lenient() {
        let doc = "{\"a\": {\"b\": [1, \"x\", null]}, \"n\": null}::jsonb";
        assert_eq!(run("->", &[doc, "a"]), "{\"b\":[1,\"x\",null]}");
        assert_eq!(run("->>", &[doc, "n"]), "NULL");
        assert_eq!(run("->", &[doc, "n"]), "null");
        assert_eq!(run("#>>", &[doc, "{a,b,1}"]), "x");
        assert_eq!(run("#>", &[doc, "{a,b,9}"]), "NULL");
        assert_eq!(run("->", &["[1,2]::jsonb", "-1::int4"]), "2");
        assert_eq!(run("jsonb_array_length", &["{}::jsonb"]), "NULL");
        assert_eq!(run("||", &["{}::jsonb", "3::jsonb"]), "NULL");
        assert_eq!(run("-", &["{\"a\":1,\"b\":2}::jsonb", "{a,b}::text[]"]), "{}");
        assert_eq!(run("?|", &["{\"a\":1}::jsonb", "{b,a}"]), "t");
        assert_eq!(run("@>", &["{\"a\":[1,2]}::jsonb", "{\"a\":[2]}"]), "t");
    }

    #[test]
    fn everything_becomes_json() {
        assert_eq!(run("to_jsonb", &["2014-05-28 12:22:35.6::timestamp"]), "\"2014-05-28 12:22:35.6\"");
        assert_eq!(run("to_jsonb", &["{{1,2},{3,4}}::int4[]"]), "[[1,2],[3,4]]");
        assert_eq!(run("to_jsonb", &["1.50::numeric"]), "1.5");
        assert_eq!(run("jsonb_build_object", &["a", "1::int4", "b", "NULL::text"]), "{\"a\":1,\"b\":null}");
        assert_eq!(run("jsonb_build_array", &["t::bool", "x", "[1]::jsonb"]), "[true,\"x\",[1]]");
        assert_eq!(
            error("jsonb_build_object", &["a"]),
            "22023 argument list must have even number of elements"
        );
        assert_eq!(
            error("jsonb_build_object", &["NULL::text", "1::int4"]),
            "22023 argument 1: key must not be null"
        );
    }

    #[test]
    fn records_take_their_names_along() {
        use crate::func::{ids, resolve};
        use repr::{Arena, Datum, ScalarType};
        let inner = ScalarType::Record(vec![("b".into(), ScalarType::Int32.nullable(true))]);
        let ty = ScalarType::Record(vec![
            ("a".into(), ScalarType::Text.nullable(true)),
            ("c".into(), ScalarType::Array(Box::new(inner)).nullable(true)),
        ]);
        let (f, shape) = resolve::jsonb_shape(&ty).unwrap();
        assert_eq!(f.0.id, ids::RECORD_TO_JSONB);
        assert!(resolve::jsonb_shape(&ScalarType::Int32).is_none());
        let arena = Arena::new();
        let nested = arena.array1(&[arena.record([Datum::Int32(7)])]);
        let value = arena.record([Datum::Text("x"), nested]);
        let d = (f.0.eval)(&[shape.iter().next().unwrap(), value], &ScalarType::Jsonb, &arena).unwrap();
        assert_eq!(d.jsonb().to_string(), "{\"a\":\"x\",\"c\":[{\"b\":7}]}");
    }

    #[test]
    fn editing_by_path() {
        assert_eq!(run("jsonb_set", &["{\"a\":[1,2]}::jsonb", "{a,0}", "9"]), "{\"a\":[9,2]}");
        assert_eq!(run("jsonb_set", &["{}::jsonb", "{a}", "1", "f::bool"]), "{}");
        assert_eq!(run("#-", &["{\"a\":[1,2]}::jsonb", "{a,0}"]), "{\"a\":[2]}");
        assert_eq!(error("jsonb_set", &["1::jsonb", "{a}", "1"]), "22023 cannot set path in scalar");
        assert_eq!(run("is_json", &["{\"a\":1}", "object"]), "t");
        assert_eq!(run("is_json", &["{a:1}"]), "f");
        assert_eq!(run("is_json", &["[{\"a\":1,\"b\":2}]", "value with unique keys"]), "t");
        assert_eq!(run("is_json", &["[{\"a\":1,\"\\u0061\":2}]", "value with unique keys"]), "f");
        assert_eq!(run("->>", &["\"x\"::jsonb", "0::int4"]), "x");
        assert_eq!(run("->", &["5::jsonb", "-1::int4"]), "5");
        assert_eq!(run("->", &["{}::jsonb", "0::int4"]), "NULL");
    }
}
