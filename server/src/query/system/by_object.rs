//! Tables whose rows lie in objects of the store, whatever the rows are.
//!
//! Rows are read object by object as the query asks for them, so that a scan takes the memory of one object.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::{SystemTable, not_made};
use crate::error::{Error, Kind, Result};
use crate::query::error;

/// Which objects hold a table's rows, and the rows of one.
#[async_trait]
pub(super) trait Objects: Clone + fmt::Debug + Send + Sync + 'static {
    /// One object, before it is read.
    type Object: Send;

    /// The table's name below `system`.
    fn name(&self) -> &'static str;

    /// Its columns.
    fn schema(&self) -> &SchemaRef;

    /// The objects there are now, in the order of their rows.
    async fn list(&self) -> Result<Vec<Self::Object>>;

    /// All rows of one, in the schema's columns.
    async fn read(&self, object: Self::Object) -> Result<RecordBatch>;
}

/// The table of such objects.
#[derive(Debug, Clone)]
pub(super) struct ByObject<T>(pub(super) T);

impl<T: Objects> ByObject<T> {
    fn batches(&self) -> impl Stream<Item = Result<RecordBatch>> + Send + use<T> {
        let (listing, reading) = (self.0.clone(), self.0.clone());
        stream::once(async move { listing.list().await })
            .map_ok(|objects| stream::iter(objects.into_iter().map(Ok::<_, Error>)))
            .try_flatten()
            .and_then(move |object| {
                let reading = reading.clone();
                async move { reading.read(object).await }
            })
    }
}

#[async_trait]
impl<T: Objects> SystemTable for ByObject<T> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        self.batches().try_collect().await
    }

    fn stream(&self) -> Option<Arc<dyn PartitionStream>> {
        Some(Arc::new(self.clone()))
    }
}

impl<T: Objects> PartitionStream for ByObject<T> {
    fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches().map_err(error::external).boxed();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(self.0.schema()), batches))
    }
}

/// The bytes of a line's `data` in the object with this URL.
pub(super) fn decoded(data: &str, url: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD
        .decode(data)
        .map_err(|error| Error::new(Kind::DataLoss, format_args!("{url} holds data that is not base64: {error}")))
}

/// Rows of whole columns.
pub(super) fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(not_made)
}
