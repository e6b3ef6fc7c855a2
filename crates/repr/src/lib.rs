//! What every layer agrees on: values, rows, their types, times and errors.
//!
//! A *datum* is one value of SQL, borrowed. A *row* packs datums end to end in bytes. The bytes are canonical: two rows
//! are equal in SQL's sense (as in `GROUP BY`) exactly when their bytes are, so hashing, grouping and joining never
//! decode. Ordering for `ORDER BY`, `min` and `max` compares datums.
//!
//! | module | is the only home of |
//! |---|---|
//! | [`datum`] | `Datum`, comparison in SQL's order |
//! | [`row`] | the packed encoding: `Row`, `RowRef`, `RowBlock`, `Arena` |
//! | [`types`] | `ScalarType`, `ColumnType`, `RelationDesc`, Postgres type oids |
//! | [`numeric`] | exact decimals of 39 digits |
//! | [`range`] | the canonical form of ranges |
//! | [`jsonb`] | the packed form of JSON, its access paths |
//! | [`json`] | JSON text: the parser, the path scanner, the printer |
//! | [`time`] | dates, times, intervals: text and arithmetic |
//! | [`text`] | the text form of every type, both ways |
//! | [`binary`] | the Postgres binary form of every type, both ways |
//! | [`error`] | errors of data and of statements, with SQLSTATEs |

pub mod binary;
pub mod datum;
pub mod error;
pub mod json;
pub mod jsonb;
pub mod numeric;
pub mod range;
pub mod row;
pub mod text;
pub mod time;
pub mod types;

use std::fmt;

pub use datum::Datum;
pub use error::{EvalError, Origin, SqlError, SqlState};
pub use jsonb::Jsonb;
pub use numeric::Numeric;
pub use row::{Arena, Row, RowBlock, RowRef};
pub use time::Interval;
pub use types::{Column, ColumnType, RelationDesc, ScalarType};

/// A time of the engine's one clock: milliseconds since the Unix epoch. Every tick has one.
pub type Timestamp = u64;

/// How often an update adds a row (negative: takes it away).
pub type Diff = i64;

/// The identity of anything in the catalog that has rows or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum GlobalId {
    /// A built-in object, the same in every installation.
    System(u64),
    /// What a user made. Numbers are given once and never again.
    User(u64),
    /// A one-off query or a subscription.
    Transient(u64),
}

impl fmt::Display for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GlobalId::System(n) => write!(f, "s{n}"),
            GlobalId::User(n) => write!(f, "u{n}"),
            GlobalId::Transient(n) => write!(f, "t{n}"),
        }
    }
}
