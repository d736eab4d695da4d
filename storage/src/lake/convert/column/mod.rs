//! Columns while they grow: plain buffers that take one value after another, give back the values of a row that failed, and
//! become Arrow arrays at the end.
//!
//! A column may be shorter than the rows before it: what is missing is null, and filled in when it is next touched.

mod values;
mod columns;
mod finish;

pub(super) use columns::{Columns, paths_of};
pub(super) use finish::timestamptz;
pub(super) use values::Values;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder};
use arrow::datatypes::{Field, FieldRef};
use iceberg::spec::{NestedField, NestedFieldRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::lake::json::key_token;

/// Which row a change of the schema came from, over the converter's life; 0 for what was there before.
pub(super) type RowNumber = u64;

/// One column.
pub(super) struct Column {
    pub(super) id: i32,
    pub(super) name: String,
    /// How records usually write the name ([`key_token`]).
    pub(super) token: Box<[u8]>,
    pub(super) values: Values,
    nulls: NullBufferBuilder,
    /// As many as `nulls` has.
    rows: usize,
    /// What another writer of the table demands; records that lack it are set aside.
    pub(super) required: bool,
    pub(super) doc: Option<String>,
    /// Not in the table yet.
    pub(super) fresh: bool,
    /// No batch has it yet: the type may still widen from long to double, which Iceberg does not let a table's column do.
    open: bool,
    /// The row that brought the column.
    pub(super) born: RowNumber,
    /// The row that widened it, with the type before.
    widened: Option<(RowNumber, Widened)>,
    /// Whether each whole number so far is exact as a double.
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Widened {
    IntToLong,
    LongToDouble,
}

/// The whole numbers up to here are exact as doubles.
const EXACT_MAX: u64 = 1 << 53;

impl Column {
    /// A column of a type, with the ids that the type has.
    pub(super) fn of_field(field: &NestedField, path: &str, fresh: bool, born: RowNumber) -> Self {
        Self {
            id: field.id,
            name: field.name.clone(),
            token: key_token(&field.name),
            values: Values::of_type(&field.field_type, &format!("{path}{}.", field.name.to_lowercase()), fresh, born),
            nulls: NullBufferBuilder::new(0),
            rows: 0,
            required: field.required,
            doc: field.doc.clone(),
            fresh,
            open: born > 0,
            born,
            widened: None,
            exact: true,
        }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.rows
    }

    /// Fills the column with nulls up to `rows`.
    #[inline]
    pub(super) fn pad(&mut self, rows: usize) {
        if rows > self.rows {
            self.append_nulls(rows - self.rows);
        }
    }

    /// Makes room for `more` values of types that have a width.
    pub(super) fn reserve(&mut self, more: usize) {
        match &mut self.values {
            Values::Int(values) | Values::Date(values) => values.reserve(more),
            Values::Long(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::Timestamptz(values, _) => values.reserve(more),
            Values::Double(values) => values.reserve(more),
            Values::Text { ends, .. } => ends.reserve(more),
            _ => {}
        }
    }

    fn append_nulls(&mut self, missing: usize) {
        self.nulls.append_n_nulls(missing);
        self.rows += missing;
        let rows = self.rows;
        match &mut self.values {
            Values::Bool(values) => values.append_n(missing, false),
            Values::Int(values) | Values::Date(values) => values.resize(rows, 0),
            Values::Long(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::Timestamptz(values, _) => {
                values.resize(rows, 0);
            }
            Values::Float(values) => values.resize(rows, 0.0),
            Values::Double(values) => values.resize(rows, 0.0),
            Values::Decimal { values, .. } => values.resize(rows, 0),
            Values::Text { ends, bytes } => ends.resize(rows, bytes.len() as i32),
            Values::Binary { ends, bytes } => ends.resize(rows, bytes.len() as i64),
            Values::Uuid(bytes) => bytes.resize(rows * 16, 0),
            Values::List { ends, element } => ends.resize(rows, element.len() as i32),
            // Their columns are filled when they are next touched.
            Values::Struct(_) | Values::Foreign(..) => {}
        }
    }

    /// Appends a null.
    pub(super) fn push_null(&mut self) {
        self.pad(self.len() + 1);
    }

    /// Says that a value was appended to the buffers.
    #[inline]
    pub(super) fn push_valid(&mut self) {
        self.nulls.append_non_null();
        self.rows += 1;
    }

    /// Appends a whole number to a column of longs.
    #[inline]
    pub(super) fn push_long(values: &mut Vec<i64>, exact: &mut bool, value: i64) {
        *exact &= value.unsigned_abs() <= EXACT_MAX;
        values.push(value);
    }

    /// Appends a text to a column of texts.
    #[inline]
    pub(super) fn push_text(ends: &mut Vec<i32>, bytes: &mut Vec<u8>, text: &str) {
        bytes.extend_from_slice(text.as_bytes());
        ends.push(bytes.len() as i32);
    }

    /// The flag that [`Column::push_long`] keeps, beside the values.
    #[inline]
    pub(super) fn values_and_exact(&mut self) -> (&mut Values, &mut bool) {
        (&mut self.values, &mut self.exact)
    }

    /// Whether the value at the end of the column is one.
    pub(super) fn is_valid(&self, row: usize) -> bool {
        row < self.len() && self.nulls.is_valid(row)
    }

    /// Makes the column one of doubles, where that loses nothing and no batch tells its type yet.
    pub(super) fn widen_to_double(&mut self, row: RowNumber) -> bool {
        match &mut self.values {
            Values::Long(values) if self.open && self.exact => {
                self.values = Values::Double(std::mem::take(values).into_iter().map(|value| value as f64).collect());
                self.widened = Some((row, Widened::LongToDouble));
                true
            }
            _ => false,
        }
    }

    /// Makes a column of ints one of longs.
    pub(super) fn widen_to_long(&mut self, row: RowNumber) -> bool {
        match &mut self.values {
            Values::Int(values) => {
                self.values = Values::Long(std::mem::take(values).into_iter().map(i64::from).collect());
                self.widened = Some((row, Widened::IntToLong));
                true
            }
            _ => false,
        }
    }

    /// Whether `row` changed the column's type.
    pub(super) fn is_widened_by(&self, row: RowNumber) -> bool {
        matches!(self.widened, Some((by, _)) if by == row)
    }

    /// Whether rows are filed under the column's value.
    pub(super) fn is_event_time(&self) -> bool {
        matches!(self.values, Values::Timestamptz(_, Some(_)))
    }

    /// Whether the column, or one below it, is not what the table has.
    pub(super) fn is_evolved(&self) -> bool {
        let below = match &self.values {
            Values::Struct(columns) => columns.list.iter().any(Self::is_evolved),
            Values::List { element, .. } => element.is_evolved(),
            _ => false,
        };
        self.fresh || self.widened.is_some() || below
    }

    /// Takes back all after the first `rows` values, also what a value that broke off left below.
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.rows > rows {
            self.nulls.truncate(rows);
            self.rows = rows;
        }
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows.min(values.len())),
            Values::Int(values) | Values::Date(values) => values.truncate(rows),
            Values::Long(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::Timestamptz(values, _) => {
                values.truncate(rows);
            }
            Values::Float(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Text { ends, bytes } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Binary { ends, bytes } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Uuid(bytes) => bytes.truncate(rows * 16),
            Values::List { ends, element } => {
                ends.truncate(rows);
                element.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Struct(columns) => columns.truncate(rows),
            Values::Foreign(..) => {}
        }
    }

    /// Takes back the changes of type that `row` made, here and below. Call it after [`Column::truncate`].
    fn forget(&mut self, row: RowNumber, gone: &mut Vec<String>) {
        if let Some((at, widened)) = self.widened
            && at == row
        {
            self.widened = None;
            match (widened, &mut self.values) {
                (Widened::IntToLong, Values::Long(values)) => {
                    self.values = Values::Int(std::mem::take(values).into_iter().map(|value| value as i32).collect());
                }
                (Widened::LongToDouble, Values::Double(values)) => {
                    self.values = Values::Long(std::mem::take(values).into_iter().map(|value| value as i64).collect());
                }
                _ => {}
            }
        }
        match &mut self.values {
            Values::Struct(columns) => columns.forget(row, gone),
            Values::List { element, .. } => element.forget(row, gone),
            _ => {}
        }
    }

    /// Says that a batch has the column now, with this type.
    pub(super) fn close(&mut self) {
        self.open = false;
        match &mut self.values {
            Values::Struct(columns) => columns.list.iter_mut().for_each(Self::close),
            Values::List { element, .. } => element.close(),
            _ => {}
        }
    }

    /// Says that the table has the column now, with this type.
    pub(super) fn settle(&mut self) {
        self.fresh = false;
        self.born = 0;
        self.widened = None;
        match &mut self.values {
            Values::Struct(columns) => columns.list.iter_mut().for_each(Self::settle),
            Values::List { element, .. } => element.settle(),
            _ => {}
        }
    }

    /// The Arrow field, with the Iceberg id.
    pub(super) fn field(&self) -> FieldRef {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), self.id.to_string())]);
        Arc::new(Field::new(&self.name, self.values.data_type(), true).with_metadata(metadata))
    }

    /// The Iceberg field.
    pub(super) fn nested_field(&self) -> NestedFieldRef {
        let mut field = NestedField::new(self.id, &self.name, self.values.iceberg_type(), self.required);
        field.doc.clone_from(&self.doc);
        Arc::new(field)
    }

    /// Turns the first `rows` values into an array; the column is empty then.
    pub(super) fn finish(&mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        let nulls = self.nulls.finish();
        self.rows = 0;
        self.values.finish(rows, nulls)
    }
}
