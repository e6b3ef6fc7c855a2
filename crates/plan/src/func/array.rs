//! Arrays, lists, maps, records and ranges.
//!
//! Arrays are Postgres': dimensions with lower bounds, row-major, out-of-range subscripts are NULL. Lists are
//! Materialize's: they nest instead of having dimensions, and may be ragged.

use std::cmp::Ordering;

use repr::error::{SqlState, code};
use repr::row::{ArrayRef, ElementsRef, RangeRef};
use repr::{Arena, Datum, EvalError, ScalarType};

use super::compare::{elements, print_value};
use super::numeric::{int4, out_of_range};
use super::registry::{FAILS, LAX, LAX_FAILS, LAX_MAYBE, MAYBE, MAYBE_FAILS, PURE, Table};

const ARRAY_SUBSCRIPT_ERROR: SqlState = SqlState::new("2202E");
/// Postgres' limit.
const MAX_DIMENSIONS: usize = 6;
/// No function makes an array of more elements.
const MAX_ELEMENTS: i64 = 16 << 20;

pub(super) fn array<'a>(d: &Datum<'a>) -> ArrayRef<'a> {
    match d {
        Datum::Array(a) => *a,
        other => panic!("expected an array, found {other:?}"),
    }
}

fn map<'a>(d: &Datum<'a>) -> ElementsRef<'a> {
    match d {
        Datum::Map(e) | Datum::List(e) | Datum::Record(e) => *e,
        other => panic!("expected a list, map or record, found {other:?}"),
    }
}

fn range<'a>(d: &Datum<'a>) -> RangeRef<'a> {
    match d {
        Datum::Range(r) => *r,
        other => panic!("expected a range, found {other:?}"),
    }
}

fn entries<'a>(d: &Datum<'a>) -> impl Iterator<Item = (Datum<'a>, Datum<'a>)> {
    let mut all = map(d).iter();
    std::iter::from_fn(move || Some((all.next()?, all.next()?)))
}

/// The dimension that an int4 argument names, from 1.
fn dimension(a: ArrayRef<'_>, n: i32) -> Option<(i32, i32)> {
    usize::try_from(n).ok()?.checked_sub(1).and_then(|i| a.dims().nth(i))
}

fn one_dimension<'a>(a: ArrayRef<'a>, what: &str) -> Result<Vec<Datum<'a>>, EvalError> {
    if a.dims().len() > 1 {
        return Err(EvalError::new(code::FEATURE_NOT_SUPPORTED, what));
    }
    Ok(a.elements().iter().collect())
}

/// A one-dimensional array that keeps its lower bound.
fn rebuilt<'a>(lower: i32, elements: &[Datum<'a>], arena: &'a Arena) -> Datum<'a> {
    if elements.is_empty() {
        return arena.array1(&[]);
    }
    arena.array(&[(elements.len() as i32, lower)], elements.iter().copied())
}

fn lower_bound(a: ArrayRef<'_>) -> i32 {
    a.dims().next().map_or(1, |(_, lower)| lower)
}

pub(super) fn register(t: &mut Table) {
    arrays(t);
    lists_and_maps(t);
    ranges(t);
    t.add("row", "", LAX, |a, _, m| Ok(m.record(a.iter().copied())));
    t.add("record_get", "", MAYBE, |a, _, _| {
        Ok(map(&a[0]).iter().nth(usize::try_from(int4(&a[1])).unwrap_or(usize::MAX)).unwrap_or(Datum::Null))
    });
}

fn arrays(t: &mut Table) {
    t.add("array", "", LAX, |a, _, m| Ok(m.array1(a)));
    t.add("array_nest", "", LAX_FAILS, |a, _, m| {
        let arrays: Vec<ArrayRef<'_>> = a.iter().filter(|d| !d.is_null()).map(array).collect();
        let shape = |a: &ArrayRef<'_>| a.dims().collect::<Vec<_>>();
        let first = arrays.first().map(shape).unwrap_or_default();
        if arrays.len() != a.len() && !first.is_empty() || arrays.iter().any(|a| shape(a) != first) {
            return Err(EvalError::new(
                ARRAY_SUBSCRIPT_ERROR,
                "multidimensional arrays must have array expressions with matching dimensions",
            ));
        }
        if first.is_empty() {
            return Ok(m.array1(&[]));
        }
        if first.len() >= MAX_DIMENSIONS {
            return Err(too_many_dimensions(first.len() + 1));
        }
        let mut dims = vec![(arrays.len() as i32, 1)];
        dims.extend(first);
        Ok(m.array(&dims, arrays.iter().flat_map(|a| a.elements().iter())))
    });
    t.add("array_get", "", MAYBE, |a, _, _| {
        let of = array(&a[0]);
        let dims: Vec<(i32, i32)> = of.dims().collect();
        if dims.len() != a.len() - 1 {
            return Ok(Datum::Null);
        }
        let mut at = 0i64;
        for ((length, lower), subscript) in dims.iter().zip(&a[1..]) {
            let Some(i) = subscript.int().checked_sub((*lower).into()) else { return Ok(Datum::Null) };
            if !(0..i64::from(*length)).contains(&i) {
                return Ok(Datum::Null);
            }
            at = at * i64::from(*length) + i;
        }
        Ok(of.elements().iter().nth(at as usize).unwrap_or(Datum::Null))
    });
    t.add("int2vector_get", "", MAYBE, |a, _, _| {
        // These count from 0.
        let i = a[1].int() - i64::from(if let Datum::Array(a) = a[0] { lower_bound(a).min(0) } else { 0 });
        let at = usize::try_from(i).ok();
        Ok(at.and_then(|i| elements(a[0]).nth(i)).unwrap_or(Datum::Null))
    });
    t.add("array_slice", "", LAX_MAYBE, |a, _, m| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let of = array(&a[0]);
        let dims: Vec<(i32, i32)> = of.dims().collect();
        let given = &a[1..];
        if given.len() / 2 > dims.len() {
            return Ok(m.array1(&[]));
        }
        // First element (from 0) and number of elements of each dimension.
        let mut parts = vec![];
        for (i, (length, lower)) in dims.iter().enumerate() {
            let (length, lower) = (i64::from(*length), i64::from(*lower));
            let bound = |j: usize, other: i64| match given.get(2 * i + j) {
                None | Some(Datum::Null) => other,
                Some(d) => d.int(),
            };
            let from = bound(0, lower).max(lower);
            let to = bound(1, lower + length - 1).min(lower + length - 1);
            if from > to {
                return Ok(m.array1(&[]));
            }
            parts.push(((from - lower) as usize, (to - from + 1) as usize));
        }
        let all: Vec<Datum<'_>> = of.elements().iter().collect();
        let mut kept = vec![];
        for (i, d) in all.iter().enumerate() {
            let mut rest = i;
            let inside = dims.iter().zip(&parts).rev().all(|((length, _), (from, n))| {
                let at = rest % *length as usize;
                rest /= *length as usize;
                (*from..from + n).contains(&at)
            });
            if inside {
                kept.push(*d);
            }
        }
        let dims: Vec<(i32, i32)> = parts.iter().map(|(_, n)| (*n as i32, 1)).collect();
        Ok(m.array(&dims, kept))
    });

    t.add("array_length", "array_length(anyarray, int4) -> int4 -- of a dimension", MAYBE, |a, _, _| {
        Ok(dimension(array(&a[0]), int4(&a[1])).map_or(Datum::Null, |(n, _)| Datum::Int32(n)))
    });
    t.add("array_lower", "array_lower(anyarray, int4) -> int4", MAYBE, |a, _, _| {
        Ok(dimension(array(&a[0]), int4(&a[1])).map_or(Datum::Null, |(_, l)| Datum::Int32(l)))
    });
    t.add("array_upper", "array_upper(anyarray, int4) -> int4", MAYBE, |a, _, _| {
        Ok(dimension(array(&a[0]), int4(&a[1])).map_or(Datum::Null, |(n, l)| Datum::Int32(l + n - 1)))
    });
    t.add("array_ndims", "array_ndims(anyarray) -> int4", MAYBE, |a, _, _| {
        let n = array(&a[0]).dims().len();
        Ok(if n == 0 { Datum::Null } else { Datum::Int32(n as i32) })
    });
    t.add("array_dims", "array_dims(anyarray) -> text", MAYBE, |a, _, m| {
        let dims: String =
            array(&a[0]).dims().map(|(n, l)| format!("[{l}:{}]", i64::from(l) + i64::from(n) - 1)).collect();
        Ok(if dims.is_empty() { Datum::Null } else { Datum::Text(m.text(&dims)) })
    });
    t.add("cardinality", "cardinality(anyarray) -> int4 -- elements of all dimensions", PURE, |a, _, _| {
        Ok(Datum::Int32(array(&a[0]).elements().iter().count() as i32))
    });
    t.add(
        "array_to_string",
        "array_to_string(anyarray, text) -> text; array_to_string(anyarray, text, text) -> text; \
         array_to_string(anylist, text) -> text; array_to_string(anylist, text, text) -> text -- joined; NULLs left out or as told",
        LAX,
        |a, _, m| {
            if a[0].is_null() || a[1].is_null() {
                return Ok(Datum::Null);
            }
            let (mut out, mut first) = (String::new(), true);
            for d in elements(a[0]) {
                let null = a.get(2).copied().unwrap_or(Datum::Null);
                if d.is_null() && null.is_null() {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push_str(a[1].text());
                }
                print_value(if d.is_null() { null } else { d }, &mut out);
            }
            Ok(Datum::Text(m.text(&out)))
        },
    );
    t.add(
        "array_position",
        "array_position(anycompatiblearray, anycompatible) -> int4; \
         array_position(anycompatiblearray, anycompatible, int4) -> int4 -- where an element first is",
        LAX_MAYBE,
        |a, _, _| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let of = array(&a[0]);
            let all =
                one_dimension(of, "searching for elements in multidimensional arrays is not supported")?;
            let lower = lower_bound(of);
            let from = match a.get(2) {
                None => lower,
                Some(Datum::Null) => {
                    return Err(EvalError::new(SqlState::new("22004"), "initial position must not be null"));
                }
                Some(n) => int4(n),
            };
            let skip = (i64::from(from) - i64::from(lower)).max(0) as usize;
            let found = all.iter().enumerate().skip(skip).find(|(_, d)| **d == a[1]);
            Ok(found.map_or(Datum::Null, |(i, _)| Datum::Int32(lower + i as i32)))
        },
    );
    t.add(
        "array_positions",
        "array_positions(anycompatiblearray, anycompatible) -> int4[]",
        LAX_MAYBE,
        |a, _, m| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let of = array(&a[0]);
            let all =
                one_dimension(of, "searching for elements in multidimensional arrays is not supported")?;
            let lower = lower_bound(of);
            let found: Vec<Datum<'_>> = all
                .iter()
                .enumerate()
                .filter(|(_, d)| **d == a[1])
                .map(|(i, _)| Datum::Int32(lower + i as i32))
                .collect();
            Ok(m.array1(&found))
        },
    );
    t.add(
        "array_append",
        "array_append(anycompatiblearray, anycompatible) -> anycompatiblearray; \
         anycompatiblearray || anycompatible -> anycompatiblearray",
        LAX_FAILS,
        |a, _, m| append(a[0], a[1], false, m),
    );
    t.add(
        "array_prepend",
        "array_prepend(anycompatible, anycompatiblearray) -> anycompatiblearray; \
         anycompatible || anycompatiblearray -> anycompatiblearray",
        LAX_FAILS,
        |a, _, m| append(a[1], a[0], true, m),
    );
    t.add(
        "array_cat",
        "array_cat(anycompatiblearray, anycompatiblearray) -> anycompatiblearray; \
         anycompatiblearray || anycompatiblearray -> anycompatiblearray",
        LAX_FAILS,
        |a, _, m| match (a[0], a[1]) {
            (Datum::Null, other) | (other, Datum::Null) => Ok(other),
            (Datum::Array(l), Datum::Array(r)) => concatenate(l, r, m),
            _ => panic!("expected two arrays"),
        },
    );
    t.add(
        "array_remove",
        "array_remove(anycompatiblearray, anycompatible) -> anycompatiblearray -- without elements equal to this",
        LAX_MAYBE,
        |a, _, m| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let of = array(&a[0]);
            let all = one_dimension(of, "removing elements from multidimensional arrays is not supported")?;
            let kept: Vec<Datum<'_>> = all.into_iter().filter(|d| *d != a[1]).collect();
            Ok(rebuilt(lower_bound(of), &kept, m))
        },
    );
    t.add(
        "array_replace",
        "array_replace(anycompatiblearray, anycompatible, anycompatible) -> anycompatiblearray",
        LAX,
        |a, _, m| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let of = array(&a[0]);
            let dims: Vec<(i32, i32)> = of.dims().collect();
            Ok(m.array(&dims, of.elements().iter().map(|d| if d == a[1] { a[2] } else { d })))
        },
    );
    t.add(
        "array_fill",
        "array_fill(anyelement, int4[]) -> anyarray; array_fill(anyelement, int4[], int4[]) -> anyarray",
        LAX_FAILS,
        |a, _, m| {
            let null = || {
                EvalError::new(SqlState::new("22004"), "dimension array or low bound array cannot be null")
            };
            if a[1..].iter().any(Datum::is_null) {
                return Err(null());
            }
            let numbers = |d: Datum<'_>| {
                elements(d)
                    .map(|d| match d {
                        Datum::Int32(n) => Ok(n),
                        _ => Err(EvalError::new(SqlState::new("22004"), "dimension values cannot be null")),
                    })
                    .collect::<Result<Vec<i32>, _>>()
            };
            let lengths = numbers(a[1])?;
            let lowers = a.get(2).map_or_else(|| Ok(vec![1; lengths.len()]), |l| numbers(*l))?;
            if lowers.len() != lengths.len() {
                return Err(EvalError::new(ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts"));
            }
            if lengths.len() > MAX_DIMENSIONS {
                return Err(too_many_dimensions(lengths.len()));
            }
            let product = lengths.iter().try_fold(1i64, |p, n| p.checked_mul((*n).max(0).into()));
            let n = product.filter(|n| *n <= MAX_ELEMENTS).ok_or_else(|| {
                EvalError::new(code::PROGRAM_LIMIT_EXCEEDED, "array size exceeds the maximum allowed")
            })?;
            if n == 0 || lengths.is_empty() {
                return Ok(m.array1(&[]));
            }
            let dims: Vec<(i32, i32)> = lengths.into_iter().zip(lowers).collect();
            Ok(m.array(&dims, std::iter::repeat_n(a[0], n as usize)))
        },
    );
    t.add(
        "trim_array",
        "trim_array(anyarray, int4) -> anyarray -- without its last n elements",
        FAILS,
        |a, _, m| {
            let of = array(&a[0]);
            let all = one_dimension(of, "trimming multidimensional arrays is not supported")?;
            let n = int4(&a[1]);
            if n < 0 || n as usize > all.len() {
                return Err(EvalError::new(
                    ARRAY_SUBSCRIPT_ERROR,
                    format!("number of elements to trim must be between 0 and {}", all.len()),
                ));
            }
            Ok(rebuilt(lower_bound(of), &all[..all.len() - n as usize], m))
        },
    );
    t.add("array_contains", "anyarray @> anyarray -> bool; anylist @> anylist -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(contains(a[0], a[1])))
    });
    t.add("array_contained", "anyarray <@ anyarray -> bool; anylist <@ anylist -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(contains(a[1], a[0])))
    });
    t.add("array_overlaps", "anyarray && anyarray -> bool", PURE, |a, _, _| {
        let found = elements(a[0]).any(|x| !x.is_null() && elements(a[1]).any(|y| x == y));
        Ok(Datum::Bool(found))
    });
    t.rows(
        "generate_subscripts",
        "generate_subscripts(anyarray, int4) -> int4; generate_subscripts(anyarray, int4, bool) -> int4",
        true,
        |a, _, emit| {
            if let Some((n, lower)) = dimension(array(&a[0]), int4(&a[1])) {
                let reverse = a.get(2).is_some_and(Datum::bool);
                for i in 0..n {
                    emit(&[Datum::Int32(lower + if reverse { n - 1 - i } else { i })]);
                }
            }
            Ok(())
        },
    );
    t.rows(
        "unnest",
        "unnest(anyarray) -> anyelement; unnest(anylist) -> anyelement -- the elements as rows",
        true,
        |a, _, emit| {
            elements(a[0]).for_each(|d| emit(&[d]));
            Ok(())
        },
    );
    t.rows("unnest_map", "unnest(anymap) -> (key text, value anyelement)", true, |a, _, emit| {
        entries(&a[0]).for_each(|(k, v)| emit(&[k, v]));
        Ok(())
    });
    t.rows("_pg_expandarray", "_pg_expandarray(anyarray) -> (x anyelement, n int4)", true, |a, _, emit| {
        for (i, d) in elements(a[0]).enumerate() {
            emit(&[d, Datum::Int32(i as i32 + 1)]);
        }
        Ok(())
    });
}

fn too_many_dimensions(n: usize) -> EvalError {
    EvalError::new(
        code::PROGRAM_LIMIT_EXCEEDED,
        format!("number of array dimensions ({n}) exceeds the maximum allowed ({MAX_DIMENSIONS})"),
    )
}

fn contains(all: Datum<'_>, part: Datum<'_>) -> bool {
    elements(part).all(|x| !x.is_null() && elements(all).any(|y| x == y))
}

fn append<'a>(to: Datum<'a>, d: Datum<'a>, in_front: bool, m: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let Datum::Array(a) = to else { return Ok(m.array1(&[d])) };
    if a.dims().len() > 1 {
        return Err(EvalError::new(
            SqlState::new("22000"),
            "argument must be empty or one-dimensional array",
        ));
    }
    let mut all: Vec<Datum<'a>> = a.elements().iter().collect();
    all.insert(if in_front { 0 } else { all.len() }, d);
    Ok(rebuilt(lower_bound(a), &all, m))
}

fn concatenate<'a>(l: ArrayRef<'a>, r: ArrayRef<'a>, m: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let (ld, rd): (Vec<_>, Vec<_>) = (l.dims().collect(), r.dims().collect());
    if rd.is_empty() {
        return Ok(Datum::Array(l));
    }
    if ld.is_empty() {
        return Ok(Datum::Array(r));
    }
    let lengths = |d: &[(i32, i32)]| d.iter().map(|(n, _)| *n).collect::<Vec<_>>();
    let mut dims;
    match ld.len() as isize - rd.len() as isize {
        0 if lengths(&ld[1..]) == lengths(&rd[1..]) => {
            dims = ld.clone();
            dims[0].0 += rd[0].0;
        }
        1 if lengths(&ld[1..]) == lengths(&rd) => {
            dims = ld.clone();
            dims[0].0 += 1;
        }
        -1 if lengths(&ld) == lengths(&rd[1..]) => {
            dims = rd.clone();
            dims[0].0 += 1;
        }
        _ => {
            return Err(EvalError::new(ARRAY_SUBSCRIPT_ERROR, "cannot concatenate incompatible arrays"));
        }
    }
    Ok(m.array(&dims, l.elements().iter().chain(r.elements().iter())))
}

fn lists_and_maps(t: &mut Table) {
    t.add("list", "", LAX, |a, _, m| Ok(m.list(a.iter().copied())));
    t.add("list_get", "", MAYBE, |a, _, _| {
        let mut d = a[0];
        for i in &a[1..] {
            let at = usize::try_from(i.int()).ok().and_then(|i| i.checked_sub(1));
            d = match (d, at) {
                (Datum::List(e), Some(at)) => e.iter().nth(at).unwrap_or(Datum::Null),
                _ => Datum::Null,
            };
        }
        Ok(d)
    });
    t.add("list_slice", "", LAX, |a, _, m| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let bound = |d: &Datum<'_>, other: i64| if d.is_null() { other } else { d.int() };
        let (from, to) = (bound(&a[1], 1).max(1), bound(&a[2], i64::MAX));
        let n = (to - from).saturating_add(1).max(0) as usize;
        Ok(m.list(elements(a[0]).skip(from as usize - 1).take(n)))
    });
    t.add(
        "width_bucket_array",
        "width_bucket(anycompatible, anycompatiblearray) -> int4 -- how many of the lower bounds it reaches",
        FAILS,
        |a, _, _| {
            let Datum::Array(bounds) = a[1] else { return Ok(Datum::Null) };
            if bounds.elements().iter().any(|d| d.is_null()) {
                return Err(EvalError::new(
                    SqlState::new("22004"),
                    "thresholds array must not contain NULLs",
                ));
            }
            Ok(Datum::Int32(bounds.elements().iter().take_while(|b| *b <= a[0]).count() as i32))
        },
    );
    t.add(
        "list_length_max",
        "list_length_max(anylist, int8) -> int4 -- the longest list of a layer, 1 for the outermost",
        MAYBE_FAILS,
        |a, _, _| {
            let layer = a[1].int();
            if layer < 1 {
                return Err(EvalError::new(
                    code::INVALID_PARAMETER_VALUE,
                    format!("invalid layer: {layer}; must use value within [1, …]"),
                ));
            }
            let mut lists = vec![a[0]];
            for _ in 1..layer {
                lists = lists.into_iter().flat_map(elements).filter(|d| !d.is_null()).collect();
                if lists.iter().any(|d| !matches!(d, Datum::List(_))) {
                    return Ok(Datum::Null);
                }
            }
            let longest = lists.into_iter().map(|l| elements(l).count()).max();
            Ok(longest.map_or(Datum::Null, |n| Datum::Int32(n as i32)))
        },
    );
    t.add("list_length", "list_length(anylist) -> int4", PURE, |a, _, _| {
        Ok(Datum::Int32(elements(a[0]).count() as i32))
    });
    t.add(
        "list_append",
        "list_append(anycompatiblelist, anycompatible) -> anycompatiblelist; anycompatiblelist || anycompatible -> anycompatiblelist",
        LAX,
        |a, _, m| Ok(m.list(list_elements(a[0]).chain([a[1]]))),
    );
    t.add(
        "list_prepend",
        "list_prepend(anycompatible, anycompatiblelist) -> anycompatiblelist; anycompatible || anycompatiblelist -> anycompatiblelist",
        LAX,
        |a, _, m| Ok(m.list(std::iter::once(a[0]).chain(list_elements(a[1])))),
    );
    t.add(
        "list_cat",
        "list_cat(anycompatiblelist, anycompatiblelist) -> anycompatiblelist; anycompatiblelist || anycompatiblelist -> anycompatiblelist",
        LAX,
        |a, _, m| {
            if a[0].is_null() && a[1].is_null() {
                return Ok(Datum::Null);
            }
            Ok(m.list(list_elements(a[0]).chain(list_elements(a[1]))))
        },
    );
    t.add(
        "list_remove",
        "list_remove(anycompatiblelist, anycompatible) -> anycompatiblelist",
        LAX,
        |a, _, m| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            Ok(m.list(elements(a[0]).filter(|d| *d != a[1])))
        },
    );

    t.add("map", "", LAX_FAILS, |a, _, m| {
        let mut pairs = vec![];
        for pair in a.chunks_exact(2) {
            match pair[0] {
                Datum::Text(k) => pairs.push((k, pair[1])),
                _ => return Err(EvalError::new(SqlState::new("22004"), "map key cannot be null")),
            }
        }
        Ok(made_map(pairs, m))
    });
    t.add(
        "map_build",
        "map_build(anylist) -> textmap -- from a list of records (key, value)",
        MAYBE,
        |a, _, m| Ok(made_map(headers(a[0]).collect(), m)),
    );
    t.add(
        "header_map",
        "header_map(anylist, text[]) -> textmap -- a record's headers as text, but for those named",
        PURE,
        |a, _, m| {
            let pairs = headers(a[0]).filter(|(k, _)| !elements(a[1]).any(|x| x == Datum::Text(k)));
            let pairs = pairs.map(|(k, v)| (k, lossy(v, m))).collect();
            Ok(made_map(pairs, m))
        },
    );
    t.add(
        "header_text",
        "header_text(anylist, text) -> text -- the value of a record's header",
        MAYBE,
        |a, _, m| {
            let last = headers(a[0]).filter(|(k, _)| *k == a[1].text()).last();
            Ok(last.map_or(Datum::Null, |(_, v)| lossy(v, m)))
        },
    );
    t.add(
        "header_bytes",
        "header_bytes(anylist, text) -> bytea -- the value of a record's header",
        MAYBE,
        |a, _, _| {
            let last = headers(a[0]).filter(|(k, _)| *k == a[1].text()).last();
            Ok(last.map_or(Datum::Null, |(_, v)| v))
        },
    );
    t.add("map_length", "map_length(anymap) -> int4", PURE, |a, _, _| {
        Ok(Datum::Int32(entries(&a[0]).count() as i32))
    });
    t.add("map_get", "anymap -> text -> anyelement -- the value of a key", MAYBE, |a, _, _| {
        Ok(entries(&a[0]).find(|(k, _)| *k == a[1]).map_or(Datum::Null, |(_, v)| v))
    });
    t.add("map_exists", "anymap ? text -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(entries(&a[0]).any(|(k, _)| k == a[1])))
    });
    t.add("map_exists_any", "anymap ?| text[] -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(elements(a[1]).any(|x| entries(&a[0]).any(|(k, _)| k == x))))
    });
    t.add("map_exists_all", "anymap ?& text[] -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(elements(a[1]).all(|x| entries(&a[0]).any(|(k, _)| k == x))))
    });
    t.add("map_contains", "anymap @> anymap -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(map_contains(&a[0], &a[1])))
    });
    t.add("map_contained", "anymap <@ anymap -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(map_contains(&a[1], &a[0])))
    });
}

/// Names and values of a list of records (name, value).
fn headers<'a>(list: Datum<'a>) -> impl Iterator<Item = (&'a str, Datum<'a>)> {
    elements(list).filter_map(|d| match d {
        Datum::Record(e) => {
            let mut fields = e.iter();
            match (fields.next(), fields.next()) {
                (Some(Datum::Text(k)), Some(v)) => Some((k, v)),
                _ => None,
            }
        }
        _ => None,
    })
}

/// Bytes that are meant to be text; what is none is replaced.
fn lossy<'a>(value: Datum<'a>, m: &'a repr::Arena) -> Datum<'a> {
    match value {
        Datum::Bytes(b) => Datum::Text(m.text(&String::from_utf8_lossy(b))),
        other => other,
    }
}

fn list_elements(d: Datum<'_>) -> repr::row::DatumIter<'_> {
    match d {
        Datum::List(e) => e.iter(),
        _ => ElementsRef::new(repr::RowRef::default()).iter(),
    }
}

fn map_contains(all: &Datum<'_>, part: &Datum<'_>) -> bool {
    entries(part).all(|p| entries(all).any(|a| a == p))
}

/// A map of pairs in any order; the last of equal keys wins.
pub(super) fn made_map<'a>(mut pairs: Vec<(&'a str, Datum<'a>)>, arena: &'a Arena) -> Datum<'a> {
    pairs.reverse();
    pairs.sort_by_key(|(k, _)| *k);
    pairs.dedup_by_key(|(k, _)| *k);
    arena.map(pairs)
}

fn ranges(t: &mut Table) {
    macro_rules! constructors {
        ($($name:literal $element:literal;)*) => {$(
            t.add(
                $name,
                concat!($name, "(", $element, ", ", $element, ") -> ", $name, "; ",
                    $name, "(", $element, ", ", $element, ", text) -> ", $name),
                LAX_FAILS,
                |a, _, m| {
                    let flags = match a.get(2) {
                        None => "[)",
                        Some(Datum::Text(s)) => s,
                        Some(_) => {
                            return Err(EvalError::new(
                                SqlState::new("22000"),
                                "range constructor flags argument must not be null",
                            ));
                        }
                    };
                    let inclusive = match flags {
                        "[)" => (true, false),
                        "[]" => (true, true),
                        "(]" => (false, true),
                        "()" => (false, false),
                        _ => {
                            return Err(EvalError::new(code::SYNTAX_ERROR, "invalid range bound flags")
                                .with_hint("Valid values are \"[]\", \"[)\", \"(]\", and \"()\"."));
                        }
                    };
                    make_range((a[0], inclusive.0), (a[1], inclusive.1), m)
                },
            );
        )*};
    }
    constructors! {
        "int4range" "int4"; "int8range" "int8"; "numrange" "numeric"; "daterange" "date"; "tsrange" "timestamp";
        "tstzrange" "timestamptz";
    }
    t.add("range_lower", "lower(anyrange) -> anyelement", MAYBE, |a, _, _| Ok(range(&a[0]).lower().0));
    t.add("range_upper", "upper(anyrange) -> anyelement", MAYBE, |a, _, _| Ok(range(&a[0]).upper().0));
    t.add("isempty", "isempty(anyrange) -> bool", PURE, |a, _, _| Ok(Datum::Bool(range(&a[0]).is_empty())));
    t.add("lower_inc", "lower_inc(anyrange) -> bool", PURE, |a, _, _| {
        let r = range(&a[0]);
        Ok(Datum::Bool(!r.is_empty() && !r.lower().0.is_null() && r.lower().1))
    });
    t.add("upper_inc", "upper_inc(anyrange) -> bool", PURE, |a, _, _| {
        let r = range(&a[0]);
        Ok(Datum::Bool(!r.is_empty() && !r.upper().0.is_null() && r.upper().1))
    });
    t.add("lower_inf", "lower_inf(anyrange) -> bool", PURE, |a, _, _| {
        let r = range(&a[0]);
        Ok(Datum::Bool(!r.is_empty() && r.lower().0.is_null()))
    });
    t.add("upper_inf", "upper_inf(anyrange) -> bool", PURE, |a, _, _| {
        let r = range(&a[0]);
        Ok(Datum::Bool(!r.is_empty() && r.upper().0.is_null()))
    });
    t.add("range_contains_element", "anyrange @> anyelement -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(range_holds(range(&a[0]), a[1])))
    });
    t.add("range_element_contained", "anyelement <@ anyrange -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(range_holds(range(&a[1]), a[0])))
    });
    t.add("range_contains", "anyrange @> anyrange -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(range_contains(range(&a[0]), range(&a[1]))))
    });
    t.add("range_contained", "anyrange <@ anyrange -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(range_contains(range(&a[1]), range(&a[0]))))
    });
    t.add("range_overlaps", "anyrange && anyrange -> bool", PURE, |a, _, _| {
        let (x, y) = (range(&a[0]), range(&a[1]));
        Ok(Datum::Bool(!x.is_empty() && !y.is_empty() && !is_before(x, y) && !is_before(y, x)))
    });
    t.add("range_before", "anyrange << anyrange -> bool", PURE, |a, _, _| {
        let (x, y) = (range(&a[0]), range(&a[1]));
        Ok(Datum::Bool(!x.is_empty() && !y.is_empty() && is_before(x, y)))
    });
    t.add("range_after", "anyrange >> anyrange -> bool", PURE, |a, _, _| {
        let (x, y) = (range(&a[0]), range(&a[1]));
        Ok(Datum::Bool(!x.is_empty() && !y.is_empty() && is_before(y, x)))
    });
    t.add("range_adjacent", "anyrange -|- anyrange -> bool", PURE, |a, _, _| {
        let (x, y) = (range(&a[0]), range(&a[1]));
        let meets = |x: RangeRef<'_>, y: RangeRef<'_>| {
            let ((u, ui), (l, li)) = (x.upper(), y.lower());
            !u.is_null() && !l.is_null() && u == l && ui != li
        };
        Ok(Datum::Bool(!x.is_empty() && !y.is_empty() && (meets(x, y) || meets(y, x))))
    });
    t.add("range_union", "anyrange + anyrange -> anyrange", FAILS, |a, _, m| {
        let (x, y) = (range(&a[0]), range(&a[1]));
        if !x.is_empty() && !y.is_empty() && is_apart(x, y) {
            let message = "result of range union would not be contiguous";
            return Err(EvalError::new(SqlState::new("22000"), message));
        }
        merged(a[0], a[1], m)
    });
    t.add(
        "range_merge",
        "range_merge(anyrange, anyrange) -> anyrange -- both and what is between",
        FAILS,
        |a, _, m| merged(a[0], a[1], m),
    );
    t.add("range_difference", "anyrange - anyrange -> anyrange", FAILS, |a, _, m| {
        let (x, y) = (range(&a[0]), range(&a[1]));
        if x.is_empty() || y.is_empty() || is_before(x, y) || is_before(y, x) {
            return Ok(a[0]);
        }
        let (from_left, to_right) = (cmp_lower(x, y) == Ordering::Less, cmp_upper(x, y) == Ordering::Greater);
        // An end of the one that is taken away ends the rest, the other way round.
        let ((yl, yl_in), (yu, yu_in)) = (y.lower(), y.upper());
        match (from_left, to_right) {
            (true, true) => Err(EvalError::new(
                SqlState::new("22000"),
                "result of range difference would not be contiguous",
            )),
            (true, false) => make_range(x.lower(), (yl, !yl_in), m),
            (false, true) => make_range((yu, !yu_in), x.upper(), m),
            (false, false) => Ok(m.range(1, Datum::Null, Datum::Null)),
        }
    });
    t.add("range_intersect", "anyrange * anyrange -> anyrange", MAYBE_FAILS, |a, _, m| {
        let (x, y) = (range(&a[0]), range(&a[1]));
        if x.is_empty() || y.is_empty() || is_before(x, y) || is_before(y, x) {
            return Ok(m.range(1, Datum::Null, Datum::Null));
        }
        let lower = if cmp_lower(x, y) == Ordering::Less { y.lower() } else { x.lower() };
        let upper = if cmp_upper(x, y) == Ordering::Less { x.upper() } else { y.upper() };
        make_range(lower, upper, m)
    });
}

/// The least range that holds both.
fn merged<'a>(a: Datum<'a>, b: Datum<'a>, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let (x, y) = (range(&a), range(&b));
    if x.is_empty() {
        return Ok(b);
    }
    if y.is_empty() {
        return Ok(a);
    }
    let lower = if cmp_lower(x, y) == Ordering::Less { x.lower() } else { y.lower() };
    let upper = if cmp_upper(x, y) == Ordering::Less { y.upper() } else { x.upper() };
    make_range(lower, upper, arena)
}

/// Whether neither overlaps nor touches the other.
fn is_apart(x: RangeRef<'_>, y: RangeRef<'_>) -> bool {
    let gap = |x: RangeRef<'_>, y: RangeRef<'_>| {
        let ((u, ui), (l, li)) = (x.upper(), y.lower());
        is_before(x, y) && !(u == l && (ui || li))
    };
    gap(x, y) || gap(y, x)
}

fn cmp_lower(x: RangeRef<'_>, y: RangeRef<'_>) -> Ordering {
    let key = |(d, inclusive): (Datum<'_>, bool)| (!d.is_null(), !inclusive);
    match (x.lower(), y.lower()) {
        ((Datum::Null, _), _) | (_, (Datum::Null, _)) => key(x.lower()).0.cmp(&key(y.lower()).0),
        (a, b) => a.0.cmp(&b.0).then(key(a).1.cmp(&key(b).1)),
    }
}

fn cmp_upper(x: RangeRef<'_>, y: RangeRef<'_>) -> Ordering {
    match (x.upper(), y.upper()) {
        ((Datum::Null, _), (Datum::Null, _)) => Ordering::Equal,
        ((Datum::Null, _), _) => Ordering::Greater,
        (_, (Datum::Null, _)) => Ordering::Less,
        (a, b) => a.0.cmp(&b.0).then(a.1.cmp(&b.1)),
    }
}

/// Whether all of `x` lies below all of `y`; neither is empty.
fn is_before(x: RangeRef<'_>, y: RangeRef<'_>) -> bool {
    let ((u, ui), (l, li)) = (x.upper(), y.lower());
    if u.is_null() || l.is_null() {
        return false;
    }
    match u.cmp(&l) {
        Ordering::Less => true,
        Ordering::Equal => !(ui && li),
        Ordering::Greater => false,
    }
}

fn range_holds(r: RangeRef<'_>, d: Datum<'_>) -> bool {
    if r.is_empty() {
        return false;
    }
    let ((l, li), (u, ui)) = (r.lower(), r.upper());
    let above = l.is_null() || if li { d >= l } else { d > l };
    let below = u.is_null() || if ui { d <= u } else { d < u };
    above && below
}

fn range_contains(x: RangeRef<'_>, y: RangeRef<'_>) -> bool {
    y.is_empty() || !x.is_empty() && cmp_lower(x, y) != Ordering::Greater && cmp_upper(x, y) != Ordering::Less
}

/// A range in its canonical form: of integers and dates `[a,b)`, empty ones all alike.
fn make_range<'a>(
    (mut lower, mut lower_in): (Datum<'a>, bool),
    (mut upper, mut upper_in): (Datum<'a>, bool),
    arena: &'a Arena,
) -> Result<Datum<'a>, EvalError> {
    lower_in &= !lower.is_null();
    upper_in &= !upper.is_null();
    if !lower.is_null() && !upper.is_null() && lower > upper {
        return Err(EvalError::new(
            SqlState::new("22000"),
            "range lower bound must be less than or equal to range upper bound",
        ));
    }
    let next = |d: Datum<'a>| -> Result<Option<Datum<'a>>, EvalError> {
        Ok(match d {
            Datum::Int32(n) => Some(Datum::Int32(n.checked_add(1).ok_or_else(|| out_of_range("integer"))?)),
            Datum::Int64(n) => Some(Datum::Int64(n.checked_add(1).ok_or_else(|| out_of_range("bigint"))?)),
            Datum::Date(n) => Some(Datum::Date(repr::time::date_add(n, 1)?)),
            _ => None,
        })
    };
    if !lower.is_null()
        && !lower_in
        && let Some(n) = next(lower)?
    {
        (lower, lower_in) = (n, true);
    }
    if upper_in && let Some(n) = next(upper)? {
        (upper, upper_in) = (n, false);
    }
    let empty =
        !lower.is_null() && !upper.is_null() && (lower > upper || lower == upper && !(lower_in && upper_in));
    if empty {
        return Ok(arena.range(1, Datum::Null, Datum::Null));
    }
    Ok(arena.range(u8::from(lower_in) << 1 | u8::from(upper_in) << 2, lower, upper))
}

/// The type of the elements of an array or a list.
pub(super) fn element_type(ty: &ScalarType) -> &ScalarType {
    match ty {
        ScalarType::Array(e) | ScalarType::List(e) | ScalarType::Map(e) | ScalarType::Range(e) => e,
        _ => &ScalarType::Text,
    }
}

#[cfg(test)]
mod tests {
    use crate::func::resolve::{
        self,
        tests::{error, run},
    };
    use crate::func::{FuncRef, ids};
    use repr::{Arena, Datum, ScalarType};

    #[test]
    fn arrays_grow_shrink_and_are_searched() {
        assert_eq!(run("||", &["{1,2}::int4[]", "3::int4"]), "{1,2,3}");
        assert_eq!(run("||", &["0::int4", "{1,2}::int4[]"]), "{0,1,2}");
        assert_eq!(run("||", &["{1,2}::int4[]", "{3}::int4[]"]), "{1,2,3}");
        assert_eq!(run("||", &["{{1,2}}::int4[]", "{3,4}::int4[]"]), "{{1,2},{3,4}}");
        assert_eq!(
            error("||", &["{{1,2}}::int4[]", "{3}::int4[]"]),
            "2202E cannot concatenate incompatible arrays"
        );
        assert_eq!(run("array_remove", &["{1,2,1,NULL}::int4[]", "1::int4"]), "{2,NULL}");
        assert_eq!(run("array_position", &["{a,b,NULL}::text[]", "NULL::text"]), "3");
        assert_eq!(run("array_positions", &["{A,A,B,A}::text[]", "A"]), "{1,2,4}");
        assert_eq!(run("array_length", &["{}::int4[]", "1::int4"]), "NULL");
        assert_eq!(run("cardinality", &["{{1,2},{3,4}}::int4[]"]), "4");
        assert_eq!(run("array_to_string", &["{1,NULL,3}::int4[]", ",", "*"]), "1,*,3");
        assert_eq!(run("array_to_string", &["{1,NULL,3}::int4[]", ","]), "1,3");
        assert_eq!(run("@>", &["{1,2,3}::int4[]", "{3,1}::int4[]"]), "t");
        assert_eq!(run("&&", &["{1,2}::int4[]", "{2,5}::int4[]"]), "t");
        assert_eq!(run("array_fill", &["7::int4", "{2,2}::int4[]"]), "{{7,7},{7,7}}");
        assert_eq!(error("array_fill", &["7::int4", "{100000,100000}::int4[]"])[..5], *"54000");
    }

    #[test]
    fn subscripts_outside_are_null_and_slices_are_clipped() {
        let arena = Arena::new();
        let int = |n: i64| Datum::Int64(n);
        let of = ScalarType::Array(Box::new(ScalarType::Int32));
        let a = repr::text::parse("{{1,2,3},{4,5,6}}", &of, &arena).unwrap();
        let get = |args: &[Datum<'_>]| {
            let arena = Box::leak(Box::new(Arena::new()));
            let row = repr::Row::pack(args.iter().copied());
            let row: &'static repr::Row = Box::leak(Box::new(row));
            (FuncRef::of("array_get").0.eval)(&row.unpack(), &ScalarType::Int32, arena).unwrap()
        };
        assert_eq!(get(&[a, int(2), int(3)]), Datum::Int32(6));
        assert_eq!(get(&[a, int(2), int(4)]), Datum::Null);
        assert_eq!(get(&[a, int(1)]), Datum::Null);
        assert_eq!(get(&[a, int(i64::MIN), int(1)]), Datum::Null);
        let slice =
            (FuncRef::of("array_slice").0.eval)(&[a, int(1), int(9), int(2), Datum::Null], &of, &arena)
                .unwrap();
        let mut out = String::new();
        repr::text::print(slice, &of, &mut out);
        assert_eq!(out, "{{2,3},{5,6}}");
        assert_eq!(resolve::subscript(&of).unwrap().ret, ScalarType::Int32);
        assert_eq!(FuncRef::of(ids::ARRAY).0.id, "array");
    }

    #[test]
    fn ranges_are_canonical() {
        assert_eq!(run("int4range", &["1::int4", "3::int4", "[]"]), "[1,4)");
        assert_eq!(run("int4range", &["3::int4", "3::int4"]), "empty");
        assert_eq!(run("numrange", &["1::numeric", "2::numeric", "(]"]), "(1,2]");
        assert_eq!(error("int4range", &["3::int4", "1::int4"])[..5], *"22000");
        assert_eq!(run("@>", &["[1,5)::int4range", "4::int4"]), "t");
        assert_eq!(run("&&", &["[1,5)::int4range", "[5,6)::int4range"]), "f");
        assert_eq!(run("*", &["[1,5)::int4range", "[3,8)::int4range"]), "[3,5)");
    }
}
