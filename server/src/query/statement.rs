//! What a statement must keep to before and after it is planned: its size, its nesting, and that it only reads.

use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SQLOptions;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::QuerySettings;
use crate::error::{Error, Result};

/// Refuses statements that are too long or too deep, without recursion.
pub(super) fn check_text(sql: &str, settings: &QuerySettings) -> Result<()> {
    let limit = settings.sql_bytes_max.as_u64();
    if sql.len() as u64 > limit {
        let message = format!("the statement has {} bytes; query.sql_bytes_max is {limit}", sql.len());
        return Err(Error::invalid(message).in_field("query"));
    }
    // Text that makes no tokens is for the parser to refuse.
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let operators = tokens.iter().filter(|token| may_nest(token)).count();
    let limit = usize::from(settings.sql_operators_max.get());
    if operators > limit {
        let message =
            format!("the statement has {operators} operators and keywords; query.sql_operators_max is {limit}");
        return Err(Error::invalid(message).in_field("query"));
    }
    Ok(())
}

/// Values, names and the items of lists nest nothing.
fn may_nest(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::RParen
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

/// Refuses plans that do not only read, and parameters.
pub(super) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    let allowed = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    allowed.verify_plan(plan).map_err(|error| {
        let what = error.message().into_owned();
        Error::invalid(format_args!("SQL only reads here: {what}; tables change by deliveries and by millrace apply"))
    })?;
    if plan.get_parameter_names().is_ok_and(|names| !names.is_empty()) {
        return Err(Error::invalid("the statement has parameters, which are not supported; write the values into it"));
    }
    Ok(())
}
