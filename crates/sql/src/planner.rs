//! What the planning of one statement shares: the catalog, parameters, what was used, notices, canonical text.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use plan::func::resolve;
use plan::hir::HirRelationExpr;
use plan::scalar::Context;
use plan::{LocalId, RelationExpr};
use repr::error::code;
use repr::{GlobalId, RelationDesc, ScalarType, SqlError};
use sqlparser::ast::{self as sp, DataType, ObjectNamePart, Spanned};
use sqlparser::tokenizer::{Location, Span};

use crate::catalog::{Catalog, CatalogItem, ItemKind, ObjectName};
use crate::hirs;
use crate::parse::{fold, quote};
use crate::plan::SelectPlan;
use crate::scope::near;
use crate::text::Text;

/// The planner of one statement.
pub(crate) struct Planner<'a> {
    pub catalog: &'a dyn Catalog,
    pub text: &'a Text<'a>,
    parameters: RefCell<Vec<Option<ScalarType>>>,
    /// False inside what outlives the statement.
    parameters_allowed: Cell<bool>,
    notices: RefCell<Vec<SqlError>>,
    uses: RefCell<BTreeSet<GlobalId>>,
    /// Where names of objects stand in the text, in bytes, and their full names.
    names: RefCell<BTreeMap<usize, (usize, String)>>,
    next_local: Cell<u64>,
    /// Objects that get other names: the canonical text has the new ones.
    renames: Vec<(ObjectName, ObjectName)>,
    /// How deep the expression being planned is.
    pub depth: Cell<usize>,
}

/// How deep an expression may be: evaluation recurses on stacks of ordinary size.
const MAX_DEPTH: usize = 1_000;

impl<'a> Planner<'a> {
    pub fn new(
        catalog: &'a dyn Catalog,
        text: &'a Text<'a>,
        parameters: &[Option<ScalarType>],
    ) -> Planner<'a> {
        Planner {
            catalog,
            text,
            parameters: RefCell::new(parameters.to_vec()),
            parameters_allowed: Cell::new(true),
            notices: RefCell::default(),
            uses: RefCell::default(),
            names: RefCell::default(),
            next_local: Cell::new(0),
            renames: vec![],
            depth: Cell::new(0),
        }
    }

    /// Makes the canonical text name objects as they will be called.
    pub fn renaming(self, renames: &[(ObjectName, ObjectName)]) -> Planner<'a> {
        Planner { renames: renames.to_vec(), ..self }
    }

    /// The name that an object will have.
    pub fn renamed<'n>(&'n self, name: &'n ObjectName) -> &'n ObjectName {
        self.renames.iter().find(|(old, _)| old == name).map_or(name, |(_, new)| new)
    }

    // ---- errors and notices

    /// Adds a notice.
    pub fn notice(&self, notice: SqlError) {
        self.notices.borrow_mut().push(notice);
    }

    /// Says that something was accepted and has no effect here.
    pub fn no_effect(&self, what: &str) {
        self.notice(SqlError::new(repr::SqlState::new("00000"), format!("{what} has no effect here")));
    }

    /// The notices so far.
    pub fn take_notices(&self) -> Vec<SqlError> {
        self.notices.take()
    }

    /// An error with a place in the text.
    pub fn error(&self, at: Span, code: repr::SqlState, message: impl Into<String>) -> SqlError {
        self.text.at(at, SqlError::new(code, message))
    }

    /// Something not supported, with its place.
    pub fn unsupported(&self, at: Span, what: &str, instead: &str) -> SqlError {
        self.text.at(at, SqlError::unsupported(what, instead))
    }

    /// Adds the place of an expression to an error without one.
    pub fn at<T>(&self, node: &impl Spanned, result: Result<T, SqlError>) -> Result<T, SqlError> {
        result.map_err(|e| if e.position.is_some() { e } else { self.text.at(node.span(), e) })
    }

    /// Runs `f` one expression deeper.
    pub fn deeper<T>(&self, f: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
        self.depth.set(self.depth.get() + 1);
        let result = if self.depth.get() > MAX_DEPTH { Err(too_deep()) } else { f() };
        self.depth.set(self.depth.get() - 1);
        result
    }

    // ---- parameters

    /// The type of a parameter, from 0, if it is known by now.
    pub fn parameter(&self, n: usize) -> Result<Option<ScalarType>, SqlError> {
        if !self.parameters_allowed.get() {
            return Err(SqlError::new(
                code::UNDEFINED_PARAMETER,
                format!("there is no parameter ${}", n + 1),
            ));
        }
        let mut parameters = self.parameters.borrow_mut();
        if parameters.len() <= n {
            parameters.resize(n + 1, None);
        }
        Ok(parameters[n].clone())
    }

    /// Settles the type of a parameter.
    pub fn set_parameter(&self, n: usize, ty: ScalarType) {
        self.parameters.borrow_mut()[n] = Some(ty);
    }

    /// The types of all parameters; an error if one has none.
    pub fn parameter_types(&self) -> Result<Vec<ScalarType>, SqlError> {
        let types = self.parameters.take();
        let one = |(i, ty): (usize, Option<ScalarType>)| {
            ty.ok_or_else(|| {
                let message = format!("could not determine data type of parameter ${}", i + 1);
                SqlError::new(code::INDETERMINATE_DATATYPE, message)
            })
        };
        types.into_iter().enumerate().map(one).collect()
    }

    /// From here on parameters are refused: what is planned outlives the statement.
    pub fn forbid_parameters(&self) {
        self.parameters_allowed.set(false);
    }

    /// Whether what is planned is kept beyond the statement.
    pub fn outlives_statement(&self) -> bool {
        !self.parameters_allowed.get()
    }

    // ---- names

    /// A local name that no other has.
    pub fn fresh_local(&self) -> LocalId {
        self.next_local.set(self.next_local.get() + 1);
        LocalId(self.next_local.get())
    }

    /// The parts of a name, folded.
    pub fn parts(&self, name: &sp::ObjectName) -> Result<Vec<String>, SqlError> {
        let part = |p: &ObjectNamePart| match p {
            ObjectNamePart::Identifier(i) => Ok(fold(i)),
            ObjectNamePart::Function(f) => {
                Err(self.error(f.name.span, code::SYNTAX_ERROR, "syntax error in a name"))
            }
        };
        name.0.iter().map(part).collect()
    }

    /// The object with this name, if there is one.
    pub fn find(&self, name: &sp::ObjectName) -> Result<Option<&'a CatalogItem>, SqlError> {
        let parts = self.parts(name)?;
        let database = self.catalog.current_database();
        Ok(match &parts[..] {
            [item] => {
                self.catalog.search_path().iter().find_map(|schema| self.catalog.item(database, schema, item))
            }
            [schema, item] => self.catalog.item(database, schema, item),
            [database, schema, item] => self.catalog.item(database, schema, item),
            _ => {
                let message = format!("improper qualified name (too many dotted names): {}", parts.join("."));
                return Err(self.error(name.span(), code::SYNTAX_ERROR, message));
            }
        })
    }

    /// The object with this name. It is noted as used, and its full name for the canonical text.
    pub fn resolve(&self, name: &sp::ObjectName) -> Result<&'a CatalogItem, SqlError> {
        let item = self.find(name)?.ok_or_else(|| self.unknown_object(name, "relation"))?;
        self.uses.borrow_mut().insert(item.id);
        self.note_name(name, &item.name);
        Ok(item)
    }

    /// The object of this kind with this name; `what` names the kind in errors.
    pub fn resolve_kind(
        &self,
        name: &sp::ObjectName,
        kind: ItemKind,
        what: &str,
    ) -> Result<&'a CatalogItem, SqlError> {
        let item = self.find(name)?.ok_or_else(|| self.unknown_object(name, what))?;
        if item.kind != kind {
            let message = format!("\"{}\" is not a {what}", item.name.item);
            return Err(self.error(name.span(), code::WRONG_OBJECT_TYPE, message));
        }
        self.uses.borrow_mut().insert(item.id);
        self.note_name(name, &item.name);
        Ok(item)
    }

    /// `relation "x" does not exist`, with a near name if there is one. Other objects than relations: 42704.
    pub fn unknown_object(&self, name: &sp::ObjectName, what: &str) -> SqlError {
        // sqlparser takes some reserved words for names.
        if let [ObjectNamePart::Identifier(i)] = &name.0[..]
            && i.quote_style.is_none()
            && crate::parse::is_reserved(&fold(i))
        {
            return self.text.syntax_error(i.span, "a name");
        }
        let parts = self.parts(name).unwrap_or_default();
        let relations = ["relation", "table", "view", "materialized view", "source"];
        let code = if relations.contains(&what) { code::UNDEFINED_TABLE } else { code::UNDEFINED_OBJECT };
        let error = self.error(name.span(), code, format!("{what} \"{}\" does not exist", parts.join(".")));
        let item = parts.last().cloned().unwrap_or_default();
        let path = self.catalog.search_path();
        let names = self.catalog.item_names();
        let in_reach = |n: &&ObjectName| match &parts[..] {
            [_] => path.contains(&n.schema),
            [.., schema, _] => n.schema == *schema,
            [] => false,
        };
        let near = near(&item, names.iter().filter(in_reach).map(|n| n.item.clone())).or_else(|| {
            // The very name in a schema that was not said.
            names.iter().find(|n| n.item == item).map(|n| format!("{}.{}", n.schema, n.item))
        });
        match near {
            Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
            None => error,
        }
    }

    /// The name for a new object: its parts completed from the session.
    pub fn new_name(&self, name: &sp::ObjectName, temporary: bool) -> Result<ObjectName, SqlError> {
        let parts = self.parts(name)?;
        let current = self.catalog.current_database();
        if let (true, [.., item]) = (temporary, &parts[..]) {
            if parts.len() > 1 && parts[parts.len() - 2] != "mz_temp" && parts[parts.len() - 2] != "pg_temp" {
                return Err(self.error(
                    name.span(),
                    repr::SqlState::new("42P16"),
                    "cannot create temporary relation in non-temporary schema",
                ));
            }
            return Ok(ObjectName { database: current.into(), schema: "mz_temp".into(), item: item.clone() });
        }
        let (database, schema, item) = match &parts[..] {
            [item] => {
                let system =
                    |s: &str| s.starts_with("pg_") || s.starts_with("mz_") || s == "information_schema";
                let path = self.catalog.search_path();
                let found = path.iter().find(|s| !system(s) && self.catalog.schema_exists(current, s));
                let Some(schema) = found else {
                    let message = "no schema has been selected to create in";
                    return Err(self.error(name.span(), code::INVALID_SCHEMA_NAME, message));
                };
                (current.to_string(), schema.clone(), item.clone())
            }
            [schema, item] => (current.to_string(), schema.clone(), item.clone()),
            [database, schema, item] => (database.clone(), schema.clone(), item.clone()),
            _ => return Err(self.error(name.span(), code::SYNTAX_ERROR, "a name has at most three parts")),
        };
        if !self.catalog.schema_exists(&database, &schema) {
            let message = format!("schema \"{schema}\" does not exist");
            return Err(self.error(name.span(), code::INVALID_SCHEMA_NAME, message));
        }
        if schema.starts_with("pg_") || schema.starts_with("mz_") || schema == "information_schema" {
            let message = format!("permission denied to create \"{schema}.{item}\"");
            return Err(self
                .error(name.span(), code::INSUFFICIENT_PRIVILEGE, message)
                .with_detail("System catalog modifications are currently disallowed."));
        }
        Ok(self.renamed(&ObjectName { database, schema, item }).clone())
    }

    /// Notes what a name in the text stands for.
    pub fn note_name(&self, name: &sp::ObjectName, full: &ObjectName) {
        let span = name.span();
        if span.start.line > 0 {
            let (from, to) = (self.text.byte(span.start), self.text.byte(span.end));
            self.names.borrow_mut().insert(from, (to, full_name(self.renamed(full))));
        }
    }

    /// The same for a table of FROM that has no other name: its columns keep the name that they are known by.
    pub fn note_table(&self, name: &sp::ObjectName, full: &ObjectName) {
        let (span, new) = (name.span(), self.renamed(full));
        if span.start.line > 0 && new != full {
            let (from, to) = (self.text.byte(span.start), self.text.byte(span.end));
            let text = format!("{} AS {}", full_name(new), quote(&full.item));
            self.names.borrow_mut().insert(from, (to, text));
        }
    }

    /// The text between two places with full names in it.
    pub fn canonical(&self, from: Location, to: Location) -> String {
        self.canonical_bytes(self.text.byte(from), self.text.byte(to))
    }

    /// The same, of a part of the text that was taken out of it: one that goes to its end.
    pub fn canonical_tail(&self, tail: &str) -> String {
        let from = self.text.text.rfind(tail).unwrap_or(0);
        self.canonical_bytes(from, from + tail.len())
    }

    fn canonical_bytes(&self, mut at: usize, to: usize) -> String {
        let mut out = String::new();
        for (start, (end, name)) in self.names.borrow().range(at..to) {
            if *start < at || *end > to {
                continue;
            }
            out.push_str(&self.text.text[at..*start]);
            out.push_str(name);
            at = *end;
        }
        out.push_str(&self.text.text[at..to]);
        out
    }

    /// What the statement has used so far.
    pub fn uses(&self) -> Vec<GlobalId> {
        self.uses.borrow().iter().copied().collect()
    }

    // ---- types

    /// The type that the parser read.
    pub fn data_type(&self, ty: &DataType) -> Result<ScalarType, SqlError> {
        let (name, modifiers): (String, Vec<i64>) = match ty {
            DataType::Array(elem) => {
                let elem = match elem {
                    sp::ArrayElemTypeDef::AngleBracket(t)
                    | sp::ArrayElemTypeDef::SquareBracket(t, _)
                    | sp::ArrayElemTypeDef::Parenthesis(t)
                    | sp::ArrayElemTypeDef::Qualified(t, _) => self.data_type(t)?,
                    sp::ArrayElemTypeDef::None => return Err(unknown_type("array")),
                };
                // Postgres' arrays have any number of dimensions.
                return Ok(match elem {
                    ScalarType::Array(_) => elem,
                    elem => ScalarType::Array(Box::new(elem)),
                });
            }
            DataType::Timestamp(p, tz) => {
                let name = if *tz == sp::TimezoneInfo::None || *tz == sp::TimezoneInfo::WithoutTimeZone {
                    "timestamp"
                } else {
                    "timestamptz"
                };
                (name.into(), p.iter().map(|p| *p as i64).collect())
            }
            DataType::Time(p, sp::TimezoneInfo::None | sp::TimezoneInfo::WithoutTimeZone) => {
                ("time".into(), p.iter().map(|p| *p as i64).collect())
            }
            DataType::Interval { .. } => ("interval".into(), vec![]),
            DataType::Custom(written, modifiers) => {
                let parts = self.parts(written)?;
                if let Some(ty) = self.named_type(written, modifiers)? {
                    return Ok(ty);
                }
                let known = match &parts[..] {
                    [_] => true,
                    [.., schema, _] => ["pg_catalog", "mz_catalog", "public"].contains(&schema.as_str()),
                    [] => false,
                };
                if !known {
                    return Err(self.text.at(written.span(), unknown_type(&parts.join("."))));
                }
                let modifiers: Vec<i64> = modifiers.iter().filter_map(|m| m.trim().parse().ok()).collect();
                let mut name = parts.last().cloned().unwrap_or_default();
                // Quoted it is the one-byte type of the Postgres catalog.
                if let (Some(ObjectNamePart::Identifier(i)), "char") = (written.0.last(), name.as_str())
                    && i.quote_style.is_some()
                {
                    name = "\"char\"".into();
                }
                return self.type_by_name(&name, &modifiers).map_err(|e| {
                    let span = sp::Spanned::span(sp_name(ty).unwrap_or(&sp::ObjectName(vec![])));
                    self.text.at(span, e)
                });
            }
            other => {
                // `NUMERIC(10,2)`, `CHARACTER VARYING(3)`, `DOUBLE PRECISION`.
                let text = other.to_string().to_lowercase();
                match text.split_once('(') {
                    Some((name, rest)) => {
                        let modifiers = rest.trim_end_matches(')').split(',');
                        (name.trim().to_string(), modifiers.filter_map(|m| m.trim().parse().ok()).collect())
                    }
                    None => (text, vec![]),
                }
            }
        };
        self.type_by_name(&name, &modifiers)
    }

    fn type_by_name(&self, name: &str, modifiers: &[i64]) -> Result<ScalarType, SqlError> {
        if let Some(element) = name.strip_suffix(" list") {
            return Ok(ScalarType::List(Box::new(self.type_by_name(element, &[])?)));
        }
        if let Some(value) = name.strip_prefix("map[text=>").and_then(|n| n.strip_suffix(']')) {
            return Ok(ScalarType::Map(Box::new(self.type_by_name(value, &[])?)));
        }
        resolve::type_by_name(name, modifiers).ok_or_else(|| {
            let (without, [first, ..]) = (resolve::type_by_name(name, &[]), modifiers) else {
                return unknown_type(name);
            };
            let invalid = |message: String| SqlError::new(code::INVALID_PARAMETER_VALUE, message);
            match without {
                None => unknown_type(name),
                Some(ScalarType::VarChar { .. }) if *first < 1 => {
                    invalid("length for type varchar must be at least 1".into())
                }
                Some(ScalarType::Char { .. }) if *first < 1 => {
                    invalid("length for type char must be at least 1".into())
                }
                Some(ty @ (ScalarType::VarChar { .. } | ScalarType::Char { .. })) => {
                    let short = if matches!(ty, ScalarType::Char { .. }) { "char" } else { "varchar" };
                    invalid(format!("length for type {short} cannot exceed 10485760"))
                }
                Some(ScalarType::Numeric { .. }) if !(1..=1000).contains(first) => {
                    invalid(format!("NUMERIC precision {first} must be between 1 and 1000"))
                }
                Some(ScalarType::Numeric { .. }) => invalid(format!(
                    "NUMERIC scale {} must be between 0 and 39",
                    modifiers.last().unwrap_or(first)
                )),
                Some(_) => {
                    let message = format!("type modifier is not allowed for type \"{name}\"");
                    SqlError::new(code::SYNTAX_ERROR, message)
                }
            }
        })
    }

    /// The type that somebody made with `CREATE TYPE`, if the name is one's.
    fn named_type(
        &self,
        name: &sp::ObjectName,
        modifiers: &[String],
    ) -> Result<Option<ScalarType>, SqlError> {
        if !modifiers.is_empty() {
            return Ok(None);
        }
        // Built-in types come first.
        let parts = self.parts(name)?;
        if let [one] = &parts[..]
            && (self.type_by_name(one, &[]).is_ok() || one == "char")
        {
            return Ok(None);
        }
        if parts.len() > 3 {
            return Ok(None);
        }
        let Some(item) = self.find(name)?.filter(|i| i.kind == ItemKind::Type) else { return Ok(None) };
        self.uses.borrow_mut().insert(item.id);
        self.note_name(name, &item.name);
        crate::statement::types::definition(self.catalog, item).map(Some)
    }

    /// The type as text that reads back as the same type; `ty` is what it means. Records have names only.
    pub fn type_text(&self, written: &DataType, ty: &ScalarType) -> Result<String, SqlError> {
        fn has_record(ty: &ScalarType) -> bool {
            match ty {
                ScalarType::Record(_) => true,
                ScalarType::Array(e) | ScalarType::List(e) | ScalarType::Map(e) => has_record(e),
                _ => false,
            }
        }
        match (written, ty) {
            (DataType::Custom(name, modifiers), _) if self.named_type(name, modifiers)?.is_some() => {
                let item = self.resolve(name)?;
                Ok(full_name(self.renamed(&item.name)))
            }
            (
                DataType::Array(
                    sp::ArrayElemTypeDef::SquareBracket(e, _)
                    | sp::ArrayElemTypeDef::AngleBracket(e)
                    | sp::ArrayElemTypeDef::Parenthesis(e),
                ),
                ScalarType::Array(ty),
            ) => Ok(format!("{}[]", self.type_text(e, ty)?)),
            _ if !has_record(ty) => Ok(crate::statement::table::type_text(ty)),
            _ => Err(SqlError::unsupported(
                "a record without a name here",
                "Make a type of it with CREATE TYPE … AS (field type, …).",
            )),
        }
    }

    /// The type that a name in a statement means.
    pub fn plan_type(&self, ty: &DataType) -> Result<ScalarType, SqlError> {
        self.data_type(ty)
    }

    // ---- what other families of statements ask for

    /// Plans a query that is given as text (made by us).
    pub fn plan_text(&self, text: &str) -> Result<SelectPlan, SqlError> {
        let text = Text::new(text, 0);
        match crate::parse::parse(&text)? {
            crate::ast::Statement::Query(query) => Planner::new(self.catalog, &text, &[]).plan_select(&query),
            _ => Err(SqlError::internal("the text is a query")),
        }
    }

    /// Plans an expression without columns (a secret's value, an argument of EXECUTE). Parameters and `now()` may be in
    /// it.
    pub fn plan_constant(&self, expr: &sp::Expr) -> Result<plan::ScalarExpr, SqlError> {
        let (scope, env) = (Default::default(), Default::default());
        let (e, _) = self.plan_known(&crate::expr::Ctx::plain(&scope, &env, "constants"), expr)?;
        self.at(expr, hirs::to_scalar(e))
    }

    /// Plans a view's query: as SQL means it, with its columns (top-level ORDER BY without LIMIT dropped, with LIMIT a
    /// TopK). Not yet decorrelated.
    pub fn plan_view_query(
        &self,
        query: &crate::ast::Query,
    ) -> Result<(HirRelationExpr, RelationDesc), SqlError> {
        if let Some(as_of) = &query.as_of {
            return Err(self.unsupported(
                as_of.time.span(),
                "AS OF in a view",
                "Use it in the query that reads the view.",
            ));
        }
        let plan = self.plan_query(&query.body, &Default::default())?;
        let desc = RelationDesc::new(plan.columns.clone());
        let mut rel = self.relation_of(plan)?.0;
        hirs::tidy_temporal(&mut rel);
        if let Some(name) = hirs::volatile_in(&rel) {
            let error = SqlError::new(code::FEATURE_NOT_SUPPORTED, format!("a view cannot call {name}()"));
            return Err(error.with_hint(
                "It would have other rows each time it is read. Call it where rows are inserted, or use a hash of the row.",
            ));
        }
        Ok((rel, desc))
    }

    /// Plans a query that is to be maintained (subscribed to): decorrelated and optimized, with its columns.
    pub fn plan_maintained(
        &self,
        query: &crate::ast::Query,
    ) -> Result<(RelationExpr, RelationDesc), SqlError> {
        let plan = self.plan_query(&query.body, &Default::default())?;
        let desc = RelationDesc::new(plan.columns.clone());
        let (mut rel, _) = self.relation_of(plan)?;
        hirs::tidy_temporal(&mut rel);
        self.check_maintained(&rel, "the query")?;
        Ok((crate::query::lower(rel)?, desc))
    }

    /// The same for an object by its name: all its rows.
    pub fn plan_maintained_object(
        &self,
        name: &sp::ObjectName,
    ) -> Result<(RelationExpr, RelationDesc), SqlError> {
        let item = self.resolve(name)?;
        let rel = self.get(item).map_err(|e| self.text.at(name.span(), e))?;
        self.check_maintained(&rel, &format!("\"{}\"", item.name.item))?;
        let desc = item.desc.clone().expect("`get` wants one");
        Ok((crate::query::lower(rel)?, desc))
    }

    // ---- what is maintained

    /// A query that is kept up to date may not depend on who reads it or when, `mz_now()` in temporal filters apart.
    pub fn check_maintained(&self, rel: &HirRelationExpr, what: &str) -> Result<(), SqlError> {
        for context in hirs::contexts(rel) {
            let name = match context {
                Context::MzNow if hirs::misplaced_now(rel) => {
                    let message =
                        format!("{what} cannot be materialized: it calls mz_now() outside a temporal filter");
                    return Err(SqlError::new(code::FEATURE_NOT_SUPPORTED, message).with_hint(
                        "Use it in WHERE, alone on one side of a comparison: mz_now() <= ts + INTERVAL '1 day'.",
                    ));
                }
                Context::MzNow => continue,
                Context::Now => "now",
                Context::CurrentUser => "current_user",
                Context::CurrentDatabase => "current_database",
                Context::CurrentSchema => "current_schema",
                Context::CurrentSchemas => "current_schemas",
                Context::BackendPid => "pg_backend_pid",
                Context::Version => "version",
                Context::MzVersion => "mz_version",
            };
            let error = SqlError::new(
                code::FEATURE_NOT_SUPPORTED,
                format!("{what} cannot be materialized: it calls {name}()"),
            );
            return Err(match context {
                Context::Now => error
                    .with_hint("Use mz_now() in a temporal filter: WHERE mz_now() <= ts + INTERVAL '1 day'."),
                _ => error,
            });
        }
        Ok(())
    }
}

fn sp_name(ty: &DataType) -> Option<&sp::ObjectName> {
    match ty {
        DataType::Custom(name, _) => Some(name),
        _ => None,
    }
}

fn too_deep() -> SqlError {
    SqlError::new(code::STATEMENT_TOO_COMPLEX, "statement is too complex")
        .with_detail(format!("An expression is deeper than {MAX_DEPTH}."))
}

/// An error for a type that there is not.
pub(crate) fn unknown_type(name: &str) -> SqlError {
    SqlError::new(code::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

/// A full name as SQL text.
pub(crate) fn full_name(name: &ObjectName) -> String {
    format!("{}.{}.{}", quote(&name.database), quote(&name.schema), quote(&name.item))
}
