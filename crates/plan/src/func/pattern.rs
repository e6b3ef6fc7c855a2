//! LIKE, SIMILAR TO and regular expressions.
//!
//! Regular expressions are those of the `regex` crate (as in Materialize): linear time, no back-references. Compiled
//! ones are kept per thread, because patterns are constants almost always and compiling costs far more than matching.

use std::cell::RefCell;
use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use repr::error::{SqlState, code};
use repr::{Arena, Datum, EvalError};

use super::numeric::int4;
use super::registry::{FAILS, LAX_FAILS, MAYBE_FAILS, Table};

/// More compiled patterns of one kind than this on one thread: forget them and start again.
const CACHED_PATTERNS: usize = 256;
/// A compiled pattern may take this many bytes.
const PATTERN_BYTES: usize = 4 << 20;

pub(super) fn register(t: &mut Table) {
    macro_rules! operators {
        ($($id:literal $op:literal $matches:ident $insensitive:literal $negated:literal;)*) => {$(
            t.add($id, concat!("text ", $op, " text -> bool"), FAILS, |a, _, _| {
                $matches(a[0].text(), a[1].text(), $insensitive).map(|b| Datum::Bool(b != $negated))
            });
        )*};
    }
    operators! {
        "like" "~~" like false false;
        "not_like" "!~~" like false true;
        "ilike" "~~*" like true false;
        "not_ilike" "!~~*" like true true;
        "regex" "~" regex_matches false false;
        "not_regex" "!~" regex_matches false true;
        "iregex" "~*" regex_matches true false;
        "not_iregex" "!~*" regex_matches true true;
    }
    t.also("like", "like(text, text) -> bool");
    t.also("not_like", "notlike(text, text) -> bool");
    t.add(
        "like_escape",
        "like_escape(text, text) -> text -- a LIKE pattern with another escape character",
        FAILS,
        |a, _, m| like_escape(a[0].text(), a[1].text()).map(|s| Datum::Text(m.text(&s))),
    );
    t.add(
        "similar_to_escape",
        "similar_to_escape(text) -> text; similar_escape(text) -> text",
        FAILS,
        |a, _, m| similar_to(a[0].text(), Some('\\')).map(|s| Datum::Text(m.text(&s))),
    );
    t.add("similar_to_escape_with", "similar_to_escape(text, text) -> text", FAILS, |a, _, m| {
        similar_to(a[0].text(), escape_character(a[1].text())?).map(|s| Datum::Text(m.text(&s)))
    });

    t.add(
        "regexp_like",
        "regexp_like(text, text) -> bool; regexp_like(text, text, text) -> bool",
        FAILS,
        |a, _, _| {
            let regex = compiled(a[1].text(), a.get(2).map_or("", |f| f.text()), false)?.0;
            Ok(Datum::Bool(regex.is_match(a[0].text())))
        },
    );
    t.add(
        "regexp_match",
        "regexp_match(text, text) -> text[]; regexp_match(text, text, text) -> text[] -- the groups of the first match",
        MAYBE_FAILS,
        |a, _, m| {
            let regex = compiled(a[1].text(), a.get(2).map_or("", |f| f.text()), false)?.0;
            Ok(regex.captures(a[0].text()).map_or(Datum::Null, |c| groups(&c, m)))
        },
    );
    t.add(
        "regexp_replace",
        "regexp_replace(text, text, text) -> text; regexp_replace(text, text, text, text) -> text",
        FAILS,
        |a, _, m| {
            let (regex, all) = compiled(a[1].text(), a.get(3).map_or("", |f| f.text()), true)?;
            let which = if all { 0 } else { 1 };
            Ok(Datum::Text(m.text(&replace(&regex, a[0].text(), 0, a[2].text(), which))))
        },
    );
    t.add(
        "regexp_replace_from",
        "regexp_replace(text, text, text, int4) -> text; regexp_replace(text, text, text, int4, int4) -> text; \
         regexp_replace(text, text, text, int4, int4, text) -> text",
        FAILS,
        |a, _, m| {
            let (regex, all) = compiled(a[1].text(), a.get(5).map_or("", |f| f.text()), true)?;
            let start = start_byte(a[0].text(), int4(&a[3]))?;
            let which = match a.get(4).map(int4) {
                Some(n) if n < 0 => return Err(bad_parameter("n", n)),
                Some(n) => n as usize,
                None => usize::from(!all),
            };
            Ok(Datum::Text(m.text(&replace(&regex, a[0].text(), start, a[2].text(), which))))
        },
    );
    t.add(
        "regexp_count",
        "regexp_count(text, text) -> int4; regexp_count(text, text, int4) -> int4; \
         regexp_count(text, text, int4, text) -> int4 -- how often a pattern occurs",
        FAILS,
        |a, _, _| {
            let regex = compiled(a[1].text(), a.get(3).map_or("", |f| f.text()), false)?.0;
            let start = start_byte(a[0].text(), a.get(2).map_or(1, int4))?;
            Ok(Datum::Int32(regex.find_iter(&a[0].text()[start..]).count() as i32))
        },
    );
    t.add(
        "regexp_substr",
        "regexp_substr(text, text) -> text; regexp_substr(text, text, int4) -> text; \
         regexp_substr(text, text, int4, int4) -> text; regexp_substr(text, text, int4, int4, text) -> text -- a match",
        MAYBE_FAILS,
        |a, _, _| {
            let regex = compiled(a[1].text(), a.get(4).map_or("", |f| f.text()), false)?.0;
            let text = a[0].text();
            let start = start_byte(text, a.get(2).map_or(1, int4))?;
            let n = a.get(3).map_or(1, int4);
            if n < 1 {
                return Err(bad_parameter("n", n));
            }
            let found = regex.find_iter(&text[start..]).nth(n as usize - 1);
            Ok(found.map_or(Datum::Null, |f| Datum::Text(&text[start + f.start()..start + f.end()])))
        },
    );
    t.add(
        "regexp_instr",
        "regexp_instr(text, text) -> int4; regexp_instr(text, text, int4) -> int4 -- where a pattern first occurs, from 1",
        FAILS,
        |a, _, _| {
            let regex = compiled(a[1].text(), "", false)?.0;
            let text = a[0].text();
            let start = start_byte(text, a.get(2).map_or(1, int4))?;
            let found = regex.find(&text[start..]);
            Ok(Datum::Int32(found.map_or(0, |f| text[..start + f.start()].chars().count() as i32 + 1)))
        },
    );
    t.add(
        "regexp_split_to_array",
        "regexp_split_to_array(text, text) -> text[]; regexp_split_to_array(text, text, text) -> text[]",
        FAILS,
        |a, _, m| {
            let regex = compiled(a[1].text(), a.get(2).map_or("", |f| f.text()), false)?.0;
            let pieces: Vec<Datum<'_>> = split(&regex, a[0].text()).into_iter().map(Datum::Text).collect();
            Ok(m.array1(&pieces))
        },
    );
    t.add(
        "substring_regex",
        "substring(text, text) -> text -- what a pattern matches, or its first group",
        MAYBE_FAILS,
        |a, _, _| {
            let regex = compiled(a[1].text(), "", false)?.0;
            let text: &str = a[0].text();
            let captures = regex.captures(text);
            let found = captures.and_then(|c| if c.len() > 1 { c.get(1) } else { c.get(0) });
            Ok(found.map_or(Datum::Null, |f| Datum::Text(&text[f.start()..f.end()])))
        },
    );
    t.rows(
        "regexp_matches",
        "regexp_matches(text, text) -> text[]; regexp_matches(text, text, text) -> text[] -- the groups of a match, or with flag g of each",
        true,
        |a, m, emit| {
            let (regex, all) = compiled(a[1].text(), a.get(2).map_or("", |f| f.text()), true)?;
            for c in regex.captures_iter(a[0].text()).take(if all { usize::MAX } else { 1 }) {
                emit(&[groups(&c, m)]);
            }
            Ok(())
        },
    );
    t.rows(
        "regexp_split_to_table",
        "regexp_split_to_table(text, text) -> text; regexp_split_to_table(text, text, text) -> text",
        true,
        |a, _, emit| {
            let regex = compiled(a[1].text(), a.get(2).map_or("", |f| f.text()), false)?.0;
            split(&regex, a[0].text()).into_iter().for_each(|piece| emit(&[Datum::Text(piece)]));
            Ok(())
        },
    );
    t.add(
        "regexp_escape",
        "regexp_escape(text) -> text -- a pattern that matches just this text",
        LAX_FAILS,
        |a, _, m| match a[0] {
            Datum::Text(s) => Ok(Datum::Text(m.text(&regex::escape(s)))),
            other => Ok(other),
        },
    );
}

/// Whether a LIKE pattern (escape `\`) matches the whole text. Errors: 22025 for an escape at the end.
pub(super) fn like(text: &str, pattern: &str, insensitive: bool) -> Result<bool, EvalError> {
    if insensitive {
        return like(&text.to_lowercase(), &pattern.to_lowercase(), false);
    }
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    // Where the last `%` goes on in the pattern, and from where in the text it was tried.
    let mut retry: Option<(usize, usize)> = None;
    let (mut t, mut p) = (0, 0);
    loop {
        let matched = match pattern.get(p) {
            None if t == text.len() => return Ok(true),
            None => false,
            Some(b'%') => {
                p += 1;
                if p == pattern.len() {
                    return Ok(true);
                }
                retry = Some((p, t));
                continue;
            }
            Some(b'_') if t < text.len() => {
                t = next_char(text, t);
                p += 1;
                true
            }
            Some(b'_') => false,
            Some(b'\\') => match pattern.get(p + 1) {
                None => {
                    return Err(EvalError::new(
                        SqlState::new("22025"),
                        "LIKE pattern must not end with escape character",
                    ));
                }
                Some(c) if text.get(t) == Some(c) => {
                    t += 1;
                    p += 2;
                    true
                }
                Some(_) => false,
            },
            Some(c) if text.get(t) == Some(c) => {
                t += 1;
                p += 1;
                true
            }
            Some(_) => false,
        };
        if !matched {
            match &mut retry {
                Some((after, from)) if *from < text.len() => {
                    *from = next_char(text, *from);
                    (p, t) = (*after, *from);
                }
                _ => return Ok(false),
            }
        }
    }
}

/// The byte after the character at `i`.
fn next_char(text: &[u8], i: usize) -> usize {
    let mut j = i + 1;
    while j < text.len() && text[j] & 0xc0 == 0x80 {
        j += 1;
    }
    j
}

fn escape_character(escape: &str) -> Result<Option<char>, EvalError> {
    let mut chars = escape.chars();
    match (chars.next(), chars.next()) {
        (c, None) => Ok(c),
        _ => Err(EvalError::new(SqlState::new("22019"), "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

/// The same pattern with `\` as the escape character.
fn like_escape(pattern: &str, escape: &str) -> Result<String, EvalError> {
    let escape = escape_character(escape)?;
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            out.push('\\');
            out.extend(chars.next());
        } else if c == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// A SIMILAR TO pattern as a regular expression.
fn similar_to(pattern: &str, escape: Option<char>) -> Result<String, EvalError> {
    let mut out = String::from("(?s)^(?:");
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => match chars.next() {
                Some(next) => out.push_str(&regex::escape(next.encode_utf8(&mut [0; 4]))),
                None => {
                    return Err(EvalError::new(
                        SqlState::new("22025"),
                        "SIMILAR TO pattern must not end with escape character",
                    ));
                }
            },
            '[' if !in_class => {
                in_class = true;
                out.push(c);
            }
            ']' if in_class => {
                in_class = false;
                out.push(c);
            }
            c if in_class => {
                if c == '\\' {
                    out.push('\\');
                }
                out.push(c);
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push_str(")$");
    Ok(out)
}

/// `text ~ pattern`, `text ~* pattern`.
/// The names of a pattern's groups, those without a name too. Error 2201B for a bad pattern.
pub fn group_names(pattern: &str) -> Result<Vec<Option<String>>, EvalError> {
    let (regex, _) = compiled(pattern, "", false)?;
    Ok(regex.capture_names().skip(1).map(|n| n.map(str::to_string)).collect())
}

pub(super) fn regex_matches(text: &str, pattern: &str, insensitive: bool) -> Result<bool, EvalError> {
    Ok(cached(pattern, u8::from(insensitive))?.is_match(text))
}

/// A compiled pattern with Postgres' flag letters, and whether `g` was among them. Errors: 22023 for an unknown flag or
/// a `g` that makes no sense, 2201B for a bad pattern.
pub(super) fn compiled(pattern: &str, flags: &str, allow_g: bool) -> Result<(Regex, bool), EvalError> {
    let (mut bits, mut all) = (0, false);
    for flag in flags.chars() {
        match flag {
            'g' if allow_g => all = true,
            'i' => bits |= 1,
            'c' => bits &= !1,
            's' => bits |= 2,
            'n' | 'm' => bits |= 4,
            'x' => bits |= 8,
            'p' | 'w' | 't' | 'e' | 'b' => {}
            'q' => bits |= 16,
            other => {
                return Err(EvalError::new(
                    code::INVALID_PARAMETER_VALUE,
                    format!("invalid regular expression option: \"{other}\""),
                ));
            }
        }
    }
    Ok((cached(pattern, bits)?, all))
}

fn cached(pattern: &str, bits: u8) -> Result<Regex, EvalError> {
    thread_local!(static CACHE: RefCell<BTreeMap<u8, BTreeMap<String, Regex>>> = const { RefCell::new(BTreeMap::new()) });
    CACHE.with_borrow_mut(|cache| {
        let cache = cache.entry(bits).or_default();
        if let Some(regex) = cache.get(pattern) {
            return Ok(regex.clone());
        }
        let source = if bits & 16 != 0 { regex::escape(pattern) } else { from_are(pattern) };
        let regex = RegexBuilder::new(&source)
            .case_insensitive(bits & 1 != 0)
            .dot_matches_new_line(bits & 2 != 0)
            .multi_line(bits & 4 != 0)
            .ignore_whitespace(bits & 8 != 0)
            .size_limit(PATTERN_BYTES)
            .build()
            .map_err(|e| {
                let reason = e.to_string();
                let reason =
                    reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
                EvalError::new(SqlState::new("2201B"), format!("invalid regular expression: {reason}"))
            })?;
        if cache.len() >= CACHED_PATTERNS {
            cache.clear();
        }
        cache.insert(pattern.to_string(), regex.clone());
        Ok(regex)
    })
}

/// The escapes that Postgres spells differently.
fn from_are(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('y') => out.push_str("\\b"),
            Some('Y') => out.push_str("\\B"),
            Some('m') => out.push_str("\\b{start}"),
            Some('M') => out.push_str("\\b{end}"),
            Some('Z') => out.push_str("\\z"),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
    out
}

/// The groups of a match, or all of it where the pattern has no groups.
fn groups<'a>(captures: &regex::Captures<'_>, arena: &'a Arena) -> Datum<'a> {
    let first = usize::from(captures.len() > 1);
    let groups: Vec<Datum<'a>> = (first..captures.len())
        .map(|i| captures.get(i).map_or(Datum::Null, |g| Datum::Text(arena.text(g.as_str()))))
        .collect();
    arena.array1(&groups)
}

/// Replaces match number `which` from byte `start` on; 0: all. In the replacement `\1` … `\9` are groups, `\&` is the
/// whole match.
fn replace(regex: &Regex, text: &str, start: usize, replacement: &str, which: usize) -> String {
    let mut out = text[..start].to_string();
    let rest = &text[start..];
    let mut last = 0;
    for (i, c) in regex.captures_iter(rest).enumerate() {
        if which != 0 && i + 1 != which {
            continue;
        }
        let whole = c.get(0).expect("group 0 is the match");
        out.push_str(&rest[last..whole.start()]);
        last = whole.end();
        let mut chars = replacement.chars();
        while let Some(ch) = chars.next() {
            if ch != '\\' {
                out.push(ch);
                continue;
            }
            match chars.next() {
                Some('&') => out.push_str(whole.as_str()),
                Some(d @ '1'..='9') => {
                    out.push_str(c.get(d as usize - '0' as usize).map_or("", |g| g.as_str()));
                }
                Some('\\') => out.push('\\'),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            }
        }
        if which != 0 {
            break;
        }
    }
    out.push_str(&rest[last..]);
    out
}

/// The pieces between matches. An empty match at either end, or right behind another, does not split.
fn split<'a>(regex: &Regex, text: &'a str) -> Vec<&'a str> {
    let (mut pieces, mut last) = (vec![], 0);
    for found in regex.find_iter(text) {
        if found.is_empty() && (found.start() == last || found.start() == text.len()) {
            continue;
        }
        pieces.push(&text[last..found.start()]);
        last = found.end();
    }
    pieces.push(&text[last..]);
    pieces
}

fn bad_parameter(name: &str, n: i32) -> EvalError {
    EvalError::new(code::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": {n}"))
}

/// The byte of a character's position from 1.
fn start_byte(text: &str, start: i32) -> Result<usize, EvalError> {
    if start < 1 {
        return Err(bad_parameter("start", start));
    }
    Ok(text.char_indices().nth(start as usize - 1).map_or(text.len(), |(i, _)| i))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func::resolve::tests::{error, run};

    #[test]
    fn like_has_wildcards_escapes_and_whole_characters() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "a_c", true),
            ("aéc", "a_c", true),
            ("aéc", "a__c", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("aaab", "%a%ab", true),
            ("abcabd", "%ab_", true),
            ("ab", "%%%_", true),
            ("", "%_", false),
            ("ABC", "abc", false),
        ] {
            assert_eq!(like(text, pattern, false), Ok(expected), "{text:?} LIKE {pattern:?}");
        }
        assert_eq!(like("ÄBC", "äb%", true), Ok(true));
        assert_eq!(error("~~", &["a", "a\\"]), "22025 LIKE pattern must not end with escape character");
        assert_eq!(run("like_escape", &["10#%\\", "#"]), "10\\%\\\\");
    }

    #[test]
    fn regular_expressions_match_replace_and_split() {
        assert_eq!(run("~", &["foobar", "^fo+b"]), "t");
        assert_eq!(run("~*", &["FOO", "foo"]), "t");
        assert_eq!(run("!~", &["FOO", "foo"]), "t");
        assert_eq!(run("regexp_match", &["foobarbequebaz", "(bar)(beque)"]), "{bar,beque}");
        assert_eq!(run("regexp_match", &["abc", "x"]), "NULL");
        assert_eq!(run("regexp_replace", &["foobarbaz", "b(..)", "X\\1Y", "g"]), "fooXarYXazY");
        assert_eq!(run("regexp_replace", &["foobarbaz", "b..", "[\\&]"]), "foo[bar]baz");
        assert_eq!(run("regexp_split_to_array", &["hello", ""]), "{h,e,l,l,o}");
        assert_eq!(run("regexp_split_to_array", &["a, b,c", ",\\s*"]), "{a,b,c}");
        assert_eq!(run("regexp_count", &["ABCABCAXYaxy", "A.", "1::int4", "c"]), "3");
        assert_eq!(run("substring", &["Thomas", "...$"]), "mas");
        assert_eq!(run("substring", &["foobar", "o(.)b"]), "o");
        assert_eq!(error("~", &["a", "("])[..35], *"2201B invalid regular expression: u");
        assert_eq!(
            error("regexp_replace", &["a", "b", "c", "z"]),
            "22023 invalid regular expression option: \"z\""
        );
    }

    #[test]
    fn similar_to_is_anchored() {
        let matches =
            |t: &str, p: &str| regex_matches(t, &similar_to(p, Some('\\')).unwrap(), false).unwrap();
        assert!(matches("abc", "abc"));
        assert!(!matches("abc", "a"));
        assert!(matches("abc", "%(b|d)%"));
        assert!(!matches("abc", "(b|c)%"));
        assert!(matches("a.c", "a.c"));
        assert!(!matches("abc", "a.c"));
    }
}
