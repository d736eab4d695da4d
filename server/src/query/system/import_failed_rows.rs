//! `system.import_failed_rows`: the rows that imports set aside, with cause, place and bytes.
//!
//! Rows are read object by object as the query asks for them, so that a scan takes the memory of one object.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, RecordBatch, StringBuilder, TimestampMillisecondBuilder, UInt32Builder,
    UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_storage::lake::import::BadRowLine;

use super::{SystemTable, columns, time};
use crate::error::{Error, Kind, Result};
use crate::imports::{ImportSetAside, Imports};
use crate::query::error;

/// The rows that imports set aside.
#[derive(Clone)]
pub(super) struct ImportFailedRows {
    imports: Imports,
    schema: SchemaRef,
}

impl fmt::Debug for ImportFailedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportFailedRows").finish_non_exhaustive()
    }
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

    async fn read(&self, aside: ImportSetAside) -> Result<RecordBatch> {
        let mut rows = Rows::default();
        for line in self.imports.read_set_aside(&aside).await? {
            rows.push(&aside, &line)?;
        }
        rows.finish(&self.schema)
    }
}

#[async_trait]
impl SystemTable for ImportFailedRows {
    fn name(&self) -> &'static str {
        "import_failed_rows"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for aside in self.imports.set_aside().await? {
            batches.push(self.read(aside).await?);
        }
        Ok(batches)
    }

    fn stream(&self) -> Option<Arc<dyn PartitionStream>> {
        Some(Arc::new(self.clone()))
    }
}

impl PartitionStream for ImportFailedRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (listing, reading) = (self.clone(), self.clone());
        let asides = stream::once(async move { listing.imports.set_aside().await });
        let batches = asides
            .map_ok(|asides| stream::iter(asides.into_iter().map(Ok::<_, Error>)))
            .try_flatten()
            .and_then(move |aside| {
                let reading = reading.clone();
                async move { reading.read(aside).await }
            })
            .map_err(error::external);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches.boxed()))
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
        let data = BASE64_STANDARD.decode(&line.raw_data).map_err(|error| {
            Error::new(Kind::DataLoss, format_args!("{} holds data that is not base64: {error}", aside.url))
        })?;
        self.import.append_value(&aside.import);
        self.stream.append_value(&line.stream);
        self.object.append_value(&line.object);
        self.row.append_value(line.row);
        self.error_code.append_value(&line.error_code);
        self.error_message.append_value(&line.error_message);
        self.attempts.append_value(line.attempts_made);
        self.partition_key.append_option(line.partition_key.as_deref());
        self.data.append_value(data);
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
        let failed =
            |error| Error::new(Kind::Internal, format_args!("cannot make the rows of a system table: {error}"));
        RecordBatch::try_new(Arc::clone(schema), arrays).map_err(failed)
    }
}
