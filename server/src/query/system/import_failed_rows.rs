//! `system.import_failed_rows`: the rows that imports set aside, with cause, place and bytes.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, RecordBatch, StringBuilder, TimestampMillisecondBuilder, UInt32Builder,
    UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use millrace_storage::lake::import::BadRowLine;

use super::by_object::{Objects, batch, decoded};
use super::{columns, time};
use crate::error::Result;
use crate::imports::{ImportSetAside, Imports};

/// The rows that imports set aside.
#[derive(Debug, Clone)]
pub(super) struct ImportFailedRows {
    imports: Imports,
    schema: SchemaRef,
}

impl ImportFailedRows {
    pub(super) fn new(imports: &Imports) -> Self {
        let schema = columns(&[
            ("import", DataType::Utf8),
            ("stream", DataType::Utf8),
            ("object", DataType::Utf8),
            ("row_number", DataType::UInt64),
            ("error_code", DataType::Utf8),
            ("error_message", DataType::Utf8),
            ("attempts", DataType::UInt32),
            ("partition_key", DataType::Utf8),
            ("data", DataType::Binary),
            ("is_whole", DataType::Boolean),
            ("run", DataType::UInt64),
            ("set_aside", time()),
            ("replayed", DataType::Boolean),
            ("url", DataType::Utf8),
        ]);
        Self { imports: imports.clone(), schema }
    }
}

#[async_trait]
impl Objects for ImportFailedRows {
    type Object = ImportSetAside;

    fn name(&self) -> &'static str {
        "import_failed_rows"
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn list(&self) -> Result<Vec<ImportSetAside>> {
        self.imports.set_aside().await
    }

    async fn read(&self, aside: ImportSetAside) -> Result<RecordBatch> {
        let mut rows = Rows::default();
        for line in self.imports.read_set_aside(&aside).await? {
            rows.push(&aside, &line)?;
        }
        rows.finish(&self.schema)
    }
}

/// Columns as they grow.
#[derive(Default)]
struct Rows {
    import: StringBuilder,
    stream: StringBuilder,
    object: StringBuilder,
    row: UInt64Builder,
    error_code: StringBuilder,
    error_message: StringBuilder,
    attempts: UInt32Builder,
    partition_key: StringBuilder,
    data: BinaryBuilder,
    is_whole: BooleanBuilder,
    run: UInt64Builder,
    set_aside: TimestampMillisecondBuilder,
    replayed: BooleanBuilder,
    url: StringBuilder,
}

impl Rows {
    fn push(&mut self, aside: &ImportSetAside, line: &BadRowLine) -> Result<()> {
        self.import.append_value(&aside.import);
        self.stream.append_value(&line.stream);
        self.object.append_value(&line.object);
        self.row.append_value(line.row);
        self.error_code.append_value(&line.error_code);
        self.error_message.append_value(&line.error_message);
        self.attempts.append_value(line.attempts_made);
        self.partition_key.append_option(line.partition_key.as_deref());
        self.data.append_value(decoded(&line.raw_data, &aside.url)?);
        self.is_whole.append_value(line.is_whole);
        self.run.append_value(aside.run);
        self.set_aside.append_value(aside.at.as_millis());
        self.replayed.append_value(aside.replayed_run.is_some());
        self.url.append_value(&aside.url);
        Ok(())
    }

    fn finish(mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.import.finish()),
            Arc::new(self.stream.finish()),
            Arc::new(self.object.finish()),
            Arc::new(self.row.finish()),
            Arc::new(self.error_code.finish()),
            Arc::new(self.error_message.finish()),
            Arc::new(self.attempts.finish()),
            Arc::new(self.partition_key.finish()),
            Arc::new(self.data.finish()),
            Arc::new(self.is_whole.finish()),
            Arc::new(self.run.finish()),
            Arc::new(self.set_aside.finish().with_data_type(time())),
            Arc::new(self.replayed.finish()),
            Arc::new(self.url.finish()),
        ];
        batch(schema, arrays)
    }
}
