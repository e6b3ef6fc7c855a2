//! Functions of strings. Positions and lengths count characters.

use repr::error::{SqlState, code};
use repr::{Datum, EvalError};

use super::compare::print_value;
use super::numeric::{int4, out_of_range};
use super::registry::{FAILS, LAX, LAX_FAILS, MAYBE, MAYBE_FAILS, PURE, Table};

/// No function makes a string longer than this many bytes, so that one row cannot take all memory.
const MAX_TEXT: usize = 256 << 20;

fn too_long() -> EvalError {
    EvalError::new(code::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

/// Where the characters of `substring(… FROM start FOR length)` begin and end, from 0; both may lie outside.
pub(super) fn substring_range(start: i64, length: i64) -> Result<(i64, i64), EvalError> {
    if length < 0 {
        return Err(EvalError::new(code::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    Ok((start - 1, start - 1 + length))
}

/// The characters from `from` to before `to`, clipped to the string.
fn slice(s: &str, from: i64, to: i64) -> &str {
    let at = |n: i64| {
        if n <= 0 {
            return 0;
        }
        if n as usize >= s.len() {
            return s.len();
        }
        s.char_indices().nth(n as usize).map_or(s.len(), |(i, _)| i)
    };
    let (from, to) = if s.is_ascii() {
        let clamp = |n: i64| n.clamp(0, s.len() as i64) as usize;
        (clamp(from), clamp(to))
    } else {
        (at(from), at(to))
    };
    if from < to { &s[from..to] } else { "" }
}

fn chars(s: &str) -> i64 {
    if s.is_ascii() { s.len() as i64 } else { s.chars().count() as i64 }
}

/// What a value adds to a string with `||`: as a cast to text prints it.
fn print_cast(d: Datum<'_>, out: &mut String) {
    match d {
        Datum::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        d => print_value(d, out),
    }
}

pub(super) fn register(t: &mut Table) {
    t.add("text_concat", "text || text -> text -- joined", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&[a[0].text(), a[1].text()].concat())))
    });
    t.add("text_concat_any", "text || anynonarray -> text; anynonarray || text -> text", PURE, |a, _, m| {
        let mut out = String::new();
        a.iter().for_each(|d| print_cast(*d, &mut out));
        Ok(Datum::Text(m.text(&out)))
    });
    t.add(
        "concat",
        "concat(variadic any) -> text -- all arguments joined, NULLs left out",
        LAX,
        |a, _, m| {
            let mut out = String::new();
            a.iter().for_each(|d| print_value(*d, &mut out));
            Ok(Datum::Text(m.text(&out)))
        },
    );
    t.add(
        "concat_ws",
        "concat_ws(text, variadic any) -> text -- the other arguments joined by the first, NULLs left out",
        LAX,
        |a, _, m| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let mut out = String::new();
            for (i, d) in a[1..].iter().filter(|d| !d.is_null()).enumerate() {
                if i > 0 {
                    out.push_str(a[0].text());
                }
                print_value(*d, &mut out);
            }
            Ok(Datum::Text(m.text(&out)))
        },
    );

    t.add("lower", "lower(text) -> text", PURE, |a, _, m| {
        let s = a[0].text();
        // Most of what is lowered is low already.
        if s.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
            return Ok(a[0]);
        }
        Ok(Datum::Text(m.text(&s.to_lowercase())))
    });
    t.add("upper", "upper(text) -> text", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&a[0].text().to_uppercase())))
    });
    t.add("initcap", "initcap(text) -> text -- first letters upper case", PURE, |a, _, m| {
        let (mut out, mut inside) = (String::new(), false);
        for c in a[0].text().chars() {
            if inside {
                out.extend(c.to_lowercase());
            } else {
                out.extend(c.to_uppercase());
            }
            inside = c.is_alphanumeric();
        }
        Ok(Datum::Text(m.text(&out)))
    });
    t.add(
        "snake_case",
        "snake_case(text) -> text -- the name as a column or table of Segment's warehouses has it",
        PURE,
        |a, _, m| Ok(Datum::Text(m.text(&words(a[0].text()).join("_")))),
    );
    t.add("title_case", "title_case(text) -> text -- the name as an event has it", PURE, |a, _, m| {
        let title = |word: &String| {
            let mut chars = word.chars();
            chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect::<String>()
        };
        let all: Vec<String> = words(a[0].text()).iter().map(title).collect();
        Ok(Datum::Text(m.text(&all.join(" "))))
    });
    t.add(
        "length",
        "length(text) -> int4; char_length(text) -> int4; character_length(text) -> int4 -- characters",
        PURE,
        |a, _, _| Ok(Datum::Int32(chars(a[0].text()) as i32)),
    );
    t.add("substring", "substring(text, int4) -> text; substr(text, int4) -> text", PURE, |a, _, _| {
        Ok(Datum::Text(slice(a[0].text(), i64::from(int4(&a[1])) - 1, i64::MAX)))
    });
    t.add(
        "substring_for",
        "substring(text, int4, int4) -> text; substr(text, int4, int4) -> text -- from a position, so many characters",
        FAILS,
        |a, _, _| {
            let (from, to) = substring_range(int4(&a[1]).into(), int4(&a[2]).into())?;
            Ok(Datum::Text(slice(a[0].text(), from, to)))
        },
    );
    t.add(
        "left",
        "left(text, int4) -> text -- the first n characters, or all but the last -n",
        PURE,
        |a, _, _| {
            let (s, n) = (a[0].text(), i64::from(int4(&a[1])));
            Ok(Datum::Text(slice(s, 0, if n < 0 { chars(s) + n } else { n })))
        },
    );
    t.add(
        "right",
        "right(text, int4) -> text -- the last n characters, or all but the first -n",
        PURE,
        |a, _, _| {
            let (s, n) = (a[0].text(), i64::from(int4(&a[1])));
            Ok(Datum::Text(slice(s, if n < 0 { -n } else { chars(s) - n }, i64::MAX)))
        },
    );
    t.add(
        "strpos",
        "strpos(text, text) -> int4; position(text, text) -> int4 -- where the second is in the first, from 1; 0: nowhere",
        PURE,
        |a, _, _| {
            let s = a[0].text();
            Ok(Datum::Int32(s.find(a[1].text()).map_or(0, |i| chars(&s[..i]) as i32 + 1)))
        },
    );
    t.add("starts_with", "starts_with(text, text) -> bool; text ^@ text -> bool", PURE, |a, _, _| {
        Ok(Datum::Bool(a[0].text().starts_with(a[1].text())))
    });
    t.add("replace", "replace(text, text, text) -> text", FAILS, |a, _, m| {
        let (s, from, to) = (a[0].text(), a[1].text(), a[2].text());
        if from.is_empty() || !s.contains(from) {
            return Ok(a[0]);
        }
        if to.len() > from.len() && (s.len() / from.len()).saturating_mul(to.len()) > MAX_TEXT {
            return Err(too_long());
        }
        Ok(Datum::Text(m.text(&s.replace(from, to))))
    });
    t.add(
        "translate",
        "translate(text, text, text) -> text -- characters of the second become those of the third",
        PURE,
        |a, _, m| {
            let (from, to): (Vec<char>, Vec<char>) =
                (a[1].text().chars().collect(), a[2].text().chars().collect());
            let map = |c: char| match from.iter().position(|f| *f == c) {
                Some(i) => to.get(i).copied(),
                None => Some(c),
            };
            Ok(Datum::Text(m.text(&a[0].text().chars().filter_map(map).collect::<String>())))
        },
    );
    t.add(
        "overlay",
        "overlay(text, text, int4) -> text; overlay(text, text, int4, int4) -> text -- the second put over the first",
        FAILS,
        |a, _, m| {
            let (s, new) = (a[0].text(), a[1].text());
            let start = i64::from(int4(&a[2]));
            if start < 1 {
                return Err(EvalError::new(code::SUBSTRING_ERROR, "negative substring length not allowed"));
            }
            let length = a.get(3).map_or_else(|| chars(new), |n| int4(n).into());
            let head = slice(s, 0, start - 1);
            let tail = slice(s, start - 1 + length, i64::MAX);
            Ok(Datum::Text(m.text(&[head, new, tail].concat())))
        },
    );
    t.add(
        "split_part",
        "split_part(text, text, int4) -> text -- the nth piece, from the end if negative",
        FAILS,
        |a, _, _| {
            let (s, by, n) = (a[0].text(), a[1].text(), int4(&a[2]));
            if n == 0 {
                return Err(EvalError::new(code::INVALID_PARAMETER_VALUE, "field position must not be zero"));
            }
            let nth = n.unsigned_abs() as usize - 1;
            Ok(Datum::Text(match (by.is_empty(), n > 0) {
                (true, _) if nth == 0 => s,
                (true, _) => "",
                (false, true) => s.split(by).nth(nth).unwrap_or(""),
                (false, false) => s.rsplit(by).nth(nth).unwrap_or(""),
            }))
        },
    );
    macro_rules! trims {
        ($($name:literal $left:literal $right:literal;)*) => {$(
            t.add($name, concat!($name, "(text) -> text; ", $name, "(text, text) -> text -- without these characters (spaces) at the ends"), PURE, |a, _, _| {
                let set = a.get(1).map_or(" ", |s| s.text());
                let mut s: &str = a[0].text();
                if $left {
                    s = s.trim_start_matches(|c| set.contains(c));
                }
                if $right {
                    s = s.trim_end_matches(|c| set.contains(c));
                }
                Ok(Datum::Text(s))
            });
        )*};
    }
    trims! { "btrim" true true; "ltrim" true false; "rtrim" false true; }
    t.also("btrim", "trim(text) -> text; trim(text, text) -> text");
    t.add(
        "lpad",
        "lpad(text, int4) -> text; lpad(text, int4, text) -> text -- filled up on the left, or cut",
        FAILS,
        |a, _, m| {
            let s: &str = a[0].text();
            let fill = padding(s, int4(&a[1]), a.get(2).map_or(" ", |f| f.text()))?;
            Ok(Datum::Text(m.text(&(fill + slice(s, 0, int4(&a[1]).into())))))
        },
    );
    t.add(
        "rpad",
        "rpad(text, int4) -> text; rpad(text, int4, text) -> text -- filled up on the right, or cut",
        FAILS,
        |a, _, m| {
            let s: &str = a[0].text();
            let fill = padding(s, int4(&a[1]), a.get(2).map_or(" ", |f| f.text()))?;
            Ok(Datum::Text(m.text(&(slice(s, 0, int4(&a[1]).into()).to_string() + &fill))))
        },
    );
    t.add("repeat", "repeat(text, int4) -> text", FAILS, |a, _, m| {
        let (s, n) = (a[0].text(), int4(&a[1]).max(0) as usize);
        if s.len().saturating_mul(n) > MAX_TEXT {
            return Err(too_long());
        }
        Ok(Datum::Text(m.text(&s.repeat(n))))
    });
    t.add("reverse", "reverse(text) -> text", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&a[0].text().chars().rev().collect::<String>())))
    });
    t.add("ascii", "ascii(text) -> int4 -- the number of the first character", PURE, |a, _, _| {
        Ok(Datum::Int32(a[0].text().chars().next().map_or(0, |c| c as i32)))
    });
    t.add("chr", "chr(int4) -> text -- the character with this number", FAILS, |a, _, m| {
        let n = int4(&a[0]);
        if n == 0 {
            return Err(EvalError::new(code::PROGRAM_LIMIT_EXCEEDED, "null character not permitted"));
        }
        match u32::try_from(n).ok().and_then(char::from_u32) {
            Some(c) => Ok(Datum::Text(m.text(c.encode_utf8(&mut [0; 4])))),
            None if n < 0 => {
                Err(EvalError::new(code::INVALID_PARAMETER_VALUE, "character number must be positive"))
            }
            None => Err(EvalError::new(
                code::PROGRAM_LIMIT_EXCEEDED,
                format!("requested character not valid for encoding: {n}"),
            )),
        }
    });
    t.add(
        "string_to_array",
        "string_to_array(text, text) -> text[]; string_to_array(text, text, text) -> text[]",
        LAX,
        |a, _, m| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let null = a.get(2).filter(|d| !d.is_null()).map(|d| d.text());
            let pieces = pieces(a[0].text(), (!a[1].is_null()).then(|| a[1].text()));
            let pieces: Vec<Datum<'_>> = pieces
                .into_iter()
                .map(|p| if Some(p) == null { Datum::Null } else { Datum::Text(p) })
                .collect();
            Ok(m.array1(&pieces))
        },
    );
    t.rows(
        "string_to_table",
        "string_to_table(text, text) -> text; string_to_table(text, text, text) -> text",
        false,
        |a, _, emit| {
            if a[0].is_null() {
                return Ok(());
            }
            let null = a.get(2).filter(|d| !d.is_null()).map(|d| d.text());
            for p in pieces(a[0].text(), (!a[1].is_null()).then(|| a[1].text())) {
                emit(&[if Some(p) == null { Datum::Null } else { Datum::Text(p) }]);
            }
            Ok(())
        },
    );

    t.add("quote_ident", "quote_ident(text) -> text -- as a name in SQL", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&quote_ident(a[0].text()))))
    });
    t.add("quote_literal", "quote_literal(text) -> text -- as a string in SQL", PURE, |a, _, m| {
        Ok(Datum::Text(m.text(&quote_literal(a[0].text()))))
    });
    t.add("quote_literal_any", "quote_literal(any) -> text", PURE, |a, _, m| {
        let mut out = String::new();
        print_cast(a[0], &mut out);
        Ok(Datum::Text(m.text(&quote_literal(&out))))
    });
    t.add("quote_nullable", "quote_nullable(text) -> text; quote_nullable(any) -> text", LAX, |a, _, m| {
        if a[0].is_null() {
            return Ok(Datum::Text("NULL"));
        }
        let mut out = String::new();
        print_cast(a[0], &mut out);
        Ok(Datum::Text(m.text(&quote_literal(&out))))
    });
    t.add(
        "format",
        "format(text, variadic any) -> text; format(text) -> text -- a template with %s, %I, %L, %1$s",
        LAX_FAILS,
        |a, _, m| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            format_template(a[0].text(), &a[1..]).map(|s| Datum::Text(m.text(&s)))
        },
    );
    t.add(
        "parse_ident",
        "parse_ident(text) -> text[]; parse_ident(text, bool) -> text[] -- the parts of a qualified name",
        FAILS,
        |a, _, m| {
            let parts = parse_ident(a[0].text(), a.get(1).is_none_or(|b| b.bool()))?;
            let parts: Vec<Datum<'_>> = parts.iter().map(|p| Datum::Text(m.text(p))).collect();
            Ok(m.array1(&parts))
        },
    );
    t.add(
        "csv_fields",
        "csv_fields(text) -> text[]; csv_fields(text, text) -> text[] -- the fields of one line of CSV",
        MAYBE_FAILS,
        |a, _, m| {
            let fields = csv_fields(a[0].text(), a.get(1).map_or(",", |d| d.text()))?;
            let fields: Vec<Datum<'_>> = fields.iter().map(|f| Datum::Text(m.text(f))).collect();
            Ok(m.array1(&fields))
        },
    );
    t.rows(
        "csv_rows",
        "csv_rows(text) -> text[]; csv_rows(text, text) -> text[] -- the lines of CSV, each as its fields",
        true,
        |a, m, emit| {
            let delimiter = a.get(1).map_or(",", |d| d.text());
            for line in csv_lines(a[0].text()) {
                let fields = csv_fields(line, delimiter)?;
                let fields: Vec<Datum<'_>> = fields.iter().map(|f| Datum::Text(m.text(f))).collect();
                emit(&[m.array1(&fields)]);
            }
            Ok(())
        },
    );
    t.add(
        "text_to_number_or_null",
        "try_numeric(text) -> numeric -- the number, or NULL where the text is none",
        MAYBE,
        |a, _, _| Ok(repr::Numeric::parse(a[0].text()).map_or(Datum::Null, Datum::Numeric)),
    );
}

/// What fills a string up to `width` characters.
fn padding(s: &str, width: i32, fill: &str) -> Result<String, EvalError> {
    let missing = i64::from(width) - chars(s);
    if missing <= 0 || fill.is_empty() {
        return Ok(String::new());
    }
    if missing as usize > MAX_TEXT / 4 {
        return Err(too_long());
    }
    Ok(fill.chars().cycle().take(missing as usize).collect())
}

/// The pieces of `string_to_array`: without a delimiter each character, with an empty one the whole.
fn pieces<'a>(s: &'a str, delimiter: Option<&str>) -> Vec<&'a str> {
    match delimiter {
        _ if s.is_empty() => vec![],
        None => s.char_indices().map(|(i, c)| &s[i..i + c.len_utf8()]).collect(),
        Some("") => vec![s],
        Some(d) => s.split(d).collect(),
    }
}

/// Words that Postgres does not take as a bare name everywhere.
pub(super) const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// A name as it must be written in SQL.
pub fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    if plain && RESERVED.binary_search(&name).is_err() {
        name.to_string()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn quote_literal(s: &str) -> String {
    let quoted = s.replace('\'', "''").replace('\\', "\\\\");
    format!("{}'{quoted}'", if s.contains('\\') { "E" } else { "" })
}

fn format_template(template: &str, args: &[Datum<'_>]) -> Result<String, EvalError> {
    let bad = |message: &str| EvalError::new(code::INVALID_PARAMETER_VALUE, message);
    let (mut out, mut next) = (String::new(), 0);
    let mut rest = template.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if rest.peek() == Some(&'%') {
            rest.next();
            out.push('%');
            continue;
        }
        // position$, then flags, then width
        let mut digits = String::new();
        let (mut left, mut width) = (false, 0i64);
        while let Some(d) = rest.peek().copied().filter(char::is_ascii_digit) {
            digits.push(d);
            rest.next();
        }
        if rest.peek() == Some(&'$') {
            rest.next();
            let n: usize = digits.parse().map_err(|_| out_of_range("number"))?;
            if n == 0 {
                return Err(bad("format specifies argument 0, but arguments are numbered from 1"));
            }
            next = n - 1;
            digits.clear();
        }
        if digits.is_empty() {
            while rest.peek() == Some(&'-') {
                left = true;
                rest.next();
            }
            if rest.peek() == Some(&'*') {
                rest.next();
                width = match args.get(next) {
                    Some(Datum::Null) => 0,
                    Some(Datum::Int32(n)) => i64::from(*n),
                    Some(Datum::Int16(n)) => i64::from(*n),
                    Some(_) => return Err(bad("the width argument of format must be an integer")),
                    None => return Err(bad("too few arguments for format()")),
                };
                next += 1;
                left |= width < 0;
                width = width.abs();
            } else {
                while let Some(d) = rest.peek().copied().filter(char::is_ascii_digit) {
                    digits.push(d);
                    rest.next();
                }
            }
        }
        if !digits.is_empty() {
            width = digits.parse().map_err(|_| out_of_range("number"))?;
        }
        let kind = rest.next().ok_or_else(|| {
            bad("unterminated format() type specifier").with_hint("For a single \"%\" use \"%%\".")
        })?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(bad(&format!("unrecognized format() type specifier \"{kind}\""))
                .with_hint("For a single \"%\" use \"%%\"."));
        }
        let arg = args.get(next).ok_or_else(|| bad("too few arguments for format()"))?;
        next += 1;
        let mut text = String::new();
        print_value(*arg, &mut text);
        let text = match (kind, arg.is_null()) {
            ('I', true) => {
                return Err(EvalError::new(
                    SqlState::new("22004"),
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            ('I', false) => quote_ident(&text),
            ('L', true) => "NULL".to_string(),
            ('L', false) => quote_literal(&text),
            _ => text,
        };
        let fill = padding(&text, i32::try_from(width).map_err(|_| out_of_range("number"))?, " ")?;
        out.push_str(if left { &text } else { &fill });
        out.push_str(if left { &fill } else { &text });
    }
    Ok(out)
}

fn parse_ident(s: &str, strict: bool) -> Result<Vec<String>, EvalError> {
    let bad = || {
        EvalError::new(code::INVALID_PARAMETER_VALUE, format!("string is not a valid identifier: \"{s}\""))
    };
    let mut parts = vec![];
    let mut rest = s.trim_start();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            loop {
                match chars.next() {
                    None => return Err(bad().with_detail("String has unclosed double quotes.")),
                    Some((_, '"')) if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    Some((i, '"')) => {
                        rest = &quoted[i + 1..];
                        break;
                    }
                    Some((_, c)) => name.push(c),
                }
            }
            if name.is_empty() {
                return Err(bad().with_detail("Quoted identifier must not be empty."));
            }
            part = name;
        } else {
            let first = |c: char| c.is_ascii_alphabetic() || !c.is_ascii() || c == '_';
            let end =
                rest.find(|c: char| !(first(c) || c.is_ascii_digit() || c == '$')).unwrap_or(rest.len());
            if !rest.starts_with(first) {
                let detail = match rest.starts_with('.') {
                    true => "No valid identifier before \".\".",
                    false if parts.is_empty() => "",
                    false => "No valid identifier after \".\".",
                };
                return Err(if detail.is_empty() { bad() } else { bad().with_detail(detail) });
            }
            part = rest[..end].to_lowercase();
            rest = &rest[end..];
        }
        parts.push(part);
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() || !strict => return Ok(parts),
            None => return Err(bad()),
        }
    }
}

/// The fields of one record. Quotes may hold delimiters and line ends, and double themselves.
///
/// Errors: 22023 unless the delimiter is one character, 22P04 for a quote that does not end.
fn csv_fields(line: &str, delimiter: &str) -> Result<Vec<String>, EvalError> {
    let mut one = delimiter.chars();
    let (Some(delimiter), None) = (one.next(), one.next()) else {
        return Err(EvalError::new(
            code::INVALID_PARAMETER_VALUE,
            "CSV delimiter must be a single character",
        ));
    };
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let (mut fields, mut field, mut quoted) = (vec![], String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            c if c == delimiter && !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(EvalError::new(SqlState::new("22P04"), "unterminated CSV quoted field"));
    }
    fields.push(field);
    Ok(fields)
}

/// The records: lines, except that quotes may hold line ends. Empty lines are none.
fn csv_lines(text: &str) -> Vec<&str> {
    let (mut lines, mut start, mut quoted) = (vec![], 0, false);
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => {
                lines.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    lines.push(&text[start..]);
    lines.retain(|l| !l.trim_end_matches('\r').is_empty());
    lines
}

/// The words of a name in lower case, however it joins them: `Order Completed`, `orderCompleted`, `HTTP-Request`.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let (mut words, mut word) = (vec![], String::new());
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(i + 1);
        // A capital begins a word behind a small letter, and before one: orderCompleted, HTTPRequest.
        let begins = c.is_uppercase()
            && (before.is_some_and(|b| b.is_lowercase() || b.is_numeric())
                || before.is_some_and(char::is_uppercase) && after.is_some_and(|a| a.is_lowercase()));
        if (begins || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func::resolve::tests::{error, run};

    #[test]
    fn reserved_words_are_sorted() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn positions_count_characters() {
        assert_eq!(run("substring", &["añb€c", "2::int4", "3::int4"]), "ñb€");
        assert_eq!(run("substring", &["hello", "-1::int4", "3::int4"]), "h");
        assert_eq!(run("substring", &["hello", "3::int4"]), "llo");
        assert_eq!(run("substring", &["hello", "-2147483648::int4", "2147483647::int4"]), "");
        assert_eq!(
            error("substring", &["hello", "1::int4", "-1::int4"]),
            "22011 negative substring length not allowed"
        );
        assert_eq!(run("left", &["añb", "2::int4"]), "añ");
        assert_eq!(run("left", &["añb", "-1::int4"]), "añ");
        assert_eq!(run("right", &["añb", "2::int4"]), "ñb");
        assert_eq!(run("right", &["añb", "-2::int4"]), "b");
        assert_eq!(run("strpos", &["añb", "b"]), "3");
        assert_eq!(run("overlay", &["Txxxxas", "hom", "2::int4", "4::int4"]), "Thomas");
        assert_eq!(run("length", &["añb"]), "3");
        assert_eq!(run("octet_length", &["añb"]), "4");
    }

    #[test]
    fn splitting_knows_both_ends() {
        assert_eq!(run("split_part", &["a,b,c", ",", "2::int4"]), "b");
        assert_eq!(run("split_part", &["a,b,c", ",", "-1::int4"]), "c");
        assert_eq!(run("split_part", &["a,b,c", ",", "4::int4"]), "");
        assert_eq!(run("split_part", &["abc", "", "-1::int4"]), "abc");
        assert_eq!(error("split_part", &["a", ",", "0::int4"]), "22023 field position must not be zero");
        assert_eq!(run("string_to_array", &["a,b,,c", ",", ""]), "{a,b,NULL,c}");
        assert_eq!(run("string_to_array", &["", ","]), "{}");
    }

    #[test]
    fn padding_and_trimming() {
        assert_eq!(run("lpad", &["hi", "5::int4", "xy"]), "xyxhi");
        assert_eq!(run("rpad", &["hi", "5::int4", "xy"]), "hixyx");
        assert_eq!(run("lpad", &["hello", "2::int4"]), "he");
        assert_eq!(run("btrim", &["xyxtrimyyx", "xyz"]), "trim");
        assert_eq!(run("ltrim", &["  a "]), "a ");
        assert_eq!(error("repeat", &["abcdefgh", "2000000000::int4"]), "54000 requested length too large");
    }

    #[test]
    fn quoting_and_formatting() {
        assert_eq!(quote_ident("foo_bar1"), "foo_bar1");
        assert_eq!(quote_ident("Foo"), "\"Foo\"");
        assert_eq!(quote_ident("select"), "\"select\"");
        assert_eq!(quote_ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(run("quote_literal", &["O'Re\\illy"]), "E'O''Re\\\\illy'");
        assert_eq!(
            run("format", &["%s|%2$I|%L|%%|%5s|%-5s|", "a", "B c", "it's", "d", "e"]),
            "a|\"B c\"|'it''s'|%|    d|e    |"
        );
        assert_eq!(error("format", &["%s"]), "22023 too few arguments for format()");
        assert_eq!(error("format", &["%x", "a"]), "22023 unrecognized format() type specifier \"x\"");
        assert_eq!(run("parse_ident", &["\"SomeSchema\".someTable"]), "{SomeSchema,sometable}");
        assert_eq!(run("concat", &["a", "NULL::int4", "t::bool", "1::int4"]), "at1");
        assert_eq!(run("concat_ws", &[",", "a", "NULL::int4", "b"]), "a,b");
        assert_eq!(run("||", &["a", "t::bool"]), "atrue");
        assert_eq!(run("||", &["a", "1.50::numeric"]), "a1.5");
    }

    #[test]
    fn names_of_events_become_names_of_tables_and_back() {
        for (name, snake, title) in [
            ("Order Completed", "order_completed", "Order Completed"),
            ("orderCompleted", "order_completed", "Order Completed"),
            ("HTTPRequest2xx", "http_request2xx", "Http Request2xx"),
            ("  --product_viewed!", "product_viewed", "Product Viewed"),
            ("ÄpfelGekauft", "äpfel_gekauft", "Äpfel Gekauft"),
            ("", "", ""),
        ] {
            assert_eq!(
                (run("snake_case", &[name]), run("title_case", &[name])),
                (snake.into(), title.into())
            );
        }
    }

    #[test]
    fn csv_keeps_what_quotes_hold() {
        assert_eq!(csv_fields("a,\"b,\"\"c\"\"\",", ",").unwrap(), ["a", "b,\"c\"", ""]);
        assert_eq!(csv_fields("a;b\r\n", ";").unwrap(), ["a", "b"]);
        assert_eq!(csv_lines("a,\"x\ny\"\n\nb\n"), ["a,\"x\ny\"", "b"]);
        assert_eq!(csv_fields("\"a", ",").unwrap_err().message(), "unterminated CSV quoted field");
    }
}
