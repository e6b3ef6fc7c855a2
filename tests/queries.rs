//! What queries answer: `tests/queries/*.txt` hold each query with its rows, as Postgres 15 gave them too (but for how
//! numbers and JSON print, see DESIGN). `UPDATE_EXPECTED=1` writes them. Then each is a materialized view, which must
//! stay equal to the query while the tables change.

use std::fmt::Write;

use postgres::Client;

use crate::support::{Server, repository, rows};

const SETUP: &str = "
    CREATE TABLE t (a int, b text, c numeric(10,2), d timestamptz);
    CREATE TABLE u (a bigint, x text, y float8);
    CREATE TABLE e (id int, j jsonb);
    CREATE TABLE r (a int, arr int[]);
    INSERT INTO t VALUES
        (1, 'one', 1.50, '2020-01-01 10:00+00'), (2, 'two', 2.25, '2020-02-01'), (3, NULL, NULL, '2021-01-01'),
        (NULL, 'none', 9.99, NULL), (2, 'dup', 0.10, '2020-02-03'), (5, 'five', 5, '2022-05-05');
    INSERT INTO u VALUES (1, 'p', 0.5), (2, 'q', 1.5), (2, 'q2', NULL), (4, 'r', 4), (NULL, 'nul', 7);
    INSERT INTO e VALUES
        (1, '{\"type\":\"track\",\"user\":\"u1\",\"p\":{\"price\":10.5,\"tags\":[\"a\",\"b\"]}}'),
        (2, '{\"type\":\"page\",\"user\":\"u2\",\"p\":{\"tags\":[]}}'),
        (3, '{\"type\":\"track\",\"user\":\"u1\",\"p\":{\"price\":\"x\",\"tags\":[\"c\"]}}'), (4, NULL);
    INSERT INTO r VALUES (1, '{1,2,3}'), (2, '{}'), (3, NULL), (4, '{4,NULL}')";

const CHANGES: [&str; 9] = [
    "INSERT INTO t VALUES (4, 'four', 4.4, '2020-04-04'), (2, 'dup2', 1, NULL)",
    "DELETE FROM t WHERE b = 'one'",
    "UPDATE u SET y = coalesce(y, 0) + 1, x = x || '!' WHERE a = 2",
    "INSERT INTO u VALUES (5, 'z', 1), (3, NULL, 3)",
    "INSERT INTO e VALUES (5, '{\"type\":\"track\",\"user\":\"u9\",\"p\":{\"price\":1,\"tags\":[\"q\"]}}')",
    "DELETE FROM e WHERE id = 1",
    "INSERT INTO r VALUES (2, '{7,8}')",
    "DELETE FROM u WHERE a IS NULL",
    "DELETE FROM t",
];

/// Rows or the error; sorted where the query does not sort.
fn answer(client: &mut Client, query: &str) -> String {
    let upper = query.to_uppercase();
    let ordered = upper.contains("ORDER BY") && !upper.contains("OVER ");
    match rows(client, query) {
        Ok(mut rows) => {
            if !ordered {
                rows.sort();
            }
            rows.join("\n")
        }
        Err(e) => format!("ERROR {e}"),
    }
}

fn sorted(answer: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = answer.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn queries_answer_as_postgres_does_and_their_views_follow_changes() {
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    rows(&mut client, SETUP).expect("the tables are made");
    let mut paths: Vec<_> = std::fs::read_dir(repository("tests/queries"))
        .expect("the folder is there")
        .map(|e| e.expect("it can be read").path())
        .collect();
    paths.sort();
    let mut wrong = String::new();
    let mut queries = vec![];
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("it can be read");
        let mut found = String::new();
        for block in script.split("\n\n").filter(|b| !b.trim().is_empty()) {
            let (query, expected) = block.split_once("\n---\n").unwrap_or((block, ""));
            let query = query.trim_end_matches("\n---").trim();
            let answer = answer(&mut client, query);
            if answer.trim_end() != expected.trim_end() {
                let _ = write!(wrong, "{query}\n--- expected\n{expected}\n--- found\n{answer}\n\n");
            }
            let _ = write!(found, "{query}\n---\n{answer}\n\n");
            queries.push(query.to_string());
        }
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&path, found.trim_end().to_string() + "\n").expect("it can be written");
            wrong.clear();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // Those that cannot be views (two columns of one name, errors when planned) are left out.
    let made: Vec<(usize, &String)> = queries
        .iter()
        .enumerate()
        .filter(|(i, q)| rows(&mut client, &format!("CREATE MATERIALIZED VIEW v{i} AS {q}")).is_ok())
        .collect();
    assert!(made.len() > queries.len() / 2, "most queries make views: {} of {}", made.len(), queries.len());
    for change in std::iter::once("SELECT 1").chain(CHANGES) {
        rows(&mut client, change).unwrap_or_else(|e| panic!("{change}: {e}"));
        for (i, query) in &made {
            let once = answer(&mut client, query);
            let view = answer(&mut client, &format!("SELECT * FROM v{i}"));
            let both_fail = once.starts_with("ERROR") && view.starts_with("ERROR");
            assert!(
                both_fail || sorted(&once) == sorted(&view),
                "after {change}: {query}\n{once}\n--- view\n{view}"
            );
        }
    }
}

#[test]
fn copied_rows_take_defaults_for_columns_that_are_not_there() {
    use std::io::Write as _;
    let server = Server::start(&["--ephemeral"]);
    let mut client = server.client();
    let table =
        "CREATE TABLE c (id uuid DEFAULT gen_random_uuid(), a int, b text DEFAULT 'none', n int DEFAULT 7)";
    rows(&mut client, table).expect("the table is made");
    let mut copy =
        client.copy_in("COPY c (a, b) FROM STDIN WITH (FORMAT csv)").expect("the server takes data");
    copy.write_all(b"1,one\n2,\n3,\"a,b\"\n").expect("it is sent");
    assert_eq!(copy.finish().expect("it is taken"), 3);
    let query = "SELECT a, b, n FROM c ORDER BY a";
    assert_eq!(rows(&mut client, query).unwrap(), ["1|one|7", "2|NULL|7", "3|a,b|7"]);
    assert_eq!(rows(&mut client, "SELECT count(DISTINCT id) FROM c").unwrap(), ["3"]);
}
