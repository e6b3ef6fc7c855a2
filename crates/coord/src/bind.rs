//! What an execution puts in the place of parameters, `now()` and the like.

use plan::scalar::Context;
use plan::{RelationExpr, ScalarExpr};
use repr::error::code;
use repr::{Arena, Datum, Row, ScalarType, SqlError, Timestamp};
use sql::plan::AsOf;

use crate::session::Session;
use crate::transaction::Transaction;

/// What `version()` says.
const VERSION: &str = concat!("PostgreSQL 15.0 (deltamill ", env!("CARGO_PKG_VERSION"), ")");

impl Session {
    /// Puts parameters and what belongs to this execution in their places.
    pub(crate) fn bind(&self, relation: &RelationExpr, parameters: &[Row]) -> Result<RelationExpr, SqlError> {
        let mut relation = relation.clone();
        let mut changed = false;
        let mut failed = None;
        relation.visit_scalars_mut(&mut |s| {
            s.walk_mut(&mut |e| match self.bound(e, parameters) {
                Ok(None) => {}
                Ok(Some(literal)) => {
                    *e = literal;
                    changed = true;
                }
                Err(error) => failed = Some(error),
            })
        });
        match failed {
            Some(e) => Err(e),
            None if changed => Ok(plan::transform::optimize(relation)),
            None => Ok(relation),
        }
    }

    /// The literal that an expression stands for in this execution, if it is one that stands for something.
    fn bound(&self, e: &ScalarExpr, parameters: &[Row]) -> Result<Option<ScalarExpr>, SqlError> {
        let text = |s: &str| ScalarExpr::literal(Datum::Text(s), ScalarType::Text);
        let name = |s: &str| ScalarExpr::literal(Datum::Text(s), ScalarType::Name);
        Ok(Some(match e {
            ScalarExpr::Parameter(i, ty) => {
                let row = parameters.get(*i).ok_or_else(|| {
                    SqlError::new(code::UNDEFINED_PARAMETER, format!("there is no parameter ${}", i + 1))
                })?;
                let datum = row.iter().next().unwrap_or(Datum::Null);
                ScalarExpr::literal(datum, ty.clone())
            }
            ScalarExpr::Context(context) => match context {
                Context::MzNow => return Ok(None),
                Context::Now => {
                    let began = match &self.transaction {
                        Transaction::Open(open) => open.began,
                        _ => self.handle.shared.clock.now(),
                    };
                    let ty = ScalarType::TimestampTz { precision: None };
                    ScalarExpr::literal(Datum::TimestampTz(began as i64 * 1_000), ty)
                }
                Context::CurrentUser => name(&self.user),
                Context::CurrentDatabase => name(self.variables.database()),
                Context::CurrentSchema => match self.variables.search_path().first() {
                    Some(schema) => name(schema),
                    None => ScalarExpr::literal(Datum::Null, ScalarType::Name),
                },
                Context::CurrentSchemas => {
                    let path = self.variables.search_path();
                    let mut schemas = vec![Datum::Text("mz_catalog"), Datum::Text("pg_catalog")];
                    schemas.extend(path.iter().map(|s| Datum::Text(s)));
                    let arena = Arena::new();
                    ScalarExpr::literal(arena.array1(&schemas), ScalarType::Array(Box::new(ScalarType::Name)))
                }
                Context::BackendPid => {
                    ScalarExpr::literal(Datum::Int32(self.number as i32), ScalarType::Int32)
                }
                Context::Version => text(VERSION),
                Context::MzVersion => text(concat!("v", env!("CARGO_PKG_VERSION"), " (deltamill)")),
            },
            _ => return Ok(None),
        }))
    }

    /// An expression without columns, with what belongs to this execution in its place.
    pub(crate) fn bind_constant(&self, e: &ScalarExpr, parameters: &[Row]) -> Result<ScalarExpr, SqlError> {
        let mut e = e.clone();
        let mut failed = None;
        e.walk_mut(&mut |e| match self.bound(e, parameters) {
            Ok(Some(literal)) => *e = literal,
            Ok(None) => {}
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(e), Err)
    }

    /// A LIMIT or OFFSET that only the execution knows; NULL is none.
    pub(crate) fn row_count(
        &self,
        e: &ScalarExpr,
        parameters: &[Row],
        what: &str,
    ) -> Result<Option<u64>, SqlError> {
        let e = self.bind_constant(e, parameters)?;
        match e.eval(&[], &Arena::new())? {
            Datum::Null => Ok(None),
            Datum::Int64(n) if n >= 0 => Ok(Some(n as u64)),
            Datum::Int32(n) if n >= 0 => Ok(Some(n as u64)),
            _ => Err(SqlError::new(
                repr::SqlState::new(if what == "LIMIT" { "2201W" } else { "2201X" }),
                format!("{what} must not be negative"),
            )),
        }
    }

    pub(crate) fn constant_time(&self, e: &ScalarExpr, parameters: &[Row]) -> Result<Timestamp, SqlError> {
        let e = self.bind_constant(e, parameters)?;
        let arena = Arena::new();
        let invalid = || SqlError::new(code::INVALID_PARAMETER_VALUE, "the time is not a valid timestamp");
        let ms = match e.eval(&[], &arena)? {
            Datum::MzTimestamp(t) | Datum::UInt64(t) => Some(t),
            Datum::Timestamp(us) | Datum::TimestampTz(us) => u64::try_from(us.div_euclid(1_000)).ok(),
            Datum::Numeric(n) => n.to_i64().and_then(|n| u64::try_from(n).ok()),
            Datum::Int64(n) => u64::try_from(n).ok(),
            Datum::Int32(n) => u64::try_from(n).ok(),
            Datum::Text(s) => s.parse().ok(),
            _ => None,
        };
        ms.ok_or_else(invalid)
    }

    pub(crate) fn as_of(
        &self,
        as_of: &Option<AsOf>,
        parameters: &[Row],
    ) -> Result<Option<(Timestamp, bool)>, SqlError> {
        let resolve = |a: &AsOf| Ok((self.constant_time(&a.time, parameters)?, a.at_least));
        as_of.as_ref().map(resolve).transpose()
    }
}

/// A value as another type, by the assignment cast.
pub(crate) fn convert<'a>(
    value: Datum<'a>,
    from: &ScalarType,
    to: &ScalarType,
    arena: &'a Arena,
) -> Result<Datum<'a>, SqlError> {
    use plan::func::resolve::{Cast, CastContext, cast};
    if value.is_null() || from == to {
        return Ok(value);
    }
    match cast(from, to, CastContext::Assignment) {
        Some(Cast::Same) => Ok(value),
        Some(Cast::Func(func)) => Ok((func.0.eval)(&[value], to, arena)?),
        None => Err(SqlError::new(
            code::DATATYPE_MISMATCH,
            format!("parameter of type {from} cannot be coerced to the expected type {to}"),
        )),
    }
}
