//! Rows that are not JSON into the columns: the fields of a CSV row, or a line or a record as one value.
//!
//! A field is text, and its column says what it tells. It must never become another value than the one that is written:
//! what a column cannot take without loss goes to `_rescued` as the text that it was.

use super::column::{Column, Columns, Values};
use super::read::{Failure, Reader, State};
use super::rescue::{Rescued, Saved};
use super::scalar;
use crate::lake::input::{CsvFormat, CsvParser, VALUE_COLUMN};
use crate::lake::json::Json;
use crate::lake::row::Cause;
use crate::lake::schema::SchemaPolicy;
use crate::lake::{Error, Result};

/// Reads rows of one CSV format.
pub(super) struct CsvReader {
    parser: CsvParser,
    /// For each field its column; `None` where the table has none of the name.
    places: Vec<Option<usize>>,
}

impl CsvReader {
    pub(super) fn new(format: &CsvFormat, columns: &Columns) -> Self {
        let places = format.columns().iter().map(|name| columns.find(name)).collect();
        Self { parser: format.parser(), places }
    }

    /// Reads a row into the columns at place `row`; gives what goes to `_rescued`.
    pub(super) fn read(
        &mut self,
        data: &[u8],
        columns: &mut Columns,
        row: usize,
        state: &mut State,
    ) -> Result<Rescued, Failure> {
        self.parser.read(data).map_err(|message| Failure::Row(Cause::InvalidCsv, message))?;
        let mut rescued = Rescued::new();
        for (number, place) in self.places.iter().enumerate() {
            let value = self.parser.value(number);
            let Some(column) = place.map(|place| &mut columns.list[place]) else {
                if let Some(text) = value {
                    let name = &self.parser.columns()[number];
                    rescued.push(save(name, text, state, Cause::UnknownField, "is not in the schema")?);
                }
                continue;
            };
            column.pad(row);
            let Some(text) = value else {
                column.push_null();
                continue;
            };
            match push(column, text, row, state)? {
                Some(below) if below.is_empty() => {}
                Some(below) => rescued.push((column.name.clone(), Saved::Object(below))),
                None => {
                    column.truncate(row);
                    column.push_null();
                    let why = "has a value that is not of its column's type";
                    rescued.push(save(&column.name, text, state, Cause::TypeConflict, why)?);
                }
            }
        }
        Ok(rescued)
    }
}

/// What goes to `_rescued`; with the policy `reject`, the row fails.
fn save(name: &str, text: &str, state: &State, cause: Cause, why: &str) -> Result<(String, Saved), Failure> {
    if state.policy == SchemaPolicy::Reject {
        return Err(Failure::Row(cause, format!("the field {name:?} {why}")));
    }
    Ok((name.to_owned(), Saved::Value(serde_json::Value::from(text).to_string())))
}

/// Appends a field that is not null; gives what of an object within it goes to `_rescued`, or `None` where the column cannot
/// take the field.
fn push(column: &mut Column, text: &str, row: usize, state: &mut State) -> Result<Option<Rescued>, Failure> {
    // Space around anything but text means nothing.
    let trimmed = text.trim_matches(' ');
    let pushed = match &column.values {
        Values::Text { .. } => scalar::push_text(column, text),
        Values::Bool(_) => match truth(trimmed) {
            Some(value) => scalar::push_bool(column, value),
            None => false,
        },
        Values::Int(_) | Values::Long(_) | Values::Float(_) | Values::Double(_) | Values::Decimal { .. } => {
            push_number(column, trimmed, state)
        }
        Values::Struct(_) | Values::List { .. } => return push_nested(column, text, row, state),
        _ => scalar::push_text(column, trimmed),
    };
    Ok(pushed.then(Rescued::new))
}

fn truth(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "t", "1"]) {
        return Some(true);
    }
    is(&["false", "f", "0"]).then_some(false)
}

fn push_number(column: &mut Column, text: &str, state: &mut State) -> bool {
    let before = column.is_widened_by(state.row);
    let pushed = scalar::push_number(column, text.strip_prefix('+').unwrap_or(text), state.grows(), state.row);
    state.changes += u64::from(column.is_widened_by(state.row) != before);
    pushed
}

/// Appends a list or an object, which are JSON within the field.
fn push_nested(column: &mut Column, text: &str, row: usize, state: &mut State) -> Result<Option<Rescued>, Failure> {
    let mut json = Json::new(text, String::new());
    let depth_max = state.limits.nesting_depth_max;
    let is_json = json.peek().and_then(|peek| json.skip(peek, 1, depth_max)).and_then(|()| json.finish());
    if is_json.is_err() {
        return Ok(None);
    }
    match Reader::new(text, json.into_scratch(), state).read_nested(column, row) {
        Ok(rescued) => Ok(Some(rescued)),
        Err(Failure::Value) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The place of the column for lines or whole records.
pub(super) fn value_place(columns: &Columns) -> Result<usize> {
    let place = columns.find(VALUE_COLUMN);
    let fits = |place: &usize| matches!(columns.list[*place].values, Values::Text { .. } | Values::Binary { .. });
    place.filter(fits).ok_or_else(|| {
        Error::Invalid(format!("lines and raw records need a column {VALUE_COLUMN:?} of type string or binary"))
    })
}

/// Appends a line or a record to the column for it.
pub(super) fn read_value(data: &[u8], column: &mut Column, row: usize) -> Result<Rescued, Failure> {
    column.pad(row);
    if let Values::Text { .. } = &column.values {
        let not_text = |error: std::str::Utf8Error| {
            let message = format!("not UTF-8 at byte {}; a column of type binary takes any bytes", error.valid_up_to());
            Failure::Row(Cause::NotText, message)
        };
        scalar::push_text(column, std::str::from_utf8(data).map_err(not_text)?);
    } else {
        scalar::push_bytes(column, data);
    }
    Ok(Rescued::new())
}
