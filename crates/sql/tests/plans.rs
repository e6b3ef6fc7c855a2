//! Runs the scripts of `tests/plans`: statements are planned against a catalog that they themselves fill, and what the
//! plan says is compared with what stands below `---`. `UPDATE_EXPECTED=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use repr::{GlobalId, RelationDesc, ScalarType, SqlError};
use sql::plan::{CreateItem, Plan};
use sql::{Catalog, CatalogItem, ItemKind, ObjectName};

/// A catalog that lives in memory.
#[derive(Default)]
struct Memory {
    items: BTreeMap<GlobalId, CatalogItem>,
    search_path: Vec<String>,
    schemas: Vec<String>,
}

impl Memory {
    fn new() -> Memory {
        let names = ["public", "mz_temp", "pg_catalog"].map(String::from).to_vec();
        let path = ["mz_temp", "pg_catalog", "public"].map(String::from).to_vec();
        let mut memory = Memory { items: BTreeMap::new(), search_path: path, schemas: names };
        let text = || ScalarType::Text.nullable(false);
        let desc = RelationDesc::new([
            ("oid", ScalarType::Oid.nullable(false)),
            ("relname", text()),
            ("relkind", text()),
        ]);
        let name = ObjectName {
            database: "materialize".into(),
            schema: "pg_catalog".into(),
            item: "pg_class".into(),
        };
        memory.add(GlobalId::System(1), name, ItemKind::Table, Some(desc));
        memory
    }

    fn add(&mut self, id: GlobalId, name: ObjectName, kind: ItemKind, desc: Option<RelationDesc>) {
        let item = CatalogItem {
            id,
            name,
            kind,
            desc,
            definition: None,
            create_sql: String::new(),
            uses: vec![],
            index: None,
            defaults: vec![],
            keys: vec![],
            sink: None,
            connection: None,
        };
        self.items.insert(id, item);
    }

    fn carry_out(&mut self, plan: &Plan) {
        match plan {
            Plan::Create(c) => {
                let id = GlobalId::User(self.items.len() as u64);
                self.add(id, c.name.clone(), c.kind(), c.desc.clone());
                let item = self.items.get_mut(&id).expect("it was just added");
                item.create_sql.clone_from(&c.create_sql);
                item.uses.clone_from(&c.uses);
                match &c.item {
                    CreateItem::View { hir } => item.definition = Some(hir.clone()),
                    CreateItem::Table { defaults } => item.defaults.clone_from(defaults),
                    _ => {}
                }
            }
            Plan::Drop { ids, .. } => self.items.retain(|id, _| !ids.contains(id)),
            _ => {}
        }
    }
}

impl Catalog for Memory {
    fn current_database(&self) -> &str {
        "materialize"
    }
    fn search_path(&self) -> Vec<String> {
        self.search_path.clone()
    }
    fn schema_exists(&self, database: &str, schema: &str) -> bool {
        database == "materialize" && self.schemas.iter().any(|s| s == schema)
    }
    fn item(&self, database: &str, schema: &str, item: &str) -> Option<&CatalogItem> {
        self.items
            .values()
            .find(|i| i.name.database == database && i.name.schema == schema && i.name.item == item)
    }
    fn item_by_id(&self, id: GlobalId) -> Option<&CatalogItem> {
        self.items.get(&id)
    }
    fn item_names(&self) -> Vec<ObjectName> {
        self.items.values().map(|i| i.name.clone()).collect()
    }
    fn variable(&self, name: &str) -> Option<String> {
        (name == "timezone").then(|| "UTC".into())
    }
    fn items(&self) -> &BTreeMap<GlobalId, CatalogItem> {
        &self.items
    }
}

fn describe(desc: &RelationDesc) -> String {
    let column = |c: &repr::Column| {
        format!("{} {}{}", c.name, c.ty.scalar, if c.ty.nullable { "" } else { " not null" })
    };
    desc.columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn show_error(text: &str, e: &SqlError) -> String {
    let mut out = format!("ERROR {}: {}\n", e.code.as_str(), e.message);
    if let Some(position) = e.position {
        let at: String = text.chars().skip(position - 1).take(12).collect();
        let _ = writeln!(out, "  at {position}: {}", at.replace('\n', " ").trim_end());
    }
    for (what, line) in [("detail", &e.detail), ("hint", &e.hint)] {
        if let Some(line) = line {
            let _ = writeln!(out, "  {what}: {}", line.replace('\n', " | "));
        }
    }
    out
}

/// Plans a text and says what came out.
fn run(memory: &mut Memory, text: &str) -> String {
    let statements = match sql::parse(text) {
        Ok(s) => s,
        Err(e) => return show_error(text, &e),
    };
    let mut out = String::new();
    for statement in statements {
        let planned = match sql::plan(&statement, memory, &[]) {
            Ok(p) => p,
            Err(e) => {
                out.push_str(&show_error(text, &e));
                continue;
            }
        };
        for n in &planned.notices {
            let _ = writeln!(out, "NOTICE: {}", n.message);
        }
        if !planned.parameters.is_empty() {
            let types: Vec<String> = planned.parameters.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "parameters: {}", types.join(", "));
        }
        match &planned.plan {
            Plan::Explain(text) => out.push_str(text),
            Plan::Select(s) => {
                let _ = writeln!(out, "columns: {}", describe(&s.desc));
            }
            Plan::Create(c) => {
                let _ = writeln!(out, "{}", c.create_sql);
                if let Some(desc) = &c.desc {
                    let _ = writeln!(out, "columns: {}", describe(desc));
                }
                // It must plan again to the same object, whatever the session's search path.
                let again = sql::Statement { text: c.create_sql.clone(), offset: 0 };
                let path = std::mem::take(&mut memory.search_path);
                match sql::plan(&again, memory, &[]).map(|p| p.plan) {
                    Ok(Plan::Create(d)) => {
                        assert_eq!((&d.name, &d.desc, &d.uses), (&c.name, &c.desc, &c.uses), "{text}");
                        assert_eq!(d.create_sql, c.create_sql);
                    }
                    other => panic!("{} does not plan again: {other:?}", c.create_sql),
                }
                memory.search_path = path;
            }
            Plan::Drop { ids, kind } => {
                let names = ids.iter().map(|id| memory.items[id].name.item.clone());
                let _ = writeln!(out, "DROP {kind}: {}", names.collect::<Vec<_>>().join(", "));
            }
            Plan::Insert { rows, returning, .. } => {
                let plan = plan::explain::explain(&rows.relation, &|id| id.to_string(), &|_| vec![]);
                out.push_str(&plan);
                if let Some((_, desc)) = returning {
                    let _ = writeln!(out, "returning: {}", describe(desc));
                }
            }
            Plan::ReadThenWrite { selection, .. } => {
                out.push_str(&plan::explain::explain(&selection.relation, &|id| id.to_string(), &|_| vec![]));
            }
            other => {
                let text = format!("{other:?}");
                let _ = writeln!(out, "{}", text.split(['(', '{', ' ']).next().unwrap_or_default());
            }
        }
        memory.carry_out(&planned.plan);
    }
    out
}

fn check(path: &Path) -> Result<(), String> {
    let script = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let mut memory = Memory::new();
    let mut rewritten = String::new();
    let mut wrong = String::new();
    for block in script.split("\n\n").map(|b| b.trim_matches('\n')).filter(|b| !b.is_empty()) {
        let (input, expected) = match block.split_once("\n---") {
            Some((input, expected)) => (input, expected.trim_start_matches('\n')),
            None => (block, ""),
        };
        if input.lines().all(|l| l.starts_with('#')) {
            let _ = write!(rewritten, "{input}\n\n");
            continue;
        }
        let text: Vec<&str> = input.lines().filter(|l| !l.starts_with('#')).collect();
        let found = run(&mut memory, &text.join("\n"));
        let found = found.trim_end();
        if found != expected.trim_end() {
            let _ = write!(wrong, "{input}\n--- expected\n{expected}\n--- found\n{found}\n\n");
        }
        let _ = write!(rewritten, "{input}\n---\n{found}\n\n");
    }
    if std::env::var("UPDATE_EXPECTED").is_ok() {
        return std::fs::write(path, format!("{}\n", rewritten.trim_end())).map_err(|e| e.to_string());
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}:\n{wrong}", path.display())) }
}

#[test]
fn plans_are_as_written() {
    let run = || {
        let mut paths: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans"))
            .expect("the folder is there")
            .map(|e| e.expect("it can be read").path())
            .collect();
        paths.sort();
        let failed: Vec<String> = paths.iter().filter_map(|p| check(p).err()).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    };
    // Planning wants a large stack.
    let thread = std::thread::Builder::new().stack_size(sql::STACK_BYTES).spawn(run).expect("a thread");
    if let Err(e) = thread.join() {
        std::panic::resume_unwind(e);
    }
}

#[test]
fn a_long_in_list_is_planned_quickly() {
    let run = || {
        let mut memory = Memory::new();
        run(&mut memory, "CREATE TABLE t (a int, b text)");
        let numbers: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
        let start = std::time::Instant::now();
        for not in ["", "NOT "] {
            let query = format!("SELECT * FROM t WHERE a {not}IN ({})", numbers.join(", "));
            assert_eq!(run(&mut memory, &query), "columns: a integer, b text\n");
        }
        let took = start.elapsed();
        assert!(took.as_secs() < 10, "as a chain of ORs each took more than a minute; these took {took:?}");
    };
    let thread = std::thread::Builder::new().stack_size(sql::STACK_BYTES).spawn(run).expect("a thread");
    if let Err(e) = thread.join() {
        std::panic::resume_unwind(e);
    }
}
