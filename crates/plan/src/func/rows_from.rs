//! Table functions that run in step, and numbered rows: `ROWS FROM (f(…), g(…)) WITH ORDINALITY`.

use repr::{Arena, Datum, EvalError};

use super::{TableFunc, TableFuncRef, table_function};

/// The first argument is a [`description`]; the arguments of all functions follow end to end.
static ROWS_FROM: TableFunc = TableFunc { id: "rows_from", strict: false, eval: run };

/// One row of the one argument.
static ONE_ROW: TableFunc = TableFunc { id: "one_row", strict: false, eval: one };

/// The function that runs others.
pub fn rows_from() -> TableFuncRef {
    TableFuncRef(&ROWS_FROM)
}

/// A value as a function of one row.
pub fn one_row() -> TableFuncRef {
    TableFuncRef(&ONE_ROW)
}

/// What [`rows_from`] is to run: for each function how many arguments it takes and how many columns it gives; whether
/// the number of the row, from 1, follows.
pub fn description(functions: &[(TableFuncRef, usize, usize)], ordinality: bool) -> String {
    let functions: Vec<String> =
        functions.iter().map(|(f, args, columns)| format!("{} {args} {columns}", f.0.id)).collect();
    format!("{}{}", functions.join(","), if ordinality { ",ordinality" } else { "" })
}

fn one<'a>(args: &[Datum<'a>], _: &'a Arena, emit: &mut dyn FnMut(&[Datum<'a>])) -> Result<(), EvalError> {
    emit(args);
    Ok(())
}

fn run<'a>(
    args: &[Datum<'a>],
    arena: &'a Arena,
    emit: &mut dyn FnMut(&[Datum<'a>]),
) -> Result<(), EvalError> {
    let Some((Datum::Text(description), mut args)) = args.split_first().map(|(d, rest)| (*d, rest)) else {
        return Ok(());
    };
    let mut ordinality = false;
    let mut results: Vec<(usize, Vec<Vec<Datum<'a>>>)> = vec![];
    for part in description.split(',') {
        if part == "ordinality" {
            ordinality = true;
            continue;
        }
        let mut words = part.split(' ');
        let func = match words.next() {
            Some("one_row") => one_row(),
            Some(id) => table_function(id).expect("the planner describes functions of the table"),
            None => continue,
        };
        let mut number = || words.next().and_then(|w| w.parse::<usize>().ok()).unwrap_or(0);
        let (n, columns) = (number(), number());
        let (own, rest) = args.split_at(n);
        args = rest;
        let mut rows = vec![];
        if !(func.0.strict && own.iter().any(Datum::is_null)) {
            (func.0.eval)(own, arena, &mut |row| rows.push(row.to_vec()))?;
        }
        results.push((columns, rows));
    }
    let longest = results.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
    let mut out = vec![];
    for i in 0..longest {
        out.clear();
        for (columns, rows) in &results {
            match rows.get(i) {
                Some(row) => out.extend_from_slice(row),
                None => out.extend(std::iter::repeat_n(Datum::Null, *columns)),
            }
        }
        if ordinality {
            out.push(Datum::Int64(i as i64 + 1));
        }
        emit(&out);
    }
    Ok(())
}
