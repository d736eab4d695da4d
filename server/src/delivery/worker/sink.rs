//! The files of a batch: Parquet for a table, lines for a folder, and what was set aside beside either.
//!
//! Names depend on delivery, batch number and partition alone, so writing again overwrites and never adds.

use std::sync::Arc;

use iceberg::spec::DataFile;
use millrace_storage::lake::FileNames;
use millrace_storage::lake::json_lines::{self, JsonLinesSettings, WrittenObject};
use millrace_storage::lake::parquet::{self, KeyedBatch, ParquetSettings, ParquetTarget};
use millrace_storage::lake::raw::{self, RawSettings};
use millrace_storage::lake::row::{Row, SetAside};
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::lake::set_aside::{self, SetAsideSettings};
use millrace_storage::lake::source_backup::{BackupSettings, BackupWriter};
use millrace_storage::log::ShardKey;
use millrace_storage::meta::keys::batch::BatchObject;
use millrace_storage::time::Timestamp;

use super::chunk::{Chunk, Content};
use super::flight::Batch;
use super::retry::Retry;
use crate::delivery::Parts;
use crate::delivery::declaration::Declaration;
use crate::delivery::declared::{Declared, DeclaredTable};
use crate::delivery::spec::{BackupSpec, DeliverySpec, Format};
use crate::error::{Error, Kind, Result};
use crate::transform::Chain;

/// How much of a backup is read from the log at once.
const BACKUP_READ_BYTES: usize = 1 << 20;
/// What a backup takes in memory: a part file, and what was read.
const BACKUP_MEMORY_BYTES: u64 = 10 << 20;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// For a table.
    pub(crate) data_files: Vec<DataFile>,
    /// The partition spec that they were written for.
    pub(crate) partition_spec_id: Option<i32>,
    /// For lines.
    pub(crate) objects: Vec<BatchObject>,
    /// Where records were set aside.
    pub(crate) set_aside_objects: Vec<BatchObject>,
    /// Where the source records were backed up.
    pub(crate) backup_objects: Vec<BatchObject>,
    /// All rows that were set aside, in the chunks and at the writing.
    pub(crate) set_aside: Vec<SetAside>,
    /// Rows in the files.
    pub(crate) rows: u64,
    /// Data files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Written {
    /// Whether a table lists all of it.
    pub(super) fn has_no_ledger(&self) -> bool {
        self.objects.is_empty() && self.set_aside_objects.is_empty() && self.backup_objects.is_empty()
    }
}

/// Writes all files of a batch, trying for ever. When this returns, all are durable.
pub(super) async fn write(parts: &Parts, retry: &Retry, batch: &Batch, cut_at: Timestamp) -> Written {
    retry.forever("write the files", || write_once(parts, retry, batch, cut_at)).await
}

async fn write_once(parts: &Parts, retry: &Retry, batch: &Batch, cut_at: Timestamp) -> Result<Written> {
    let spec = &batch.declared.spec;
    let names = FileNames { delivery: spec.name.clone(), batch: batch.number };
    let output = Output {
        declared: &batch.declared,
        chunks: &batch.chunks,
        schema: batch.schema.as_ref(),
        names: names.clone(),
        cut_at,
    };
    let mut written = output.write(parts).await?;
    if let Some(backup) = &spec.backup {
        written.backup_objects = write_backup(parts, retry, batch, backup, &names).await?;
    }
    Ok(written)
}

/// Converted records that are to be written.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    pub(crate) declared: &'a Declared,
    /// By shard and offset.
    pub(crate) chunks: &'a [Arc<Chunk>],
    /// For a table: the schema after the last chunk.
    pub(crate) schema: Option<&'a TableSchema>,
    pub(crate) names: FileNames,
    /// What is told as the time of the last attempt on records that were set aside.
    pub(crate) cut_at: Timestamp,
}

impl Output<'_> {
    /// Writes files or lines, and what was set aside. When this returns, all are durable.
    pub(crate) async fn write(&self, parts: &Parts) -> Result<Written> {
        let spec = &self.declared.spec;
        let (mut written, root) = match &self.declared.table {
            Some(table) => (self.write_table(parts, table).await?, table.name.folder()),
            None if spec.format == Format::Raw => {
                (self.write_raw(parts).await?, spec.destination.clone().unwrap_or_default())
            }
            None => (self.write_lines(parts).await?, spec.destination.clone().unwrap_or_default()),
        };
        let of_chunks = self.chunks.iter().flat_map(|chunk| chunk.set_aside.iter().cloned());
        written.set_aside.extend(of_chunks);
        written.set_aside.sort_by_key(|aside| (aside.row.shard, aside.row.offset, aside.row.sub));
        let prefix = self.declared.layout.error_prefix.clone();
        let settings = SetAsideSettings { root, prefix, stream: spec.stream.clone(), cut_at: self.cut_at };
        let objects = set_aside::write(&parts.store, &settings, &self.names, &written.set_aside).await;
        written.set_aside_objects = objects.map_err(of_store)?.into_iter().map(object).collect();
        Ok(written)
    }

    async fn write_table(&self, parts: &Parts, table: &DeclaredTable) -> Result<Written> {
        let batches: Vec<KeyedBatch> = self.chunks.iter().filter_map(|chunk| rows(&chunk.content)).collect();
        let rows: u64 = batches.iter().map(|keyed| keyed.batch.num_rows() as u64).sum();
        let (Some(schema), true) = (self.schema, rows > 0) else { return Ok(Written::default()) };
        let loaded = parts.catalog.load(&table.name).await?;
        // A batch that is done again is partitioned as its intent says, also where the table is by another spec now.
        let partitioning = table.spec.partitioning()?;
        let absent = || {
            let words = format_args!("table {} has no partition spec of {partitioning}", table.name);
            Error::new(Kind::FailedPrecondition, words)
        };
        let partition_spec_id = partitioning.spec_id(loaded.metadata()).ok_or_else(absent)?;
        let target = ParquetTarget {
            table_root: table.name.folder(),
            names: self.names.clone(),
            schema: Arc::clone(&schema.schema),
            partitioning,
            partition_spec_id,
            time_column: table.time_column(),
            prefix: self.declared.layout.prefix.clone(),
        };
        let settings = parquet_settings(&self.declared.spec)?;
        let data_files = parquet::write(&parts.store, &settings, &target, batches).await.map_err(of_store)?;
        let written: u64 = data_files.iter().map(DataFile::record_count).sum();
        if written != rows {
            let words =
                format!("{written} rows are in the files of batch {}, and {rows} were converted", self.names.batch);
            return Err(Error::new(Kind::Internal, words));
        }
        let bytes = data_files.iter().map(DataFile::file_size_in_bytes).sum();
        let (files, partition_spec_id) = (data_files.len() as u64, Some(partition_spec_id));
        Ok(Written { rows, files, bytes, data_files, partition_spec_id, ..Written::default() })
    }

    async fn write_lines(&self, parts: &Parts) -> Result<Written> {
        let spec = &self.declared.spec;
        let settings = JsonLinesSettings {
            destination: spec.destination.clone().unwrap_or_default(),
            prefix: self.declared.layout.prefix.clone(),
            compression: spec.compression_name().parse().map_err(|error| spec.invalid("compression", error))?,
            ..JsonLinesSettings::default()
        };
        let written = json_lines::write(&parts.store, &settings, &self.names, self.rows()).await.map_err(of_store)?;
        Ok(Written { set_aside: written.set_aside, ..of_objects(written.objects) })
    }

    async fn write_raw(&self, parts: &Parts) -> Result<Written> {
        let spec = &self.declared.spec;
        let settings = RawSettings {
            destination: spec.destination.clone().unwrap_or_default(),
            prefix: self.declared.layout.prefix.clone(),
            compression: spec.compression_name().parse().map_err(|error| spec.invalid("compression", error))?,
            extension: spec.extension.clone(),
        };
        let written = raw::write(&parts.store, &settings, &self.names, self.rows()).await.map_err(of_store)?;
        Ok(of_objects(written))
    }

    /// The rows that no table takes.
    fn rows(&self) -> Vec<Row> {
        let rows = self.chunks.iter().flat_map(|chunk| match &chunk.content {
            Content::Lines(rows) => rows.as_slice(),
            Content::Table(_) => &[],
        });
        rows.cloned().collect()
    }
}

fn of_objects(written: Vec<WrittenObject>) -> Written {
    let objects: Vec<BatchObject> = written.into_iter().map(object).collect();
    Written {
        rows: objects.iter().map(|object| object.rows).sum(),
        files: objects.len() as u64,
        bytes: objects.iter().map(|object| object.bytes).sum(),
        objects,
        ..Written::default()
    }
}

/// Writes the batch's source records, read from the log once more: keeping them until now would take as much memory again.
async fn write_backup(
    parts: &Parts,
    retry: &Retry,
    batch: &Batch,
    backup: &BackupSpec,
    names: &FileNames,
) -> Result<Vec<BatchObject>> {
    let spec = &batch.declared.spec;
    let settings = BackupSettings {
        destination: backup.destination.clone(),
        prefix: batch.declared.layout.backup_prefix.clone(),
        compression: backup.compression.name().parse().map_err(|error| spec.invalid("backup.compression", error))?,
        stream: spec.stream.clone(),
    };
    if batch.ranges.values().all(|range| range.start == range.end) {
        return Ok(Vec::new());
    }
    let _memory = parts.budget.take(BACKUP_MEMORY_BYTES);
    // It reads records as they are.
    let reader = parts.reader(&batch.declared, Chain::default(), retry.metrics.clone());
    let mut writer = BackupWriter::new(&parts.store, &settings, names);
    for (shard, range) in &batch.ranges {
        let key = ShardKey { stream: batch.declared.stream.id(), shard: *shard };
        let mut from = range.start;
        while from < range.end {
            let (records, lost) = reader.fetch(key, &(from..range.end), BACKUP_READ_BYTES).await?;
            from = records.last().map_or(from + lost, |last| last.offset + 1);
            writer.write(*shard, records).await.map_err(of_store)?;
        }
    }
    let written = writer.finish(&batch.ranges).await.map_err(of_store)?;
    Ok(written.into_iter().map(object).collect())
}

fn rows(content: &Content) -> Option<KeyedBatch> {
    match content {
        Content::Table(keyed) if keyed.batch.num_rows() > 0 => Some(keyed.clone()),
        Content::Table(_) | Content::Lines(_) => None,
    }
}

fn parquet_settings(spec: &DeliverySpec) -> Result<ParquetSettings> {
    let default = ParquetSettings::default();
    Ok(ParquetSettings {
        compression: spec.compression_name().parse().map_err(|error| spec.invalid("compression", error))?,
        row_group_rows_max: spec.row_group_rows.unwrap_or(default.row_group_rows_max),
        dictionary: spec.dictionary.unwrap_or(default.dictionary),
        bloom_filters: spec.bloom_filters.clone(),
        sort_by: spec.sort_by.clone(),
        ..default
    })
}

fn object(written: WrittenObject) -> BatchObject {
    BatchObject { url: written.url, bytes: written.size_bytes, rows: written.rows, taken_up_by: 0 }
}

fn of_store(error: millrace_storage::lake::Error) -> Error {
    Error::new(Kind::Unavailable, error)
}
