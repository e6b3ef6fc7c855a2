//! `CREATE TYPE name AS LIST (…) | MAP (…) | (field type, …)`: another name for a type.
//!
//! The catalog has the statement alone; where the name is used its definition is read again.

use repr::error::code;
use repr::{ScalarType, SqlError};
use sqlparser::ast::{DataType, Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::ast;
use crate::catalog::{Catalog, CatalogItem};
use crate::parse::{Heads, fold, quote};
use crate::plan::{CreateItem, CreatePlan, Plan, unsupported};
use crate::planner::{Planner, full_name};
use crate::text::Text;

/// A `CREATE TYPE`.
#[derive(Debug)]
pub(crate) struct Statement {
    name: ObjectName,
    definition: Definition,
}

#[derive(Debug)]
enum Definition {
    List(DataType),
    Map(DataType),
    Record(Vec<(Ident, DataType)>),
}

/// Behind `CREATE TYPE`.
pub(crate) fn parse(p: &mut Heads<'_>) -> Result<Statement, SqlError> {
    let name = p.object_name()?;
    p.expect("as")?;
    let definition = match p.one_of(&["list", "map", "enum", "range"]) {
        Some("list") => {
            p.expect_token(&Token::LParen)?;
            Definition::List(option(p, "element type")?)
        }
        Some("map") => {
            p.expect_token(&Token::LParen)?;
            let key = option(p, "key type")?;
            if !key.to_string().eq_ignore_ascii_case("text") {
                return Err(unsupported("a map whose keys are no text", "Use KEY TYPE = text."));
            }
            p.expect_token(&Token::Comma)?;
            Definition::Map(option(p, "value type")?)
        }
        Some(kind) => {
            let instead =
                if kind == "enum" { "Use text." } else { "The six range types of Postgres are there." };
            return Err(unsupported(&format!("CREATE TYPE … AS {}", kind.to_uppercase()), instead));
        }
        None => {
            return Ok(Statement {
                name,
                definition: Definition::Record(p.parenthesized(|p| Ok((p.ident()?, p.data_type()?)))?),
            });
        }
    };
    p.expect_token(&Token::RParen)?;
    Ok(Statement { name, definition })
}

/// `name [=] type`.
fn option(p: &mut Heads<'_>, name: &str) -> Result<DataType, SqlError> {
    p.expect(name)?;
    p.token(&Token::Eq);
    p.data_type()
}

pub(crate) fn plan(planner: &Planner<'_>, s: Statement) -> Result<Plan, SqlError> {
    let name = planner.new_name(&s.name, false)?;
    let text = |ty: &DataType| planner.type_text(ty, &planner.data_type(ty)?);
    let definition = match &s.definition {
        Definition::List(element) => format!("LIST (ELEMENT TYPE = {})", text(element)?),
        Definition::Map(value) => format!("MAP (KEY TYPE = text, VALUE TYPE = {})", text(value)?),
        Definition::Record(fields) => {
            let mut seen: Vec<String> = vec![];
            let mut texts = vec![];
            for (field, ty) in fields {
                let field_name = fold(field);
                if seen.contains(&field_name) {
                    let message = format!("column \"{field_name}\" specified more than once");
                    return Err(planner.error(field.span, code::DUPLICATE_COLUMN, message));
                }
                texts.push(format!("{} {}", quote(&field_name), text(ty)?));
                seen.push(field_name);
            }
            format!("({})", texts.join(", "))
        }
    };
    let create_sql = format!("CREATE TYPE {} AS {definition}", full_name(&name));
    Ok(Plan::Create(Box::new(CreatePlan {
        name,
        create_sql,
        replace: None,
        if_not_exists: false,
        temporary: false,
        uses: planner.uses(),
        retain_history: None,
        desc: None,
        item: CreateItem::Type,
    })))
}

/// What a type of the catalog stands for.
pub(crate) fn definition(catalog: &dyn Catalog, item: &CatalogItem) -> Result<ScalarType, SqlError> {
    let text = Text::new(&item.create_sql, 0);
    let planner = Planner::new(catalog, &text, &[]);
    let ast::Statement::Type(s) = crate::parse::parse(&text)? else {
        return Err(SqlError::internal("a type is made by CREATE TYPE"));
    };
    Ok(match &s.definition {
        Definition::List(element) => ScalarType::List(Box::new(planner.data_type(element)?)),
        Definition::Map(value) => ScalarType::Map(Box::new(planner.data_type(value)?)),
        Definition::Record(fields) => {
            let field =
                |(name, ty): &(Ident, DataType)| Ok((fold(name), planner.data_type(ty)?.nullable(true)));
            ScalarType::Record(fields.iter().map(field).collect::<Result<_, SqlError>>()?)
        }
    })
}
