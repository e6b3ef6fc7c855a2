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
}
