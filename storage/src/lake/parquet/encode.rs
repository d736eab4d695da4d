//! Batches into the bytes of one Parquet file.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;

use super::{Compression, ParquetSettings};
use crate::lake::{Error, Result};

/// Encodes batches of `schema`; gives the file and its metadata.
pub(super) fn encode(
    schema: &SchemaRef,
    settings: &ParquetSettings,
    batches: &[RecordBatch],
) -> Result<(Vec<u8>, ParquetMetaData)> {
    let mut bytes = Vec::new();
    let mut encode = || {
        let mut writer = ArrowWriter::try_new(&mut bytes, SchemaRef::clone(schema), Some(properties(settings)))?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        writer.close()
    };
    match encode() {
        Ok(metadata) => Ok((bytes, metadata)),
        Err(error) => Err(Error::Invalid(format!("a batch cannot be written as Parquet: {error}"))),
    }
}

fn properties(settings: &ParquetSettings) -> WriterProperties {
    let codec = match settings.compression {
        Compression::Snappy => Codec::SNAPPY,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(3).expect("3 is a Zstandard level")),
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::None => Codec::UNCOMPRESSED,
    };
    WriterProperties::builder()
        .set_created_by(concat!("millrace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_dictionary_enabled(settings.dictionary)
        .set_max_row_group_row_count(Some(settings.row_group_rows_max.max(1)))
        .build()
}
