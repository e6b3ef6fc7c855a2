//! Errors of statements and of data, each with the SQLSTATE that Postgres uses for it.

use std::fmt;

/// Five characters of Postgres' appendix A, such as `22P02`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// From its text, which must have five ASCII characters.
    pub const fn new(code: &str) -> SqlState {
        let b = code.as_bytes();
        assert!(b.len() == 5, "an SQLSTATE has five characters");
        SqlState([b[0], b[1], b[2], b[3], b[4]])
    }

    /// The five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The codes used in more than one place.
#[allow(missing_docs, reason = "the names are those of Postgres")]
pub mod code {
    use super::SqlState;
    pub const FEATURE_NOT_SUPPORTED: SqlState = SqlState::new("0A000");
    pub const CARDINALITY_VIOLATION: SqlState = SqlState::new("21000");
    pub const STRING_DATA_RIGHT_TRUNCATION: SqlState = SqlState::new("22001");
    pub const NUMERIC_VALUE_OUT_OF_RANGE: SqlState = SqlState::new("22003");
    pub const INVALID_DATETIME_FORMAT: SqlState = SqlState::new("22007");
    pub const DATETIME_FIELD_OVERFLOW: SqlState = SqlState::new("22008");
    pub const SUBSTRING_ERROR: SqlState = SqlState::new("22011");
    pub const DIVISION_BY_ZERO: SqlState = SqlState::new("22012");
    pub const CHARACTER_NOT_IN_REPERTOIRE: SqlState = SqlState::new("22021");
    pub const INVALID_PARAMETER_VALUE: SqlState = SqlState::new("22023");
    pub const INVALID_TEXT_REPRESENTATION: SqlState = SqlState::new("22P02");
    pub const INVALID_BINARY_REPRESENTATION: SqlState = SqlState::new("22P03");
    pub const UNTRANSLATABLE_CHARACTER: SqlState = SqlState::new("22P05");
    pub const NOT_NULL_VIOLATION: SqlState = SqlState::new("23502");
    pub const IN_FAILED_SQL_TRANSACTION: SqlState = SqlState::new("25P02");
    pub const ACTIVE_SQL_TRANSACTION: SqlState = SqlState::new("25001");
    pub const NO_ACTIVE_SQL_TRANSACTION: SqlState = SqlState::new("25P01");
    pub const INVALID_CURSOR_NAME: SqlState = SqlState::new("34000");
    pub const DUPLICATE_CURSOR: SqlState = SqlState::new("42P03");
    pub const SYNTAX_ERROR: SqlState = SqlState::new("42601");
    pub const INSUFFICIENT_PRIVILEGE: SqlState = SqlState::new("42501");
    pub const GROUPING_ERROR: SqlState = SqlState::new("42803");
    pub const DATATYPE_MISMATCH: SqlState = SqlState::new("42804");
    pub const CANNOT_COERCE: SqlState = SqlState::new("42846");
    pub const UNDEFINED_COLUMN: SqlState = SqlState::new("42703");
    pub const AMBIGUOUS_COLUMN: SqlState = SqlState::new("42702");
    pub const UNDEFINED_FUNCTION: SqlState = SqlState::new("42883");
    pub const AMBIGUOUS_FUNCTION: SqlState = SqlState::new("42725");
    pub const UNDEFINED_TABLE: SqlState = SqlState::new("42P01");
    pub const UNDEFINED_PARAMETER: SqlState = SqlState::new("42P02");
    pub const INDETERMINATE_DATATYPE: SqlState = SqlState::new("42P18");
    pub const DUPLICATE_TABLE: SqlState = SqlState::new("42P07");
    pub const DUPLICATE_ALIAS: SqlState = SqlState::new("42712");
    pub const DUPLICATE_COLUMN: SqlState = SqlState::new("42701");
    pub const DUPLICATE_OBJECT: SqlState = SqlState::new("42710");
    pub const UNDEFINED_OBJECT: SqlState = SqlState::new("42704");
    pub const WRONG_OBJECT_TYPE: SqlState = SqlState::new("42809");
    pub const INVALID_SCHEMA_NAME: SqlState = SqlState::new("3F000");
    pub const DUPLICATE_SCHEMA: SqlState = SqlState::new("42P06");
    pub const DEPENDENT_OBJECTS_STILL_EXIST: SqlState = SqlState::new("2BP01");
    pub const DUPLICATE_PREPARED_STATEMENT: SqlState = SqlState::new("42P05");
    pub const INVALID_SQL_STATEMENT_NAME: SqlState = SqlState::new("26000");
    pub const DISK_FULL: SqlState = SqlState::new("53100");
    pub const NULL_VALUE_NOT_ALLOWED: SqlState = SqlState::new("22004");
    pub const TOO_MANY_CONNECTIONS: SqlState = SqlState::new("53300");
    pub const CONFIGURATION_LIMIT_EXCEEDED: SqlState = SqlState::new("53400");
    pub const PROGRAM_LIMIT_EXCEEDED: SqlState = SqlState::new("54000");
    pub const STATEMENT_TOO_COMPLEX: SqlState = SqlState::new("54001");
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: SqlState = SqlState::new("55000");
    pub const QUERY_CANCELED: SqlState = SqlState::new("57014");
    pub const ADMIN_SHUTDOWN: SqlState = SqlState::new("57P01");
    pub const IO_ERROR: SqlState = SqlState::new("58030");
    pub const CONNECTION_FAILURE: SqlState = SqlState::new("08006");
    pub const PROTOCOL_VIOLATION: SqlState = SqlState::new("08P01");
    pub const INTERNAL_ERROR: SqlState = SqlState::new("XX000");
}

/// The record of a source that a piece of data came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Kafka partition; 0 for sources that have none.
    pub partition: i32,
    /// Offset in the partition; the line number, from 0, of a file.
    pub offset: i64,
}

/// What went wrong with one row. Lives in the error half of a collection, and goes when its row goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvalError(Box<EvalErrorInner>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct EvalErrorInner {
    code: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    origin: Option<Origin>,
}

impl EvalError {
    /// An error with Postgres' code and primary message.
    pub fn new(code: SqlState, message: impl Into<String>) -> EvalError {
        EvalError(Box::new(EvalErrorInner {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            origin: None,
        }))
    }

    /// Adds the line that explains.
    pub fn with_detail(mut self, detail: impl Into<String>) -> EvalError {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds the line that says what to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> EvalError {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says which record the row came from, unless that is known already.
    pub fn with_origin(mut self, origin: Origin) -> EvalError {
        self.0.origin.get_or_insert(origin);
        self
    }

    /// The SQLSTATE.
    pub fn code(&self) -> SqlState {
        self.0.code
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The explaining line.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The record that the row came from.
    pub fn origin(&self) -> Option<Origin> {
        self.0.origin
    }

    /// The error as a row, for collections and storage: code, message, detail, hint, partition, offset.
    pub fn to_row(&self) -> crate::Row {
        use crate::Datum;
        crate::Row::pack([
            Datum::Text(self.0.code.as_str()),
            Datum::Text(&self.0.message),
            self.0.detail.as_deref().map_or(Datum::Null, Datum::Text),
            self.0.hint.as_deref().map_or(Datum::Null, Datum::Text),
            self.0.origin.map_or(Datum::Null, |o| Datum::Int32(o.partition)),
            self.0.origin.map_or(Datum::Null, |o| Datum::Int64(o.offset)),
        ])
    }

    /// The columns of [`EvalError::to_row`].
    pub fn desc() -> crate::RelationDesc {
        use crate::ScalarType::{Int32, Int64, Text};
        crate::RelationDesc::new([
            ("sqlstate", Text.nullable(false)),
            ("message", Text.nullable(false)),
            ("detail", Text.nullable(true)),
            ("hint", Text.nullable(true)),
            ("partition", Int32.nullable(true)),
            ("offset", Int64.nullable(true)),
        ])
    }

    /// Reads what [`EvalError::to_row`] wrote.
    pub fn from_row(row: crate::RowRef<'_>) -> EvalError {
        use crate::Datum;
        let d: Vec<Datum<'_>> = row.iter().collect();
        let text = |i: usize| match d.get(i) {
            Some(Datum::Text(s)) => Some(s.to_string()),
            _ => None,
        };
        let code = text(0)
            .and_then(|s| <[u8; 5]>::try_from(s.as_bytes()).ok())
            .map_or(code::INTERNAL_ERROR, SqlState);
        let origin = match (d.get(4), d.get(5)) {
            (Some(Datum::Int32(partition)), Some(Datum::Int64(offset))) => {
                Some(Origin { partition: *partition, offset: *offset })
            }
            _ => None,
        };
        EvalError(Box::new(EvalErrorInner {
            code,
            message: text(1).unwrap_or_default(),
            detail: text(2),
            hint: text(3),
            origin,
        }))
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for EvalError {}

/// Why a statement failed, as it is told to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The SQLSTATE.
    pub code: SqlState,
    /// The primary message: lower case, no full stop.
    pub message: String,
    /// What explains it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the statement's text, in characters from 1.
    pub position: Option<usize>,
}

impl SqlError {
    /// An error with a code and a primary message.
    pub fn new(code: SqlState, message: impl Into<String>) -> SqlError {
        SqlError { code, message: message.into(), detail: None, hint: None, position: None }
    }

    /// Something that is not supported, and what to use instead.
    pub fn unsupported(what: impl Into<String>, instead: impl Into<String>) -> SqlError {
        let instead = instead.into();
        let e = SqlError::new(code::FEATURE_NOT_SUPPORTED, format!("{} is not supported", what.into()));
        if instead.is_empty() { e } else { e.with_hint(instead) }
    }

    /// A fault of this program.
    pub fn internal(message: impl Into<String>) -> SqlError {
        SqlError::new(code::INTERNAL_ERROR, message)
    }

    /// Adds the explaining line.
    pub fn with_detail(mut self, detail: impl Into<String>) -> SqlError {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> SqlError {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a place in the text, unless there is one.
    pub fn at(mut self, position: usize) -> SqlError {
        self.position.get_or_insert(position);
        self
    }
}

impl From<EvalError> for SqlError {
    fn from(e: EvalError) -> SqlError {
        let origin =
            e.origin().map(|o| format!("The record is at partition {}, offset {}.", o.partition, o.offset));
        let detail = match (e.detail(), origin) {
            (Some(d), Some(o)) => Some(format!("{d} {o}")),
            (Some(d), None) => Some(d.to_string()),
            (None, o) => o,
        };
        SqlError {
            code: e.code(),
            message: e.message().into(),
            detail,
            // A record cannot be taken out of its topic: what else can be done about it.
            hint: e.hint().map(Into::into).or_else(|| {
                e.origin().map(|_| {
                    "TRY_CAST or CASE let the view decide; WITH (ON ERROR = QUARANTINE) sets such records aside; the \
                     errors relation of the source or view (<name>_errors) lists them."
                        .into()
                })
            }),
            position: None,
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_back_from_rows() {
        let bare = EvalError::new(code::DIVISION_BY_ZERO, "division by zero");
        let full = bare
            .clone()
            .with_detail("d")
            .with_hint("h")
            .with_origin(Origin { partition: 3, offset: 1 << 40 });
        for e in [bare, full.clone()] {
            assert_eq!(EvalError::from_row(e.to_row().as_ref()), e);
        }
        // The first origin is the nearest to the record.
        assert_eq!(full.clone().with_origin(Origin { partition: 0, offset: 0 }), full);
        // A row of another shape is an error too, not a panic.
        assert_eq!(EvalError::from_row(crate::Row::default().as_ref()).code(), code::INTERNAL_ERROR);
    }

    #[test]
    fn clients_are_told_the_record() {
        let e = EvalError::new(code::DIVISION_BY_ZERO, "division by zero").with_detail("Why.");
        let e = SqlError::from(e.with_origin(Origin { partition: 0, offset: 17 })).at(5).at(9);
        assert_eq!(e.detail.as_deref(), Some("Why. The record is at partition 0, offset 17."));
        assert_eq!((e.position, e.code.as_str()), (Some(5), "22012"));
    }
}
