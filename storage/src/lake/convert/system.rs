//! The system columns: where each row came from, and what of it was rescued.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::builder::StringBuilder;
use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::column::timestamptz;
use crate::lake::row::Row;
use crate::lake::schema::{ARRIVAL_TIME, OFFSET, PARTITION_KEY, RESCUED, SHARD, STREAM};
use crate::lake::{Error, Result};

/// The system columns of a table while rows come in.
pub(super) struct SystemColumns {
    stream: String,
    list: Vec<SystemColumn>,
    arrival_times: Vec<i64>,
    shards: Vec<i32>,
    offsets: Vec<i64>,
    partition_keys: StringBuilder,
    rescued: StringBuilder,
}

/// One system column of the table.
pub(super) struct SystemColumn {
    field: NestedFieldRef,
    fresh: bool,
    /// Whether these settings fill it; else it is null.
    filled: bool,
}

impl SystemColumn {
    pub(super) fn field(&self) -> FieldRef {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), self.field.id.to_string())]);
        Arc::new(Field::new(&self.field.name, data_type(&self.field.name), true).with_metadata(metadata))
    }

    pub(super) fn nested_field(&self) -> NestedFieldRef {
        Arc::clone(&self.field)
    }
}

impl SystemColumns {
    pub(super) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            list: Vec::new(),
            arrival_times: Vec::new(),
            shards: Vec::new(),
            offsets: Vec::new(),
            partition_keys: StringBuilder::new(),
            rescued: StringBuilder::new(),
        }
    }

    /// Adds a column of the schema; `filled` tells whether these settings fill it, `fresh` whether the table lacks it yet.
    pub(super) fn add(&mut self, field: &NestedField, fresh: bool, filled: bool) -> Result<()> {
        let expected: Type = primitive(&field.name).into();
        if *field.field_type != expected {
            return Err(Error::Invalid(format!(
                "the system column {:?} must be {expected}, but it is {} in the table",
                field.name, field.field_type
            )));
        }
        self.list.push(SystemColumn { field: Arc::new(field.clone()), fresh, filled });
        Ok(())
    }

    /// The columns in the order of the schema, after those of the records.
    pub(super) fn list(&self) -> &[SystemColumn] {
        &self.list
    }

    pub(super) fn is_evolved(&self) -> bool {
        self.list.iter().any(|column| column.fresh)
    }

    pub(super) fn settle(&mut self) {
        self.list.iter_mut().for_each(|column| column.fresh = false);
    }

    /// Appends a row that became part of the table.
    pub(super) fn push(&mut self, row: &Row, rescued: Option<&str>) {
        self.arrival_times.push(row.arrival_time.0.saturating_mul(1_000));
        self.shards.push(row.shard.0 as i32);
        self.offsets.push(row.offset.0 as i64);
        self.partition_keys.append_value(String::from_utf8_lossy(&row.partition_key));
        self.rescued.append_option(rescued);
    }

    /// Turns the rows so far into arrays, in the order of [`SystemColumns::list`].
    pub(super) fn finish(&mut self, rows: usize) -> Vec<ArrayRef> {
        let arrival_times = TimestampMicrosecondArray::from(std::mem::take(&mut self.arrival_times));
        let mut filled: HashMap<&str, ArrayRef> = HashMap::from([
            (ARRIVAL_TIME, Arc::new(arrival_times.with_data_type(timestamptz())) as ArrayRef),
            (STREAM, Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.stream, rows)))),
            (SHARD, Arc::new(Int32Array::from(std::mem::take(&mut self.shards)))),
            (OFFSET, Arc::new(Int64Array::from(std::mem::take(&mut self.offsets)))),
            (PARTITION_KEY, Arc::new(self.partition_keys.finish())),
            (RESCUED, Arc::new(self.rescued.finish())),
        ]);
        let arrays = self.list.iter().map(|column| {
            let array = filled.remove(column.field.name.as_str()).filter(|_| column.filled);
            array.unwrap_or_else(|| new_null_array(&data_type(&column.field.name), rows))
        });
        arrays.collect()
    }
}

fn data_type(name: &str) -> DataType {
    match name {
        ARRIVAL_TIME => timestamptz(),
        SHARD => DataType::Int32,
        OFFSET => DataType::Int64,
        _ => DataType::Utf8,
    }
}

fn primitive(name: &str) -> PrimitiveType {
    match name {
        ARRIVAL_TIME => PrimitiveType::Timestamptz,
        SHARD => PrimitiveType::Int,
        OFFSET => PrimitiveType::Long,
        _ => PrimitiveType::String,
    }
}
