//! `ALTER … RENAME TO | SET SCHEMA | SWAP WITH`: the statements of the objects and of all that use them, with their new
//! names in them.

use repr::{GlobalId, SqlError};
use sql::ObjectName;

use crate::catalog::SessionCatalog;
use crate::command::Ddl;
use crate::introspection;
use crate::session::Session;

impl Session {
    /// The change that gives objects other names. Their errors and progress relations follow them.
    pub(crate) async fn rename(&self, renames: &[(GlobalId, ObjectName)]) -> Result<Ddl, SqlError> {
        let (catalog, variables, wanted) = (self.catalog(), self.variables.clone(), renames.to_vec());
        let work = move || {
            let gone = || SqlError::new(repr::error::code::UNDEFINED_OBJECT, "the object was dropped");
            let mut names = wanted.clone();
            for (id, to) in &wanted {
                let old = catalog.items.get(id).ok_or_else(gone)?.name.clone();
                let GlobalId::User(number) = *id else { continue };
                for (own, suffix) in [
                    (introspection::errors_id(number), "_errors"),
                    (introspection::progress_id(number), "_progress"),
                    (introspection::progress_id(number), "_calls"),
                ] {
                    let follows = |n: &ObjectName| n.item == format!("{}{suffix}", old.item);
                    if catalog.items.get(&own).is_some_and(|i| follows(&i.name)) {
                        names.push((own, ObjectName { item: format!("{}{suffix}", to.item), ..to.clone() }));
                    }
                }
            }
            let renames: Vec<(ObjectName, ObjectName)> =
                names.iter().map(|(id, new)| (catalog.items[id].name.clone(), new.clone())).collect();
            let seen = SessionCatalog { state: &catalog, variables: &variables };
            let mut statements = vec![];
            for item in catalog.items.values() {
                let named = |id: GlobalId| wanted.iter().any(|(w, _)| *w == id);
                let concerned = named(item.id) || item.uses.iter().any(|u| names.iter().any(|(n, _)| n == u));
                if concerned && matches!(item.id, GlobalId::User(_)) {
                    statements.push((item.id, sql::renamed(&item.create_sql, &seen, &renames)?));
                }
            }
            let change = Ddl::Rename { names, statements };
            // Every statement must mean under the new name what it meant under the old one.
            let mut draft = (*catalog).clone();
            draft.schemas.extend(wanted.iter().map(|(_, to)| (to.database.clone(), to.schema.clone())));
            draft.change(&change)?;
            let Ddl::Rename { statements, .. } = &change else { unreachable!("it was just made") };
            for (id, statement) in statements {
                let seen = SessionCatalog { state: &draft, variables: &variables };
                let parsed = sql::parse(statement)?;
                let planned = parsed.first().map(|s| sql::plan(s, &seen, &[]));
                let name = &draft.items[id].name;
                if let Some(Err(e)) = planned {
                    let refuse = SqlError::unsupported(format!("this new name, because of {name}"), "");
                    return Err(refuse.with_detail(e.message));
                }
            }
            Ok(change)
        };
        self.handle.shared.planner.run(work).await
    }
}
