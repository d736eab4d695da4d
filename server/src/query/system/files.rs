//! `system.files`: the data files of every table's current snapshot.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde::Serialize;

use super::super::tables::Tables;
use super::{SystemTable, batches, columns, time};
use crate::error::Result;

const HOUR_MILLIS: i64 = 3_600_000;

/// The data files of all tables.
#[derive(Debug)]
pub(in super::super) struct Files {
    pub(in super::super) tables: Arc<Tables>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    table: &'a str,
    hour: Option<i64>,
    partition: String,
    rows: u64,
    bytes: u64,
    url: &'a str,
}

#[async_trait]
impl SystemTable for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("table", DataType::Utf8),
            ("hour", time()),
            ("partition", DataType::Utf8),
            ("rows", DataType::UInt64),
            ("bytes", DataType::UInt64),
            ("url", DataType::Utf8),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let catalog = self.tables.catalog();
        let mut all = Vec::new();
        for (name, table) in catalog.load_all().await? {
            let name = name.to_string();
            let files = catalog.files(&table).await?;
            let schema = table.metadata().current_schema();
            let rows = files.entries.iter().map(|file| Row {
                table: &name,
                hour: file.hour().map(|hour| i64::from(hour) * HOUR_MILLIS),
                partition: file.partition_path(schema),
                rows: file.rows(),
                bytes: file.size_bytes(),
                url: file.url(),
            });
            all.extend(batches(&self.schema(), &rows.collect::<Vec<_>>())?);
        }
        Ok(all)
    }
}
