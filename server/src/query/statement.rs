//! A statement, and what it must keep to before and after it is planned: its size, its nesting, and that it only reads.

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SQLOptions;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::QuerySettings;
use crate::error::{Error, Result};

/// A statement, with values for its parameters where it has any.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(super) sql: String,
    /// One row.
    pub(super) parameters: Option<RecordBatch>,
}

impl From<&str> for Statement {
    fn from(sql: &str) -> Self {
        Self { sql: sql.to_owned(), parameters: None }
    }
}

impl Statement {
    /// A statement with a row of values: by position where its parameters are `$1`, `$2` or `?`, by the columns' names where
    /// they are `$carrier`.
    ///
    /// # Errors
    /// `Invalid` where there is not one row.
    pub fn with_parameters(sql: &str, parameters: RecordBatch) -> Result<Self> {
        let rows = parameters.num_rows();
        if rows != 1 {
            let message = format!("{rows} rows of parameters were bound; a statement takes one");
            return Err(Error::invalid(message).in_field("parameters"));
        }
        Ok(Self { sql: sql.to_owned(), parameters: Some(parameters) })
    }
}

/// Refuses statements that are too long or too deep, without recursion. Gives the others with `?` numbered in their order, as
/// the planner knows parameters.
pub(super) fn checked(sql: &str, settings: &QuerySettings) -> Result<String> {
    let limit = settings.sql_bytes_max.as_u64();
    if sql.len() as u64 > limit {
        let message = format!("the statement has {} bytes; query.sql_bytes_max is {limit}", sql.len());
        return Err(Error::invalid(message).in_field("query"));
    }
    // Strings stay as they stand, to be put back. Text that makes no tokens is for the parser to refuse.
    let mut tokens = Tokenizer::new(&GenericDialect {}, sql).with_unescape(false).tokenize().unwrap_or_default();
    let operators = tokens.iter().filter(|token| may_nest(token)).count();
    let limit = usize::from(settings.sql_operators_max.get());
    if operators > limit {
        let message =
            format!("the statement has {operators} operators and keywords; query.sql_operators_max is {limit}");
        return Err(Error::invalid(message).in_field("query"));
    }
    let marks = tokens.iter_mut().filter(|token| matches!(token, Token::Placeholder(mark) if mark == "?"));
    let mut count = 0;
    for (mark, number) in marks.zip(1..) {
        *mark = Token::Placeholder(format!("${number}"));
        count = number;
    }
    Ok(if count == 0 { sql.to_owned() } else { tokens.iter().map(ToString::to_string).collect() })
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

/// Refuses plans that do not only read.
pub(super) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    let allowed = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    allowed.verify_plan(plan).map_err(|error| {
        let what = error.message().into_owned();
        Error::invalid(format_args!("SQL only reads here: {what}; tables change by deliveries and by millrace apply"))
    })
}
