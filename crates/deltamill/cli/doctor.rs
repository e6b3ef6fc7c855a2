//! `deltamill doctor` and `deltamill dump`: what a data directory holds, read from outside. Neither changes anything.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use repr::{Datum, RowRef, ScalarType};
use serde_json::{Value, json};
use storage::inspect::{self, Item, Report, Role};
use storage::{BlockKind, RealFs, ShardId, StorageError};

use super::{Failure, output};

/// Says what is in a data directory, whether it is sound, and what a start would repair.
#[derive(Args)]
pub(super) struct Doctor {
    /// The data directory of a server that does not run.
    dir: PathBuf,
    /// Do not read the rows.
    #[arg(long)]
    quick: bool,
}

/// Prints a data directory as text: frames, or the rows of an object.
#[derive(Args)]
pub(super) struct Dump {
    /// The data directory of a server that does not run.
    dir: PathBuf,
    /// A source, table or materialized view by its name, or a shard by its number; without one all frames are printed.
    object: Option<String>,
}

impl Doctor {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let dir = engine_dir(&self.dir)?;
        let report = inspect::inspect(Arc::new(RealFs), &dir, !self.quick).map_err(failure)?;
        let names = names(&report);
        let mut out = BufWriter::new(std::io::stdout().lock());
        if json {
            print_json(&report, &names, &mut out)?
        } else {
            print_text(&report, &names, &mut out)?
        }
        out.flush()?;
        match report.damages.len() {
            0 => Ok(()),
            n => Err(Failure::new(5, format!("{}: damaged in {n} ways", dir.display()))),
        }
    }
}

fn print_text(
    report: &Report,
    names: &BTreeMap<ShardId, String>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let bytes: u64 = report.files.iter().map(|f| f.bytes).sum();
    writeln!(out, "{} files, {bytes} bytes, {} objects", report.files.len(), names.len())?;
    for file in &report.files {
        let role = role_name(file.role);
        let shards = file.shards.len();
        writeln!(
            out,
            "  {}  {role}, {} bytes, {} of them rows of {shards} shards",
            file.name, file.bytes, file.live_bytes
        )?;
    }
    for (id, s) in &report.shards {
        let name = names.get(id).map_or("", String::as_str);
        writeln!(
            out,
            "  shard {id} {name}: {} rows, {} errors, {} updates, {} bytes, complete to {}, readable from {}",
            s.rows, s.errors, s.updates, s.stored_bytes, s.upper, s.since
        )?;
    }
    for (source, partitions) in &report.progress {
        let offsets: Vec<_> = offsets(partitions).map(|(p, o)| format!("{p}:{o}")).collect();
        writeln!(out, "  source {source} continues at {}", offsets.join(" "))?;
    }
    report.repairs.iter().try_for_each(|note| writeln!(out, "a start repairs: {note}"))?;
    report.damages.iter().try_for_each(|note| writeln!(out, "damaged: {note}"))?;
    if report.damages.is_empty() {
        writeln!(out, "sound")?;
    }
    Ok(())
}

/// The next offset of each partition; negative keys hold marks of last records (`source::kafka::Mark`).
fn offsets(progress: &BTreeMap<i32, i64>) -> impl Iterator<Item = (i32, i64)> + '_ {
    progress.iter().filter(|(p, _)| **p >= 0).map(|(p, o)| (*p, *o))
}

fn print_json(
    report: &Report,
    names: &BTreeMap<ShardId, String>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    for f in &report.files {
        let shards: Vec<u64> = f.shards.iter().map(|s| s.0).collect();
        let fields = [
            ("name", json!(f.name)),
            ("role", json!(role_name(f.role))),
            ("bytes", json!(f.bytes)),
            ("live_bytes", json!(f.live_bytes)),
            ("shards", json!(shards)),
        ];
        writeln!(out, "{}", output::json_line("file", &fields))?;
    }
    for (id, s) in &report.shards {
        let fields = [
            ("shard", json!(id.0)),
            ("name", json!(names.get(id))),
            ("rows", json!(s.rows)),
            ("errors", json!(s.errors)),
            ("updates", json!(s.updates)),
            ("bytes", json!(s.stored_bytes)),
            ("upper", json!(s.upper)),
            ("since", json!(s.since)),
        ];
        writeln!(out, "{}", output::json_line("shard", &fields))?;
    }
    for (source, partitions) in &report.progress {
        let offsets: BTreeMap<i32, i64> = offsets(partitions).collect();
        let fields = [("source", json!(source)), ("offsets", json!(offsets))];
        writeln!(out, "{}", output::json_line("progress", &fields))?;
    }
    for (kind, notes) in [("repair", &report.repairs), ("damage", &report.damages)] {
        for note in notes {
            writeln!(out, "{}", output::json_line(kind, &[("what", json!(note))]))?;
        }
    }
    writeln!(out, "{}", output::json_line("verdict", &[("sound", json!(report.damages.is_empty()))]))
}

impl Dump {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let dir = engine_dir(&self.dir)?;
        let shard = self.object.as_deref().map(|object| shard_named(&dir, object)).transpose()?;
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut file = String::new();
        let mut written = Ok(());
        let dumped = inspect::dump(Arc::new(RealFs), &dir, shard, &mut |item| {
            written = match item {
                Item::File(name) => {
                    file = name.into();
                    if json { Ok(()) } else { writeln!(out, "{name}") }
                }
                Item::Frame(offset, text) if json => {
                    let fields = [("file", json!(file)), ("offset", json!(offset)), ("text", json!(text))];
                    writeln!(out, "{}", output::json_line("frame", &fields))
                }
                Item::Frame(offset, text) => writeln!(out, "  {offset:>10}  {text}"),
                Item::Row(time, kind, row, diff) => {
                    let error = kind == BlockKind::Errors;
                    if json {
                        let fields = [
                            ("time", json!(time)),
                            ("diff", json!(diff)),
                            ("error", json!(error)),
                            ("row", json!(values(row))),
                        ];
                        writeln!(out, "{}", output::json_line("row", &fields))
                    } else {
                        let values: Vec<_> = values(row).iter().map(Value::to_string).collect();
                        let kind = if error { "  error" } else { "" };
                        writeln!(out, "{time}  {diff:+}{kind}  {}", values.join("  "))
                    }
                }
            };
            written.is_ok()
        });
        written?;
        out.flush()?;
        dumped.map_err(failure)
    }
}

/// Where the engine keeps its log below a data directory.
fn engine_dir(dir: &Path) -> Result<PathBuf, Failure> {
    let engine = dir.join("engine");
    let dir = if engine.is_dir() { engine } else { dir.to_owned() };
    if !dir.is_dir() {
        return Err(Failure::new(3, format!("{} is not a data directory", dir.display())));
    }
    Ok(dir)
}

fn failure(e: StorageError) -> Failure {
    Failure::new(e.exit_code(), e.to_string())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Sealed => "sealed",
        Role::Run => "run",
        Role::Tail => "written to",
        Role::Leftover => "not needed",
    }
}

/// The objects that have shards, from their catalog entries.
fn names(report: &Report) -> BTreeMap<ShardId, String> {
    let entries = report.catalog.iter().filter(|(key, _)| key.starts_with("item/"));
    let records = entries.filter_map(|(_, value)| serde_json::from_slice::<Value>(value).ok());
    let named = records.filter_map(|record| {
        let id = record["raw"].as_u64().or_else(|| record["id"].as_u64())?;
        let parts: Vec<_> = record["name"].as_array()?.iter().filter_map(Value::as_str).collect();
        Some((ShardId(id), parts.join(".")))
    });
    named.filter(|(shard, _)| report.shards.contains_key(shard)).collect()
}

fn shard_named(dir: &Path, object: &str) -> Result<ShardId, Failure> {
    let report = inspect::inspect(Arc::new(RealFs), dir, false).map_err(failure)?;
    let names = names(&report);
    let wanted = |name: &str| name == object || name.ends_with(&format!(".{object}"));
    let mut found = names.iter().filter(|(_, name)| wanted(name)).map(|(shard, _)| *shard);
    let number = object.parse().ok().map(ShardId).filter(|shard| report.shards.contains_key(shard));
    match (found.next().or(number), found.next()) {
        (Some(shard), None) => Ok(shard),
        (Some(_), Some(_)) => {
            Err(Failure::new(2, format!("several objects are called \"{object}\": say database.schema.name")))
        }
        (None, _) => {
            let names: Vec<_> = names.values().map(String::as_str).collect();
            let message = format!("nothing stored is called \"{object}\"; there is: {}", names.join(", "));
            Err(Failure::new(1, message))
        }
    }
}

/// A row without its types: numbers as they are, bytes as text where they are text.
fn values(row: RowRef<'_>) -> Vec<Value> {
    let value = |datum: Datum<'_>| match datum {
        Datum::Null => Value::Null,
        Datum::Bool(b) => b.into(),
        Datum::Int16(n) => n.into(),
        Datum::Int32(n) => n.into(),
        Datum::Int64(n) => n.into(),
        Datum::UInt64(n) | Datum::MzTimestamp(n) => n.into(),
        Datum::Text(text) => text.into(),
        Datum::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => printed(datum, &ScalarType::Bytes),
        },
        Datum::Timestamp(_) => printed(datum, &ScalarType::Timestamp { precision: None }),
        Datum::TimestampTz(_) => printed(datum, &ScalarType::TimestampTz { precision: None }),
        Datum::Numeric(_) => printed(datum, &ScalarType::Numeric { scale: None }),
        Datum::Jsonb(_) => printed(datum, &ScalarType::Jsonb),
        other => format!("{other:?}").into(),
    };
    row.iter().map(value).collect()
}

fn printed(datum: Datum<'_>, ty: &ScalarType) -> Value {
    let mut text = String::new();
    repr::text::print(datum, ty, &mut text);
    text.into()
}
