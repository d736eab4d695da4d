//! `system.deliveries`: what deliveries do, how far behind they are and what they did.

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde::Serialize;

use super::{SystemTable, batches, columns, time};
use crate::delivery::{Deliveries, Described, State};
use crate::error::Result;

/// All deliveries.
#[derive(Debug)]
pub(super) struct DeliveryRows {
    pub(super) deliveries: Deliveries,
}

#[derive(Debug, Serialize)]
struct Row {
    delivery: String,
    stream: String,
    state: &'static str,
    last_error: Option<String>,
    retries: u64,
    next_batch: u64,
    pending_records: u64,
    records: u64,
    rows: u64,
    set_aside: u64,
    dropped: u64,
    files: u64,
    bytes_in: u64,
    bytes_out: u64,
    last_commit: Option<i64>,
}

impl From<Described> for Row {
    fn from(described: Described) -> Self {
        let state = match described.state {
            State::Running => "running",
            State::Paused => "paused",
            State::Retrying => "retrying",
        };
        Self {
            state,
            pending_records: described.shards.iter().map(|shard| shard.next.since(shard.committed)).sum(),
            delivery: described.name,
            stream: described.stream,
            last_error: described.last_error,
            retries: described.retries,
            next_batch: described.next_batch,
            records: described.totals.records,
            rows: described.totals.rows,
            set_aside: described.totals.set_aside,
            dropped: described.totals.dropped,
            files: described.totals.files,
            bytes_in: described.totals.bytes_in,
            bytes_out: described.totals.bytes_out,
            last_commit: described.last_commit_at.map(|time| time.as_millis()),
        }
    }
}

#[async_trait]
impl SystemTable for DeliveryRows {
    fn name(&self) -> &'static str {
        "deliveries"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("delivery", DataType::Utf8),
            ("stream", DataType::Utf8),
            ("state", DataType::Utf8),
            ("last_error", DataType::Utf8),
            ("retries", DataType::UInt64),
            ("next_batch", DataType::UInt64),
            ("pending_records", DataType::UInt64),
            ("records", DataType::UInt64),
            ("rows", DataType::UInt64),
            ("set_aside", DataType::UInt64),
            ("dropped", DataType::UInt64),
            ("files", DataType::UInt64),
            ("bytes_in", DataType::UInt64),
            ("bytes_out", DataType::UInt64),
            ("last_commit", time()),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let rows: Vec<Row> = self.deliveries.list().into_iter().map(Row::from).collect();
        batches(&self.schema(), &rows)
    }
}
