//! From rows to columns: JSON objects, CSV rows, lines or whole records become an Arrow batch, and the schema grows with
//! JSON.
//!
//! Each row is read once, straight into the columns. A row that fails is taken back whole, with all that it changed, and set
//! aside with its cause; its neighbours do not notice. A value that its column cannot take without loss goes to `_rescued`.
//! Nothing is ever dropped, rounded or wrapped in silence.
//!
//! What counts as the same value: JSON has one kind of number, so `2.0` goes into a `long` column as 2, and 2 into a `double`
//! column. A `null` is an absent field. Doubles are the nearest ones to the text, as in every JSON reader.
//!
//! The type of a column is told by the first call that sees it: within that call whole numbers and fractions make it `double`;
//! later a fraction in a `long` column is a conflict, because no table's column may change so. Declare such columns.

mod column;
mod scalar;
mod infer;
mod rescue;
pub(in crate::lake) mod read;
mod text;
mod system;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema as ArrowSchema;
use iceberg::spec::Schema;

use super::event_time::TimeSource;
use super::input::Input;
use super::partition::RowKeys;
use super::row::{Cause, Row, SetAside};
use super::schema::{self, ColumnSpec, SchemaPolicy, TableSchema};
use super::{Error, Result};
use column::{Column, Columns, Values};
use read::{Failure, Reader, State};
use rescue::Rescued;
use system::{SystemColumn, SystemColumns};
use text::CsvReader;

/// How rows become columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConvertSettings {
    /// The declared columns.
    pub columns: Vec<ColumnSpec>,
    /// What becomes of fields and values that the schema does not foresee.
    pub policy: SchemaPolicy,
    /// Which time a row is filed under.
    pub time: TimeSource,
    /// Whether the table has the system columns. `_rescued` depends on the policy alone.
    pub system_columns: bool,
    /// How rows are written. Columns that it names and the table does not declare are made as [`Input::columns`] has them.
    pub input: Input,
    /// What one record may do.
    pub limits: ConvertLimits,
}

impl ConvertSettings {
    /// The declared columns, and those of the input that neither they nor the table have.
    fn columns_beside(&self, table: &TableSchema) -> Vec<ColumnSpec> {
        let mut columns = self.columns.clone();
        let time = match &self.time {
            TimeSource::Field { field, .. } => Some(field),
            TimeSource::Arrival => None,
        };
        let fields = table.schema.as_struct().fields();
        for column in self.input.columns() {
            let is_it = |name: &String| name.to_lowercase() == column.name.to_lowercase();
            let is_declared = self.columns.iter().map(|declared| &declared.name).chain(time).any(is_it);
            if !is_declared && !fields.iter().any(|field| is_it(&field.name)) {
                columns.push(column);
            }
        }
        columns
    }
}

impl RowReader {
    fn new(input: &Input, columns: &Columns) -> Result<Self> {
        Ok(match input {
            Input::Json => Self::Json,
            Input::Csv(format) => Self::Csv(Box::new(CsvReader::new(format, columns))),
            Input::Lines | Input::Raw => Self::Value(text::value_place(columns)?),
        })
    }
}

/// What one record may do to a table. A record past a limit is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvertLimits {
    /// How deep objects and arrays may nest; the record itself is 1. Default 32, at most 128.
    pub nesting_depth_max: usize,
    /// How many fields, nested ones and list elements included, the records of a table may bring. Default 2,000.
    pub columns_max: usize,
}

/// The deepest nesting that any limit allows: each level costs stack.
const NESTING_DEPTH_CEILING: usize = 128;

impl Default for ConvertLimits {
    fn default() -> Self {
        Self { nesting_depth_max: 32, columns_max: 2_000 }
    }
}

/// What became of rows.
#[derive(Debug, Clone)]
pub struct Converted {
    /// The rows that became part of the table, in their order. Its fields carry Iceberg's field ids.
    pub batch: RecordBatch,
    /// The rows that did not, in their order.
    pub set_aside: Vec<SetAside>,
    /// How many rows of the batch have something in `_rescued`.
    pub rescued: u64,
    /// The partition keys of the batch's rows.
    pub keys: RowKeys,
}

/// What reads a row.
enum RowReader {
    Json,
    Csv(Box<CsvReader>),
    /// Into the column at a place.
    Value(usize),
}

/// Turns rows into batches; the schema evolves inside.
pub struct Converter {
    settings: ConvertSettings,
    reader: RowReader,
    columns: Columns,
    system: SystemColumns,
    state: State,
    /// The table's, when it was last told.
    table: TableSchema,
    schema: TableSchema,
    arrow_schema: Arc<ArrowSchema>,
    evolved: bool,
    /// The event-time column, and those that the table demands.
    required: Vec<usize>,
    scratch: String,
}

impl std::fmt::Debug for Converter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter")
            .field("schema", &self.schema)
            .field("evolved", &self.evolved)
            .finish_non_exhaustive()
    }
}

impl Converter {
    /// A converter for rows of `stream` into a table that has the schema `table` now; for a table that is yet to be made,
    /// give [`TableSchema::initial`] of the same settings.
    ///
    /// Declared and system columns that the table lacks are added. Fails where a declared column has another type than the
    /// table's.
    pub fn new(settings: ConvertSettings, stream: &str, table: &TableSchema) -> Result<Self> {
        let depth = settings.limits.nesting_depth_max;
        if depth == 0 || depth > NESTING_DEPTH_CEILING {
            return Err(Error::Invalid(format!(
                "nesting_depth_max is {depth}; allowed are 1 to {NESTING_DEPTH_CEILING}"
            )));
        }
        let declared = settings.columns_beside(table);
        let wanted = TableSchema::initial(&declared, &settings.time, settings.policy, settings.system_columns)?;
        let mut last_id = table.last_column_id;
        let mut system = SystemColumns::new(stream);
        let mut list = Vec::new();
        for field in table.schema.as_struct().fields() {
            if schema::is_system(&field.name) {
                let filled = wanted.schema.field_by_name(&field.name).is_some();
                system.add(field, false, filled)?;
            } else {
                list.push(Column::of_field(field, "", false, 0));
            }
        }
        for field in wanted.schema.as_struct().fields() {
            let mut field = (**field).clone();
            match table.schema.as_struct().fields().iter().find(|there| there.name == field.name) {
                Some(_) if schema::is_system(&field.name) => continue,
                // It may have been widened since it was declared.
                Some(there) if schema::widens(&field.field_type, &there.field_type) => continue,
                Some(there) => {
                    return Err(Error::Invalid(format!(
                        "the column {:?} is declared as {}, but it is {} in the table",
                        field.name, field.field_type, there.field_type
                    )));
                }
                None => {}
            }
            *field.field_type = schema::with_fresh_ids(*field.field_type, &mut last_id);
            last_id += 1;
            field.id = last_id;
            if schema::is_system(&field.name) {
                system.add(&field, true, true)?;
            } else {
                list.push(Column::of_field(&field, "", true, 0));
            }
        }
        let mut columns = Columns::new(String::new(), list);
        let required = required_columns(&mut columns, &settings.time)?;
        let reader = RowReader::new(&settings.input, &columns)?;
        let mut paths = Vec::new();
        columns.list.iter().for_each(|column| column::paths_of(column, "", &mut paths));
        let state = State {
            policy: settings.policy,
            infers: columns.list.iter().all(Column::is_event_time),
            limits: settings.limits,
            column_count: paths.len(),
            paths: paths.into_iter().collect::<HashSet<_>>(),
            last_id,
            row: 0,
            changes: 0,
        };
        let mut converter = Self {
            settings,
            reader,
            columns,
            system,
            state,
            table: table.clone(),
            schema: table.clone(),
            arrow_schema: Arc::new(ArrowSchema::empty()),
            evolved: false,
            required,
            scratch: String::new(),
        };
        converter.rebuild()?;
        Ok(converter)
    }

    /// Turns rows into a batch, or sets them aside. The batch may be empty.
    ///
    /// Fails only for more than 2 GiB of rows in one call.
    pub fn convert(&mut self, rows: Vec<Row>) -> Result<Converted> {
        let bytes: usize = rows.iter().map(|row| row.data.len() + row.partition_key.len()).sum();
        if bytes > i32::MAX as usize / 2 {
            let limit = i32::MAX / 2;
            return Err(Error::Invalid(format!("{bytes} bytes of rows are past the limit of {limit} for one batch")));
        }
        self.columns.list.iter_mut().for_each(|column| column.reserve(rows.len()));
        let changes = self.state.changes;
        let mut set_aside = Vec::new();
        let mut keys = RowKeys::default();
        let mut kept = 0;
        let mut rescued = 0;
        for row in rows {
            match self.convert_row(&row, kept) {
                Ok(text) => {
                    rescued += u64::from(text.is_some());
                    self.system.push(&row, text.as_deref());
                    keys.push(row.keys);
                    kept += 1;
                }
                Err((cause, message)) => set_aside.push(SetAside { row, cause, message, attempts: 1 }),
            }
        }
        self.state.infers &= kept == 0;
        if self.state.changes != changes {
            self.columns.list.iter_mut().for_each(Column::close);
            self.rebuild()?;
        }
        Ok(Converted { batch: self.finish(kept)?, set_aside, rescued, keys })
    }

    /// The schema of the batches from here on: the table's, with the columns that rows brought.
    #[must_use]
    pub const fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The same schema for Arrow, with the Iceberg field ids in the fields' metadata.
    #[must_use]
    pub const fn arrow_schema(&self) -> &Arc<ArrowSchema> {
        &self.arrow_schema
    }

    /// Whether the schema differs from the table's, so that a commit must bring it.
    #[must_use]
    pub const fn is_evolved(&self) -> bool {
        self.evolved
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &ConvertSettings {
        &self.settings
    }

    /// Says which schema the table has after a commit.
    ///
    /// Fails where it is not this converter's: then another writer changed the table, and a new converter is needed.
    pub fn settle(&mut self, table: &TableSchema) -> Result<()> {
        let ours = self.schema.schema.as_struct();
        let same = |theirs: &iceberg::spec::NestedFieldRef| {
            ours.field_by_id(theirs.id)
                .is_some_and(|our| our.name == theirs.name && our.field_type == theirs.field_type)
        };
        let theirs = table.schema.as_struct().fields();
        if theirs.len() != ours.fields().len() || !theirs.iter().all(same) {
            return Err(Error::Invalid("the table's schema was changed by another writer".into()));
        }
        self.columns.list.iter_mut().for_each(Column::settle);
        self.system.settle();
        self.table = table.clone();
        self.state.last_id = self.state.last_id.max(table.last_column_id);
        self.rebuild()
    }

    /// Reads one row into the columns; gives the text of `_rescued`.
    fn convert_row(&mut self, row: &Row, kept: usize) -> Result<Option<String>, (Cause, String)> {
        self.state.row += 1;
        let (changes, last_id, column_count) = (self.state.changes, self.state.last_id, self.state.column_count);
        let outcome = self.read_row(&row.data, kept);
        let failure = match outcome.and_then(|rescued| self.check_required(kept).map(|()| rescued)) {
            Ok(rescued) if rescued.is_empty() => return Ok(None),
            Ok(rescued) => return Ok(Some(rescue::render(&rescued))),
            Err(failure) => failure,
        };
        self.columns.truncate(kept);
        if self.state.changes != changes {
            let mut gone = Vec::new();
            self.columns.forget(self.state.row, &mut gone);
            gone.iter().for_each(|path| {
                self.state.paths.remove(path);
            });
            (self.state.changes, self.state.last_id, self.state.column_count) = (changes, last_id, column_count);
        }
        match failure {
            Failure::Row(cause, message) => Err((cause, message)),
            Failure::Value => Err((Cause::TypeConflict, "a value is not of its column's type".into())),
        }
    }

    fn read_row(&mut self, data: &[u8], kept: usize) -> Result<Rescued, Failure> {
        match &mut self.reader {
            RowReader::Json => {
                let text = read::text_of(data).map_err(|(cause, message)| Failure::Row(cause, message))?;
                let mut reader = Reader::new(text, std::mem::take(&mut self.scratch), &mut self.state);
                let outcome = reader.read_record(&mut self.columns, kept);
                self.scratch = reader.into_scratch();
                outcome
            }
            RowReader::Csv(reader) => reader.read(data, &mut self.columns, kept, &mut self.state),
            RowReader::Value(place) => text::read_value(data, &mut self.columns.list[*place], kept),
        }
    }

    fn check_required(&self, row: usize) -> Result<(), Failure> {
        let missing = self.required.iter().map(|index| &self.columns.list[*index]).find(|column| !column.is_valid(row));
        match missing {
            None => Ok(()),
            Some(Column { name, values: Values::Timestamptz(_, Some(format)), .. }) => {
                let message = format!("the event time {name:?} is absent or not a time in the format {format}");
                Err(Failure::Row(Cause::EventTime, message))
            }
            Some(Column { name, .. }) => {
                Err(Failure::Row(Cause::TypeConflict, format!("the table demands a value for the column {name:?}")))
            }
        }
    }

    /// Makes the schema anew from the columns.
    fn rebuild(&mut self) -> Result<()> {
        let (users, system) = (self.columns.list.iter(), self.system.list().iter());
        let fields = users.map(Column::nested_field).chain(system.map(SystemColumn::nested_field));
        let schema = Schema::builder().with_schema_id(self.table.schema.schema_id()).with_fields(fields).build();
        let schema = Arc::new(schema.map_err(schema::invalid)?);
        self.evolved = self.system.is_evolved() || self.columns.list.iter().any(Column::is_evolved);
        self.schema = TableSchema { schema, last_column_id: self.state.last_id };
        let (users, system) = (self.columns.list.iter(), self.system.list().iter());
        let fields: Vec<_> = users.map(Column::field).chain(system.map(SystemColumn::field)).collect();
        self.arrow_schema = Arc::new(ArrowSchema::new(fields));
        Ok(())
    }

    fn finish(&mut self, rows: usize) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = self.columns.list.iter_mut().map(|column| column.finish(rows)).collect();
        columns.extend(self.system.finish(rows));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.arrow_schema), columns, &options).map_err(schema::invalid)
    }
}

/// Sets the event time's format on its column; gives the places of all columns that a row must have.
fn required_columns(columns: &mut Columns, time: &TimeSource) -> Result<Vec<usize>> {
    if let TimeSource::Field { field, format } = time {
        match columns.list.iter_mut().find(|column| column.name == *field).map(|column| &mut column.values) {
            Some(Values::Timestamptz(_, of_event)) => *of_event = Some(format.clone()),
            _ => return Err(Error::Invalid(format!("the event time {field:?} is no column of type timestamptz"))),
        }
    }
    let is_required = |column: &Column| column.required || column.is_event_time();
    Ok((0..columns.list.len()).filter(|index| is_required(&columns.list[*index])).collect())
}

#[cfg(test)]
mod tests;
