//! Batches into the bytes of one Parquet file.
//!
//! Every file has a page index, which the writer makes of its pages' statistics by itself.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ParquetMetaData, SortingColumn};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use super::{Compression, ParquetSettings};
use crate::lake::schema::OFFSET;
use crate::lake::{Error, Result};

/// Encodes batches of `schema`; gives the file and its metadata.
pub(super) fn encode(
    schema: &SchemaRef,
    settings: &ParquetSettings,
    batches: &[RecordBatch],
) -> Result<(Vec<u8>, ParquetMetaData)> {
    let mut bytes = Vec::new();
    let mut encode = || {
        let columns = ArrowSchemaConverter::new().convert(schema)?;
        let sort_by = sort_columns(schema, &columns, settings);
        let batches = sorted(schema, batches, &sort_by)?;
        let properties = properties(settings, &columns, &sort_by);
        let mut writer = ArrowWriter::try_new(&mut bytes, SchemaRef::clone(schema), Some(properties))?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        writer.close()
    };
    match encode() {
        Ok(metadata) => Ok((bytes, metadata)),
        Err(error) => Err(Error::Invalid(format!("a batch cannot be written as Parquet: {error}"))),
    }
}

/// The columns to sort by: their places in the schema, and among the leaves of the file.
fn sort_columns(schema: &SchemaRef, columns: &SchemaDescriptor, settings: &ParquetSettings) -> Vec<(usize, usize)> {
    let place = |name: &String| {
        let (index, field) = schema.column_with_name(name)?;
        let leaf = columns.columns().iter().position(|leaf| leaf.path().parts() == [name.as_str()])?;
        (!field.data_type().is_nested()).then_some((index, leaf))
    };
    settings.sort_by.iter().filter_map(place).collect()
}

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

fn sorted<'b>(
    schema: &SchemaRef,
    batches: &'b [RecordBatch],
    sort_by: &[(usize, usize)],
) -> ParquetResult<Cow<'b, [RecordBatch]>> {
    if sort_by.is_empty() {
        return Ok(Cow::Borrowed(batches));
    }
    let all = concat_batches(schema, batches)?;
    let column =
        |(index, _): &(usize, usize)| SortColumn { values: all.column(*index).clone(), options: Some(ASCENDING) };
    // Rows that are equal stay in the order of their records, so that a batch that is done again is the same.
    let number = arrow::array::UInt32Array::from_iter_values(0..all.num_rows() as u32);
    let mut columns: Vec<SortColumn> = sort_by.iter().map(column).collect();
    columns.push(SortColumn { values: std::sync::Arc::new(number), options: Some(ASCENDING) });
    let indices = lexsort_to_indices(&columns, None)?;
    Ok(Cow::Owned(vec![take_record_batch(&all, &indices)?]))
}

fn properties(settings: &ParquetSettings, columns: &SchemaDescriptor, sort_by: &[(usize, usize)]) -> WriterProperties {
    let codec = match settings.compression {
        Compression::Snappy => Codec::SNAPPY,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(3).expect("3 is a Zstandard level")),
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::None => Codec::UNCOMPRESSED,
    };
    let sorting = sort_by.iter().map(|(_, leaf)| SortingColumn {
        column_idx: i32::try_from(*leaf).unwrap_or(i32::MAX),
        descending: ASCENDING.descending,
        nulls_first: ASCENDING.nulls_first,
    });
    let sorting: Vec<SortingColumn> = sorting.collect();
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("millrace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_dictionary_enabled(settings.dictionary)
        .set_sorting_columns((!sorting.is_empty()).then_some(sorting))
        .set_max_row_group_row_count(Some(settings.row_group_rows_max.max(1)))
        // No two are the same.
        .set_column_dictionary_enabled(ColumnPath::from(OFFSET), false);
    for leaf in columns.columns() {
        // A filter of a column's elements would be one that no reader asks.
        if let [name] = leaf.path().parts()
            && settings.bloom_filters.contains(name)
        {
            properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(name.as_str()), true);
        }
    }
    properties.build()
}
