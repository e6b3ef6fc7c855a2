//! What clients find when they look at the catalog: psql's commands, the dbt adapter's questions, the engine's own
//! relations.

use crate::support::{Server, have, text};

const SETUP: &str = "
    CREATE TABLE users (id int8 NOT NULL, \"Email\" text, amount numeric(10,2) DEFAULT 1, tags text[]);
    CREATE VIEW named AS SELECT id, \"Email\" FROM users;
    CREATE MATERIALIZED VIEW per_email AS SELECT \"Email\", count(*) AS n FROM users GROUP BY \"Email\";
    CREATE INDEX per_email_idx ON per_email (\"Email\");
    CREATE SOURCE ticks FROM LOAD GENERATOR COUNTER (TICK INTERVAL '1s');
    CREATE SCHEMA other;
    CREATE TABLE other.hidden (a int);
    COMMENT ON TABLE users IS 'who they are';
    COMMENT ON COLUMN users.id IS 'their number'";

#[test]
fn psql_shows_objects() {
    if !have("psql", "its commands are tried") {
        return;
    }
    let server = Server::start(&["--ephemeral"]);
    server.rows(SETUP);
    // Unaligned (with footers, which hold indexes and definitions), because how tables are drawn differs between versions of psql.
    let show = |command: &str| {
        let out = server.psql(&["-A", "-P", "footer=off", "-v", "ON_ERROR_STOP=1", "-c", command]);
        assert!(out.status.success(), "{command}: {}", text(&out.stderr));
        let said = text(&out.stderr);
        assert!(said.is_empty() || said.starts_with("Did not find any"), "{command}: {said}");
        text(&out.stdout)
    };
    let has = |command: &str, lines: &[&str]| {
        let shown = show(command);
        for line in lines {
            assert!(shown.lines().any(|l| l.trim().starts_with(line)), "{command} lacks {line:?}:\n{shown}");
        }
        shown
    };
    let all = [
        "public|named|view|materialize",
        "public|per_email|materialized view|materialize",
        "public|ticks|table|materialize",
        "public|ticks_errors|table|materialize",
        "public|ticks_progress|table|materialize",
        "public|users|table|materialize",
    ];
    let shown = has("\\d", &all);
    assert_eq!(
        shown.lines().filter(|l| l.ends_with("|materialize")).count(),
        all.len(),
        "only what is in reach is listed:\n{shown}"
    );
    has("\\d+", &["public|users|table|materialize|permanent|heap"]);
    has("\\dt", &["public|users|table"]);
    has("\\dt other.*", &["other|hidden|table"]);
    has("\\dv", &["public|named|view"]);
    has("\\dm", &["public|per_email|materialized view"]);
    has("\\di", &["public|per_email_idx|index|materialize|per_email"]);
    has("\\dn", &["mz_catalog|", "other|", "public|"]);
    has("\\l", &["materialize|materialize|UTF8"]);
    has("\\du", &["materialize|Superuser"]);
    has(
        "\\d users",
        &["id|bigint||not null|", "Email|text|||", "amount|numeric(39,2)|||1", "tags|text[]|||"],
    );
    let shown = has("\\d+ users", &["id|bigint||not null||plain"]);
    assert!(shown.contains("their number"), "{shown}");
    let shown = has("\\d+ per_email", &["n|bigint||not null|"]);
    assert!(shown.contains("\"per_email_idx\" btree (\"Email\")"), "{shown}");
    assert!(shown.to_lowercase().contains("group by"), "{shown}");
    has("\\d per_email_idx", &["Email|text|yes|\"Email\"", "btree, for table \"public.per_email\""]);
    has("\\sv named", &["CREATE OR REPLACE VIEW public.named AS"]);
    has("\\df pg_catalog.concat_ws", &["pg_catalog|concat_ws|text|"]);
    has("\\dconfig search_path", &["search_path|public"]);
    for command in [
        "\\df",
        "\\da",
        "\\dT",
        "\\do",
        "\\dO",
        "\\dp",
        "\\db",
        "\\dx",
        "\\dC",
        "\\dc",
        "\\dD",
        "\\dE",
        "\\des",
        "\\dF",
        "\\dL",
        "\\dP",
        "\\drds",
        "\\dRp",
        "\\dRs",
        "\\dy",
        "\\dX",
        "\\ddp",
        "\\dt *.*",
        "\\dv pg_catalog.*",
    ] {
        show(command);
    }
}

#[test]
fn names_and_numbers_of_objects_are_exchangeable() {
    let server = Server::start(&["--ephemeral"]);
    server.rows(SETUP);
    let one = |sql: &str| server.rows(sql).join("\n");
    assert_eq!(one("SELECT oid = 'users'::regclass FROM pg_class WHERE relname = 'users'"), "t");
    assert_eq!(one("SELECT 'other.hidden'::regclass::text, 'users'::regclass::text"), "other.hidden|users");
    assert_eq!(one("SELECT to_regclass('absent') IS NULL"), "t");
    assert!(server.error("SELECT 'absent'::regclass").starts_with("42P01"));
    assert_eq!(one("SELECT obj_description('users'::regclass, 'pg_class')"), "who they are");
    assert_eq!(one("SELECT col_description('users'::regclass, 1)"), "their number");
    assert_eq!(
        one("SELECT pg_table_is_visible('users'::regclass), pg_table_is_visible('other.hidden'::regclass)"),
        "t|f"
    );
    assert_eq!(one("SELECT 'int'::regtype = ANY ('{int,text}'::regtype[])"), "t");
    assert_eq!(
        one(
            "SELECT pg_get_function_result(oid) FROM pg_proc WHERE proname = 'lower' AND proargtypes[1] = 25"
        ),
        "text"
    );
    assert_eq!(
        one("SELECT pg_get_indexdef('per_email_idx'::regclass)"),
        "CREATE INDEX per_email_idx ON public.per_email USING btree (\"Email\")"
    );
}

#[test]
fn the_engine_tells_of_itself() {
    let server = Server::start(&["--ephemeral"]);
    server.rows(SETUP);
    server.wait_for(
        "SELECT type, status, error FROM mz_internal.mz_source_statuses WHERE name = 'ticks'",
        &["load-generator|running|NULL"],
    );
    server.wait_for(
        "SELECT s.name, hydrated FROM mz_internal.mz_hydration_statuses JOIN mz_objects s ON s.id = object_id ORDER BY 1",
        &["per_email|t", "per_email_idx|t", "ticks|t"],
    );
    let uses = "SELECT a.name, b.name FROM mz_internal.mz_object_dependencies d
        JOIN mz_objects a ON a.id = d.object_id JOIN mz_objects b ON b.id = d.referenced_object_id ORDER BY 1, 2";
    let expected = [
        "named|users",
        "per_email|users",
        "per_email_idx|per_email",
        "ticks_errors|ticks",
        "ticks_progress|ticks",
    ]
    .map(String::from);
    assert_eq!(server.rows(uses), expected);
    let kinds = "SELECT o.name, o.type, s.name FROM mz_objects o JOIN mz_schemas s ON s.id = o.schema_id
        JOIN mz_databases d ON d.id = s.database_id AND d.name = 'materialize' ORDER BY 1";
    let expected = [
        "hidden|table|other",
        "named|view|public",
        "per_email|materialized-view|public",
        "per_email_idx|index|public",
        "ticks|source|public",
        "ticks_errors|source|public",
        "ticks_progress|source|public",
        "users|table|public",
    ];
    assert_eq!(server.rows(kinds), expected.map(String::from));
    let columns = "SELECT column_name, data_type, is_nullable, numeric_scale FROM information_schema.columns
        WHERE table_name = 'users' ORDER BY ordinal_position";
    let expected = ["id|bigint|NO|0", "Email|text|YES|NULL", "amount|numeric|YES|2", "tags|ARRAY|YES|NULL"];
    assert_eq!(server.rows(columns), expected.map(String::from));
}
