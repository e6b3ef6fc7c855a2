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
use std::rc::Rc;

use clap::Args;
use clap::builder::FalseyValueParser;
use deltamill::{Config, Engine, Session};
use postgres::{Client, SimpleQueryMessage};
use repr::error::code;
use repr::{Datum, SqlError, SqlState};
use serde_json::json;

use super::{Failure, client, output};

/// The flags of `apply`.
#[derive(Args)]
pub(crate) struct Apply {
    /// The folder: all `*.sql` below it.
    dir: PathBuf,
    /// Show what would be done, and do nothing.
    #[arg(long, env = "DELTAMILL_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// Also drop and replace sources and tables, with the data they hold.
    #[arg(long, env = "DELTAMILL_REPLACE_DATA", value_parser = FalseyValueParser::new())]
    replace_data: bool,
    /// A variable for the files: `name=value`, read as `:name`, `:'name'` or `:"name"`.
    #[arg(long = "set", env = "DELTAMILL_SET", value_name = "NAME=VALUE")]
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
    #[arg(long = "set", env = "DELTAMILL_SET", value_name = "NAME=VALUE")]
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

/// A file, as errors show it: before substitution, so that no secret is shown and lines are those of the file.
pub(super) struct File {
    name: String,
    text: String,
    /// For each character after substitution, and for the end, the one before it that it came from.
    origin: Vec<usize>,
}

impl File {
    /// A file and what it says once the variables have their values.
    pub(super) fn new(name: &str, text: &str, variables: &Variables) -> Result<(File, String), Failure> {
        let as_it_is = (0..=text.chars().count()).collect();
        let mut file = File { name: name.into(), text: text.into(), origin: as_it_is };
        let (said, origin) = substitute(text, variables).map_err(|e| file.error(e))?;
        file.origin = origin;
        Ok((file, said))
    }

    /// An error at a place of the substituted text.
    pub(super) fn error(&self, mut e: SqlError) -> Failure {
        let end = self.origin.len().saturating_sub(1);
        e.position = e.position.map(|p| self.origin[p.saturating_sub(1).min(end)] + 1);
        let exit = if e.code.as_str().starts_with("08") { 4 } else { 1 };
        Failure::new(exit, output::error_text(&e, Some((&self.name, &self.text))))
    }
}

/// A statement of a file.
struct Wanted {
    file: Rc<File>,
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

/// The errors of a statement that names something that may still come.
const UNKNOWN_NAME: [SqlState; 3] =
    [code::UNDEFINED_TABLE, code::UNDEFINED_OBJECT, code::INVALID_SCHEMA_NAME];

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
        let of = format!("FROM mz_catalog.mz_objects WHERE id = {}", quote(stranger));
        let name = target.run(&format!("SELECT type || ' ' || name {of}"))?;
        let name = name.into_iter().flatten().next().flatten().unwrap_or_else(|| stranger.clone());
        let used = uses.iter().filter(|u| u[0].as_ref() == Some(stranger)).filter_map(|u| u[1].as_ref());
        let used: Vec<&str> =
            used.filter_map(|id| made.iter().find(|m| m.id == *id)).map(|m| &m.item[..]).collect();
        return Err(Failure::new(
            1,
            format!(
                "{name}, which this folder did not make, uses {}, which would be dropped; drop it first",
                used.join(", ")
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
    // A schema that is there is right, whoever made it; none is ever dropped.
    let schemas = target.run("SELECT name FROM mz_catalog.mz_schemas")?;
    let schemas: BTreeSet<String> = schemas.into_iter().flatten().flatten().collect();
    let is_new = |w: &Wanted| match &w.name {
        Some(name) if w.kind == "SCHEMA" => !schemas.contains(name.rsplit('.').next().unwrap_or(name)),
        _ => !made.iter().any(|m| matches(w, m) && !gone.contains(&m.id)),
    };
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
                        let unnamed =
                            || w.statement.text.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
                        let name = w.name.clone().unwrap_or_else(unnamed);
                        done.push(format!("create {} {name}", w.kind.to_lowercase()));
                    }
                }
                Err(e) => {
                    // Where that fails too, the first error says more.
                    let _ = target.run("ROLLBACK TO statement");
                    if UNKNOWN_NAME.contains(&e.code) {
                        later.push(w);
                    }
                    errors.push((w, e));
                }
            }
        }
        // An unknown name may be one that comes; any other error, or a round without progress, is final.
        let stuck = later.len() == before;
        let names: Vec<&str> = later.iter().filter_map(|w| w.name.as_deref()).collect();
        // Of those that are stuck the one that waits for no other says what is wrong.
        let waits = |e: &SqlError| {
            names.iter().any(|n| e.message.contains(&format!("\"{}\"", n.rsplit('.').next().unwrap_or(n))))
        };
        let root = errors.iter().find(|(_, e)| !UNKNOWN_NAME.contains(&e.code) || (stuck && !waits(e)));
        if let Some((w, e)) = root.or_else(|| errors.first().filter(|_| stuck)) {
            let mut e = e.clone();
            e.position = Some(e.position.map_or(1, |p| p) + w.statement.offset);
            if root.is_none() && e.hint.is_none() {
                e.hint = Some(format!("These need each other: {}.", names.join(", ")));
            }
            return Err(w.file.error(e));
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
                let text = text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text);
                files.push((path.display().to_string(), text));
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::new(2, format!("there is no file *.sql below {}", dir.display())));
    }
    files.sort();
    Ok(files)
}

/// The statements of the files.
fn wanted(files: &[(String, String)], variables: &Variables) -> Result<Vec<Wanted>, Failure> {
    let mut wanted: Vec<Wanted> = vec![];
    for (name, text) in files {
        let (file, source) = File::new(name, text, variables)?;
        let file = Rc::new(file);
        for statement in on_big_stack(source)?.map_err(|e| file.error(e))? {
            let at = statement.offset + 1;
            let Some((kind, name)) = head(&statement.text) else {
                let e = SqlError::unsupported("this statement in a file", "Files hold CREATE statements.");
                return Err(file.error(e.at(at)));
            };
            if is_temporary(&statement.text) {
                let e = SqlError::unsupported(
                    "a temporary object in a file",
                    "It would be gone with the connection.",
                );
                return Err(file.error(e.at(at)));
            }
            if let Some(other) = wanted.iter().find(|w| w.name.is_some() && w.name == name && w.kind == kind)
            {
                let message = format!("{} is already in {}", name.unwrap_or_default(), other.file.name);
                return Err(file.error(SqlError::new(code::DUPLICATE_OBJECT, message).at(at)));
            }
            let mut hasher = DefaultHasher::new();
            statement.text.hash(&mut hasher);
            let hash = format!("{:016x}", hasher.finish());
            wanted.push(Wanted { file: file.clone(), statement, kind, name, hash });
        }
    }
    Ok(wanted)
}

fn is_temporary(statement: &str) -> bool {
    let clean = without_comments(statement).to_uppercase();
    clean
        .split_whitespace()
        .take_while(|w| *w != "VIEW" && *w != "TABLE")
        .any(|w| w == "TEMP" || w == "TEMPORARY")
}

/// Parsing wants a large stack.
pub(super) fn on_big_stack(text: String) -> Result<Result<Vec<sql::Statement>, SqlError>, Failure> {
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
    if kind == "INDEX" && name.eq_ignore_ascii_case("on") {
        return Some((kind, None));
    }
    let name = name.split(['(', ';']).next().unwrap_or(name);
    let folded = if name.contains('"') { name.replace('"', "") } else { name.to_lowercase() };
    Some((kind, Some(folded)))
}

pub(super) fn without_comments(text: &str) -> String {
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
/// Beside the text, for each of its characters (and its end) the one that it came from.
fn substitute(text: &str, variables: &Variables) -> Result<(String, Vec<usize>), SqlError> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut origin = vec![];
    let mut i = 0;
    while i < chars.len() {
        let (c, from, before) = (chars[i], i, out.len());
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
        // What was copied stands where it stood; what was put in stands where its name does.
        let n = out[before..].chars().count();
        let copied = n == i - from;
        origin.extend((0..n).map(|k| if copied { from + k } else { from }));
    }
    origin.push(chars.len());
    Ok((out, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_fill_in_as_with_psql() {
        let v = Variables::from([("a".into(), "it's".into()), ("n".into(), "5".into())]);
        let done = |text: &str| substitute(text, &v).map(|(text, _)| text).map_err(|e| e.message);
        assert_eq!(substitute("a :n b", &v).map(|(_, origin)| origin), Ok(vec![0, 1, 2, 4, 5, 6]));
        assert_eq!(substitute("x:'a'y", &v).map(|(_, origin)| origin.len()), Ok("x'it''s'y".len() + 1));
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
