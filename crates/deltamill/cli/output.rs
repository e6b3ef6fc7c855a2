//! Rows and errors as people and programs read them.

use std::io::Write;

use deltamill::QueryResult;
use indicatif::{ProgressBar, ProgressFinish, ProgressState, ProgressStyle};
use repr::{Datum, Row, ScalarType, SqlError};
use serde_json::{Map, Value};

use super::Format;

/// A datum as JSON: numbers, booleans and JSON as they are (no number passes through a float), everything else as text.
pub(super) fn json_value(datum: Datum<'_>, ty: &ScalarType) -> String {
    let mut text = String::new();
    match datum {
        Datum::Null => return "null".into(),
        Datum::Bool(b) => return b.to_string(),
        _ => repr::text::print(datum, ty, &mut text),
    }
    match datum {
        Datum::Int16(_)
        | Datum::Int32(_)
        | Datum::Int64(_)
        | Datum::UInt16(_)
        | Datum::UInt32(_)
        | Datum::UInt64(_) => text,
        Datum::Float32(x) if x.is_finite() => text,
        Datum::Float64(x) if x.is_finite() => text,
        Datum::Numeric(_) if text.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b)) => text,
        Datum::Jsonb(_) => text,
        _ => Value::String(text).to_string(),
    }
}

/// A row as a JSON object.
pub(super) fn json_row(row: &Row, desc: &repr::RelationDesc) -> String {
    let fields = row.iter().zip(&desc.columns).map(|(datum, column)| {
        format!("{}:{}", Value::String(column.name.clone()), json_value(datum, &column.ty.scalar))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// Prints a whole result.
pub(super) fn print(result: &QueryResult, format: Format, out: &mut dyn Write) -> std::io::Result<()> {
    let desc = &result.desc;
    match format {
        Format::Json => {
            for row in &result.rows {
                writeln!(out, "{}", json_row(row, desc))?;
            }
        }
        Format::Csv => {
            let format = sql::plan::CopyFormat::Csv {
                delimiter: ',',
                quote: '"',
                escape: '"',
                null: String::new(),
                header: true,
            };
            let mut text = String::new();
            coord::copy::write_header(desc, &format, &mut text);
            for row in &result.rows {
                coord::copy::write_row(row, desc, &format, &mut text);
            }
            out.write_all(text.as_bytes())?;
        }
        Format::Table => {
            let names: Vec<String> = desc.columns.iter().map(|c| c.name.clone()).collect();
            let right: Vec<bool> = desc.columns.iter().map(|c| is_number(&c.ty.scalar)).collect();
            let cells = result.rows.iter().map(|row| {
                let cell = |(datum, c): (Datum<'_>, &repr::Column)| {
                    let mut text = String::new();
                    if !datum.is_null() {
                        repr::text::print(datum, &c.ty.scalar, &mut text);
                    }
                    text
                };
                row.iter().zip(&desc.columns).map(cell).collect()
            });
            out.write_all(table(&names, &right, &cells.collect::<Vec<_>>()).as_bytes())?;
        }
    }
    out.flush()
}

fn is_number(ty: &ScalarType) -> bool {
    use ScalarType::*;
    matches!(ty, Int16 | Int32 | Int64 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Numeric { .. } | Oid)
}

/// An aligned table, as psql prints it.
pub(super) fn table(names: &[String], right: &[bool], rows: &[Vec<String>]) -> String {
    let width = |s: &String| s.chars().count();
    let widths: Vec<usize> = (0..names.len())
        .map(|i| rows.iter().map(|r| width(&r[i])).chain([width(&names[i])]).max().unwrap_or(0))
        .collect();
    let line = |cells: &[String], header: bool| {
        let cells = cells.iter().enumerate().map(|(i, c)| {
            let pad = widths[i] - width(c);
            match (header, right[i]) {
                (true, _) => format!(" {}{c}{} ", " ".repeat(pad / 2), " ".repeat(pad - pad / 2)),
                (_, true) => format!(" {}{c} ", " ".repeat(pad)),
                (_, false) => format!(" {c}{} ", " ".repeat(pad)),
            }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("|").trim_end())
    };
    let mut text = line(names, true);
    text.push_str(&widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("+"));
    text.push('\n');
    rows.iter().for_each(|r| text.push_str(&line(r, false)));
    let n = rows.len();
    text.push_str(&format!("({n} row{})\n\n", if n == 1 { "" } else { "s" }));
    text
}

/// An error with its detail and hint; with the text it is about, also the line and a caret.
pub(super) fn error_text(e: &SqlError, about: Option<(&str, &str)>) -> String {
    let mut text = String::new();
    let mut caret = String::new();
    match (about, e.position) {
        (Some((name, source)), Some(position)) => {
            let (line, column, content) = place(source, position);
            text.push_str(&format!("{name}:{line}:{column}: "));
            caret = format!("\n  {content}\n  {}^", " ".repeat(column.saturating_sub(1)));
        }
        // One that comes from rows has no place in the text.
        (Some((name, _)), None) => text.push_str(&format!("{name}: ")),
        (None, _) => {}
    }
    text.push_str(&format!("{}: {}{caret}", e.code.as_str(), e.message));
    if let Some(detail) = &e.detail {
        text.push_str(&format!("\n  detail: {detail}"));
    }
    if let Some(hint) = &e.hint {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    text
}

/// Line and column, from 1, of a position in characters from 1; and the line.
fn place(source: &str, position: usize) -> (usize, usize, &str) {
    let mut before = 0;
    for (i, line) in source.split('\n').enumerate() {
        let length = line.chars().count() + 1;
        if position <= before + length {
            return (i + 1, position.saturating_sub(before).max(1), line);
        }
        before += length;
    }
    (source.split('\n').count(), 1, "")
}

/// Why a command failed, as the last line of stderr.
pub(crate) fn failure(failure: &super::Failure, json: bool) -> String {
    if !json {
        return format!("deltamill: {}", failure.message);
    }
    json_line("error", &[("exit_code", failure.code.into()), ("message", failure.message.clone().into())])
}

/// An event of a command as a JSON line.
pub(super) fn json_line(kind: &str, fields: &[(&str, Value)]) -> String {
    let mut object = Map::new();
    object.insert("type".into(), kind.into());
    object.extend(fields.iter().map(|(k, v)| (k.to_string(), v.clone())));
    Value::Object(object).to_string()
}

/// Shows on a terminal how far long work is; nothing elsewhere, nor with `--json`. `total`: how many there are, if it is known.
pub(super) fn progress(what: &'static str, total: Option<u64>, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{msg} {wide_bar} {human_pos} of {human_len} ({rate}, {eta} left)")
        }
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {human_pos} ({rate})"),
    };
    // The templates are ours and right.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    let style = style.with_key("rate", rate);
    bar.with_style(style).with_message(what).with_finish(ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_point_at_their_place() {
        let e = SqlError::new(repr::error::code::UNDEFINED_COLUMN, "column \"b\" does not exist").at(15);
        let text = error_text(&e, Some(("a.sql", "SELECT\n  a,\n  b\nFROM t")));
        assert_eq!(text, "a.sql:3:3: 42703: column \"b\" does not exist\n    b\n    ^");
        let e = SqlError::new(repr::error::code::DIVISION_BY_ZERO, "division by zero");
        assert_eq!(error_text(&e, Some(("a.sql", "SELECT 1"))), "a.sql: 22012: division by zero");
    }
}
