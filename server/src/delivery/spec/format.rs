//! What a delivery's files are, and how they are compressed.

use serde::{Deserialize, Serialize};

/// What a delivery writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Parquet files of an Iceberg table.
    #[default]
    Parquet,
    /// Files of lines.
    JsonLines,
    /// Files of records as they are, one after the other.
    Raw,
}

impl Format {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::JsonLines => "json_lines",
            Self::Raw => "raw",
        }
    }
}

/// How a delivery's files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Snappy; for lines in its framed format.
    Snappy,
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
    /// Raw LZ4, for `parquet`.
    Lz4,
    /// None.
    None,
    /// Snappy as the Java library frames it.
    XerialSnappy,
    /// Snappy as Hadoop frames it.
    HadoopSnappy,
}

impl Compression {
    pub(in crate::delivery) const fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::None => "none",
            Self::XerialSnappy => "xerial_snappy",
            Self::HadoopSnappy => "hadoop_snappy",
        }
    }
}
