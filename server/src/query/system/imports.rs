//! `system.imports`, `system.import_runs` and `system.import_objects`: what imports do, what their runs did, and what became of
//! each version of each object.

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use millrace_storage::time::Timestamp;
use serde::Serialize;

use super::{SystemTable, batches, columns, time};
use crate::error::Result;
use crate::imports::{Imports, state_word, trigger_word};

/// All imports.
#[derive(Debug)]
pub(super) struct ImportRows {
    pub(super) imports: Imports,
}

/// Their runs.
#[derive(Debug)]
pub(super) struct ImportRunRows {
    pub(super) imports: Imports,
}

/// Their objects.
#[derive(Debug)]
pub(super) struct ImportObjectRows {
    pub(super) imports: Imports,
}

#[derive(Debug, Serialize)]
struct Row {
    import: String,
    stream: String,
    source: String,
    state: &'static str,
    last_error: Option<String>,
    retries: u64,
    object: Option<String>,
    next_run: Option<i64>,
    owner: String,
    objects: u64,
    failed: u64,
    records: u64,
    bytes: u64,
    set_aside: u64,
    replayed: u64,
}

#[derive(Debug, Serialize)]
struct RunRow {
    import: String,
    run: u64,
    trigger: &'static str,
    begun: i64,
    ended: Option<i64>,
    seen: u64,
    imported: u64,
    skipped: u64,
    failed: u64,
    records: u64,
    bytes: u64,
    set_aside: u64,
    replayed: u64,
    error: String,
}

#[derive(Debug, Serialize)]
struct ObjectRow {
    import: String,
    object: String,
    e_tag: String,
    size_bytes: u64,
    written: i64,
    state: &'static str,
    run: u64,
    rows: u64,
    records: u64,
    set_aside: u64,
    error: String,
    ended: Option<i64>,
}

#[async_trait]
impl SystemTable for ImportRows {
    fn name(&self) -> &'static str {
        "imports"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("import", DataType::Utf8),
            ("stream", DataType::Utf8),
            ("source", DataType::Utf8),
            ("state", DataType::Utf8),
            ("last_error", DataType::Utf8),
            ("retries", DataType::UInt64),
            ("object", DataType::Utf8),
            ("next_run", time()),
            ("owner", DataType::Utf8),
            ("objects", DataType::UInt64),
            ("failed", DataType::UInt64),
            ("records", DataType::UInt64),
            ("bytes", DataType::UInt64),
            ("set_aside", DataType::UInt64),
            ("replayed", DataType::UInt64),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let row = |import: crate::imports::DescribedImport| Row {
            import: import.name,
            stream: import.stream,
            source: import.source,
            state: import.state.as_str(),
            last_error: import.last_error,
            retries: import.retries,
            object: import.object,
            next_run: import.next_run_at.map(Timestamp::as_millis),
            owner: import.owner,
            objects: import.totals.imported,
            failed: import.totals.failed,
            records: import.totals.records,
            bytes: import.totals.bytes,
            set_aside: import.totals.set_aside,
            replayed: import.totals.replayed,
        };
        let rows: Vec<Row> = self.imports.list().into_iter().map(row).collect();
        batches(&self.schema(), &rows)
    }
}

#[async_trait]
impl SystemTable for ImportRunRows {
    fn name(&self) -> &'static str {
        "import_runs"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("import", DataType::Utf8),
            ("run", DataType::UInt64),
            ("trigger", DataType::Utf8),
            ("begun", time()),
            ("ended", time()),
            ("seen", DataType::UInt64),
            ("imported", DataType::UInt64),
            ("skipped", DataType::UInt64),
            ("failed", DataType::UInt64),
            ("records", DataType::UInt64),
            ("bytes", DataType::UInt64),
            ("set_aside", DataType::UInt64),
            ("replayed", DataType::UInt64),
            ("error", DataType::Utf8),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for import in self.imports.list() {
            // One that was deleted meanwhile has no runs.
            let Ok(runs) = self.imports.history(&import.name, usize::MAX).await else { continue };
            rows.extend(runs.into_iter().map(|run| RunRow {
                import: import.name.clone(),
                run: run.number,
                trigger: trigger_word(run.trigger),
                begun: run.begun_at.as_millis(),
                ended: run.ended_at.map(Timestamp::as_millis),
                seen: run.counts.seen,
                imported: run.counts.imported,
                skipped: run.counts.skipped,
                failed: run.counts.failed,
                records: run.counts.records,
                bytes: run.counts.bytes,
                set_aside: run.counts.set_aside,
                replayed: run.counts.replayed,
                error: run.error,
            }));
        }
        batches(&self.schema(), &rows)
    }
}

#[async_trait]
impl SystemTable for ImportObjectRows {
    fn name(&self) -> &'static str {
        "import_objects"
    }

    fn schema(&self) -> SchemaRef {
        columns(&[
            ("import", DataType::Utf8),
            ("object", DataType::Utf8),
            ("e_tag", DataType::Utf8),
            ("size_bytes", DataType::UInt64),
            ("written", time()),
            ("state", DataType::Utf8),
            ("run", DataType::UInt64),
            ("rows", DataType::UInt64),
            ("records", DataType::UInt64),
            ("set_aside", DataType::UInt64),
            ("error", DataType::Utf8),
            ("ended", time()),
        ])
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for import in self.imports.list() {
            // One that was deleted meanwhile has no objects.
            let Ok(objects) = self.imports.objects(&import.name).await else { continue };
            rows.extend(objects.into_iter().map(|object| ObjectRow {
                import: object.import,
                object: object.url,
                e_tag: object.e_tag,
                size_bytes: object.size_bytes,
                written: object.written_at.as_millis(),
                state: state_word(object.state),
                run: object.run,
                rows: object.rows,
                records: object.records,
                set_aside: object.set_aside,
                error: object.error,
                ended: object.ended_at.map(Timestamp::as_millis),
            }));
        }
        batches(&self.schema(), &rows)
    }
}
