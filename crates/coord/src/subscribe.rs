//! Changes of a relation as the rows that SUBSCRIBE shows.

use std::collections::BTreeMap;

use repr::{Column, Datum, Diff, Numeric, RelationDesc, Row, ScalarType, SqlError, Timestamp};
use sql::plan::{SubscribeOutput, SubscribePlan};

use crate::command::{Changes, Subscribed};
use crate::read;

/// The rows of one subscription.
pub(crate) struct SubscribeRows {
    subscribed: Subscribed,
    output: SubscribeOutput,
    progress: bool,
    arity: usize,
    /// The progress row at the start is still to be sent.
    opening: bool,
}

impl SubscribeRows {
    pub fn new(subscribed: Subscribed, plan: &SubscribePlan) -> SubscribeRows {
        SubscribeRows {
            subscribed,
            output: plan.output.clone(),
            progress: plan.progress,
            arity: plan.desc.arity(),
            opening: plan.progress,
        }
    }

    /// The next rows; none when the subscription has come to its end.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, SqlError>> {
        if std::mem::take(&mut self.opening) {
            return Some(Ok(vec![self.progress_row(self.subscribed.as_of)]));
        }
        loop {
            let Some(changes) = self.subscribed.changes.recv().await else {
                return self.subscribed.lag.cut().map(Err);
            };
            self.subscribed.lag.taken(&changes);
            let rows = self.rows(changes);
            if !rows.is_empty() {
                return Some(Ok(rows));
            }
        }
    }

    fn rows(&self, changes: Changes) -> Vec<Row> {
        let mut by_time: BTreeMap<Timestamp, Vec<(Row, Diff)>> = BTreeMap::new();
        for (time, block) in changes.rows {
            by_time.entry(time).or_default().extend(block.iter().map(|(row, diff)| (row.to_row(), diff)));
        }
        let mut out = vec![];
        for (time, mut rows) in by_time {
            rows.sort();
            match &self.output {
                SubscribeOutput::Diffs => {
                    out.extend(rows.iter().map(|(row, diff)| self.diff_row(time, row, *diff)));
                }
                SubscribeOutput::WithinTimestampOrderBy(order) => {
                    rows.sort_by(|a, b| read::compare(&a.0, &b.0, order));
                    out.extend(rows.iter().map(|(row, diff)| self.diff_row(time, row, *diff)));
                }
                SubscribeOutput::Upsert(key) => self.envelope(time, &rows, key, false, &mut out),
                SubscribeOutput::Debezium(key) => self.envelope(time, &rows, key, true, &mut out),
            }
        }
        if self.progress && changes.upto != u64::MAX {
            out.push(self.progress_row(changes.upto));
        }
        out
    }

    fn head(&self, time: Timestamp, progressed: bool) -> Row {
        let mut row = Row::pack([Datum::Numeric(Numeric::from_u64(time))]);
        if self.progress {
            row.push(Datum::Bool(progressed));
        }
        row
    }

    fn progress_row(&self, time: Timestamp) -> Row {
        let mut row = self.head(time, true);
        let columns = match &self.output {
            SubscribeOutput::Debezium(key) => key.len() + 2 * (self.arity - key.len()),
            _ => self.arity,
        };
        (0..=columns).for_each(|_| row.push(Datum::Null));
        row
    }

    fn diff_row(&self, time: Timestamp, row: &Row, diff: Diff) -> Row {
        let mut out = self.head(time, false);
        out.push(Datum::Int64(diff));
        out.extend_packed(row.as_ref());
        out
    }

    /// One row a key that has changed: its state and values, before and after.
    fn envelope(
        &self,
        time: Timestamp,
        rows: &[(Row, Diff)],
        key: &[usize],
        debezium: bool,
        out: &mut Vec<Row>,
    ) {
        let rest: Vec<usize> = (0..self.arity).filter(|i| !key.contains(i)).collect();
        let mut keys: BTreeMap<Row, (Vec<&Row>, Vec<&Row>)> = BTreeMap::new();
        for (row, diff) in rows {
            let entry = keys.entry(read::project_row(row, key)).or_default();
            let side = if *diff < 0 { &mut entry.0 } else { &mut entry.1 };
            (0..diff.unsigned_abs()).for_each(|_| side.push(row));
        }
        let values = |to: &mut Row, row: Option<&&Row>| match row {
            Some(row) => to.extend_packed(read::project_row(row, &rest).as_ref()),
            None => rest.iter().for_each(|_| to.push(Datum::Null)),
        };
        for (key, (before, after)) in keys {
            let violation = before.len() > 1 || after.len() > 1;
            let state = match (violation, before.is_empty(), after.is_empty()) {
                (true, ..) => "key_violation",
                (false, _, true) => "delete",
                (false, true, false) if debezium => "insert",
                _ => "upsert",
            };
            let mut row = self.head(time, false);
            row.push(Datum::Text(state));
            row.extend_packed(key.as_ref());
            let shown = |side: &[&Row]| if violation { None } else { side.first().copied().cloned() };
            if debezium {
                values(&mut row, shown(&before).as_ref().as_ref());
            }
            values(&mut row, shown(&after).as_ref().as_ref());
            out.push(row);
        }
    }
}

/// The columns of a subscription's rows.
pub(crate) fn subscribe_desc(plan: &SubscribePlan) -> RelationDesc {
    let mut columns = vec![("mz_timestamp".to_string(), crate::ddl::timestamp_type().nullable(false))];
    if plan.progress {
        columns.push(("mz_progressed".into(), ScalarType::Bool.nullable(false)));
    }
    let nullable = |c: &Column| (c.name.clone(), c.ty.scalar.clone().nullable(true));
    match &plan.output {
        SubscribeOutput::Diffs | SubscribeOutput::WithinTimestampOrderBy(_) => {
            columns.push(("mz_diff".into(), ScalarType::Int64.nullable(plan.progress)));
            columns.extend(plan.desc.columns.iter().map(nullable));
        }
        SubscribeOutput::Upsert(key) | SubscribeOutput::Debezium(key) => {
            columns.push(("mz_state".into(), ScalarType::Text.nullable(plan.progress)));
            columns.extend(key.iter().map(|k| nullable(&plan.desc.columns[*k])));
            let rest = || (0..plan.desc.arity()).filter(|i| !key.contains(i)).map(|i| &plan.desc.columns[i]);
            if matches!(plan.output, SubscribeOutput::Upsert(_)) {
                columns.extend(rest().map(nullable));
            } else {
                for side in ["before", "after"] {
                    columns.extend(rest().map(|c| {
                        let (name, ty) = nullable(c);
                        (format!("{side}_{name}"), ty)
                    }));
                }
            }
        }
    }
    RelationDesc::new(columns)
}
