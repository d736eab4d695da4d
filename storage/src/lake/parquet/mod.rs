//! Batches to Parquet files: one file for each partition, with Iceberg field ids and the statistics that a manifest needs.
//!
//! A partition is a value of what the table is partitioned by, and an evaluated prefix. It must never give a file a name that depends on
//! anything but delivery, batch and partition, and must never hold more files at once than it is told to.

mod encode;
mod split;
mod statistics;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, SchemaRef};
use parquet::file::metadata::ParquetMetaData;

use self::split::{Parted, Partition};
use super::partition::{Partitioning, RowKeys};
use super::prefix::Prefix;
use super::store::Store;
use super::upload::upload;
use super::{Error, FileNames, Result, schema};

/// How Parquet files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetSettings {
    /// The codec of the pages. Default: Snappy.
    pub compression: Compression,
    /// The most rows of a row group. Default: 1,048,576.
    pub row_group_rows_max: usize,
    /// Whether columns of few distinct values are written as a dictionary. Default: yes.
    pub dictionary: bool,
    /// The columns with a bloom filter, at the top level; those that a file has not are passed over. Default: none.
    pub bloom_filters: Vec<String>,
    /// The columns that the rows of each file are sorted by, ascending, nulls last; at the top level, and of a type that has
    /// an order. Those that a file has not are passed over. Default: none, which leaves rows in the order of their records.
    pub sort_by: Vec<String>,
    /// How many files of a batch are encoded and uploaded at once. Default: 2.
    pub files_in_parallel: usize,
}

impl Default for ParquetSettings {
    fn default() -> Self {
        Self {
            compression: Compression::Snappy,
            row_group_rows_max: 1024 * 1024,
            dictionary: true,
            bloom_filters: Vec::new(),
            sort_by: Vec::new(),
            files_in_parallel: 2,
        }
    }
}

/// The codec of Parquet pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Fast, and read everywhere.
    #[default]
    Snappy,
    /// Smaller, at level 3.
    Zstd,
    /// For old readers.
    Gzip,
    /// The raw LZ4 of Parquet (`LZ4_RAW`), not the deprecated framing of Hadoop.
    Lz4,
    /// None.
    None,
}

impl std::str::FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "snappy" => Ok(Self::Snappy),
            "zstd" => Ok(Self::Zstd),
            "gzip" => Ok(Self::Gzip),
            "lz4" => Ok(Self::Lz4),
            "none" => Ok(Self::None),
            _ => Err(Error::Invalid(format!(
                "the Parquet compression {text:?} is unknown; allowed are snappy, zstd, gzip, lz4 and none"
            ))),
        }
    }
}

/// What the files belong to.
#[derive(Debug, Clone)]
pub struct ParquetTarget {
    /// The table's folder below the store's root, such as `default/flights`.
    pub table_root: String,
    /// Whose files they are.
    pub names: FileNames,
    /// The schema that the files get: the newest.
    pub schema: SchemaRef,
    /// What the table is partitioned by.
    pub partitioning: Partitioning,
    /// The table's partition spec that says so.
    pub partition_spec_id: i32,
    /// The column whose time the prefix goes by.
    pub time_column: String,
    /// The folders below the table's `data`, of each row's time and partition keys.
    pub prefix: Prefix,
}

/// Rows with their partition keys.
#[derive(Debug, Clone)]
pub struct KeyedBatch {
    /// The rows.
    pub batch: RecordBatch,
    /// For each row, where the prefix has keys.
    pub keys: RowKeys,
}

impl From<RecordBatch> for KeyedBatch {
    fn from(batch: RecordBatch) -> Self {
        Self { batch, keys: RowKeys::default() }
    }
}

/// Writes the batches as Parquet files, one for each partition: `data/<prefix><delivery>-<batch>-<part>.parquet`, where part
/// counts the partition values that share a prefix. Gives the files in the order of both; the largest are written first.
///
/// Batches of older schemas are brought to the target's; empty ones are skipped. Files that are there already are
/// overwritten. When this returns, all files are durable; after an error some may be there.
pub async fn write(
    store: &Store,
    settings: &ParquetSettings,
    target: &ParquetTarget,
    batches: Vec<KeyedBatch>,
) -> Result<Vec<DataFile>> {
    let arrow_schema = iceberg::arrow::schema_to_arrow_schema(&target.schema).map_err(schema::invalid)?;
    let arrow_schema: ArrowSchemaRef = Arc::new(arrow_schema);
    let (schema, of_target) = (Arc::clone(&arrow_schema), target.clone());
    let parted = blocking(move || Parted::new(batches, &schema, &of_target)).await??;
    let parted = Arc::new(parted);
    let mut planned = plan(&parted);
    planned.sort_by_key(|file| std::cmp::Reverse(file.rows));
    let files = futures::stream::iter(planned).map(|file| {
        let (schema, settings, parted) = (Arc::clone(&arrow_schema), settings.clone(), Arc::clone(&parted));
        async move {
            let partition = file.partition.clone();
            let encoded = blocking(move || encode::encode(&schema, &settings, &parted.rows(&partition)?));
            let (bytes, metadata) = encoded.await??;
            let written = write_file(store, target, &file, bytes, &metadata).await?;
            Ok::<_, Error>((file.number, written))
        }
    });
    let mut files: Vec<_> = files.buffer_unordered(settings.files_in_parallel.max(1)).try_collect().await?;
    files.sort_by_key(|(number, _)| *number);
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// A file that is to be written.
#[derive(Debug)]
struct PlannedFile {
    /// Its place among the files.
    number: usize,
    partition: Partition,
    /// Its number among those of its prefix.
    part: u32,
    rows: usize,
}

fn plan(parted: &Parted) -> Vec<PlannedFile> {
    let mut planned: Vec<PlannedFile> = Vec::new();
    for (number, (partition, rows)) in parted.partitions().enumerate() {
        let part = match planned.last() {
            Some(before) if before.partition.prefix == partition.prefix => before.part + 1,
            _ => 0,
        };
        planned.push(PlannedFile { number, partition: partition.clone(), part, rows });
    }
    planned
}

async fn write_file(
    store: &Store,
    target: &ParquetTarget,
    planned: &PlannedFile,
    bytes: Vec<u8>,
    metadata: &ParquetMetaData,
) -> Result<DataFile> {
    let Partition { prefix, value } = &planned.partition;
    let (folder, name) = (target.names.folder(prefix), target.names.part(planned.part, "parquet"));
    let path = store.path(&format!("{}/data/{folder}{name}", target.table_root));
    let statistics = statistics::collect(&target.schema, metadata)?;
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data)
        .file_path(store.url(&path))
        .file_format(DataFileFormat::Parquet)
        .partition(value.to_struct())
        .partition_spec_id(target.partition_spec_id)
        .record_count(u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default())
        .file_size_in_bytes(bytes.len() as u64)
        .column_sizes(statistics.column_sizes)
        .value_counts(statistics.value_counts)
        .null_value_counts(statistics.null_value_counts)
        .lower_bounds(statistics.lower_bounds)
        .upper_bounds(statistics.upper_bounds)
        .split_offsets(Some(metadata.row_groups().iter().filter_map(|group| group.file_offset()).collect()));
    let file = file.build().map_err(schema::invalid)?;
    upload(store, &path, Bytes::from(bytes)).await?;
    Ok(file)
}

/// Runs work that takes the processor for long where it holds up no other task.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Invalid(format!("writing Parquet broke off: {error}")))
}

#[cfg(test)]
mod tests;
