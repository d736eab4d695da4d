//! One JSON object into the columns, field by field.
//!
//! It must never take a value that the column would change, and must never go deeper than the limit.

use std::collections::HashSet;

use super::column::{Column, Columns, RowNumber, Values};
use super::infer::{field_count, infer, place};
use super::rescue::{Rescued, Saved};
use super::{ConvertLimits, scalar};
use crate::lake::json::{ErrorKind, Json, JsonError, Peek};
use crate::lake::row::Cause;
use crate::lake::schema::SchemaPolicy;

/// What the reader keeps from row to row.
pub(super) struct State {
    pub(super) policy: SchemaPolicy,
    /// Nothing says yet which columns there are: those of the first batch become the schema, whatever the policy.
    pub(super) infers: bool,
    pub(super) limits: ConvertLimits,
    /// The full paths of all columns, in lower case.
    pub(super) paths: HashSet<String>,
    /// How many columns records have brought, nested ones included.
    pub(super) column_count: usize,
    pub(super) last_id: i32,
    pub(super) row: RowNumber,
    /// How often the schema changed.
    pub(super) changes: u64,
}

impl State {
    /// Whether a record may bring columns and widen numbers.
    pub(super) fn grows(&self) -> bool {
        self.infers || self.policy == SchemaPolicy::Evolve
    }
}

/// Why a value could not be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// The whole row fails.
    Row(Cause, String),
    /// The value is not one for its column; the field around it decides.
    Value,
}

/// Why a field is not in its column.
#[derive(Clone, Copy)]
enum Conflict {
    Type,
    Duplicate,
    Unknown,
}

impl From<JsonError> for Failure {
    fn from(error: JsonError) -> Self {
        let (cause, message) = explain(error);
        Self::Row(cause, message)
    }
}

/// The cause and the sentence for a row that is not one JSON value.
pub(in crate::lake) fn explain(JsonError { index, kind }: JsonError) -> (Cause, String) {
    match kind {
        ErrorKind::Syntax(why) => (Cause::InvalidJson, format!("not JSON at byte {index}: {why}")),
        ErrorKind::Trailing => {
            (Cause::InvalidJson, format!("more than one JSON value; the second begins at byte {index}"))
        }
        ErrorKind::TooDeep { limit } => {
            (Cause::TooDeep, format!("objects and arrays are nested deeper than the limit of {limit} at byte {index}"))
        }
    }
}

/// The text of a row, where it has one.
pub(in crate::lake) fn text_of(data: &[u8]) -> Result<&str, (Cause, String)> {
    match std::str::from_utf8(data) {
        Ok(text) if text.trim_ascii().is_empty() => Err((Cause::InvalidJson, "the row is empty".into())),
        Ok(text) => Ok(text),
        Err(error) => Err((Cause::InvalidJson, format!("not UTF-8 at byte {}", error.valid_up_to()))),
    }
}

/// Reads one row.
pub(super) struct Reader<'j, 's> {
    json: Json<'j>,
    state: &'s mut State,
}

impl<'j, 's> Reader<'j, 's> {
    pub(super) fn new(text: &'j str, scratch: String, state: &'s mut State) -> Self {
        Self { json: Json::new(text, scratch), state }
    }

    pub(super) fn into_scratch(self) -> String {
        self.json.into_scratch()
    }

    /// Reads the row's object into the columns at place `row`; gives what goes to `_rescued`.
    pub(super) fn read_record(&mut self, columns: &mut Columns, row: usize) -> Result<Rescued, Failure> {
        let peek = self.json.peek()?;
        if peek != Peek::Object {
            self.skip(peek, 0)?;
            self.json.finish()?;
            let message = format!("the row is {} and not an object", kind_of(peek));
            return Err(Failure::Row(Cause::NotAnObject, message));
        }
        let rescued = self.read_object(columns, row, 1, false)?;
        self.json.finish()?;
        Ok(rescued)
    }

    /// Reads the list or the object of one column at place `row`, and nothing else; gives what of it goes to `_rescued`.
    pub(super) fn read_nested(mut self, column: &mut Column, row: usize) -> Result<Rescued, Failure> {
        let peek = self.json.peek()?;
        if peek == Peek::Null {
            column.push_null();
            return Ok(Rescued::new());
        }
        self.read_value(column, peek, row, 1, false)
    }

    /// Reads an object that was peeked. `depth` is its own.
    fn read_object(
        &mut self,
        columns: &mut Columns,
        row: usize,
        depth: usize,
        in_list: bool,
    ) -> Result<Rescued, Failure> {
        let mut rescued = Rescued::new();
        let mut expected = 0;
        let mut is_more = self.json.first_field()?;
        while is_more {
            // Records have their fields mostly in the order of the columns, which the first of them set.
            let index = match columns.list.get(expected) {
                Some(column) if self.json.take_key(&column.token) => Ok(expected),
                _ => {
                    let name = self.json.read_key()?;
                    columns.find(name).ok_or_else(|| name.to_owned())
                }
            };
            match index {
                Ok(index) => {
                    expected = index + 1;
                    self.read_field(&mut columns.list[index], row, depth, in_list, &mut rescued)?;
                }
                Err(name) => self.read_unknown(columns, name, row, depth, in_list, &mut rescued)?,
            }
            is_more = self.json.next_field()?;
        }
        Ok(rescued)
    }

    #[inline]
    fn read_field(
        &mut self,
        column: &mut Column,
        row: usize,
        depth: usize,
        in_list: bool,
        rescued: &mut Rescued,
    ) -> Result<(), Failure> {
        let peek = self.json.peek()?;
        let start = self.json.index();
        if column.len() > row {
            self.skip(peek, depth)?;
            return self.save(&column.name, start, Conflict::Duplicate, in_list, rescued);
        }
        column.pad(row);
        if peek == Peek::Null {
            self.json.read_null()?;
            column.push_null();
            return Ok(());
        }
        if self.read_usual(column, peek)? {
            return Ok(());
        }
        match self.read_value(column, peek, row, depth, in_list) {
            Ok(below) if below.is_empty() => Ok(()),
            Ok(below) => {
                rescued.push((column.name.clone(), Saved::Object(below)));
                Ok(())
            }
            Err(Failure::Value) if !in_list => {
                if peek == Peek::Array {
                    // Only a list may fail before its end: an object sorts out its own fields.
                    self.json.rewind(start);
                    self.skip(peek, depth)?;
                }
                column.truncate(row);
                column.push_null();
                self.save(&column.name, start, Conflict::Type, in_list, rescued)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads a value of the most usual kinds as [`Self::read_value`] would, or nothing.
    #[inline]
    fn read_usual(&mut self, column: &mut Column, peek: Peek) -> Result<bool, JsonError> {
        if peek == Peek::Number
            && let (Values::Long(values), exact) = column.values_and_exact()
            && let Some(value) = self.json.read_short_whole()
        {
            Column::push_long(values, exact, value);
        } else if peek == Peek::String
            && let Values::Text { ends, bytes } = &mut column.values
        {
            Column::push_text(ends, bytes, self.json.read_string()?);
        } else {
            return Ok(false);
        }
        column.push_valid();
        Ok(true)
    }

    /// Reads a value that is not null; a value that the column cannot take is read to its end, unless it is a list.
    fn read_value(
        &mut self,
        column: &mut Column,
        peek: Peek,
        row: usize,
        depth: usize,
        in_list: bool,
    ) -> Result<Rescued, Failure> {
        match (&mut column.values, peek) {
            (Values::Struct(columns), Peek::Object) => {
                self.json.check_depth(depth + 1, self.state.limits.nesting_depth_max)?;
                let rescued = self.read_object(columns, row, depth + 1, in_list)?;
                column.push_valid();
                Ok(rescued)
            }
            (Values::List { ends, element }, Peek::Array) => {
                self.read_list(element, depth + 1)?;
                ends.push(element.len() as i32);
                column.push_valid();
                Ok(Rescued::new())
            }
            (_, Peek::Array) => Err(Failure::Value),
            (_, Peek::Object) => {
                self.skip(peek, depth)?;
                Err(Failure::Value)
            }
            (_, Peek::String) => {
                let text = self.json.read_string()?;
                taken(scalar::push_text(column, text))
            }
            (_, Peek::Bool) => {
                let value = self.json.read_bool()?;
                taken(scalar::push_bool(column, value))
            }
            (_, Peek::Number | Peek::Null) => {
                let text = self.json.read_number()?;
                let (may_widen, number) = (self.state.grows(), self.state.row);
                let before = column.is_widened_by(number);
                let pushed = scalar::push_number(column, text, may_widen, number);
                self.state.changes += u64::from(column.is_widened_by(number) != before);
                taken(pushed)
            }
        }
    }

    fn read_list(&mut self, element: &mut Column, depth: usize) -> Result<(), Failure> {
        self.json.check_depth(depth, self.state.limits.nesting_depth_max)?;
        let mut next = self.json.first_element()?;
        while let Some(peek) = next {
            let at = element.len();
            if peek == Peek::Null {
                self.json.read_null()?;
                element.push_null();
            } else if !self.read_usual(element, peek)? {
                self.read_value(element, peek, at, depth, true)?;
            }
            next = self.json.next_element()?;
        }
        Ok(())
    }

    /// Reads a field that has no column: gives it one, or saves it.
    fn read_unknown(
        &mut self,
        columns: &mut Columns,
        name: String,
        row: usize,
        depth: usize,
        in_list: bool,
        rescued: &mut Rescued,
    ) -> Result<(), Failure> {
        let peek = self.json.peek()?;
        if peek == Peek::Null {
            return Ok(self.json.read_null()?);
        }
        let start = self.json.index();
        if self.state.grows() {
            let shape = infer(&mut self.json, peek, depth, self.state.limits.nesting_depth_max)?;
            self.json.rewind(start);
            if let Some(shape) = shape {
                self.check_columns(field_count(&shape))?;
                if let Some(field) = place(self.state, &columns.path, &name, shape) {
                    self.state.changes += 1;
                    let index = columns.push(Column::of_field(&field, &columns.path, true, self.state.row));
                    return self.read_field(&mut columns.list[index], row, depth, in_list, rescued);
                }
            }
        }
        self.skip(peek, depth)?;
        self.save(&name, start, Conflict::Unknown, in_list, rescued)
    }

    fn check_columns(&self, more: usize) -> Result<(), Failure> {
        let (count, limit) = (self.state.column_count + more, self.state.limits.columns_max);
        if count <= limit {
            return Ok(());
        }
        let message = format!("with this record the table would have {count} columns or more; the limit is {limit}");
        Err(Failure::Row(Cause::TooManyColumns, message))
    }

    /// Reads over a value within an object or array at `depth`.
    fn skip(&mut self, peek: Peek, depth: usize) -> Result<(), Failure> {
        Ok(self.json.skip(peek, depth, self.state.limits.nesting_depth_max)?)
    }

    /// Puts the value from `start` to here aside for `_rescued`.
    fn save(
        &mut self,
        name: &str,
        start: usize,
        conflict: Conflict,
        in_list: bool,
        rescued: &mut Rescued,
    ) -> Result<(), Failure> {
        if self.state.policy == SchemaPolicy::Reject {
            return Err(match conflict {
                Conflict::Type => Failure::Row(
                    Cause::TypeConflict,
                    format!("the value of the field {name:?} is not of its column's type"),
                ),
                Conflict::Duplicate => {
                    Failure::Row(Cause::FieldName, format!("the field {name:?} is there more than once"))
                }
                Conflict::Unknown => {
                    Failure::Row(Cause::UnknownField, format!("the field {name:?} is not in the schema"))
                }
            });
        }
        if in_list {
            // A list is in its column as a whole or not at all.
            return Err(Failure::Value);
        }
        rescued.push((name.to_owned(), Saved::Value(self.json.since(start).to_owned())));
        Ok(())
    }
}

fn taken(taken: bool) -> Result<Rescued, Failure> {
    if taken { Ok(Rescued::new()) } else { Err(Failure::Value) }
}

fn kind_of(peek: Peek) -> &'static str {
    match peek {
        Peek::Null => "null",
        Peek::Bool => "a boolean",
        Peek::String => "a string",
        Peek::Array => "an array",
        _ => "a number",
    }
}
