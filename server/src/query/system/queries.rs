//! `system.queries`: the newest queries of this process.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde::Serialize;

use super::super::history::{QueryEntry, QueryHistory};
use super::{SystemTable, batches, columns, time};
use crate::error::Result;

/// The newest queries.
#[derive(Debug)]
pub(in super::super) struct Queries {
    pub(in super::super) history: Arc<QueryHistory>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: u64,
    started: i64,
    state: &'static str,
    millis: u64,
    rows: u64,
    scanned_bytes: u64,
    spilled_bytes: u64,
    error: Option<String>,
    sql: String,
}

impl From<QueryEntry> for Row {
    fn from(entry: QueryEntry) -> Self {
        let QueryEntry { id, sql, started, state, millis, rows, scanned_bytes, spilled_bytes, error, .. } = entry;
        Self { id, started: started.as_millis(), state, millis, rows, scanned_bytes, spilled_bytes, error, sql }
    }
}

#[async_trait]
impl SystemTable for Queries {
    fn name(&self) -> &'static str {
        "queries"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("id", DataType::UInt64),
            ("started", time()),
            ("state", DataType::Utf8),
            ("millis", DataType::UInt64),
            ("rows", DataType::UInt64),
            ("scanned_bytes", DataType::UInt64),
            ("spilled_bytes", DataType::UInt64),
            ("error", DataType::Utf8),
            ("sql", DataType::Utf8),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let rows: Vec<Row> = self.history.entries().into_iter().map(Row::from).collect();
        batches(&self.schema(), &rows)
    }
}
