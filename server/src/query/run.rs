//! One query as it runs: batches into a bounded channel until the end, the deadline, or the reader's leave.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::planner::Planned;
use super::watch::Watch;
use super::{adapt, error};
use crate::error::{Error, Kind, Result};

/// The error of a query that took too long.
pub(super) fn timed_out(timeout: Duration) -> Error {
    let timeout = humantime::format_duration(timeout);
    Error::new(Kind::FailedPrecondition, format_args!("the query ran longer than query.timeout of {timeout}"))
}

/// The error of a query whose task did not end by itself.
pub(super) fn panicked(error: &JoinError) -> Error {
    if error.is_cancelled() {
        return Error::unavailable("the query engine is closing");
    }
    tracing::error!(%error, "a query panicked");
    Error::new(Kind::Internal, "the query engine failed at this statement; the server's log says where")
}

/// A planned query and its way to the reader.
pub(super) struct Run {
    pub(super) planned: Planned,
    /// Of the batches as the reader gets them: the plan's, without metadata.
    pub(super) schema: SchemaRef,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) watch: Watch,
}

/// How sending ended.
enum End {
    Complete,
    ReaderLeft,
}

impl Run {
    /// Runs the plan to its end and gives the query's turn to the next one.
    pub(super) async fn run(mut self, sender: mpsc::Sender<Result<RecordBatch>>) {
        self.watch.runs(&self.planned.plan);
        let outcome = tokio::time::timeout_at(self.deadline, self.send_all(&sender)).await;
        let Self { watch, permit, timeout, planned, .. } = self;
        drop((permit, planned));
        let error = match outcome {
            Ok(Ok(End::Complete)) => return watch.completed(),
            Ok(Ok(End::ReaderLeft)) => return,
            Ok(Err(error)) => {
                watch.failed(&error);
                error
            }
            Err(_elapsed) => {
                let error = timed_out(timeout);
                watch.timed_out(&error);
                error
            }
        };
        // The query's turn and memory are free by now, however long the reader takes; one that left needs no error.
        let _ = sender.send(Err(error)).await;
    }

    async fn send_all(&self, sender: &mpsc::Sender<Result<RecordBatch>>) -> Result<End> {
        let Planned { plan, context, .. } = &self.planned;
        let batches = execute_stream(Arc::clone(plan), Arc::clone(context));
        let mut batches = batches.map_err(|error| error::of(&error))?;
        while let Some(batch) = batches.next().await {
            let batch = batch.and_then(|batch| Ok(adapt::in_place(&batch, &self.schema)?));
            let batch = batch.map_err(|error| error::of(&error))?;
            let rows = batch.num_rows() as u64;
            if sender.send(Ok(batch)).await.is_err() {
                return Ok(End::ReaderLeft);
            }
            self.watch.sent(rows);
        }
        Ok(End::Complete)
    }
}
