//! sqllogictest files, by topic: what does it do when …? Each runs over the wire as it stands, its queries with the simple
//! protocol and, values in binary, with the extended one; then again with every query as a materialized view that is made
//! before the first row comes.
//!
//! ```text
//! statement ok              statement error 22012 division by zero     query IT rowsort
//! INSERT INTO t VALUES (1)  SELECT 1/0                                 SELECT a, b FROM t
//!                                                                      ----
//!                                                                      1 one
//! ```
//!
//! Cells stand with blanks between; `(empty)` is the empty text, `NULL` no value. `rowsort` is said where there is no ORDER
//! BY, `noview` where what the session or an earlier statement made decides. `UPDATE_EXPECTED=1` writes what was found.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use postgres::SimpleQueryMessage;

use crate::support::{Server, error_text, repository, rows};

#[derive(Debug)]
enum Record {
    /// Runs, or fails with this SQLSTATE and message.
    Statement {
        sql: String,
        error: Option<String>,
    },
    Query {
        head: String,
        sql: String,
        expected: Vec<String>,
    },
    Comment(String),
}

fn parse(text: &str) -> Vec<Record> {
    let block = |block: &str| {
        let (head, rest) = block.split_once('\n').unwrap_or((block, ""));
        if let Some(kind) = head.strip_prefix("statement ") {
            let error = kind.strip_prefix("error").map(|e| e.trim().to_string());
            assert!(kind == "ok" || error.is_some(), "{head}: ok or error");
            Record::Statement { sql: rest.into(), error }
        } else if head.starts_with("query") {
            let (sql, expected) = rest.split_once("\n----").unwrap_or((rest, ""));
            let expected = expected.lines().skip(1).map(String::from).collect();
            Record::Query { head: head.into(), sql: sql.into(), expected }
        } else {
            assert!(block.lines().all(|l| l.starts_with('#')), "neither a record nor a comment: {block}");
            Record::Comment(block.into())
        }
    };
    text.split("\n\n").map(|b| b.trim_matches('\n')).filter(|b| !b.is_empty()).map(block).collect()
}

/// Rows as the files have them.
fn answer(client: &mut postgres::Client, sql: &str, sort: bool) -> Result<Vec<String>, String> {
    let cell = |c: Option<&str>| match c {
        None => "NULL".into(),
        Some("") => "(empty)".into(),
        Some(c) => c.replace('\n', "\\n"),
    };
    let mut out = vec![];
    for message in client.simple_query(sql).map_err(|e| error_text(&e))? {
        if let SimpleQueryMessage::Row(row) = message {
            out.push((0..row.len()).map(|i| cell(row.get(i))).collect::<Vec<String>>().join(" "));
        }
    }
    if sort {
        out.sort();
    }
    Ok(out)
}

/// A value as it came.
struct Raw(Vec<u8>);

impl<'a> postgres::types::FromSql<'a> for Raw {
    fn from_sql(
        _: &postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Raw, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    fn accepts(_: &postgres::types::Type) -> bool {
        true
    }
}

/// What the extended protocol gives in binary, as the same text; `?` for types that their oid does not name.
fn extended(client: &mut postgres::Client, sql: &str) -> Result<Vec<Vec<String>>, String> {
    use repr::ScalarType::{Record, RegClass, RegProc, RegType};
    let statement = client.prepare(sql).map_err(|e| error_text(&e))?;
    let types = statement.columns().iter().map(|c| plan::func::resolve::type_by_oid(c.type_().oid(), -1));
    // Numbers of the catalog are shown by name; fields have their own types.
    let types: Vec<_> =
        types.map(|ty| ty.filter(|t| !matches!(t, RegClass | RegProc | RegType | Record(_)))).collect();
    let cell = |row: &postgres::Row, i: usize| match (row.get::<_, Option<Raw>>(i), &types[i]) {
        (_, None) => "?".into(),
        (None, _) => "NULL".into(),
        (Some(raw), Some(ty)) => {
            let arena = repr::Arena::new();
            let mut text = String::new();
            match repr::binary::read(&raw.0, ty, &arena) {
                Ok(datum) => repr::text::print(datum, ty, &mut text),
                Err(e) => text = format!("not binary {}: {}", ty.name(), e.message()),
            }
            if text.is_empty() { "(empty)".into() } else { text.replace('\n', "\\n") }
        }
    };
    let rows = client.query(&statement, &[]).map_err(|e| error_text(&e))?;
    Ok(rows.iter().map(|row| (0..types.len()).map(|i| cell(row, i)).collect()).collect())
}

/// Whether rows as the files have them are these cells, in any order; an unknown cell is any text.
fn is_same(rows: &[String], cells: &[Vec<String>]) -> bool {
    let fits = |row: &str, cells: &[String]| {
        let pattern = cells.join(" ");
        let mut parts = pattern.split('?');
        let Some(mut rest) = row.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let parts: Vec<&str> = parts.collect();
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len();
            let found =
                if last { rest.ends_with(part).then_some(rest.len() - part.len()) } else { rest.find(part) };
            let Some(at) = found else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.is_empty()
    };
    rows.len() == cells.len() && rows.iter().all(|row| cells.iter().any(|c| fits(row, c)))
}

/// Runs a file as it stands; what was wrong. Also writes down what was found.
fn run(path: &Path, records: &[Record]) -> (String, String) {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    let (mut wrong, mut found) = (String::new(), String::new());
    for record in records {
        match record {
            Record::Comment(text) => {
                let _ = write!(found, "{text}\n\n");
            }
            Record::Statement { sql, error } => {
                let got = rows(&mut client, sql).err();
                let said = got.as_ref().map_or("ok".into(), |e| format!("error {e}"));
                let _ = write!(found, "statement {said}\n{sql}\n\n");
                let fits = match (error, &got) {
                    (None, None) => true,
                    (Some(want), Some(got)) => got.contains(want.as_str()),
                    _ => false,
                };
                if !fits {
                    let _ = writeln!(wrong, "{sql}\n--- expected {error:?}\n--- found {got:?}");
                }
            }
            Record::Query { head, sql, expected } => {
                let got = answer(&mut client, sql, head.contains("rowsort"));
                let shown = got.as_ref().map_or_else(|e| format!("ERROR {e}"), |rows| rows.join("\n"));
                let _ = write!(found, "{head}\n{sql}\n----\n{shown}\n\n");
                let reads = starts(sql, &["SELECT", "WITH", "VALUES", "TABLE", "("]) && !sql.contains(';');
                if let (true, Ok(rows)) = (reads, &got) {
                    match extended(&mut client, sql) {
                        Ok(cells) if is_same(rows, &cells) => {}
                        other => {
                            let _ = writeln!(wrong, "{sql}\n--- simple {rows:?}\n--- extended {other:?}");
                        }
                    }
                }
                if got.as_ref() != Ok(expected) {
                    let _ =
                        writeln!(wrong, "{sql}\n--- expected\n{}\n--- found\n{shown}", expected.join("\n"));
                }
            }
        }
    }
    if !wrong.is_empty() {
        wrong.insert_str(0, &format!("{}\n", path.display()));
    }
    (wrong, found)
}

fn starts(sql: &str, words: &[&str]) -> bool {
    words.iter().any(|w| sql.trim_start().get(..w.len()).is_some_and(|head| head.eq_ignore_ascii_case(w)))
}

/// Runs a file with views for its queries, made before the data; how many there were, and what was wrong.
fn run_as_views(path: &Path, records: &[Record]) -> (usize, String) {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    let makes = |sql: &str| starts(sql, &["CREATE", "COMMENT", "SET "]);
    for record in records {
        if let Record::Statement { sql, error: None } = record
            && makes(sql)
        {
            rows(&mut client, sql).unwrap_or_else(|e| panic!("{}: {sql}: {e}", path.display()));
        }
    }
    // Queries that no view can be (SHOW, now(), two columns of one name) are left out.
    let made = records.iter().enumerate().map(|(i, record)| match record {
        Record::Query { head, sql, .. }
            if starts(sql, &["SELECT", "WITH", "VALUES", "("]) && !head.contains("noview") =>
        {
            rows(&mut client, &format!("CREATE MATERIALIZED VIEW slt_view_{i} AS {sql}")).is_ok()
        }
        _ => false,
    });
    let made: Vec<bool> = made.collect();
    let mut wrong = String::new();
    for (i, record) in records.iter().enumerate() {
        match record {
            Record::Statement { sql, error: None } if !makes(sql) => {
                if let Err(e) = rows(&mut client, sql) {
                    let _ = writeln!(wrong, "{sql}\n--- found {e}");
                }
            }
            // What it does before it fails, or to the transaction it fails in.
            Record::Statement { sql, error: Some(_) } if !makes(sql) => drop(rows(&mut client, sql)),
            Record::Query { sql, expected, .. } if made[i] => {
                let got = answer(&mut client, &format!("SELECT * FROM slt_view_{i}"), true);
                let mut expected = expected.clone();
                expected.sort();
                if got.as_ref() != Ok(&expected) {
                    let got = got.map_or_else(|e| format!("ERROR {e}"), |rows| rows.join("\n"));
                    let _ = writeln!(
                        wrong,
                        "{sql}\n--- expected\n{}\n--- in its view\n{got}",
                        expected.join("\n")
                    );
                }
            }
            // INSERT … RETURNING and its kin.
            Record::Query { sql, .. } if starts(sql, &["INSERT", "UPDATE", "DELETE"]) => {
                if let Err(e) = rows(&mut client, sql) {
                    let _ = writeln!(wrong, "{sql}\n--- found {e}");
                }
            }
            _ => {}
        }
    }
    if !wrong.is_empty() {
        wrong.insert_str(0, &format!("{}, with views\n", path.display()));
    }
    (made.iter().filter(|m| **m).count(), wrong)
}

fn files() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(repository("tests/slt"))
        .expect("the folder is there")
        .map(|e| e.expect("it can be read").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn files_give_the_same_at_once_and_as_views_made_before_the_data() {
    let mut wrong = String::new();
    let mut views = 0;
    for path in files() {
        let records = parse(&std::fs::read_to_string(&path).expect("it can be read"));
        let (once, found) = run(&path, &records);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&path, found.trim_end().to_string() + "\n").expect("it can be written");
            continue;
        }
        wrong.push_str(&once);
        let (made, as_views) = run_as_views(&path, &records);
        views += made;
        wrong.push_str(&as_views);
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(views > 0 || std::env::var_os("UPDATE_EXPECTED").is_some(), "some queries are views");
}
