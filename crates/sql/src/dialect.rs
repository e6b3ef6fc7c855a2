//! How sqlparser is to read expressions and queries: as Postgres writes them, with Materialize's additions.

use std::any::TypeId;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    UnaryOperator,
};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token};

/// `x BETWEEN SYMMETRIC a AND b` as a call, since sqlparser has no node for it.
pub(crate) const BETWEEN_SYMMETRIC: &str = "between symmetric";
/// `x NOT BETWEEN SYMMETRIC a AND b`.
pub(crate) const NOT_BETWEEN_SYMMETRIC: &str = "not between symmetric";
/// `LIST[…]`.
pub(crate) const LIST: &str = "list[]";
/// `MAP[k => v, …]`: keys and values in turn.
pub(crate) const MAP: &str = "map[]";
/// `ROWS FROM (…)` as a table function.
pub(crate) const ROWS_FROM: &str = "rows from";

/// The star of `(record).*` as a field. No column can be called that.
pub(crate) const STAR: &str = "* of a record";

/// Before what a frame excludes, as the name of a last sort key. No column can be called that.
pub(crate) const EXCLUDE: &str = "frame without ";

/// Before the text of a SHOW in FROM, as the name of a table. No table can be called that.
pub(crate) const SHOW: &str = "rows of ";

/// Postgres' dialect and a little more.
#[derive(Debug)]
pub(crate) struct Sql;

/// The one instance.
pub(crate) static DIALECT: Sql = Sql;
static POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// A call that only the parser can write: names with spaces or brackets, quoted with a quote that no text can use.
pub(crate) fn call(name: &str, span: Span, args: Vec<Expr>) -> Expr {
    let ident = Ident { value: name.into(), quote_style: Some('`'), span };
    Expr::Function(Function {
        name: ObjectName::from(vec![ident]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

impl Dialect for Sql {
    // sqlparser asks for the dialect's type in many places; for all of them this is Postgres.
    fn dialect(&self) -> TypeId {
        POSTGRES.dialect()
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [first, second] = parser.peek_tokens_ref();
        // The signs bind tighter than `^`: `-2 ^ 2` is 4.
        let sign = match first.token {
            Token::Minus => Some(UnaryOperator::Minus),
            Token::Plus => Some(UnaryOperator::Plus),
            _ => None,
        };
        if let Some(op) = sign {
            parser.next_token();
            let operand = parser.parse_subexpr(self.prec_value(Precedence::Caret));
            return Some(operand.map(|expr| Expr::UnaryOp { op, expr: Box::new(expr) }));
        }
        if second.token != Token::LBracket {
            return None;
        }
        if is_word(&first.token, "list") {
            return Some(bracketed(parser, LIST, |p, args| {
                args.push(p.parse_expr()?);
                Ok(())
            }));
        }
        if is_word(&first.token, "map") {
            return Some(bracketed(parser, MAP, |p, args| {
                args.push(p.parse_expr()?);
                p.expect_token(&Token::RArrow)?;
                args.push(p.parse_expr()?);
                Ok(())
            }));
        }
        None
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        let [a, b, c] = parser.peek_tokens_ref();
        let span = a.span;
        let (skip, name) = if is_word(&a.token, "between") && is_word(&b.token, "symmetric") {
            (2, BETWEEN_SYMMETRIC)
        } else if is_word(&a.token, "not") && is_word(&b.token, "between") && is_word(&c.token, "symmetric") {
            (3, NOT_BETWEEN_SYMMETRIC)
        } else {
            return None;
        };
        for _ in 0..skip {
            parser.next_token();
        }
        let precedence = self.prec_value(Precedence::Between);
        let rest = |parser: &mut Parser| {
            let low = parser.parse_subexpr(precedence)?;
            parser.expect_keyword(Keyword::AND)?;
            Ok((low, parser.parse_subexpr(precedence)?))
        };
        Some(rest(parser).map(|(low, high)| call(name, span, vec![expr.clone(), low, high])))
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }
    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }
    fn supports_group_by_with_modifier(&self) -> bool {
        false
    }
    // A comment is a comment.
    fn supports_comment_optimizer_hint(&self) -> bool {
        false
    }
    fn supports_string_literal_concatenation_with_newline(&self) -> bool {
        true
    }
    fn supports_subquery_as_function_arg(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        true
    }

    // What follows is Postgres'.
    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_delimited_identifier_start(ch)
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }
    fn is_custom_operator_part(&self, ch: char) -> bool {
        POSTGRES.is_custom_operator_part(ch)
    }
    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(kw)
    }
    fn is_table_alias(&self, kw: &Keyword, parser: &mut Parser) -> bool {
        POSTGRES.is_table_alias(kw, parser)
    }
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }
    fn prec_value(&self, prec: Precedence) -> u8 {
        POSTGRES.prec_value(prec)
    }
    fn supports_unicode_string_literal(&self) -> bool {
        true
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn allow_extract_custom(&self) -> bool {
        true
    }
    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
    fn supports_empty_projections(&self) -> bool {
        true
    }
    fn supports_nested_comments(&self) -> bool {
        true
    }
    fn supports_string_escape_constant(&self) -> bool {
        true
    }
    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }
    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }
    // For the tokens of its operators: `?`, `?|`, `&<`.
    fn supports_geometric_types(&self) -> bool {
        true
    }
    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }
    fn supports_order_by_using_operator(&self) -> bool {
        true
    }
    fn supports_left_associative_joins_without_parens(&self) -> bool {
        false
    }
    fn supports_notnull_operator(&self) -> bool {
        true
    }
    fn supports_interval_options(&self) -> bool {
        true
    }
    fn supports_insert_table_alias(&self) -> bool {
        true
    }
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }
    fn supports_create_index_with_clause(&self) -> bool {
        true
    }
}

/// `WORD [ item, … ]` as a call of `name`.
fn bracketed(
    parser: &mut Parser,
    name: &str,
    item: fn(&mut Parser, &mut Vec<Expr>) -> Result<(), ParserError>,
) -> Result<Expr, ParserError> {
    let span = parser.next_token().span;
    parser.next_token();
    let mut args = vec![];
    while !parser.consume_token(&Token::RBracket) {
        if !args.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        item(parser, &mut args)?;
    }
    Ok(call(name, span, args))
}
