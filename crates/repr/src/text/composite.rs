//! Text of values that hold values: arrays, lists, maps, records and ranges.
//!
//! An element is printed in place and only taken out again if it needs quotes, which few do.

use std::fmt::Write;

use super::{parse, print};
use crate::error::code;
use crate::range::{self, Bound};
use crate::row::{ArrayRef, ElementsRef, RangeRef};
use crate::{Arena, ColumnType, Datum, EvalError, Row, ScalarType};

/// The most dimensions that an array has in Postgres.
pub(crate) const MAX_DIMENSIONS: usize = 6;

// ------------------------------------------------------------------------------------------------------- printing

/// Puts quotes around what was printed since `start` if it is empty, reads as NULL, or holds blanks or one of `special`.
fn quote(out: &mut String, start: usize, special: &str, escape: impl Fn(char, &mut String)) {
    let printed = &out[start..];
    let is_special =
        |c: char| matches!(c, '"' | '\\' | ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c') || special.contains(c);
    if !printed.is_empty() && !printed.contains(is_special) && !printed.eq_ignore_ascii_case("null") {
        return;
    }
    let plain = out.split_off(start);
    out.push('"');
    for c in plain.chars() {
        if c == '"' || c == '\\' { escape(c, out) } else { out.push(c) }
    }
    out.push('"');
}

fn with_backslash(c: char, out: &mut String) {
    out.push('\\');
    out.push(c);
}

fn doubled(c: char, out: &mut String) {
    out.push(c);
    out.push(c);
}

pub(super) fn print_array(array: ArrayRef<'_>, ty: &ScalarType, out: &mut String) {
    let dims: Vec<(i32, i32)> = array.dims().collect();
    if dims.is_empty() {
        return out.push_str("{}");
    }
    if dims.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in &dims {
            let upper = i64::from(*lower) + i64::from(*length) - 1;
            write!(out, "[{lower}:{upper}]").expect("strings take everything");
        }
        out.push('=');
    }
    let mut elements = array.elements().iter();
    print_dimension(&dims, &mut elements, ty, out);
}

fn print_dimension<'a>(
    dims: &[(i32, i32)],
    elements: &mut impl Iterator<Item = Datum<'a>>,
    ty: &ScalarType,
    out: &mut String,
) {
    let Some(((length, _), inner)) = dims.split_first() else {
        return match elements.next() {
            Some(d) => print_element(d, ty, "{},", out),
            None => out.push_str("NULL"),
        };
    };
    out.push('{');
    for i in 0..*length {
        if i > 0 {
            out.push(',');
        }
        print_dimension(inner, elements, ty, out);
    }
    out.push('}');
}

fn print_element(d: Datum<'_>, ty: &ScalarType, special: &str, out: &mut String) {
    if d.is_null() {
        return out.push_str("NULL");
    }
    let start = out.len();
    print(d, ty, out);
    // Lists and maps nest by their braces, without quotes.
    if !matches!(d, Datum::List(_) | Datum::Map(_)) {
        quote(out, start, special, with_backslash);
    }
}

pub(super) fn print_list(elements: ElementsRef<'_>, ty: &ScalarType, out: &mut String) {
    out.push('{');
    for (i, d) in elements.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        print_element(d, ty, "{},", out);
    }
    out.push('}');
}

pub(super) fn print_map(entries: ElementsRef<'_>, ty: &ScalarType, out: &mut String) {
    out.push('{');
    let mut entries = entries.iter();
    let mut first = true;
    while let (Some(key), Some(value)) = (entries.next(), entries.next()) {
        if !first {
            out.push(',');
        }
        first = false;
        print_element(key, &ScalarType::Text, "{},=>", out);
        out.push_str("=>");
        print_element(value, ty, "{},=>", out);
    }
    out.push('}');
}

pub(super) fn print_record(fields: ElementsRef<'_>, types: &[(String, ColumnType)], out: &mut String) {
    out.push('(');
    for (i, d) in fields.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        if d.is_null() {
            continue;
        }
        let start = out.len();
        print(d, types.get(i).map_or(&super::ANY, |(_, t)| &t.scalar), out);
        // NULL is the absence of a field here, so the word needs no quotes.
        if !out[start..].eq_ignore_ascii_case("null") {
            quote(out, start, "(),", doubled);
        }
    }
    out.push(')');
}

pub(super) fn print_range(r: RangeRef<'_>, ty: &ScalarType, out: &mut String) {
    let Some((lower, upper)) = range::bounds(r) else { return out.push_str("empty") };
    let bound = |b: Bound<'_>, out: &mut String| {
        if !b.value.is_null() {
            let start = out.len();
            print(b.value, ty, out);
            if !out[start..].eq_ignore_ascii_case("null") {
                quote(out, start, "()[],", doubled);
            }
        }
    };
    out.push(if lower.inclusive { '[' } else { '(' });
    bound(lower, out);
    out.push(',');
    bound(upper, out);
    out.push(if upper.inclusive { ']' } else { ')' });
}

// -------------------------------------------------------------------------------------------------------- reading

fn malformed(what: &str, text: &str, detail: &str) -> EvalError {
    let e =
        EvalError::new(code::INVALID_TEXT_REPRESENTATION, format!("malformed {what} literal: \"{text}\""));
    if detail.is_empty() { e } else { e.with_detail(detail) }
}

/// The rest of a literal.
struct Cursor<'t> {
    what: &'static str,
    whole: &'t str,
    rest: &'t str,
}

impl<'t> Cursor<'t> {
    fn new(what: &'static str, whole: &'t str) -> Cursor<'t> {
        Cursor { what, whole, rest: whole }
    }

    fn error(&self, detail: &str) -> EvalError {
        malformed(self.what, self.whole, detail)
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn end(&mut self) -> Result<(), EvalError> {
        self.space();
        if self.rest.is_empty() { Ok(()) } else { Err(self.error("Junk after closing brace.")) }
    }

    /// Takes an element up to one of `stops` outside quotes; none for an unquoted NULL.
    fn element(&mut self, stops: &str) -> Result<Option<String>, EvalError> {
        let mut out = String::new();
        let (mut quoted, mut any_quotes) = (false, false);
        // Blanks at the end count only within quotes or when escaped.
        let mut keep = 0;
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(self.error("Unexpected end of input."));
            };
            match c {
                '\\' => {
                    self.rest = &self.rest[1..];
                    let Some(next) = self.rest.chars().next() else {
                        return Err(self.error("Unexpected end of input."));
                    };
                    out.push(next);
                    keep = out.len();
                    any_quotes = true;
                    self.rest = &self.rest[next.len_utf8()..];
                    continue;
                }
                '"' if quoted => {
                    self.rest = &self.rest[1..];
                    self.space();
                    if !self.rest.starts_with(|c| stops.contains(c)) {
                        return Err(self.error("Unexpected element after a closing quote."));
                    }
                    return Ok(Some(out));
                }
                '"' if keep > 0 => return Err(self.error("Unexpected quote within an element.")),
                '"' => {
                    out.clear();
                    (quoted, any_quotes) = (true, true);
                }
                c if quoted => {
                    out.push(c);
                    keep = out.len();
                }
                c if stops.contains(c) => break,
                '{' | '}' => return Err(self.error(&format!("Unexpected \"{c}\" character."))),
                c => {
                    out.push(c);
                    if !(c.is_ascii_whitespace() || c == '\x0b') {
                        keep = out.len();
                    }
                }
            }
            self.rest = &self.rest[c.len_utf8()..];
        }
        out.truncate(keep);
        if !any_quotes && out.eq_ignore_ascii_case("null") {
            return Ok(None);
        }
        if !any_quotes && out.is_empty() {
            return Err(
                self.error(&format!("Unexpected \"{}\" character.", self.rest.chars().next().unwrap_or('}')))
            );
        }
        Ok(Some(out))
    }

    /// Takes a literal in braces as it stands, for a nested list or map.
    fn nested(&mut self) -> Result<&'t str, EvalError> {
        let start = self.rest;
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        for (i, c) in start.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                '{' if !quoted => depth += 1,
                '}' if !quoted => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        self.rest = &start[i + 1..];
                        return Ok(&start[..=i]);
                    }
                }
                _ => {}
            }
        }
        Err(self.error("Unexpected end of input."))
    }
}

pub(super) fn parse_array<'a>(text: &str, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let mut c = Cursor::new("array", text);
    c.space();
    let mut declared: Vec<(i32, i32)> = vec![];
    while c.eat("[") {
        if declared.len() == MAX_DIMENSIONS {
            return Err(too_many_dimensions(declared.len() + 1));
        }
        declared.push(dimension(&mut c)?);
        c.space();
    }
    if !declared.is_empty() {
        if !c.eat("=") {
            return Err(c.error("Missing \"=\" after array dimensions."));
        }
        c.space();
    }
    if !c.rest.starts_with('{') {
        let detail = if declared.is_empty() {
            "Array value must start with \"{\" or dimension information."
        } else {
            "Array contents must start with \"{\"."
        };
        return Err(c.error(detail));
    }
    let mut row = Row::default();
    let mut dims: Vec<Option<i32>> = vec![];
    let mut count = 0;
    array_level(&mut c, 0, &mut dims, ty, &mut row, &mut count)?;
    c.end()?;
    if count == 0 {
        if !declared.is_empty() {
            return Err(c.error("Specified array dimensions do not match array contents."));
        }
        return Ok(arena.array(&[], []));
    }
    let dims: Vec<i32> = dims.into_iter().map(|d| d.unwrap_or(0)).collect();
    let dims: Vec<(i32, i32)> = if declared.is_empty() {
        dims.into_iter().map(|length| (length, 1)).collect()
    } else if declared.iter().map(|(length, _)| *length).eq(dims.iter().copied()) {
        declared
    } else {
        return Err(c.error("Specified array dimensions do not match array contents."));
    };
    Ok(arena.array(&dims, arena.row(&row).iter()))
}

fn too_many_dimensions(n: usize) -> EvalError {
    EvalError::new(
        code::PROGRAM_LIMIT_EXCEEDED,
        format!("number of array dimensions ({n}) exceeds the maximum allowed ({MAX_DIMENSIONS})"),
    )
}

/// Takes `n]` or `lower:upper]`: length and lower bound.
fn dimension(c: &mut Cursor<'_>) -> Result<(i32, i32), EvalError> {
    let end = c.rest.find(']').ok_or_else(|| c.error("Missing array dimension value."))?;
    let (inside, rest) = c.rest.split_at(end);
    c.rest = &rest[1..];
    let number = |s: &str| s.trim().parse::<i32>().map_err(|_| c.error("Missing array dimension value."));
    let (lower, upper) = match inside.split_once(':') {
        Some((l, u)) => (number(l)?, number(u)?),
        None => (1, number(inside)?),
    };
    if upper < lower {
        return Err(EvalError::new(
            crate::error::SqlState::new("2202E"),
            "upper bound cannot be less than lower bound",
        ));
    }
    let length = i64::from(upper) - i64::from(lower) + 1;
    Ok((i32::try_from(length).map_err(|_| c.error("Array size exceeds the maximum allowed."))?, lower))
}

/// Reads one brace level. `dims` learns each level's length from its first occurrence and holds the others to it.
fn array_level(
    c: &mut Cursor<'_>,
    level: usize,
    dims: &mut Vec<Option<i32>>,
    ty: &ScalarType,
    row: &mut Row,
    count: &mut usize,
) -> Result<(), EvalError> {
    if level == MAX_DIMENSIONS {
        return Err(too_many_dimensions(level + 1));
    }
    let ragged = "Multidimensional arrays must have sub-arrays with matching dimensions.";
    let first_of_level = dims.len() == level;
    if first_of_level {
        // A level below elements, as in {1,{2}}.
        if *count > 0 {
            return Err(c.error(ragged));
        }
        dims.push(None);
    }
    c.eat("{");
    let mut length = 0;
    c.space();
    if c.eat("}") {
        if level > 0 {
            return Err(c.error("Unexpected \"}\" character."));
        }
    } else {
        loop {
            c.space();
            // A list or map in an array starts with a brace too, but is quoted, since only arrays nest as such here.
            if c.rest.starts_with('{') {
                array_level(c, level + 1, dims, ty, row, count)?;
            } else {
                if dims.len() > level + 1 {
                    return Err(c.error(ragged));
                }
                let arena = Arena::new();
                match c.element(",}")? {
                    None => row.push(Datum::Null),
                    Some(s) => row.push(parse(&s, ty, &arena)?),
                }
                *count += 1;
            }
            length += 1;
            c.space();
            match () {
                () if c.eat(",") => {}
                () if c.eat("}") => break,
                () => return Err(c.error("Unexpected array element.")),
            }
        }
    }
    match dims[level] {
        None => dims[level] = Some(length),
        Some(n) if n == length => {}
        Some(_) => return Err(c.error(ragged)),
    }
    Ok(())
}

/// Whether values of a type nest by their braces in lists and maps.
fn nests(ty: &ScalarType) -> bool {
    matches!(ty, ScalarType::List(_) | ScalarType::Map(_))
}

pub(super) fn parse_list<'a>(text: &str, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let mut c = Cursor::new("list", text);
    c.space();
    if !c.eat("{") {
        return Err(c.error("List value must start with \"{\"."));
    }
    let mut elements = vec![];
    c.space();
    if !c.eat("}") {
        loop {
            c.space();
            elements.push(value(&mut c, ty, arena)?);
            c.space();
            match () {
                () if c.eat(",") => {}
                () if c.eat("}") => break,
                () => return Err(c.error("Unexpected list element.")),
            }
        }
    }
    c.end()?;
    Ok(arena.list(elements))
}

/// Takes an element of a list or a value of a map.
fn value<'a>(c: &mut Cursor<'_>, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    if nests(ty) && c.rest.starts_with('{') {
        return parse(c.nested()?, ty, arena);
    }
    match c.element(",}")? {
        None => Ok(Datum::Null),
        Some(s) => parse(&s, ty, arena),
    }
}

pub(super) fn parse_map<'a>(text: &str, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let mut c = Cursor::new("map", text);
    c.space();
    if !c.eat("{") {
        return Err(c.error("Map value must start with \"{\"."));
    }
    // Of two entries with one key the last wins, as in jsonb.
    let mut entries = std::collections::BTreeMap::new();
    c.space();
    if !c.eat("}") {
        loop {
            c.space();
            let key = c.element("=,}")?.ok_or_else(|| c.error("A map key cannot be NULL."))?;
            if !c.eat("=>") {
                return Err(c.error("Expected \"=>\" after a map key."));
            }
            c.space();
            let value = value(&mut c, ty, arena)?;
            entries.insert(key, value);
            c.space();
            match () {
                () if c.eat(",") => {}
                () if c.eat("}") => break,
                () => return Err(c.error("Unexpected map entry.")),
            }
        }
    }
    c.end()?;
    Ok(arena.map(entries.iter().map(|(k, v)| (arena.text(k), *v))))
}

/// Takes a field of a record or a bound of a range, up to one of `stops` outside quotes; none where nothing stands.
fn field(c: &mut Cursor<'_>, stops: &str) -> Result<Option<String>, EvalError> {
    let mut out = String::new();
    let (mut quoted, mut any) = (false, false);
    loop {
        let Some(ch) = c.rest.chars().next() else {
            return Err(c.error("Unexpected end of input."));
        };
        if !quoted && stops.contains(ch) {
            return Ok(any.then_some(out));
        }
        c.rest = &c.rest[ch.len_utf8()..];
        any = true;
        match ch {
            '\\' => match c.rest.chars().next() {
                Some(next) => {
                    out.push(next);
                    c.rest = &c.rest[next.len_utf8()..];
                }
                None => return Err(c.error("Unexpected end of input.")),
            },
            '"' if quoted && c.eat("\"") => out.push('"'),
            '"' => quoted = !quoted,
            ch => out.push(ch),
        }
    }
}

pub(super) fn parse_record<'a>(
    text: &str,
    types: &[(String, ColumnType)],
    arena: &'a Arena,
) -> Result<Datum<'a>, EvalError> {
    let mut c = Cursor::new("record", text);
    c.space();
    if !c.eat("(") {
        return Err(c.error("Missing left parenthesis."));
    }
    let mut fields = vec![];
    for (i, (_, ty)) in types.iter().enumerate() {
        if i > 0 && !c.eat(",") {
            return Err(c.error("Too few columns."));
        }
        fields.push(match field(&mut c, ",)")? {
            None => Datum::Null,
            Some(s) => parse(&s, &ty.scalar, arena)?,
        });
    }
    if !c.eat(")") {
        return Err(c.error("Too many columns."));
    }
    c.space();
    if !c.rest.is_empty() {
        return Err(c.error("Junk after right parenthesis."));
    }
    Ok(arena.record(fields))
}

pub(super) fn parse_range<'a>(text: &str, ty: &ScalarType, arena: &'a Arena) -> Result<Datum<'a>, EvalError> {
    let mut c = Cursor::new("range", text);
    c.space();
    if c.rest.trim_end().eq_ignore_ascii_case("empty") {
        return Ok(range::empty(arena));
    }
    let lower_inclusive = match () {
        () if c.eat("[") => true,
        () if c.eat("(") => false,
        () => return Err(c.error("Missing left parenthesis or bracket.")),
    };
    let bound = |text: Option<String>, inclusive: bool| -> Result<Bound<'a>, EvalError> {
        let value = text.map_or(Ok(Datum::Null), |s| parse(&s, ty, arena))?;
        Ok(Bound { value, inclusive })
    };
    let lower = field(&mut c, ",)]([")?;
    if !c.eat(",") {
        return Err(c.error("Missing comma after lower bound."));
    }
    let upper = field(&mut c, ",)]([")?;
    let upper_inclusive = match () {
        () if c.eat("]") => true,
        () if c.eat(")") => false,
        () => return Err(c.error("Too many commas.")),
    };
    c.space();
    if !c.rest.is_empty() {
        return Err(c.error("Junk after right parenthesis or bracket."));
    }
    range::make(arena, bound(lower, lower_inclusive)?, bound(upper, upper_inclusive)?)
}
