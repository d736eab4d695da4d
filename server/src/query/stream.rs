//! The answer of a query: a schema and batches that arrive as the reader takes them. Dropping it ends the query.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::run::panicked;
use crate::error::Result;

/// Batches of one query, computed on the query threads at the pace of their reader.
#[derive(Debug)]
pub struct QueryStream {
    pub(super) schema: SchemaRef,
    pub(super) batches: mpsc::Receiver<Result<RecordBatch>>,
    /// The query's task: it ends when the reader goes away. Taken when it has ended.
    pub(super) task: Option<AbortOnDropHandle<()>>,
}

impl QueryStream {
    /// The schema of all batches, without metadata.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch>;

    /// The stream ends only when the query's task ended well: an answer is never cut short in silence.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = ready!(self.batches.poll_recv(context)) {
            return Poll::Ready(Some(batch));
        }
        let Some(task) = self.task.as_mut() else { return Poll::Ready(None) };
        let ended = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(ended.err().map(|error| Err(panicked(&error))))
    }
}
