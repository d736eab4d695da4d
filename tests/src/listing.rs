//! A reader that only lists: every Parquet file below a folder, read with no knowledge of Iceberg or Millrace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// All files below `folder` whose name ends in `.parquet`, sorted.
#[must_use]
pub fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    files(folder, "parquet")
}

/// All files below `folder` with this extension, sorted.
#[must_use]
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a folder can be listed").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All rows of the Parquet files below `folder`.
///
/// # Panics
/// When a file cannot be read: a lister has no way to know that it should not be.
#[must_use]
pub fn read(folder: &Path) -> Vec<RecordBatch> {
    let read_file = |path: PathBuf| {
        let file = File::open(&path).expect("a listed file opens");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
        let reader = reader.unwrap_or_else(|error| panic!("{} is no Parquet file: {error}", path.display()));
        reader.map(|batch| batch.expect("a row group decodes")).collect::<Vec<_>>()
    };
    parquet_files(folder).into_iter().flat_map(read_file).collect()
}

/// The values of a `long` column over all batches; rows without a value are left out.
///
/// # Panics
/// When a batch has no such column.
#[must_use]
pub fn longs(batches: &[RecordBatch], column: &str) -> Vec<i64> {
    let of_batch = |batch: &RecordBatch| {
        let array = batch.column_by_name(column).unwrap_or_else(|| panic!("a file has no column {column}"));
        let array =
            array.as_primitive_opt::<Int64Type>().unwrap_or_else(|| panic!("{column} is {}", array.data_type()));
        array.iter().flatten().collect::<Vec<i64>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

/// Rows over all batches.
#[must_use]
pub fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}
