//! `CREATE INDEX` and `CREATE DEFAULT INDEX`.

use repr::SqlError;
use sqlparser::tokenizer::Token;

use crate::ast::CreateIndex;
use crate::parse::Heads;
use crate::plan::Plan;
use crate::planner::Planner;

/// Behind `INDEX`.
pub(crate) fn parse(p: &mut Heads<'_>, default: bool) -> Result<CreateIndex, SqlError> {
    let if_not_exists = p.if_not_exists();
    let name = if !p.is("on") && !p.is("in cluster") { Some(p.ident()?) } else { None };
    let mut cluster = if p.word("in cluster") { Some(p.ident()?) } else { None };
    p.expect("on")?;
    let on = p.object_name()?;
    if cluster.is_none() && p.word("in cluster") {
        cluster = Some(p.ident()?);
    }
    if p.word("using") && !p.word("arrangement") && !p.word("btree") && !p.word("hash") {
        return Err(p.error("ARRANGEMENT"));
    }
    let from = p.here();
    let key = if default && *p.peek() != Token::LParen { vec![] } else { p.parenthesized(|p| p.expr())? };
    let to = p.behind();
    let options = p.with_options()?;
    Ok(CreateIndex { name, default, if_not_exists, cluster, on, key, options, from, to })
}

pub(crate) fn plan(_planner: &Planner<'_>, _statement: CreateIndex) -> Result<Plan, SqlError> {
    Err(SqlError::internal("not yet"))
}
