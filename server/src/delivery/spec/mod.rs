//! What a pipeline file declares, and the limits of each field.

mod size;
mod stream;
mod table;
mod start;
mod format;
mod normalise;

pub use format::{Compression, Format};
pub use normalise::{BUFFER_INTERVAL_MAX, BUFFER_SIZE_MAX, BUFFER_SIZE_MIN};
pub use size::Size;
pub use start::StartSpec;
pub use stream::{ModeSpec, QuotaSpec, RateSpec, StreamSpec};
pub use table::{ColumnSpec, SchemaPolicy, TableSpec, TimeSpec};

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::normalise::PARTITIONS_DEFAULT;
use super::input::InputSpec;
use super::turns::Priority;
use crate::transform::TransformSpec;

/// A `[[delivery]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySpec {
    /// The delivery's name; it is part of the names of its objects.
    pub name: String,
    /// The stream it reads.
    pub stream: String,
    /// What it writes.
    #[serde(default)]
    pub format: Format,
    /// The table, for `parquet`; the delivery's own name where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The folder in the store, for `json_lines` and `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Where it begins when it is new: `trim_horizon` (the default), `latest`, or a time such as `2026-11-23T08:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartSpec>,
    /// The transform chain, in order.
    #[serde(default)]
    pub transforms: Vec<TransformSpec>,
    /// How the outputs of the transform chain are written, for `parquet`: `json` (the default), `csv`, `lines`, `raw`, or
    /// `{ format = "csv", … }`.
    #[serde(default, skip_serializing_if = "InputSpec::is_json")]
    pub input: InputSpec,
    /// A batch is written when its records have so many bytes. 1 MiB to 128 MiB, default 64 MiB.
    #[serde(default = "buffer_size")]
    pub buffer_size: Size,
    /// A batch is written when its first record is so old. 0 s to 900 s, default 60 s.
    #[serde(default = "buffer_interval", with = "humantime_serde")]
    pub buffer_interval: Duration,
    /// The most memory that its records may take, converted and not yet committed, within the memory of all deliveries: at
    /// half of it a batch is cut, and while one is written the next one takes no more than the other half. At least 16 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Size>,
    /// `high`, `normal` (the default) or `low`: who is served first where deliveries wait for memory or processors, and who is
    /// asked last to cut a batch early. One of `low` waits as long as others do: right for a backfill.
    #[serde(default, skip_serializing_if = "is_normal")]
    pub priority: Priority,
    /// `snappy` (the default), `zstd`, `gzip`, `lz4` or `none` for `parquet`; `none` (the default), `gzip`, `zstd` or `snappy` for
    /// `json_lines`; `none` (the default), `gzip`, `xerial_snappy` or `hadoop_snappy` for `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The folders below the destination, or below a table's `data`: text with `!{…}` expressions of each record's time and
    /// partition keys. A table goes by its time column, files of lines and raw ones by the time of arrival. Default: Hive folders down to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The folders of records that were set aside, below the table or the destination, by their time of arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_prefix: Option<String>,
    /// The zone of the times in both prefixes, such as `Europe/Berlin`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// A batch is cut early when its records are in so many partitions. 1 to 100,000, default 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions_max: Option<u32>,
    /// The most rows of a row group, for `parquet`. 1,000 to 10,000,000, default 1,048,576.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_group_rows: Option<usize>,
    /// Whether `parquet` columns get dictionaries. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<bool>,
    /// What the names of files end with, for `raw`, such as `.json`. Default: by the compression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// The columns of `parquet` files with a bloom filter, at the top level. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bloom_filters: Vec<String>,
    /// The columns that the rows of each `parquet` file are sorted by, at the top level. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sort_by: Vec<String>,
    /// For `!{partitionKeyFromQuery:NAME}` in the prefix: by name, a path into each output, such as `.customer.id`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition_keys: BTreeMap<String, String>,
    /// Where the source records are kept besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSpec>,
}

/// A `[delivery.backup]`: each batch's source records as lines of JSON with their bytes in base64, for replays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSpec {
    /// The folder in the store; `backup/<delivery>` where it is left out.
    #[serde(default)]
    pub destination: String,
    /// The folders below it, by each record's time of arrival. Default: Hive folders down to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `gzip` (the default), `zstd`, `snappy` or `none`.
    #[serde(default = "gzip")]
    pub compression: Compression,
}

const fn gzip() -> Compression {
    Compression::Gzip
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_normal(priority: &Priority) -> bool {
    *priority == Priority::Normal
}

const fn buffer_size() -> Size {
    Size(64 << 20)
}

const fn buffer_interval() -> Duration {
    Duration::from_secs(60)
}

impl DeliverySpec {
    /// The table's name, for `parquet`.
    #[must_use]
    pub fn table_name(&self) -> Option<&str> {
        (self.format == Format::Parquet).then(|| self.table.as_deref().unwrap_or(&self.name))
    }

    /// In how many partitions a batch's records may be.
    #[must_use]
    pub fn partitions_max(&self) -> u32 {
        self.partitions_max.unwrap_or(PARTITIONS_DEFAULT)
    }
}
