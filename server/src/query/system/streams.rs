//! `system.streams`: the streams and their settings.

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde::Serialize;

use super::{SystemTable, batches, columns, time};
use crate::error::Result;
use crate::streams::{StreamState, Streams};

/// All streams.
#[derive(Debug)]
pub(super) struct StreamRows {
    pub(super) streams: Streams,
}

#[derive(Debug, Serialize)]
struct Row {
    stream: String,
    created: i64,
    shards: u32,
    retention_ms: u64,
    record_bytes_max: u64,
    in_bytes_per_second: u64,
    in_records_per_second: u64,
    out_bytes_per_second: u64,
    stored_bytes_max: u64,
    hold_for_deliveries: bool,
    encrypted: bool,
    key_version: u32,
}

impl Row {
    fn new(streams: &Streams, stream: &StreamState) -> Self {
        let spec = stream.spec();
        Self {
            stream: stream.name().to_string(),
            created: stream.created_at().as_millis(),
            shards: spec.shard_count.get(),
            retention_ms: u64::try_from(spec.retention.as_millis()).unwrap_or(u64::MAX),
            record_bytes_max: spec.record_bytes_max,
            in_bytes_per_second: spec.quota.in_bytes_per_second,
            in_records_per_second: spec.quota.in_records_per_second,
            out_bytes_per_second: spec.quota.out_bytes_per_second,
            stored_bytes_max: spec.stored_bytes_max,
            hold_for_deliveries: spec.hold_for_deliveries,
            encrypted: spec.encryption,
            key_version: streams.key_version(stream).unwrap_or_default(),
        }
    }
}

#[async_trait]
impl SystemTable for StreamRows {
    fn name(&self) -> &'static str {
        "streams"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("stream", DataType::Utf8),
            ("created", time()),
            ("shards", DataType::UInt32),
            ("retention_ms", DataType::UInt64),
            ("record_bytes_max", DataType::UInt64),
            ("in_bytes_per_second", DataType::UInt64),
            ("in_records_per_second", DataType::UInt64),
            ("out_bytes_per_second", DataType::UInt64),
            ("stored_bytes_max", DataType::UInt64),
            ("hold_for_deliveries", DataType::Boolean),
            ("encrypted", DataType::Boolean),
            ("key_version", DataType::UInt32),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let rows: Vec<Row> = self.streams.list().iter().map(|stream| Row::new(&self.streams, stream)).collect();
        batches(&self.schema(), &rows)
    }
}
