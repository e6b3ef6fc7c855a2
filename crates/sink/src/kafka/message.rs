//! Changes of rows as messages.
//!
//! JSON is Materialize's: whole numbers, floats and truth values as such, `numeric` as text (it may have more digits than
//! a reader's numbers), times as text of milliseconds since the epoch, documents as they are, lists and arrays as arrays,
//! records and maps as objects, everything else as its text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use repr::{Datum, RelationDesc, Row, ScalarType};

/// How a key or value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An object with a member for each column.
    Json,
    /// One column's text; NULL is none.
    Text,
    /// One column's bytes; NULL is none.
    Bytes,
}

/// What a change looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The row of a key as it is now, or no value when there is none any more.
    Upsert,
    /// `{"before": …, "after": …}`.
    Debezium,
}

/// The number that says a row's partition; NULL: none.
pub type PartitionBy = Box<dyn Fn(&Row) -> Result<Option<u64>, String> + Send>;

/// How rows become messages.
pub struct Encoder {
    /// The columns.
    pub desc: RelationDesc,
    /// Those of the key, and how they are written.
    pub key: Option<(Vec<usize>, Format)>,
    /// How the others are written, and the key's once more.
    pub value: Format,
    /// The column of type `map[text=>text]` or `map[text=>bytea]` whose entries become headers.
    pub headers: Option<usize>,
    /// What a change looks like.
    pub envelope: Envelope,
    /// What says the partition; without it the hash of the key does.
    pub partition_by: Option<PartitionBy>,
}

/// A message, but for its topic and time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its partition is this number modulo how many there are.
    pub partition: u64,
}

impl Encoder {
    /// The messages of one time's changes, in the order of keys, or of rows where there is none. An error says why there can be none.
    pub fn records(&self, rows: impl IntoIterator<Item = (Row, i64)>) -> Result<Vec<Record>, String> {
        let mut net: BTreeMap<Row, i64> = BTreeMap::new();
        for (row, diff) in rows {
            *net.entry(row).or_default() += diff;
        }
        let mut net: Vec<(Row, i64)> = net.into_iter().filter(|(_, diff)| *diff != 0).collect();
        net.sort_by(|(a, _), (b, _)| a.unpack().cmp(&b.unpack()));
        let Some((key, _)) = &self.key else {
            // Nothing says which row came in the place of which.
            let mut records = vec![];
            for (row, diff) in &net {
                let change = if *diff > 0 { (None, Some(row)) } else { (Some(row), None) };
                for _ in 0..diff.unsigned_abs() {
                    records.push(self.record(change)?);
                }
            }
            return Ok(records);
        };
        // Of each key the rows that went, and those that came.
        let mut keys: BTreeMap<Vec<Datum<'_>>, (Vec<&Row>, Vec<&Row>)> = BTreeMap::new();
        for (row, diff) in &net {
            let datums = row.unpack();
            let (went, came) = keys.entry(key.iter().map(|c| datums[*c]).collect()).or_default();
            let rows = if *diff > 0 { came } else { went };
            rows.extend(std::iter::repeat_n(row, diff.unsigned_abs() as usize));
        }
        let mut records = Vec::with_capacity(keys.len());
        for (went, came) in keys.values() {
            match self.envelope {
                Envelope::Upsert => match came[..] {
                    [] => records.push(self.record((went.first().copied(), None))?),
                    [row] => records.push(self.record((None, Some(row)))?),
                    [row, ..] => {
                        return Err(format!(
                            "the key {} has {} rows at one time, and an upsert can hold one",
                            self.shown_key(row, key),
                            came.len()
                        ));
                    }
                },
                Envelope::Debezium => {
                    for i in 0..went.len().max(came.len()) {
                        records.push(self.record((went.get(i).copied(), came.get(i).copied()))?);
                    }
                }
            }
        }
        Ok(records)
    }

    fn shown_key(&self, row: &Row, key: &[usize]) -> String {
        let names: Vec<&str> = key.iter().map(|c| self.desc.columns[*c].name.as_str()).collect();
        let mut values = String::new();
        self.object(row, key, &mut values);
        format!("({}) = {values}", names.join(", "))
    }

    /// The message of a change from a row to another; one of them may be missing.
    fn record(&self, (before, after): (Option<&Row>, Option<&Row>)) -> Result<Record, String> {
        let Some(row) = after.or(before) else { return Ok(Record::default()) };
        let key = self.key.as_ref().and_then(|(columns, format)| self.write(*format, row, columns));
        let values: Vec<usize> = (0..self.desc.arity()).filter(|c| Some(*c) != self.headers).collect();
        let value = match self.envelope {
            Envelope::Upsert => after.and_then(|row| self.write(self.value, row, &values)),
            Envelope::Debezium => {
                let mut out = String::new();
                for (name, row) in [("{\"before\":", before), (",\"after\":", after)] {
                    out.push_str(name);
                    match row {
                        Some(row) => self.object(row, &values, &mut out),
                        None => out.push_str("null"),
                    }
                }
                out.push('}');
                Some(out.into_bytes())
            }
        };
        let partition = match &self.partition_by {
            Some(by) => by(row)?.unwrap_or(0),
            None => key.as_ref().map_or(0, |k| seahash::hash(k)),
        };
        Ok(Record { key, value, headers: self.headers_of(row), partition })
    }

    fn headers_of(&self, row: &Row) -> Vec<(String, Option<Vec<u8>>)> {
        let Some(column) = self.headers else { return vec![] };
        let datums = row.unpack();
        let Datum::Map(entries) = datums[column] else { return vec![] };
        let all: Vec<Datum<'_>> = entries.iter().collect();
        let bytes = |datum| match datum {
            Datum::Text(s) => Some(s.as_bytes().to_vec()),
            Datum::Bytes(b) => Some(b.to_vec()),
            _ => None,
        };
        all.chunks_exact(2).map(|entry| (entry[0].text().to_string(), bytes(entry[1]))).collect()
    }

    fn write(&self, format: Format, row: &Row, columns: &[usize]) -> Option<Vec<u8>> {
        let mut out = String::new();
        if format == Format::Json {
            self.object(row, columns, &mut out);
            return Some(out.into_bytes());
        }
        let column = *columns.first()?;
        match (row.unpack()[column], format) {
            (Datum::Null, _) => None,
            (Datum::Bytes(bytes), Format::Bytes) => Some(bytes.to_vec()),
            (datum, _) => {
                repr::text::print(datum, &self.desc.columns[column].ty.scalar, &mut out);
                Some(out.into_bytes())
            }
        }
    }

    fn object(&self, row: &Row, columns: &[usize], out: &mut String) {
        let datums = row.unpack();
        for (i, c) in columns.iter().enumerate() {
            let column = &self.desc.columns[*c];
            out.push(if i == 0 { '{' } else { ',' });
            quote(&column.name, out);
            out.push(':');
            json(datums[*c], &column.ty.scalar, out);
        }
        out.push_str(if columns.is_empty() { "{}" } else { "}" });
    }
}

/// A value as Materialize's sinks write it.
fn json(datum: Datum<'_>, ty: &ScalarType, out: &mut String) {
    match (datum, ty) {
        (Datum::Null, _) => out.push_str("null"),
        (Datum::Bool(b), _) => out.push_str(if b { "true" } else { "false" }),
        (
            Datum::Int16(_)
            | Datum::Int32(_)
            | Datum::Int64(_)
            | Datum::UInt16(_)
            | Datum::UInt64(_)
            | Datum::Jsonb(_),
            _,
        )
        | (Datum::UInt32(_), ScalarType::UInt32) => repr::text::print(datum, ty, out),
        (Datum::Float32(f), _) if f.is_finite() => repr::text::print(datum, ty, out),
        (Datum::Float64(f), _) if f.is_finite() => repr::text::print(datum, ty, out),
        (Datum::Timestamp(micros) | Datum::TimestampTz(micros), _) => {
            let sign = if micros < 0 { "-" } else { "" };
            let micros = micros.unsigned_abs();
            // Writing to a String cannot fail.
            let _ = write!(out, "\"{sign}{}.{:03}\"", micros / 1_000, micros % 1_000);
        }
        (Datum::List(elements), ScalarType::List(ty)) => array(elements.iter(), ty, out),
        (Datum::Array(elements), ScalarType::Array(ty)) => {
            let dims: Vec<usize> = elements.dims().map(|(n, _)| usize::try_from(n).unwrap_or(0)).collect();
            nested(&mut elements.elements().iter(), &dims, ty, out);
        }
        (Datum::Record(fields), ScalarType::Record(types)) => {
            let members = fields.iter().zip(types.iter());
            object(members.map(|(datum, (name, ty))| (name.as_str(), datum, &ty.scalar)), out);
        }
        (Datum::Map(entries), ScalarType::Map(ty)) => {
            let all: Vec<Datum<'_>> = entries.iter().collect();
            object(all.chunks_exact(2).map(|e| (e[0].text(), e[1], &**ty)), out);
        }
        _ => {
            let mut text = String::new();
            repr::text::print(datum, ty, &mut text);
            quote(&text, out);
        }
    }
}

fn array<'a>(elements: impl Iterator<Item = Datum<'a>>, ty: &ScalarType, out: &mut String) {
    out.push('[');
    for (i, element) in elements.enumerate() {
        if i > 0 {
            out.push(',');
        }
        json(element, ty, out);
    }
    out.push(']');
}

/// An array's elements in row-major order, as arrays of arrays.
fn nested<'a>(
    elements: &mut dyn Iterator<Item = Datum<'a>>,
    dims: &[usize],
    ty: &ScalarType,
    out: &mut String,
) {
    match dims {
        [] => out.push_str("[]"),
        [n] => array(elements.take(*n), ty, out),
        [n, inner @ ..] => {
            out.push('[');
            for i in 0..*n {
                if i > 0 {
                    out.push(',');
                }
                nested(elements, inner, ty, out);
            }
            out.push(']');
        }
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, Datum<'a>, &'a ScalarType)>, out: &mut String) {
    out.push('{');
    for (i, (name, datum, ty)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        quote(name, out);
        out.push(':');
        json(datum, ty, out);
    }
    out.push('}');
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
