//! The types of SQL as this engine knows them, and their Postgres names and oids.

use std::fmt;

/// A type of SQL, with its modifier where it has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum ScalarType {
    Bool,
    Int16,
    Int32,
    Int64,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    /// `scale`: digits after the point that values are rounded to; none means as they come.
    Numeric {
        scale: Option<u8>,
    },
    Text,
    VarChar {
        length: Option<u32>,
    },
    /// `char(n)`, blank padded. Without a length it is `bpchar`.
    Char {
        length: Option<u32>,
    },
    /// The one-byte `"char"` of the Postgres catalog.
    PgChar,
    Name,
    Bytes,
    Jsonb,
    Date,
    Time,
    /// `precision`: digits of the fraction of a second, 0 to 6.
    Timestamp {
        precision: Option<u8>,
    },
    TimestampTz {
        precision: Option<u8>,
    },
    Interval,
    Uuid,
    Oid,
    RegClass,
    RegProc,
    RegType,
    /// Milliseconds of the engine's clock, what `mz_now()` returns.
    MzTimestamp,
    Array(Box<ScalarType>),
    List(Box<ScalarType>),
    /// A map from text.
    Map(Box<ScalarType>),
    Record(Vec<(String, ColumnType)>),
    Range(Box<ScalarType>),
    Int2Vector,
}

/// A type and whether NULL can occur.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnType {
    /// The type.
    pub scalar: ScalarType,
    /// False only where it is known that NULL never occurs.
    pub nullable: bool,
}

impl ScalarType {
    /// This type as that of a column that may hold NULL, or never does.
    pub fn nullable(self, nullable: bool) -> ColumnType {
        ColumnType { scalar: self, nullable }
    }

    /// The same type without its modifier: what values are compared and hashed as.
    pub fn without_modifier(&self) -> ScalarType {
        match self {
            ScalarType::Numeric { .. } => ScalarType::Numeric { scale: None },
            ScalarType::VarChar { .. } => ScalarType::VarChar { length: None },
            ScalarType::Char { .. } => ScalarType::Char { length: None },
            ScalarType::Timestamp { .. } => ScalarType::Timestamp { precision: None },
            ScalarType::TimestampTz { .. } => ScalarType::TimestampTz { precision: None },
            other => other.clone(),
        }
    }

    /// The oid by which Postgres clients know the type. Types that Postgres lacks have oids of Materialize.
    pub fn oid(&self) -> u32 {
        match self {
            ScalarType::Bool => 16,
            ScalarType::Bytes => 17,
            ScalarType::PgChar => 18,
            ScalarType::Name => 19,
            ScalarType::Int64 => 20,
            ScalarType::Int16 => 21,
            ScalarType::Int2Vector => 22,
            ScalarType::Int32 => 23,
            ScalarType::RegProc => 24,
            ScalarType::Text => 25,
            ScalarType::Oid => 26,
            ScalarType::Float32 => 700,
            ScalarType::Float64 => 701,
            ScalarType::Char { .. } => 1042,
            ScalarType::VarChar { .. } => 1043,
            ScalarType::Date => 1082,
            ScalarType::Time => 1083,
            ScalarType::Timestamp { .. } => 1114,
            ScalarType::TimestampTz { .. } => 1184,
            ScalarType::Interval => 1186,
            ScalarType::Numeric { .. } => 1700,
            ScalarType::RegClass => 2205,
            ScalarType::RegType => 2206,
            ScalarType::Record(_) => 2249,
            ScalarType::Uuid => 2950,
            ScalarType::Jsonb => 3802,
            ScalarType::Range(e) => match **e {
                ScalarType::Int32 => 3904,
                ScalarType::Numeric { .. } => 3906,
                ScalarType::Timestamp { .. } => 3908,
                ScalarType::TimestampTz { .. } => 3910,
                ScalarType::Date => 3912,
                _ => 3926,
            },
            ScalarType::UInt16 => 16_460,
            ScalarType::UInt32 => 16_462,
            ScalarType::UInt64 => 16_464,
            ScalarType::MzTimestamp => 16_552,
            ScalarType::List(_) => 16_384,
            ScalarType::Map(_) => 16_385,
            ScalarType::Array(e) => match e.oid() {
                16 => 1000,
                17 => 1001,
                18 => 1002,
                19 => 1003,
                20 => 1016,
                21 => 1005,
                22 => 1006,
                23 => 1007,
                24 => 1008,
                25 => 1009,
                26 => 1028,
                700 => 1021,
                701 => 1022,
                1042 => 1014,
                1043 => 1015,
                1082 => 1182,
                1083 => 1183,
                1114 => 1115,
                1184 => 1185,
                1186 => 1187,
                1700 => 1231,
                2205 => 2210,
                2206 => 2211,
                2249 => 2287,
                2950 => 2951,
                3802 => 3807,
                16_460 => 16_461,
                16_462 => 16_463,
                16_464 => 16_465,
                16_552 => 16_553,
                _ => 2277,
            },
        }
    }

    /// The name that `pg_typeof` and error messages print, without modifier, as Postgres prints it.
    pub fn name(&self) -> String {
        match self {
            ScalarType::Bool => "boolean".into(),
            ScalarType::Int16 => "smallint".into(),
            ScalarType::Int32 => "integer".into(),
            ScalarType::Int64 => "bigint".into(),
            ScalarType::UInt16 => "uint2".into(),
            ScalarType::UInt32 => "uint4".into(),
            ScalarType::UInt64 => "uint8".into(),
            ScalarType::Float32 => "real".into(),
            ScalarType::Float64 => "double precision".into(),
            ScalarType::Numeric { .. } => "numeric".into(),
            ScalarType::Text => "text".into(),
            ScalarType::VarChar { .. } => "character varying".into(),
            ScalarType::Char { .. } => "character".into(),
            ScalarType::PgChar => "\"char\"".into(),
            ScalarType::Name => "name".into(),
            ScalarType::Bytes => "bytea".into(),
            ScalarType::Jsonb => "jsonb".into(),
            ScalarType::Date => "date".into(),
            ScalarType::Time => "time without time zone".into(),
            ScalarType::Timestamp { .. } => "timestamp without time zone".into(),
            ScalarType::TimestampTz { .. } => "timestamp with time zone".into(),
            ScalarType::Interval => "interval".into(),
            ScalarType::Uuid => "uuid".into(),
            ScalarType::Oid => "oid".into(),
            ScalarType::RegClass => "regclass".into(),
            ScalarType::RegProc => "regproc".into(),
            ScalarType::RegType => "regtype".into(),
            ScalarType::MzTimestamp => "mz_timestamp".into(),
            ScalarType::Array(e) => format!("{}[]", e.name()),
            ScalarType::List(e) => format!("{} list", e.name()),
            ScalarType::Map(e) => format!("map[text=>{}]", e.name()),
            ScalarType::Record(_) => "record".into(),
            ScalarType::Range(e) => match **e {
                ScalarType::Int32 => "int4range".into(),
                ScalarType::Numeric { .. } => "numrange".into(),
                ScalarType::Timestamp { .. } => "tsrange".into(),
                ScalarType::TimestampTz { .. } => "tstzrange".into(),
                ScalarType::Date => "daterange".into(),
                _ => "int8range".into(),
            },
            ScalarType::Int2Vector => "int2vector".into(),
        }
    }

    /// Whether values are strings of characters, whatever their modifier.
    pub fn is_string(&self) -> bool {
        matches!(
            self,
            ScalarType::Text
                | ScalarType::VarChar { .. }
                | ScalarType::Char { .. }
                | ScalarType::Name
                | ScalarType::PgChar
        )
    }
}

/// The name with its modifier, as `format_type` prints it: `numeric(38,2)`, `timestamp(3) without time zone`.
impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScalarType::Numeric { scale: Some(s) } => write!(f, "numeric(39,{s})"),
            ScalarType::VarChar { length: Some(n) } => write!(f, "character varying({n})"),
            ScalarType::Char { length: Some(n) } => write!(f, "character({n})"),
            ScalarType::Timestamp { precision: Some(p) } => write!(f, "timestamp({p}) without time zone"),
            ScalarType::TimestampTz { precision: Some(p) } => write!(f, "timestamp({p}) with time zone"),
            ScalarType::Array(e) => write!(f, "{e}[]"),
            ScalarType::List(e) => write!(f, "{e} list"),
            ScalarType::Map(e) => write!(f, "map[text=>{e}]"),
            other => f.write_str(&other.name()),
        }
    }
}

/// A named column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As written, or made by Postgres' rules (`?column?`, the function's name).
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
}

/// The names and types of a relation's columns, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelationDesc {
    /// In order.
    pub columns: Vec<Column>,
}

impl RelationDesc {
    /// From names and types.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, ColumnType)>) -> RelationDesc {
        RelationDesc {
            columns: columns.into_iter().map(|(name, ty)| Column { name: name.into(), ty }).collect(),
        }
    }

    /// The types alone.
    pub fn types(&self) -> Vec<ColumnType> {
        self.columns.iter().map(|c| c.ty.clone()).collect()
    }

    /// How many columns.
    pub fn arity(&self) -> usize {
        self.columns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Vec<ScalarType> {
        use ScalarType::*;
        vec![
            Bool,
            Int16,
            Int32,
            Int64,
            UInt16,
            UInt32,
            UInt64,
            Float32,
            Float64,
            Numeric { scale: None },
            Text,
            VarChar { length: None },
            Char { length: None },
            PgChar,
            Name,
            Bytes,
            Jsonb,
            Date,
            Time,
            Timestamp { precision: None },
            TimestampTz { precision: None },
            Interval,
            Uuid,
            Oid,
            RegClass,
            RegProc,
            RegType,
            MzTimestamp,
            Int2Vector,
        ]
    }

    #[test]
    fn no_two_types_share_an_oid_or_a_name() {
        let types: Vec<ScalarType> =
            plain().into_iter().flat_map(|t| [t.clone(), ScalarType::Array(Box::new(t))]).collect();
        for (i, a) in types.iter().enumerate() {
            for b in &types[..i] {
                assert!(a.oid() != b.oid() && a.name() != b.name(), "{a} {b}");
            }
        }
    }

    #[test]
    fn modifiers_show_and_come_off() {
        for (ty, shown) in [
            (ScalarType::Numeric { scale: Some(2) }, "numeric(39,2)"),
            (ScalarType::VarChar { length: Some(5) }, "character varying(5)"),
            (ScalarType::Char { length: Some(5) }, "character(5)"),
            (ScalarType::Timestamp { precision: Some(3) }, "timestamp(3) without time zone"),
            (ScalarType::TimestampTz { precision: Some(0) }, "timestamp(0) with time zone"),
        ] {
            assert_eq!(ty.to_string(), shown);
            assert_eq!(ty.without_modifier().to_string(), ty.name());
            assert_eq!(ScalarType::Array(Box::new(ty)).to_string(), format!("{shown}[]"));
        }
    }
}
