//! The files of a batch: Parquet for a table, lines for a folder, and what was set aside beside either.
//!
//! Names depend on delivery, batch number and partition alone, so writing again overwrites and never adds.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use iceberg::spec::DataFile;
use millrace_storage::lake::json_lines::{self, JsonLinesSettings, WrittenObject};
use millrace_storage::lake::parquet::{self, ParquetSettings, ParquetTarget};
use millrace_storage::lake::raw::{self, RawSettings};
use millrace_storage::lake::row::{Row, SetAside};
use millrace_storage::lake::{FileNames, set_aside};
use millrace_storage::meta::keys::batch::BatchObject;

use super::chunk::Content;
use super::flight::Batch;
use super::retry::Retry;
use crate::delivery::Parts;
use crate::delivery::declared::DeclaredTable;
use crate::delivery::spec::{DeliverySpec, Format};
use crate::error::{Error, Kind, Result};

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// For a table.
    pub(super) data_files: Vec<DataFile>,
    /// For lines.
    pub(super) objects: Vec<BatchObject>,
    /// Where records were set aside.
    pub(super) set_aside_objects: Vec<BatchObject>,
    /// All rows that were set aside, in the chunks and at the writing.
    pub(super) set_aside: Vec<SetAside>,
    /// Rows in the files.
    pub(super) rows: u64,
    /// Data files.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Writes all files of a batch, trying for ever. When this returns, all are durable.
pub(super) async fn write(parts: &Parts, retry: &Retry, batch: &Batch) -> Written {
    retry.forever("write the files", || write_once(parts, batch)).await
}

async fn write_once(parts: &Parts, batch: &Batch) -> Result<Written> {
    let spec = &batch.declared.spec;
    let names = FileNames { delivery: spec.name.clone(), batch: batch.number };
    let (mut written, root) = match &batch.declared.table {
        Some(table) => (write_table(parts, batch, table, &names).await?, table.name.folder()),
        None if spec.format == Format::Raw => {
            (write_raw(parts, batch, &names).await?, spec.destination.clone().unwrap_or_default())
        }
        None => (write_lines(parts, batch, &names).await?, spec.destination.clone().unwrap_or_default()),
    };
    let of_chunks = batch.chunks.iter().flat_map(|chunk| chunk.set_aside.iter().cloned());
    written.set_aside.extend(of_chunks);
    written.set_aside.sort_by_key(|aside| (aside.row.shard, aside.row.offset, aside.row.sub));
    let objects = set_aside::write(&parts.store, &root, &spec.stream, &names, &written.set_aside).await;
    written.set_aside_objects = objects.map_err(of_store)?.into_iter().map(object).collect();
    Ok(written)
}

async fn write_table(parts: &Parts, batch: &Batch, table: &DeclaredTable, names: &FileNames) -> Result<Written> {
    let batches: Vec<RecordBatch> = batch.chunks.iter().filter_map(|chunk| rows(&chunk.content)).collect();
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let (Some(schema), true) = (&batch.schema, rows > 0) else { return Ok(Written::default()) };
    let loaded = parts.catalog.load(&table.name).await?;
    let target = ParquetTarget {
        table_root: table.name.folder(),
        names: names.clone(),
        schema: Arc::clone(&schema.schema),
        partition_spec_id: loaded.metadata().default_partition_spec_id(),
        time_column: table.spec.convert_settings()?.time.column().to_owned(),
    };
    let settings = parquet_settings(&batch.declared.spec)?;
    let data_files = parquet::write(&parts.store, &settings, &target, batches).await.map_err(of_store)?;
    let written: u64 = data_files.iter().map(DataFile::record_count).sum();
    if written != rows {
        let words = format!("{written} rows are in the files of batch {}, and {rows} were converted", batch.number);
        return Err(Error::new(Kind::Internal, words));
    }
    let bytes = data_files.iter().map(DataFile::file_size_in_bytes).sum();
    Ok(Written { rows, files: data_files.len() as u64, bytes, data_files, ..Written::default() })
}

fn rows(content: &Content) -> Option<RecordBatch> {
    match content {
        Content::Table(batch) if batch.num_rows() > 0 => Some(batch.clone()),
        Content::Table(_) | Content::Lines(_) => None,
    }
}

fn parquet_settings(spec: &DeliverySpec) -> Result<ParquetSettings> {
    let default = ParquetSettings::default();
    Ok(ParquetSettings {
        compression: spec.compression_name().parse().map_err(|error| spec.invalid("compression", error))?,
        row_group_rows_max: spec.row_group_rows.unwrap_or(default.row_group_rows_max),
        dictionary: spec.dictionary.unwrap_or(default.dictionary),
        ..default
    })
}

async fn write_lines(parts: &Parts, batch: &Batch, names: &FileNames) -> Result<Written> {
    let spec = &batch.declared.spec;
    let settings = JsonLinesSettings {
        destination: spec.destination.clone().unwrap_or_default(),
        prefix: match &spec.prefix {
            Some(prefix) => prefix.parse().map_err(|error| spec.invalid("prefix", error))?,
            None => Default::default(),
        },
        compression: spec.compression_name().parse().map_err(|error| spec.invalid("compression", error))?,
        ..JsonLinesSettings::default()
    };
    let written = json_lines::write(&parts.store, &settings, names, outputs(batch)).await.map_err(of_store)?;
    Ok(Written { set_aside: written.set_aside, ..of_objects(written.objects) })
}

async fn write_raw(parts: &Parts, batch: &Batch, names: &FileNames) -> Result<Written> {
    let spec = &batch.declared.spec;
    let settings = RawSettings {
        destination: spec.destination.clone().unwrap_or_default(),
        prefix: match &spec.prefix {
            Some(prefix) => prefix.parse().map_err(|error| spec.invalid("prefix", error))?,
            None => Default::default(),
        },
        compression: spec.compression_name().parse().map_err(|error| spec.invalid("compression", error))?,
        extension: spec.extension.clone(),
    };
    let written = raw::write(&parts.store, &settings, names, outputs(batch)).await.map_err(of_store)?;
    Ok(of_objects(written))
}

/// The outputs of a batch that no table takes.
fn outputs(batch: &Batch) -> Vec<Row> {
    let rows = batch.chunks.iter().flat_map(|chunk| match &chunk.content {
        Content::Lines(rows) => rows.as_slice(),
        Content::Table(_) => &[],
    });
    rows.cloned().collect()
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

fn object(written: WrittenObject) -> BatchObject {
    BatchObject { url: written.url, bytes: written.size_bytes, rows: written.rows }
}

fn of_store(error: millrace_storage::lake::Error) -> Error {
    Error::new(Kind::Unavailable, error)
}
