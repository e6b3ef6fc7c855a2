//! What planning one statement shares: the catalog, parameters, what was used, notices.

use std::cell::RefCell;

use crate::Catalog;
use crate::plan::SelectPlan;
use crate::text::Text;
use repr::{ScalarType, SqlError};

/// The planner of one statement.
pub(crate) struct Planner<'a> {
    pub catalog: &'a dyn Catalog,
    pub text: &'a Text<'a>,
    pub parameters: RefCell<Vec<Option<ScalarType>>>,
    pub notices: RefCell<Vec<SqlError>>,
}

impl<'a> Planner<'a> {
    pub fn new(
        catalog: &'a dyn Catalog,
        text: &'a Text<'a>,
        parameters: &[Option<ScalarType>],
    ) -> Planner<'a> {
        Planner { catalog, text, parameters: RefCell::new(parameters.to_vec()), notices: RefCell::default() }
    }

    /// Adds a notice.
    pub fn notice(&self, notice: SqlError) {
        self.notices.borrow_mut().push(notice);
    }

    pub fn plan_select(&self, _query: &crate::ast::Query) -> Result<SelectPlan, SqlError> {
        Err(SqlError::internal("not yet"))
    }

    /// Plans a query that is given as text (made by us).
    pub fn plan_text(&self, text: &str) -> Result<SelectPlan, SqlError> {
        let text = Text::new(text, 0);
        match crate::parse::parse(&text)? {
            crate::ast::Statement::Query(query) => Planner::new(self.catalog, &text, &[]).plan_select(&query),
            _ => Err(SqlError::internal("the text is a query")),
        }
    }

    /// Plans an expression without columns (a secret's value, `AS OF`, an argument of EXECUTE). Parameters and `now()`
    /// may be in it.
    pub fn plan_constant(&self, _expr: &sqlparser::ast::Expr) -> Result<plan::ScalarExpr, SqlError> {
        Err(SqlError::internal("not yet"))
    }

    /// Plans a view's query: as SQL means it, with its columns (top-level ORDER BY without LIMIT dropped, with LIMIT a
    /// TopK). Not yet decorrelated.
    pub fn plan_view_query(
        &self,
        _query: &crate::ast::Query,
    ) -> Result<(plan::hir::HirRelationExpr, repr::RelationDesc), SqlError> {
        Err(SqlError::internal("not yet"))
    }

    /// Plans a query that is to be maintained (subscribed to): decorrelated and optimized, with its columns.
    pub fn plan_maintained(
        &self,
        _query: &crate::ast::Query,
    ) -> Result<(plan::RelationExpr, repr::RelationDesc), SqlError> {
        Err(SqlError::internal("not yet"))
    }

    /// The same for an object by its name: all its rows.
    pub fn plan_maintained_object(
        &self,
        _name: &sqlparser::ast::ObjectName,
    ) -> Result<(plan::RelationExpr, repr::RelationDesc), SqlError> {
        Err(SqlError::internal("not yet"))
    }

    /// The type that a name in a statement means.
    pub fn plan_type(&self, _name: &sqlparser::ast::DataType) -> Result<ScalarType, SqlError> {
        Err(SqlError::internal("not yet"))
    }
}
