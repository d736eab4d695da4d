//! `system.snapshots`: the history of every table, with the batch that each snapshot holds.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use millrace_storage::catalog::{SnapshotEntry, snapshots};
use serde::Serialize;

use super::super::tables::Tables;
use super::{SystemTable, batches, columns, time};
use crate::error::Result;

/// The snapshots of all tables.
#[derive(Debug)]
pub(in super::super) struct Snapshots {
    pub(in super::super) tables: Arc<Tables>,
}

#[derive(Debug, Serialize)]
struct Row {
    table: String,
    snapshot_id: i64,
    sequence_number: i64,
    committed: i64,
    operation: String,
    added_rows: Option<u64>,
    added_files: Option<u64>,
    total_rows: Option<u64>,
    total_files: Option<u64>,
    total_bytes: Option<u64>,
    delivery: Option<String>,
    batch: Option<u64>,
    records: Option<u64>,
    set_aside: Option<u64>,
    dropped: Option<u64>,
}

impl Row {
    fn new(table: &str, snapshot: SnapshotEntry) -> Self {
        let totals = snapshot.batch.as_ref().map(|batch| batch.totals);
        Self {
            table: table.to_owned(),
            snapshot_id: snapshot.id,
            sequence_number: snapshot.sequence_number,
            committed: snapshot.committed_at.as_millis(),
            operation: snapshot.operation,
            added_rows: snapshot.added_rows,
            added_files: snapshot.added_files,
            total_rows: snapshot.total_rows,
            total_files: snapshot.total_files,
            total_bytes: snapshot.total_bytes,
            batch: snapshot.batch.as_ref().map(|batch| batch.batch),
            delivery: snapshot.batch.map(|batch| batch.delivery),
            records: totals.as_ref().map(|totals| totals.records),
            set_aside: totals.as_ref().map(|totals| totals.set_aside),
            dropped: totals.as_ref().map(|totals| totals.dropped),
        }
    }
}

#[async_trait]
impl SystemTable for Snapshots {
    fn name(&self) -> &'static str {
        "snapshots"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("table", DataType::Utf8),
            ("snapshot_id", DataType::Int64),
            ("sequence_number", DataType::Int64),
            ("committed", time()),
            ("operation", DataType::Utf8),
            ("added_rows", DataType::UInt64),
            ("added_files", DataType::UInt64),
            ("total_rows", DataType::UInt64),
            ("total_files", DataType::UInt64),
            ("total_bytes", DataType::UInt64),
            ("delivery", DataType::Utf8),
            ("batch", DataType::UInt64),
            ("records", DataType::UInt64),
            ("set_aside", DataType::UInt64),
            ("dropped", DataType::UInt64),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let mut all = Vec::new();
        for (name, table) in self.tables.catalog().load_all().await? {
            let name = name.to_string();
            let rows: Vec<Row> = snapshots(&table)?.into_iter().map(|snapshot| Row::new(&name, snapshot)).collect();
            all.extend(batches(&self.schema(), &rows)?);
        }
        Ok(all)
    }
}
