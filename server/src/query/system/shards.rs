//! `system.shards`: the shards of all streams with what they hold.

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use millrace_storage::log::ShardId;
use serde::Serialize;

use super::{SystemTable, batches, columns, time};
use crate::error::Result;
use crate::streams::Streams;

/// All shards.
#[derive(Debug)]
pub(super) struct ShardRows {
    pub(super) streams: Streams,
}

#[derive(Debug, Serialize)]
struct Row {
    stream: String,
    shard: u32,
    hash_key_start: String,
    hash_key_end: String,
    trim_offset: u64,
    next_offset: u64,
    records: u64,
    newest_arrival: Option<i64>,
    /// Numbers with commas between them.
    parents: String,
    children: String,
    created_at: i64,
    closed_at: Option<i64>,
    reason: String,
}

fn numbers(shards: &[ShardId]) -> String {
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[async_trait]
impl SystemTable for ShardRows {
    fn name(&self) -> &'static str {
        "shards"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("stream", DataType::Utf8),
            ("shard", DataType::UInt32),
            ("hash_key_start", DataType::Utf8),
            ("hash_key_end", DataType::Utf8),
            ("trim_offset", DataType::UInt64),
            ("next_offset", DataType::UInt64),
            ("records", DataType::UInt64),
            ("newest_arrival", time()),
            ("parents", DataType::Utf8),
            ("children", DataType::Utf8),
            ("created_at", time()),
            ("closed_at", time()),
            ("reason", DataType::Utf8),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let log = self.streams.log();
        let mut rows = Vec::new();
        for stream in self.streams.list() {
            for shard in stream.topology().shards() {
                let closed = shard.closed();
                let offsets = log.offsets(shard.key());
                rows.push(Row {
                    stream: stream.name().to_string(),
                    shard: shard.id().0,
                    hash_key_start: shard.range().start.to_string(),
                    hash_key_end: shard.range().end.to_string(),
                    trim_offset: offsets.start.0,
                    next_offset: offsets.end.0,
                    records: offsets.end.since(offsets.start),
                    newest_arrival: log.newest_arrival(shard.key()).map(|time| time.as_millis()),
                    parents: numbers(shard.parents()),
                    children: closed.map(|closed| numbers(&closed.children)).unwrap_or_default(),
                    created_at: shard.created_at().as_millis(),
                    closed_at: closed.map(|closed| closed.at.as_millis()),
                    reason: shard.reason().to_owned(),
                });
            }
        }
        batches(&self.schema(), &rows)
    }
}
