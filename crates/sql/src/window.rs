//! Windows: which calls share one, and how their frames are read.

use plan::ColumnOrder;
use plan::func::ids;
use plan::func::resolve::{self, CastContext};
use plan::func::window::{self, Bound, Exclude, Frame, Units};
use plan::hir::{HirAggregateExpr, HirRelationExpr, HirScalarExpr};
use repr::error::code;
use repr::{ColumnType, Datum, ScalarType, SqlError};
use sqlparser::ast::{self as sp, Expr, Spanned};

use crate::expr::{Ex, WindowCall, WindowFunc};
use crate::hirs::{self, column};
use crate::planner::Planner;
use crate::scope::Env;

impl WindowCall {
    /// Every expression in it.
    pub fn parts_mut(&mut self) -> impl Iterator<Item = &mut HirScalarExpr> {
        let order_by = self.order_by.iter_mut().map(|(e, _)| e);
        self.args
            .iter_mut()
            .chain(&mut self.limits)
            .chain(&mut self.filter)
            .chain(&mut self.partition_by)
            .chain(order_by)
    }
}

impl Planner<'_> {
    /// Reads a frame; without one it ends with the current row's peers, or, without an order, holds everything. `keys`
    /// is what the window is ordered by. Also gives what [`window::Call::limits`] asks for.
    pub fn window_frame(
        &self,
        frame: Option<&sp::WindowFrame>,
        exclude: Exclude,
        keys: &[(HirScalarExpr, ColumnType, ColumnOrder)],
        e: &Expr,
    ) -> Result<(Frame, Vec<HirScalarExpr>), SqlError> {
        let Some(frame) = frame else {
            let end = if keys.is_empty() { Bound::UnboundedFollowing } else { Bound::CurrentRow };
            return Ok((
                Frame { units: Units::Range, start: Bound::UnboundedPreceding, end, exclude },
                vec![],
            ));
        };
        let units = match frame.units {
            sp::WindowFrameUnits::Rows => Units::Rows,
            sp::WindowFrameUnits::Range => Units::Range,
            sp::WindowFrameUnits::Groups => Units::Groups,
        };
        let count = |b: &Expr| -> Result<u64, SqlError> {
            if units == Units::Range {
                return Ok(0);
            }
            let planned = self.plan_constant_of(b, &ScalarType::Int64, "window frames")?;
            match hirs::evaluate(&planned) {
                Some(Ok(row)) => match row.iter().next() {
                    Some(Datum::Int64(n)) if n >= 0 => Ok(n as u64),
                    _ => {
                        let code = repr::SqlState::new("22013");
                        Err(self.error(b.span(), code, "frame offset must not be null or negative"))
                    }
                },
                Some(Err(error)) => Err(self.text.at(b.span(), error.into())),
                None => Err(self.unsupported(b.span(), "a frame offset that is not constant", "")),
            }
        };
        let bound = |b: &sp::WindowFrameBound| -> Result<Bound, SqlError> {
            Ok(match b {
                sp::WindowFrameBound::CurrentRow => Bound::CurrentRow,
                sp::WindowFrameBound::Preceding(None) => Bound::UnboundedPreceding,
                sp::WindowFrameBound::Preceding(Some(n)) => Bound::Preceding(count(n)?),
                sp::WindowFrameBound::Following(None) => Bound::UnboundedFollowing,
                sp::WindowFrameBound::Following(Some(n)) => Bound::Following(count(n)?),
            })
        };
        let start = bound(&frame.start_bound)?;
        let end = frame.end_bound.as_ref().map_or(Ok(Bound::CurrentRow), bound)?;
        let windowing = |message: &str| self.error(e.span(), repr::SqlState::new("42P20"), message);
        if start == Bound::UnboundedFollowing {
            return Err(windowing("frame start cannot be UNBOUNDED FOLLOWING"));
        }
        if end == Bound::UnboundedPreceding {
            return Err(windowing("frame end cannot be UNBOUNDED PRECEDING"));
        }
        if let (Bound::CurrentRow, Bound::Preceding(_)) = (start, end) {
            return Err(windowing("frame starting from current row cannot have preceding rows"));
        }
        if let (Bound::Following(_), Bound::Preceding(_) | Bound::CurrentRow) = (start, end) {
            return Err(windowing("frame starting from following row cannot have preceding rows"));
        }
        if units == Units::Groups && keys.is_empty() {
            return Err(windowing("GROUPS mode requires an ORDER BY clause"));
        }
        let mut limits = vec![];
        if units == Units::Range {
            for b in [Some(&frame.start_bound), frame.end_bound.as_ref()] {
                if let Some(
                    sp::WindowFrameBound::Preceding(Some(n)) | sp::WindowFrameBound::Following(Some(n)),
                ) = b
                {
                    let [key] = keys else {
                        return Err(windowing(
                            "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
                        ));
                    };
                    let preceding = matches!(b, Some(sp::WindowFrameBound::Preceding(_)));
                    limits.push((self.range_limit(key, n, preceding)?, n.span()));
                }
            }
        }
        if limits.is_empty() {
            return Ok((Frame { units, start, end, exclude }, vec![]));
        }
        // Key and limits are compared, so they have one type: a date less an interval is a timestamp.
        let types: Vec<_> = limits.iter().map(|((_, ty), _)| Some(ty.scalar.clone())).collect();
        let common = resolve::common_type(&types, "RANGE")?;
        let (key, ty, _) = &keys[0];
        let mut all =
            vec![self.coerce(Ex::Known(key.clone(), ty.clone()), &common, CastContext::Implicit)?.0];
        for ((limit, ty), span) in limits {
            let cast = self.coerce(Ex::Known(limit, ty), &common, CastContext::Implicit);
            all.push(cast.map_err(|e| self.text.at(span, e))?.0);
        }
        Ok((Frame { units, start, end, exclude }, all))
    }

    /// The value of the sort key at which a frame of RANGE ends.
    fn range_limit(
        &self,
        (key, ty, order): &(HirScalarExpr, ColumnType, ColumnOrder),
        offset: &Expr,
        preceding: bool,
    ) -> Result<(HirScalarExpr, ColumnType), SqlError> {
        let offset_type = match &ty.scalar {
            ScalarType::Date
            | ScalarType::Time
            | ScalarType::Timestamp { .. }
            | ScalarType::TimestampTz { .. }
            | ScalarType::Interval => ScalarType::Interval,
            ScalarType::Int16 | ScalarType::Int32 | ScalarType::Int64 => ScalarType::Int64,
            ScalarType::Float32 | ScalarType::Float64 => ScalarType::Float64,
            ScalarType::Numeric { .. } => ScalarType::Numeric { scale: None },
            other => {
                let message = format!(
                    "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}",
                    other.name()
                );
                return Err(self.error(offset.span(), code::FEATURE_NOT_SUPPORTED, message));
            }
        };
        let planned = self.plan_constant_of(offset, &offset_type, "window frames")?;
        let zero = match &offset_type {
            ScalarType::Interval => "0 seconds",
            _ => "0",
        };
        let (zero, _) =
            self.coerce(Ex::Str(zero.into(), offset.span()), &offset_type, CastContext::Implicit)?;
        let value = match (hirs::evaluate(&planned), hirs::evaluate(&zero)) {
            (Some(Ok(value)), Some(Ok(zero))) => {
                let (v, z) = (value.iter().next(), zero.iter().next());
                if v.is_none_or(|d| d.is_null()) || v < z {
                    let code = repr::SqlState::new("22013");
                    let message = "invalid preceding or following size in window function";
                    return Err(self.error(offset.span(), code, message));
                }
                planned
            }
            (Some(Err(e)), _) => return Err(self.text.at(offset.span(), e.into())),
            _ => return Err(self.unsupported(offset.span(), "a frame offset that is not constant", "")),
        };
        // Sorted downwards, what precedes is greater.
        let op = if preceding != order.desc { "-" } else { "+" };
        // Sums of small integers may not fit in their own type.
        let key = match &ty.scalar {
            ScalarType::Int16 | ScalarType::Int32 => {
                let (e, ty) = self.coerce(
                    Ex::Known(key.clone(), ty.clone()),
                    &ScalarType::Int64,
                    CastContext::Implicit,
                )?;
                Ex::Known(e, ty)
            }
            _ => Ex::Known(key.clone(), ty.clone()),
        };
        let limit = self.operator(op, vec![key, Ex::known(value, offset_type, false)]);
        self.settle(limit.map_err(|e| self.text.at(offset.span(), e))?)
    }

    /// Appends a column for each call; says where each is.
    pub fn plan_windows(
        &self,
        mut rel: HirRelationExpr,
        mut arity: usize,
        calls: Vec<WindowCall>,
        env: &Env,
    ) -> Result<(HirRelationExpr, usize, Vec<usize>), SqlError> {
        let mut places = vec![usize::MAX; calls.len()];
        let mut rest: Vec<(usize, WindowCall)> = calls.into_iter().enumerate().collect();
        while !rest.is_empty() {
            let (partition_by, order_by) = (rest[0].1.partition_by.clone(), rest[0].1.order_by.clone());
            let same = |c: &WindowCall| c.partition_by == partition_by && c.order_by == order_by;
            let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, c)| same(c));
            rest = later;
            let described: Vec<window::Call> = now
                .iter()
                .map(|(_, c)| window::Call {
                    name: match c.func {
                        WindowFunc::Pure(name) => name.to_string(),
                        WindowFunc::Aggregate(func, _) => func.0.id.to_string(),
                    },
                    aggregate: matches!(c.func, WindowFunc::Aggregate(..)),
                    args: c.args.len(),
                    filter: c.filter.is_some(),
                    ignore_nulls: c.ignore_nulls,
                    frame: c.frame,
                    desc: c.order_by.first().is_some_and(|o| o.1.desc),
                })
                .collect();
            let description = window::description(&described, order_by.len());
            let types = hirs::types_in(&rel, env);
            let named = |(i, ty): (usize, &ColumnType)| (format!("f{}", i + 1), ty.clone());
            let own: Vec<(String, ColumnType)> = types.iter().enumerate().map(named).collect();
            let mut fields = own.clone();
            fields.extend(now.iter().map(|(_, c)| ("w".to_string(), c.ty.clone().nullable(true))));
            let list = ScalarType::List(Box::new(ScalarType::Record(fields)));
            let row = hirs::call(ids::ROW, (0..arity).map(column).collect(), ScalarType::Record(own));
            let mut args = vec![hirs::literal(Datum::Text(&description), ScalarType::Text), row];
            for (_, c) in &now {
                args.extend(c.filter.clone());
                args.extend(c.args.clone());
                args.extend(c.limits.clone());
            }
            args.extend(order_by.iter().map(|(e, _)| e.clone()));
            let mut maps = vec![];
            let mut keys = vec![];
            for p in partition_by {
                keys.push(arity + maps.len());
                maps.push(p);
            }
            // One partition is a group too: without a key there would be a row for it even over nothing.
            if keys.is_empty() {
                keys.push(arity);
                maps.push(hirs::boolean(true));
            }
            let aggregate = HirAggregateExpr {
                func: window::window(),
                args,
                distinct: false,
                order_by,
                filter: None,
                ty: list,
            };
            let k = keys.len();
            let reduced = HirRelationExpr::Reduce {
                input: Box::new(hirs::map(rel, maps)),
                group_key: keys,
                aggregates: vec![aggregate],
            };
            let mut typ = types;
            typ.extend(now.iter().map(|(_, c)| c.ty.clone().nullable(true)));
            let width = arity + now.len();
            let flat = HirRelationExpr::FlatMap {
                input: Box::new(reduced),
                func: window::window_rows(),
                args: vec![column(k)],
                typ,
            };
            rel = hirs::project(flat, (k + 1..k + 1 + width).collect(), k + 1 + width);
            for (n, (i, _)) in now.iter().enumerate() {
                places[*i] = arity + n;
            }
            arity = width;
        }
        Ok((rel, arity, places))
    }
}
