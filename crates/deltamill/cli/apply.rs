//! `deltamill apply` and `check`: objects in files.
//!
//! Files hold `CREATE` statements, in any order; what one needs of another decides the order. An object is known by its
//! kind and name, and its text (after substitution) by a hash that the server keeps, so that a second run finds nothing
//! to do. Only what an earlier `apply` of the same folder made is ever dropped or replaced.
//!
//! All of it is one transaction: a failure, of a statement or of the connection, leaves what was there before.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use clap::Args;
use deltamill::{Config, Engine, Session};
use postgres::{Client, SimpleQueryMessage};
use repr::error::code;
use repr::{Datum, SqlError};
use serde_json::json;

use super::{Failure, client, output};

/// The flags of `apply`.
#[derive(Args)]
pub(crate) struct Apply {
    /// The folder: all `*.sql` below it.
    dir: PathBuf,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also drop and replace sources and tables, with the data they hold.
    #[arg(long)]
    replace_data: bool,
    /// A variable for the files: `name=value`, read as `:name`, `:'name'` or `:"name"`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The server.
    #[arg(long, env = "DELTAMILL_URL", default_value = client::DEFAULT_URL)]
    url: String,
}

/// The flags of `check`.
#[derive(Args)]
pub(crate) struct Check {
    /// The folder: all `*.sql` below it.
    dir: PathBuf,
    /// A variable for the files: `name=value`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

/// Values of `:name`.
pub(super) type Variables = BTreeMap<String, String>;

/// Reads `name=value` flags.
pub(super) fn variables(flags: &[String]) -> Result<Variables, Failure> {
    let pair = |flag: &String| match flag.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(Failure::new(2, format!("--set {flag}: NAME=VALUE is wanted"))),
    };
    flags.iter().map(pair).collect()
}

impl Apply {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let variables = variables(&self.set)?;
        let mut client = client::connect(&self.url)?;
        let done = apply_folder(&mut client, &self.dir, &variables, self.dry_run, self.replace_data)?;
        for line in &done {
            let (action, object) = line.split_once(' ').unwrap_or((line, ""));
            let fields =
                [("action", json!(action)), ("object", json!(object)), ("dry_run", json!(self.dry_run))];
            if json { println!("{}", output::json_line("apply", &fields)) } else { println!("{line}") }
        }
        if done.is_empty() && !json {
            println!("nothing to do");
        }
        Ok(())
    }
}

impl Check {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let variables = variables(&self.set)?;
        let engine = Engine::start(Config { offline: true, ..Config::ephemeral() })?;
        let done = apply_folder(&mut engine.session(), &self.dir, &variables, false, false)?;
        if json {
            println!("{}", output::json_line("check", &[("objects", json!(done.len()))]));
        } else {
            println!("{} objects are right", done.len());
        }
        Ok(())
    }
}

/// Where statements are run: this process or a server.
pub(super) trait Target {
    /// Runs one text; its rows as text.
    fn run(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlError>;
}

impl Target for Client {
    fn run(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let messages = self.simple_query(sql).map_err(|e| client::sql_error(&e))?;
        let row = |m| match m {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(Into::into)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }
}

impl Target for Session {
    fn run(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let mut out = vec![];
        self.each(sql, |result| {
            for row in &result.rows {
                let text = |(datum, c): (Datum<'_>, &repr::Column)| {
                    let mut text = String::new();
                    repr::text::print(datum, &c.ty.scalar, &mut text);
                    (!datum.is_null()).then_some(text)
                };
                out.push(row.iter().zip(&result.desc.columns).map(text).collect());
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// A statement of a file.
struct Wanted {
    file: String,
    /// The file's text after substitution, to show errors in.
    source: String,
    statement: sql::Statement,
    /// `VIEW`, `MATERIALIZED VIEW` …, and the name as written, folded. An unnamed default index has no name.
    kind: String,
    name: Option<String>,
    hash: String,
}

/// What an earlier apply made.
#[derive(Clone)]
struct Made {
    id: String,
    kind: String,
    /// Quoted, full.
    name: String,
    item: String,
    hash: String,
}

/// Applies a folder; the lines say what was done (or would be).
pub(super) fn apply_folder(
    target: &mut dyn Target,
    dir: &Path,
    variables: &Variables,
    dry_run: bool,
    replace_data: bool,
) -> Result<Vec<String>, Failure> {
    let files = read_files(dir)?;
    let set = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf()).display().to_string();
    apply_files(target, &set, &files, variables, dry_run, replace_data)
}

/// Applies files given as (name, text).
pub(super) fn apply_files(
    target: &mut dyn Target,
    set: &str,
    files: &[(String, String)],
    variables: &Variables,
    dry_run: bool,
    replace_data: bool,
) -> Result<Vec<String>, Failure> {
    let wanted = wanted(files, variables)?;
    target.run("BEGIN")?;
    let done = in_transaction(target, set, &wanted, replace_data);
    let end = if done.is_err() || dry_run { "ROLLBACK" } else { "COMMIT" };
    // A connection that is gone has rolled back by itself; the first error says more.
    let ended = target.run(end);
    let done = done?;
    ended?;
    Ok(done)
}

fn in_transaction(
    target: &mut dyn Target,
    set: &str,
    wanted: &[Wanted],
    replace_data: bool,
) -> Result<Vec<String>, Failure> {
    let made = made(target, set)?;
    let matches = |w: &Wanted, m: &Made| match &w.name {
        Some(name) => {
            w.kind == m.kind && (*name == m.item || m.name.replace('"', "").ends_with(&format!(".{name}")))
        }
        None => w.kind == m.kind && w.hash == m.hash,
    };
    // What goes: what no file asks for, what has changed, and what uses either.
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for m in &made {
        let asked = wanted.iter().find(|w| matches(w, m));
        if asked.is_none_or(|w| w.hash != m.hash) {
            gone.insert(m.id.clone());
        }
    }
    let direct = gone.clone();
    let uses =
        target.run("SELECT object_id, referenced_object_id FROM mz_internal.mz_object_dependencies")?;
    loop {
        let before = gone.len();
        for row in &uses {
            if let [Some(user), Some(used)] = row.as_slice()
                && gone.contains(used)
            {
                gone.insert(user.clone());
            }
        }
        if gone.len() == before {
            break;
        }
    }
    let known: BTreeSet<&String> = made.iter().map(|m| &m.id).collect();
    if let Some(stranger) = gone.iter().find(|id| !known.contains(id) && id.starts_with('u')) {
        return Err(Failure::new(
            1,
            format!(
                "an object that apply did not make ({stranger}) uses one that would be dropped; drop it first"
            ),
        ));
    }
    let drops: Vec<&Made> = made.iter().rev().filter(|m| gone.contains(&m.id)).collect();
    if let Some(data) = drops.iter().find(|m| ["SOURCE", "TABLE"].contains(&m.kind.as_str()))
        && !replace_data
    {
        return Err(Failure::new(
            1,
            format!(
                "{} {} would be dropped with the data it holds; allow it with --replace-data",
                data.kind, data.name
            ),
        ));
    }
    let mut done = vec![];
    let is_new = |w: &Wanted| !made.iter().any(|m| matches(w, m) && !gone.contains(&m.id));
    for m in &drops {
        let again = wanted.iter().any(|w| matches(w, m));
        let action = if !again {
            "drop"
        } else if direct.contains(&m.id) {
            "replace"
        } else {
            "rebuild"
        };
        done.push(format!("{action} {} {}", m.kind.to_lowercase(), m.item));
        target.run(&format!("DROP {} {}", m.kind, m.name))?;
    }
    let mut pending: Vec<&Wanted> = wanted.iter().filter(|w| is_new(w)).collect();
    target.run(&format!("SET LOCAL deltamill.apply_set = {}", quote(set)))?;
    while !pending.is_empty() {
        let mut later = vec![];
        let mut errors = vec![];
        let before = pending.len();
        for w in pending {
            target.run(&format!("SET LOCAL deltamill.apply_hash = {}", quote(&w.hash)))?;
            target.run("SAVEPOINT statement")?;
            match target.run(&w.statement.text) {
                Ok(_) => {
                    target.run("RELEASE statement")?;
                    if !drops.iter().any(|m| matches(w, m)) {
                        done.push(format!(
                            "create {} {}",
                            w.kind.to_lowercase(),
                            w.name.as_deref().unwrap_or("")
                        ));
                    }
                }
                Err(e) => {
                    // Where that fails too, the first error says more.
                    let _ = target.run("ROLLBACK TO statement");
                    let unknown = [code::UNDEFINED_TABLE, code::UNDEFINED_OBJECT, code::INVALID_SCHEMA_NAME];
                    if unknown.contains(&e.code) {
                        later.push(w);
                    }
                    errors.push((w, e, unknown));
                }
            }
        }
        // An unknown name may be one that comes; any other error, or a round without progress, is final.
        let stuck = later.len() == before;
        if let Some((w, mut e, _)) =
            errors.into_iter().find(|(_, e, unknown)| stuck || !unknown.contains(&e.code))
        {
            e.position = e.position.map(|p| p + w.statement.offset);
            if e.position.is_none() {
                e.position = Some(w.statement.offset + 1);
            }
            let exit = if e.code.as_str().starts_with("08") { 4 } else { 1 };
            return Err(Failure::new(exit, output::error_text(&e, Some((&w.file, &w.source)))));
        }
        pending = later;
    }
    Ok(done)
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// All `*.sql` below a folder, by path.
fn read_files(dir: &Path) -> Result<Vec<(String, String)>, Failure> {
    let mut files = vec![];
    let mut folders = vec![dir.to_path_buf()];
    let bad = |path: &Path, e: std::io::Error| Failure::new(2, format!("{}: {e}", path.display()));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| bad(&folder, e))? {
            let path = entry.map_err(|e| bad(&folder, e))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "sql") {
                let text = std::fs::read_to_string(&path).map_err(|e| bad(&path, e))?;
                files.push((path.display().to_string(), text));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The statements of the files.
fn wanted(files: &[(String, String)], variables: &Variables) -> Result<Vec<Wanted>, Failure> {
    let mut wanted: Vec<Wanted> = vec![];
    for (file, text) in files {
        let bad = |e: &SqlError, text: &str| Failure::new(1, output::error_text(e, Some((file, text))));
        let source = substitute(text, variables).map_err(|e| bad(&e, text))?;
        for statement in on_big_stack(source.clone())?.map_err(|e| bad(&e, &source))? {
            let Some((kind, name)) = head(&statement.text) else {
                let e = SqlError::unsupported("this statement in a file", "Files hold CREATE statements.")
                    .at(statement.offset + 1);
                return Err(bad(&e, &source));
            };
            if let Some(other) = wanted.iter().find(|w| w.name.is_some() && w.name == name && w.kind == kind)
            {
                let e = SqlError::new(
                    code::DUPLICATE_OBJECT,
                    format!("{} is already in {}", name.unwrap_or_default(), other.file),
                )
                .at(statement.offset + 1);
                return Err(bad(&e, &source));
            }
            let mut hasher = DefaultHasher::new();
            statement.text.hash(&mut hasher);
            let hash = format!("{:016x}", hasher.finish());
            wanted.push(Wanted { file: file.clone(), source: source.clone(), statement, kind, name, hash });
        }
    }
    Ok(wanted)
}

/// Parsing wants a large stack.
fn on_big_stack(text: String) -> Result<Result<Vec<sql::Statement>, SqlError>, Failure> {
    let thread = std::thread::Builder::new().stack_size(sql::STACK_BYTES).spawn(move || sql::parse(&text))?;
    thread.join().map_err(|_| Failure::new(1, "a file could not be parsed"))
}

/// What earlier runs made, in the order they made it.
fn made(target: &mut dyn Target, set: &str) -> Result<Vec<Made>, Failure> {
    let rows = target.run(&format!(
        "SELECT id, kind, full_name, name, hash FROM mz_internal.mz_applied_objects WHERE apply_set = {} ORDER BY number",
        quote(set)
    ))?;
    let made = rows.into_iter().filter_map(|row| {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten();
        Some(Made { id: next()?, kind: next()?, name: next()?, item: next()?, hash: next()? })
    });
    Ok(made.collect())
}

/// The kind and name in `CREATE … kind [IF NOT EXISTS] name`.
fn head(statement: &str) -> Option<(String, Option<String>)> {
    let clean = without_comments(statement);
    let mut words = clean.split_whitespace().peekable();
    if !words.next()?.eq_ignore_ascii_case("create") {
        return None;
    }
    let mut kind = vec![];
    let modifiers = ["OR", "REPLACE", "TEMP", "TEMPORARY", "DEFAULT"];
    let mut default = false;
    loop {
        let word = words.next()?.to_uppercase();
        match word.as_str() {
            "DEFAULT" => default = true,
            w if modifiers.contains(&w) => {}
            "MATERIALIZED" => kind.push(word),
            _ => {
                kind.push(word);
                break;
            }
        }
    }
    if kind == ["MATERIALIZED", "SOURCE"] {
        kind.remove(0);
    }
    if words.peek().is_some_and(|w| w.eq_ignore_ascii_case("if")) {
        words.next();
        words.next();
        words.next();
    }
    let kind = kind.join(" ");
    if default {
        return Some((kind, None));
    }
    let name = words.next()?;
    let name = name.split(['(', ';']).next().unwrap_or(name);
    let folded = if name.contains('"') { name.replace('"', "") } else { name.to_lowercase() };
    Some((kind, Some(folded)))
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("--").into_iter().chain(rest.find("/*")).min() {
        out.push_str(&rest[..at]);
        out.push(' ');
        let end = if rest[at..].starts_with("--") { "\n" } else { "*/" };
        rest = rest[at..].find(end).map_or("", |i| &rest[at + i + end.len()..]);
    }
    out.push_str(rest);
    out
}

/// Puts variables in the place of `:name`, `:'name'` and `:"name"`, as psql's `-v` does: not in quotes, not in comments,
/// not behind another colon. A `:name` of no variable stays as it is, the quoted forms must be known.
pub(super) fn substitute(text: &str, variables: &Variables) -> Result<String, SqlError> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        let rest = |n: usize| chars.get(i + n).copied();
        if c == '\'' || c == '"' {
            let end = (i + 1..chars.len()).find(|j| chars[*j] == c).map_or(chars.len(), |j| j + 1);
            out.extend(&chars[i..end]);
            i = end;
        } else if c == '-' && rest(1) == Some('-') {
            let end = (i..chars.len()).find(|j| chars[*j] == '\n').unwrap_or(chars.len());
            out.extend(&chars[i..end]);
            i = end;
        } else if c == '/' && rest(1) == Some('*') {
            let end = (i + 2..chars.len()).find(|j| chars[*j - 1] == '*' && chars[*j] == '/');
            let end = end.map_or(chars.len(), |j| j + 1);
            out.extend(&chars[i..end]);
            i = end;
        } else if c == ':' && rest(1) == Some(':') {
            out.push_str("::");
            i += 2;
        } else if c == ':' {
            let quote = rest(1).filter(|q| *q == '\'' || *q == '"');
            let start = i + 1 + usize::from(quote.is_some());
            let word = |c: &char| c.is_alphanumeric() || *c == '_';
            let name: String = chars[start.min(chars.len())..].iter().take_while(|c| word(c)).collect();
            let end = start + name.chars().count();
            let closed = quote.is_none() || chars.get(end).copied() == quote;
            match (variables.get(&name), quote) {
                _ if name.is_empty() || !closed => {
                    out.push(':');
                    i += 1;
                }
                (Some(value), None) => {
                    out.push_str(value);
                    i = end;
                }
                (Some(value), Some(q)) => {
                    out.push(q);
                    out.push_str(&value.replace(q, &format!("{q}{q}")));
                    out.push(q);
                    i = end + 1;
                }
                (None, None) => {
                    out.push(':');
                    i += 1;
                }
                (None, Some(_)) => {
                    return Err(SqlError::new(
                        code::UNDEFINED_PARAMETER,
                        format!("variable \"{name}\" is not set"),
                    )
                    .with_hint(format!("Set it with --set {name}=value."))
                    .at(i + 1));
                }
            }
        } else {
            out.push(c);
            i += 1;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_fill_in_as_with_psql() {
        let v = Variables::from([("a".into(), "it's".into()), ("n".into(), "5".into())]);
        let done = |text: &str| substitute(text, &v).map_err(|e| e.message);
        assert_eq!(done("SELECT :n, :'a', :\"a\""), Ok("SELECT 5, 'it''s', \"it's\"".into()));
        assert_eq!(done("x::n ':n' -- :n\n[1:n]"), Ok("x::n ':n' -- :n\n[15]".into()));
        assert_eq!(done(":'b'"), Err("variable \"b\" is not set".into()));
    }

    #[test]
    fn heads_are_read_behind_comments() {
        let of = |text: &str| head(text).map(|(k, n)| format!("{k} {}", n.unwrap_or_default()));
        assert_eq!(of("-- x\nCREATE OR REPLACE VIEW a.B AS"), Some("VIEW a.b".into()));
        assert_eq!(of("create materialized view if not exists v(a) as"), Some("MATERIALIZED VIEW v".into()));
        assert_eq!(of("CREATE DEFAULT INDEX ON v"), Some("INDEX ".into()));
        assert_eq!(of("CREATE MATERIALIZED SOURCE s FROM"), Some("SOURCE s".into()));
        assert_eq!(of("SELECT 1"), None);
    }
}
