//! Table functions: each row, followed by each row that the function gives for it.

use plan::ScalarExpr;
use plan::func::TableFuncRef;
use repr::{Arena, Datum, Diff, EvalError, Row, Timestamp};

use super::pass::Consumer;
use super::{Context, Flow};
use crate::Dropped;

/// Renders a table function that appends `added` columns.
pub fn flat_map<'s>(
    context: &mut Context<'_, 's>,
    mut flow: Flow<'s>,
    func: TableFuncRef,
    args: &[ScalarExpr],
    added: usize,
) -> Flow<'s> {
    let (width, monotonic) = (flow.arity(), flow.monotonic);
    flow.map(args.iter().cloned());
    let dropped = context.dropped.clone();
    let rows = flow.feed(context, "FlatMap", Expand { func, width, rows: vec![], dropped });
    Flow::new(rows, width + added, monotonic)
}

/// So many rows are made before others have their turn.
const PIECE: usize = 1 << 16;

struct Expand {
    func: TableFuncRef,
    /// How many columns come before the arguments.
    width: usize,
    rows: Vec<(Row, Timestamp, Diff)>,
    dropped: Dropped,
}

impl Consumer for Expand {
    type Out = (Row, Timestamp, Diff);

    fn row<'a>(
        &mut self,
        columns: &[Datum<'a>],
        project: &[usize],
        arena: &'a Arena,
        time: Timestamp,
        diff: Diff,
    ) -> Result<(), EvalError> {
        if self.dropped.is_set() {
            return Ok(());
        }
        let args: Vec<Datum<'a>> = project[self.width..].iter().map(|c| columns[*c]).collect();
        if self.func.0.strict && args.iter().any(Datum::is_null) {
            return Ok(());
        }
        let start = self.rows.len();
        let base = Row::pack(project[..self.width].iter().map(|c| columns[*c]));
        let (rows, dropped) = (&mut self.rows, &self.dropped);
        let result = (self.func.0.eval)(&args, arena, &mut |more: &[Datum<'a>]| {
            if dropped.is_set() {
                return;
            }
            let mut row = base.clone();
            more.iter().for_each(|d| row.push(*d));
            rows.push((row, time, diff));
        });
        if result.is_err() {
            // A row with an error gives only that.
            self.rows.truncate(start);
        }
        result
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= PIECE
    }

    fn flush(&mut self, out: &mut Vec<Self::Out>) {
        std::mem::swap(out, &mut self.rows)
    }
}
