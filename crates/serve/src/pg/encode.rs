//! Messages to the client, written straight into the output buffer.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{FieldDescription, RowDescription};
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use repr::{Datum, RelationDesc, RowRef, ScalarType, SqlError};

/// Text or binary, by column.
#[derive(Clone, Debug)]
pub(super) struct Formats(Vec<i16>);

impl Formats {
    /// None: all text; one: for all; else one a column.
    pub fn new(codes: Vec<i16>) -> Formats {
        Formats(codes)
    }

    /// Whether column `i` is binary.
    pub fn binary(&self, i: usize) -> bool {
        match self.0.as_slice() {
            [] => false,
            [all] => *all == 1,
            each => each.get(i) == Some(&1),
        }
    }
}

/// Appends a message of pgwire's.
pub(super) fn message(out: &mut BytesMut, message: &impl Message) {
    // Encoding fails only for fields that do not fit a protocol version; none here depends on one.
    if let Err(e) = message.encode(out) {
        tracing::error!(error = %e, "a message could not be encoded");
    }
}

/// Appends an error. `fatal`: the connection ends with it.
pub(super) fn error(out: &mut BytesMut, e: &SqlError, fatal: bool) {
    message(out, &ErrorResponse::new(fields(e, if fatal { "FATAL" } else { "ERROR" })));
}

/// Appends a notice.
pub(super) fn notice(out: &mut BytesMut, e: &SqlError) {
    message(out, &NoticeResponse::new(fields(e, "NOTICE")));
}

fn fields(e: &SqlError, severity: &str) -> Vec<(u8, String)> {
    let clean = |s: &str| s.replace('\0', "\\0");
    let mut fields = vec![
        (b'S', severity.to_string()),
        (b'V', severity.to_string()),
        (b'C', e.code.as_str().to_string()),
        (b'M', clean(&e.message)),
    ];
    fields.extend(e.detail.as_deref().map(|d| (b'D', clean(d))));
    fields.extend(e.hint.as_deref().map(|h| (b'H', clean(h))));
    fields.extend(e.position.map(|p| (b'P', p.to_string())));
    fields
}

/// Appends the description of the columns.
pub(super) fn row_description(out: &mut BytesMut, desc: &RelationDesc, formats: &Formats) {
    let field = |(i, c): (usize, &repr::Column)| {
        let (size, modifier) = size_and_modifier(&c.ty.scalar);
        let format = i16::from(formats.binary(i));
        FieldDescription::new(c.name.replace('\0', ""), 0, 0, c.ty.scalar.oid(), size, modifier, format)
    };
    message(out, &RowDescription::new(desc.columns.iter().enumerate().map(field).collect()));
}

/// Postgres' `typlen` and `atttypmod`.
pub(crate) fn size_and_modifier(ty: &ScalarType) -> (i16, i32) {
    match ty {
        ScalarType::Bool | ScalarType::PgChar => (1, -1),
        ScalarType::Int16 | ScalarType::UInt16 => (2, -1),
        ScalarType::Int32 | ScalarType::UInt32 | ScalarType::Float32 | ScalarType::Date | ScalarType::Oid => {
            (4, -1)
        }
        ScalarType::RegClass | ScalarType::RegProc | ScalarType::RegType => (4, -1),
        ScalarType::Int64 | ScalarType::UInt64 | ScalarType::Float64 | ScalarType::Time => (8, -1),
        ScalarType::MzTimestamp => (8, -1),
        ScalarType::Timestamp { precision } | ScalarType::TimestampTz { precision } => {
            (8, precision.map_or(-1, i32::from))
        }
        ScalarType::Interval | ScalarType::Uuid => (16, -1),
        ScalarType::Name => (64, -1),
        ScalarType::Numeric { scale: Some(s) } => (-1, ((39 << 16) | i32::from(*s)) + 4),
        ScalarType::VarChar { length: Some(n) } | ScalarType::Char { length: Some(n) } => (-1, *n as i32 + 4),
        _ => (-1, -1),
    }
}

/// Appends a row. `text` and `binary` are buffers to reuse.
pub(super) fn data_row(
    out: &mut BytesMut,
    row: RowRef<'_>,
    desc: &RelationDesc,
    formats: &Formats,
    text: &mut String,
    binary: &mut Vec<u8>,
) {
    out.put_u8(b'D');
    let start = out.len();
    out.put_i32(0);
    out.put_i16(desc.columns.len() as i16);
    for (i, (datum, column)) in row.iter().zip(&desc.columns).enumerate() {
        field(out, datum, &column.ty.scalar, formats.binary(i), text, binary);
    }
    let length = (out.len() - start) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a value with its length in front.
pub(super) fn field(
    out: &mut BytesMut,
    datum: Datum<'_>,
    ty: &ScalarType,
    in_binary: bool,
    text: &mut String,
    binary: &mut Vec<u8>,
) {
    if datum.is_null() {
        return out.put_i32(-1);
    }
    let bytes = if in_binary {
        binary.clear();
        repr::binary::write(datum, ty, binary);
        binary.as_slice()
    } else {
        text.clear();
        repr::text::print(datum, ty, text);
        text.as_bytes()
    };
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}
