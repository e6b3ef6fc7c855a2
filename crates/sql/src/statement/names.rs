//! Names of objects as statements write them, looked up in the catalog or made full.

use repr::SqlError;
use repr::error::code;
use sqlparser::ast::ObjectName as Written;

use crate::catalog::{CatalogItem, ItemKind, ObjectName};
use crate::parse::fold;
use crate::planner::Planner;

/// The parts of a written name, folded.
pub(crate) fn parts(name: &Written) -> Vec<String> {
    name.0.iter().map(|part| part.as_ident().map_or_else(|| part.to_string(), fold)).collect()
}

/// The full name of an object that is to be made. Its schema must exist.
pub(crate) fn new_name(planner: &Planner<'_>, name: &Written) -> Result<ObjectName, SqlError> {
    let parts = parts(name);
    let catalog = planner.catalog;
    let (database, schema, item) = match parts.as_slice() {
        [item] => {
            let built_in = ["mz_catalog", "pg_catalog", "mz_temp"];
            let mut path = catalog.search_path().into_iter().filter(|s| !built_in.contains(&s.as_str()));
            let schema =
                path.find(|s| catalog.schema_exists(catalog.current_database(), s)).ok_or_else(|| {
                    SqlError::new(code::INVALID_SCHEMA_NAME, "no schema has been selected to create in")
                })?;
            (catalog.current_database().to_string(), schema, item.clone())
        }
        [schema, item] => (catalog.current_database().to_string(), schema.clone(), item.clone()),
        [database, schema, item] => (database.clone(), schema.clone(), item.clone()),
        _ => return Err(too_many(name)),
    };
    if !catalog.schema_exists(&database, &schema) {
        return Err(SqlError::new(code::INVALID_SCHEMA_NAME, format!("schema \"{schema}\" does not exist")));
    }
    let system = ["pg_catalog", "information_schema", "mz_catalog", "mz_internal"];
    if system.contains(&schema.as_str()) {
        return Err(SqlError::new(
            code::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for schema \"{schema}\""),
        )
        .with_detail("The schema belongs to the system."));
    }
    Ok(planner.renamed(&ObjectName { database, schema, item }).clone())
}

/// The object of this name, if there is one.
pub(crate) fn find<'a>(planner: &Planner<'a>, name: &Written) -> Result<Option<&'a CatalogItem>, SqlError> {
    let catalog = planner.catalog;
    let parts = parts(name);
    Ok(match parts.as_slice() {
        [item] => {
            catalog.search_path().iter().find_map(|s| catalog.item(catalog.current_database(), s, item))
        }
        [schema, item] => catalog.item(catalog.current_database(), schema, item),
        [database, schema, item] => catalog.item(database, schema, item),
        _ => return Err(too_many(name)),
    })
}

/// The object of this name and kind.
pub(crate) fn existing<'a>(
    planner: &Planner<'a>,
    name: &Written,
    kind: ItemKind,
) -> Result<&'a CatalogItem, SqlError> {
    let shown = parts(name).join(".");
    let what = kind_name(kind);
    match find(planner, name)? {
        Some(item) if item.kind == kind => {
            planner.note_name(name, &item.name);
            Ok(item)
        }
        Some(_) => Err(SqlError::new(code::WRONG_OBJECT_TYPE, format!("\"{shown}\" is not a {what}"))),
        None => Err(SqlError::new(code::UNDEFINED_OBJECT, format!("{what} \"{shown}\" does not exist"))),
    }
}

/// The kind in words.
pub fn kind_name(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Table => "table",
        ItemKind::Source => "source",
        ItemKind::View => "view",
        ItemKind::MaterializedView => "materialized view",
        ItemKind::Index => "index",
        ItemKind::Sink => "sink",
        ItemKind::Connection => "connection",
        ItemKind::Secret => "secret",
        ItemKind::Type => "type",
    }
}

fn too_many(name: &Written) -> SqlError {
    SqlError::new(
        code::SYNTAX_ERROR,
        format!("improper qualified name (too many dotted names): {}", parts(name).join(".")),
    )
}

/// The name as it stands in canonical statements.
pub fn quoted(name: &ObjectName) -> String {
    use crate::parse::quote;
    format!("{}.{}.{}", quote(&name.database), quote(&name.schema), quote(&name.item))
}
