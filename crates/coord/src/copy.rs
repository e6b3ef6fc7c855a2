//! The data of COPY: rows to text or CSV, and back.

use plan::ScalarExpr;
use repr::error::code;
use repr::{Arena, Datum, RelationDesc, Row, SqlError};
use sql::plan::CopyFormat;

/// Appends one row as one line. (The binary form is the wire layer's.)
pub fn write_row(row: &Row, desc: &RelationDesc, format: &CopyFormat, out: &mut String) {
    let mut text = String::new();
    for (i, (datum, column)) in row.iter().zip(&desc.columns).enumerate() {
        match format {
            CopyFormat::Text { delimiter, null } => {
                if i > 0 {
                    out.push(*delimiter);
                }
                if datum.is_null() {
                    out.push_str(null);
                    continue;
                }
                text.clear();
                repr::text::print(datum, &column.ty.scalar, &mut text);
                escape_text(&text, *delimiter, out);
            }
            CopyFormat::Csv { delimiter, quote, escape, null, .. } => {
                if i > 0 {
                    out.push(*delimiter);
                }
                if datum.is_null() {
                    out.push_str(null);
                    continue;
                }
                text.clear();
                repr::text::print(datum, &column.ty.scalar, &mut text);
                let special = |c: char| c == *delimiter || c == *quote || c == '\n' || c == '\r';
                if text == *null || text.contains(special) || (desc.columns.len() == 1 && text == "\\.") {
                    out.push(*quote);
                    for c in text.chars() {
                        if c == *quote || c == *escape {
                            out.push(*escape);
                        }
                        out.push(c);
                    }
                    out.push(*quote);
                } else {
                    out.push_str(&text);
                }
            }
            CopyFormat::Binary => {}
        }
    }
    out.push('\n');
}

/// The header line of CSV.
pub fn write_header(desc: &RelationDesc, format: &CopyFormat, out: &mut String) {
    if let CopyFormat::Csv { header: true, .. } = format {
        let names = RelationDesc::new(
            desc.columns.iter().map(|c| (c.name.clone(), repr::ScalarType::Text.nullable(false))),
        );
        let row = Row::pack(desc.columns.iter().map(|c| Datum::Text(&c.name)));
        write_row(&row, &names, format, out);
    }
}

fn escape_text(text: &str, delimiter: char, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c == delimiter => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
}

/// Reads all rows of the data, in the table's column order; columns that the data lacks are their default or NULL.
pub(crate) fn read_rows(
    data: &[u8],
    format: &CopyFormat,
    columns: &[usize],
    defaults: &[(usize, ScalarExpr)],
    desc: &RelationDesc,
) -> Result<Vec<Row>, SqlError> {
    let text = std::str::from_utf8(data).map_err(|_| {
        SqlError::new(code::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
    })?;
    let records = match format {
        CopyFormat::Text { delimiter, null } => text_records(text, *delimiter, null)?,
        CopyFormat::Csv { delimiter, quote, escape, null, header } => {
            csv_records(text, *delimiter, *quote, *escape, null, *header)?
        }
        CopyFormat::Binary => {
            return Err(SqlError::unsupported("COPY FROM in binary format", "Use text or CSV."));
        }
    };
    let mut arena = Arena::new();
    let mut rows = vec![];
    for (line, record) in records {
        let bad = |what: &str| SqlError::new(repr::SqlState::new("22P04"), format!("{what} at line {line}"));
        if record.len() < columns.len() {
            let name = &desc.columns[columns[record.len()]].name;
            return Err(bad(&format!("missing data for column \"{name}\"")));
        }
        if record.len() > columns.len() {
            return Err(bad("extra data after last expected column"));
        }
        arena.reset();
        let mut datums = vec![Datum::Null; desc.arity()];
        for (value, column) in record.iter().zip(columns) {
            let target = &desc.columns[*column];
            if let Some(value) = value {
                datums[*column] = repr::text::parse(value, &target.ty.scalar, &arena).map_err(|e| {
                    SqlError::from(e).with_detail(format!("COPY, line {line}, column {}", target.name))
                })?;
            }
        }
        for (column, default) in defaults {
            datums[*column] = default.eval(&[], &arena)?;
        }
        rows.push(Row::pack(datums));
    }
    Ok(rows)
}

type Record = (usize, Vec<Option<String>>);

fn text_records(text: &str, delimiter: char, null: &str) -> Result<Vec<Record>, SqlError> {
    let mut records = vec![];
    for (i, line) in text.lines().enumerate() {
        if line == "\\." {
            break;
        }
        let mut fields = vec![];
        let mut raw = String::new();
        let mut chars = line.chars();
        let mut push = |raw: &mut String| {
            fields.push(if raw == null { None } else { Some(unescape(raw)) });
            raw.clear();
        };
        while let Some(c) = chars.next() {
            if c == delimiter {
                push(&mut raw);
            } else {
                raw.push(c);
                if c == '\\' {
                    raw.extend(chars.next());
                }
            }
        }
        push(&mut raw);
        records.push((i + 1, fields));
    }
    Ok(records)
}

fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('b') => out.push('\u{8}'),
            Some('v') => out.push('\u{b}'),
            Some('f') => out.push('\u{c}'),
            Some(c) => out.push(c),
            None => out.push('\\'),
        }
    }
    out
}

fn csv_records(
    text: &str,
    delimiter: char,
    quote: char,
    escape: char,
    null: &str,
    header: bool,
) -> Result<Vec<Record>, SqlError> {
    let mut records = vec![];
    let mut fields = vec![];
    let (mut field, mut quoted, mut inside) = (String::new(), false, false);
    let (mut line, mut start) = (1, 1);
    let mut chars = text.chars().peekable();
    let value = |field: &mut String, quoted: &mut bool| {
        let text = std::mem::take(field);
        if !std::mem::take(quoted) && text == null { None } else { Some(text) }
    };
    while let Some(c) = chars.next() {
        if c == '\n' {
            line += 1;
        }
        if inside {
            if c == escape && chars.peek().is_some_and(|n| *n == quote || *n == escape) {
                field.extend(chars.next());
            } else if c == quote {
                inside = false;
            } else {
                field.push(c);
            }
        } else if c == quote {
            (inside, quoted) = (true, true);
        } else if c == delimiter {
            fields.push(value(&mut field, &mut quoted));
        } else if c == '\n' {
            if field.ends_with('\r') {
                field.pop();
            }
            if fields.is_empty() && field == "\\." {
                return Ok(records);
            }
            fields.push(value(&mut field, &mut quoted));
            records.push((start, std::mem::take(&mut fields)));
            start = line;
        } else {
            field.push(c);
        }
    }
    if inside {
        return Err(SqlError::new(repr::SqlState::new("22P04"), "unterminated CSV quoted field"));
    }
    if !field.is_empty() || !fields.is_empty() || quoted {
        fields.push(value(&mut field, &mut quoted));
        records.push((start, fields));
    }
    if header && !records.is_empty() {
        records.remove(0);
    }
    Ok(records)
}
