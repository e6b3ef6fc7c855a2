//! Functions of Postgres whose answer is in the catalog's relations: a call becomes a look into one of them.
//!
//! ```text
//!   pg_get_viewdef(x)   ──►   (SELECT viewdef FROM mz_internal.mz_pg_relations WHERE oid = x)
//! ```
//!
//! So they are as fresh as the relations, and nothing that computes needs a catalog.

use plan::func::ids;
use plan::func::resolve::{self, CastContext};
use plan::hir::HirScalarExpr;
use repr::{Arena, Datum, Row, ScalarType, SqlError};

use crate::expr::Ex;
use crate::hirs::{self, call, column, literal};
use crate::planner::Planner;

/// Stands for the name of a relation by its number. No function can be called that.
pub(crate) const REGCLASS_NAME: &str = "regclass name";

/// Where the answer is: schema, relation, the columns that the arguments are compared with, the answer's column.
type Place = (&'static str, &'static str, &'static [&'static str], &'static str);

impl Planner<'_> {
    /// The call of such a function; none if it is another.
    pub fn catalog_function(&self, name: &str, args: &[Ex]) -> Result<Option<Ex>, SqlError> {
        const RELATIONS: &str = "mz_pg_relations";
        const FUNCTIONS: &str = "mz_pg_functions";
        let place: Place = match (name, args.len()) {
            ("pg_get_viewdef", 1 | 2) => ("mz_internal", RELATIONS, &["oid"], "viewdef"),
            ("pg_get_indexdef", 1) => ("mz_internal", RELATIONS, &["oid"], "indexdef"),
            ("pg_get_indexdef", 3) => {
                ("mz_internal", "mz_pg_index_columns", &["oid", "position"], "definition")
            }
            ("pg_table_is_visible", 1) => ("mz_internal", RELATIONS, &["oid"], "visible"),
            ("pg_get_function_result", 1) => ("mz_internal", FUNCTIONS, &["oid"], "result"),
            ("pg_get_function_arguments" | "pg_get_function_identity_arguments", 1) => {
                ("mz_internal", FUNCTIONS, &["oid"], "arguments")
            }
            ("col_description", 2) => {
                ("pg_catalog", "pg_description", &["objoid", "objsubid"], "description")
            }
            ("obj_description", 1 | 2) => {
                ("pg_catalog", "pg_description", &["objoid", "objsubid", "classoid"], "description")
            }
            ("to_regclass", 1) => return self.to_regclass(&args[0]).map(Some),
            // What a cast of a regclass to text means; not to be called.
            (REGCLASS_NAME, 1) => ("mz_internal", RELATIONS, &["oid"], "name"),
            ("current_setting", 1 | 2) => ("pg_catalog", "pg_settings", &["name"], "setting"),
            // Expressions are stored as their text.
            ("pg_get_expr", 2 | 3) => {
                self.unused(&args[1..2], &ScalarType::Oid)?;
                self.unused(&args[2..], &ScalarType::Bool)?;
                let (e, ty) = self.coerce(args[0].clone(), &ScalarType::Text, CastContext::Explicit)?;
                return Ok(Some(Ex::Known(e, ty)));
            }
            _ => return Ok(None),
        };
        let flags = if name == "pg_get_indexdef" { 2 } else { 1 };
        if ["pg_get_viewdef", "pg_get_indexdef", "current_setting"].contains(&name) {
            self.unused(args.get(flags..).unwrap_or_default(), &ScalarType::Bool)?;
        }
        let first = match (&args[0], name) {
            // A view by its name.
            (Ex::Str(..), "pg_get_viewdef") => {
                let (e, ty) = self.coerce(args[0].clone(), &ScalarType::RegClass, CastContext::Explicit)?;
                Ex::Known(e, ty)
            }
            (Ex::Known(_, ty), "pg_get_viewdef") if ty.scalar.is_string() => {
                let (e, ty) = self.coerce(args[0].clone(), &ScalarType::RegClass, CastContext::Explicit)?;
                Ex::Known(e, ty)
            }
            (other, _) => other.clone(),
        };
        let mut values = vec![first];
        match name {
            "obj_description" => {
                values.push(Ex::known(literal(Datum::Int32(0), ScalarType::Int32), ScalarType::Int32, false));
                // The catalog that the object is in, by its name.
                if let Some(class) = args.get(1) {
                    let (e, ty) = self.coerce(class.clone(), &ScalarType::RegClass, CastContext::Explicit)?;
                    values.push(Ex::Known(e, ty));
                }
            }
            "col_description" => values.push(args[1].clone()),
            "pg_get_indexdef" => values.extend(args.get(1).cloned()),
            _ => {}
        }
        self.look_up(place, values)
    }

    /// Arguments that change nothing here: parameters among them have a type still.
    fn unused(&self, args: &[Ex], ty: &ScalarType) -> Result<(), SqlError> {
        for arg in args.iter().filter(|a| matches!(a, Ex::Param(_))) {
            self.coerce(arg.clone(), ty, CastContext::Implicit)?;
        }
        Ok(())
    }

    /// The query `SELECT answer FROM schema.relation WHERE key = value AND …` as a scalar.
    fn look_up(
        &self,
        (schema, relation, keys, answer): Place,
        values: Vec<Ex>,
    ) -> Result<Option<Ex>, SqlError> {
        let database = self.catalog.current_database();
        let Some(item) = self.catalog.item(database, schema, relation) else { return Ok(None) };
        let Some(desc) = &item.desc else { return Ok(None) };
        let position = |name: &str| desc.columns.iter().position(|c| c.name == name);
        let Some(answer) = position(answer) else { return Ok(None) };
        let mut conditions = vec![];
        for (key, value) in keys.iter().zip(values) {
            let Some(key) = position(key) else { return Ok(None) };
            let ty = &desc.columns[key].ty.scalar;
            let value = hirs::inwards(self.coerce(value, ty, CastContext::Explicit)?.0, 1);
            conditions.push(call(ids::EQ, vec![column(key), value], ScalarType::Bool));
        }
        let rel = hirs::filter(self.get(item)?, conditions);
        let rel = hirs::project(rel, vec![answer], desc.arity());
        let ty = desc.columns[answer].ty.scalar.clone();
        Ok(Some(Ex::known(HirScalarExpr::Scalar(Box::new(rel)), ty, true)))
    }

    /// `'name'::regclass` that is NULL where there is no such relation.
    fn to_regclass(&self, name: &Ex) -> Result<Ex, SqlError> {
        let cast = self.coerce(name.clone(), &ScalarType::RegClass, CastContext::Explicit);
        match cast {
            Ok((e, ty)) => Ok(Ex::Known(e, ty)),
            Err(e) if e.code == repr::error::code::UNDEFINED_TABLE => {
                Ok(Ex::known(literal(Datum::Null, ScalarType::RegClass), ScalarType::RegClass, true))
            }
            Err(e) => Err(e),
        }
    }

    /// `'{int,text}'::regtype[]`: names of types, which are the same in every catalog.
    pub fn types_by_name(&self, text: &str, to: &ScalarType) -> Result<HirScalarExpr, SqlError> {
        let arena = Arena::new();
        let names = repr::text::parse(text, &ScalarType::Array(Box::new(ScalarType::Text)), &arena)?;
        let Datum::Array(names) = names else {
            return Err(SqlError::internal("an array's text is an array"));
        };
        let mut oids = vec![];
        for name in names.elements().iter() {
            oids.push(match name {
                Datum::Text(name) => {
                    Datum::UInt32(type_oid(name).ok_or_else(|| crate::planner::unknown_type(name))?)
                }
                _ => Datum::Null,
            });
        }
        let dims: Vec<(i32, i32)> = names.dims().collect();
        let row = Row::pack([arena.array(&dims, oids)]);
        Ok(HirScalarExpr::Literal(Ok(row), to.clone().nullable(false)))
    }
}

/// The number of a type by its name or its number, those that no value has included.
pub(crate) fn type_oid(name: &str) -> Option<u32> {
    const PSEUDO: [(&str, u32); 12] = [
        ("any", 2276),
        ("anyarray", 2277),
        ("anyelement", 2283),
        ("anynonarray", 2776),
        ("anyrange", 3831),
        ("cstring", 2275),
        ("internal", 2281),
        ("json", 114),
        ("pg_node_tree", 194),
        ("record", 2249),
        ("trigger", 2279),
        ("void", 2278),
    ];
    let name = name.trim_start_matches("pg_catalog.");
    if let Ok(oid) = name.parse() {
        return Some(oid);
    }
    let pseudo = PSEUDO.iter().find(|(n, _)| *n == name).map(|(_, oid)| *oid);
    pseudo.or_else(|| resolve::type_by_name(name, &[]).map(|t| t.oid()))
}
