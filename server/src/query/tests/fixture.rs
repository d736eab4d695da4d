//! A catalog in memory, tables with files in it, and an engine over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::json::{ArrayWriter, ReaderBuilder};
use datafusion::parquet::file::properties::WriterProperties;
use futures::TryStreamExt;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{Literal, NestedField, PrimitiveType, Schema, Struct, Type};
use iceberg::writer::file_writer::{FileWriter, FileWriterBuilder, ParquetWriterBuilder};
use millrace_storage::catalog::{Append, BatchSummary, Catalog, NewTable, TableName, file_io};
use millrace_storage::lake::event_time::TimeSource;
use millrace_storage::lake::partition::Partitioning;
use millrace_storage::lake::store::Store;
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::memory::MemoryMeta;
use serde_json::Value;
use tempfile::TempDir;

use super::super::{NoTail, QueryEngine, QuerySettings, TailSource};
use crate::auth::Caller;
use crate::error::Result;
use crate::metrics::Metrics;

/// A catalog and what queries need beside it.
pub(crate) struct Lake {
    pub(crate) catalog: Catalog,
    pub(crate) metrics: Metrics,
    pub(crate) folder: TempDir,
}

impl Lake {
    pub(crate) fn new() -> Self {
        let store = Store::open(&millrace_storage::lake::store::StoreSettings::of_url("memory:///")).unwrap();
        let catalog = Catalog::new(Arc::new(MemoryMeta::new()), store);
        Self { catalog, metrics: Metrics::new(), folder: TempDir::new().unwrap() }
    }

    pub(crate) fn engine(&self) -> QueryEngine {
        self.engine_with(Arc::new(NoTail), QuerySettings::default())
    }

    pub(crate) fn engine_with(&self, tails: Arc<dyn TailSource>, settings: QuerySettings) -> QueryEngine {
        let spill = self.folder.path().join("spill");
        QueryEngine::open(self.catalog.clone(), tails, Vec::new(), settings, &spill, &self.metrics).unwrap()
    }

    /// What the spill folder holds.
    pub(crate) fn spilled_files(&self) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            // A folder may be removed while it is read.
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.folder.path().join("spill"))
    }

    /// Waits until the spill folder is empty: the tasks of a query that failed end after it.
    pub(crate) async fn nothing_is_spilled(&self) {
        let emptied = async {
            while self.spilled_files() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), emptied).await.expect("the spill folder is emptied within 30 s");
    }

    pub(crate) fn leave_in_spill_folder(&self) {
        let folder = self.folder.path().join("spill/left");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("over"), "x").unwrap();
    }

    /// A metric's value, by its name and labels as the text format prints them.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.text();
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }

    /// A table of optional columns beside `_arrival_time` and `_offset`.
    pub(crate) async fn create(&self, name: &str, columns: &[(&str, Type)]) -> TableName {
        let name: TableName = name.parse().unwrap();
        let schema = table_schema(columns);
        let new =
            NewTable { schema, partitioning: Partitioning::hourly(&TimeSource::Arrival), spec_toml: String::new() };
        self.catalog.create(&name, new).await.unwrap();
        name
    }

    /// Appends one file with rows of one hour, as the batch of a delivery `d` that holds the offsets of one shard.
    pub(crate) async fn commit(&self, name: &TableName, hour: i32, offsets: std::ops::Range<u64>, rows: &[Value]) {
        self.commit_with(name, None, hour, offsets, rows).await;
    }

    /// Appends a file that was written with more columns than the table has.
    pub(crate) async fn commit_with(
        &self,
        name: &TableName,
        schema: Option<Schema>,
        hour: i32,
        offsets: std::ops::Range<u64>,
        rows: &[Value],
    ) {
        let table = self.catalog.load(name).await.unwrap();
        let written = schema.clone().map_or_else(|| table.metadata().current_schema().clone(), Arc::new);
        let arrow = Arc::new(schema_to_arrow_schema(&written).unwrap());
        let path =
            format!("{}/data/year=1999/hour={hour}/d-{:012}.parquet", self.catalog.location(name), offsets.start);
        let output = file_io(self.catalog.store()).new_output(path).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
        let mut writer = ParquetWriterBuilder::new(properties, written).build(output).await.unwrap();
        writer.write(&json_rows(&arrow, rows)).await.unwrap();
        let mut files = Vec::new();
        for mut file in writer.close().await.unwrap() {
            file.partition(Struct::from_iter([Some(Literal::int(hour))]));
            file.partition_spec_id(table.metadata().default_partition_spec_id());
            files.push(file.build().unwrap());
        }
        let ranges = BTreeMap::from([(ShardId(0), Offset(offsets.start)..Offset(offsets.end))]);
        let summary =
            BatchSummary { delivery: "d".to_owned(), batch: offsets.start, ranges, totals: Default::default() };
        let schema = schema.map(Arc::new);
        let append =
            Append { files, schema, partition_spec_id: None, summary, conditions: Vec::new(), writes: Vec::new() };
        self.catalog.append(name, append).await.unwrap();
    }
}

/// The ids are those that a new table gives: in order, nested fields after all columns.
pub(crate) fn table_schema(columns: &[(&str, Type)]) -> Schema {
    let own = [
        ("_arrival_time", Type::Primitive(PrimitiveType::Timestamptz)),
        ("_offset", Type::Primitive(PrimitiveType::Long)),
    ];
    let all = own.iter().chain(columns).zip(1..);
    let fields = all.map(|((name, field_type), id)| NestedField::optional(id, *name, field_type.clone()).into());
    Schema::builder().with_fields(fields).build().unwrap()
}

/// Rows in JSON as a batch of a schema.
pub(crate) fn json_rows(schema: &SchemaRef, rows: &[Value]) -> RecordBatch {
    let mut decoder =
        ReaderBuilder::new(Arc::clone(schema)).with_batch_size(rows.len().max(1)).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    decoder.flush().unwrap().unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema)))
}

/// Milliseconds of an hour since the Unix epoch, as text that a timestamp column takes.
pub(crate) fn time(hour: i32, minute: i32) -> String {
    let time = chrono::DateTime::from_timestamp(i64::from(hour) * 3600 + i64::from(minute) * 60, 0).unwrap();
    time.to_rfc3339()
}

/// The answer of a statement as JSON rows.
pub(crate) async fn ask(engine: &QueryEngine, sql: &str) -> Result<Value> {
    let batches: Vec<RecordBatch> = engine.sql(&Caller::open(), sql).await?.try_collect().await?;
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    let text = writer.into_inner();
    Ok(if text.is_empty() { Value::Array(Vec::new()) } else { serde_json::from_slice(&text).unwrap() })
}

/// All text of a statement's answer, for plans.
pub(crate) async fn text(engine: &QueryEngine, sql: &str) -> String {
    ask(engine, sql).await.unwrap().to_string()
}
