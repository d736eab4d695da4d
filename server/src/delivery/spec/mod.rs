//! What a pipeline file declares, and the limits of each field.
//!
//! A spec is kept as its normalised TOML: every field written out, so that two declarations that mean the same are equal.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use millrace_storage::lake::prefix::{DEFAULT_PREFIX, PREFIX_BYTES_MAX};
use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::declaration::{check_name, from_toml, to_toml, version_of};
use super::input::InputSpec;
use super::layout::Layout;
use super::settings::MEMORY_BYTES_MIN;
use super::turns::Priority;
use crate::error::{Error, Result};
use crate::streams::OverQuota;
use crate::transform::TransformSpec;

/// The sizes that a delivery's buffer may have.
pub const BUFFER_SIZE_MIN: Size = Size(1 << 20);
/// The sizes that a delivery's buffer may have.
pub const BUFFER_SIZE_MAX: Size = Size(128 << 20);
/// The longest time that a delivery may wait for more records.
pub const BUFFER_INTERVAL_MAX: Duration = Duration::from_secs(900);
/// The most steps of a transform chain.
pub(super) const TRANSFORMS_MAX: usize = 16;
/// The most characters of the extension of files' names, with its dot.
pub(super) const EXTENSION_LEN_MAX: usize = 128;
/// The most partitions that a batch may be let grow to.
pub(super) const PARTITIONS_MAX: u32 = 100_000;
const PARTITIONS_DEFAULT: u32 = 10_000;
/// The most columns that are listed for one purpose.
const LISTED_COLUMNS_MAX: usize = 32;
/// The fewest rows that a row group may be limited to.
pub(super) const ROW_GROUP_ROWS_MIN: usize = 1_000;
/// The most rows of a row group.
pub(super) const ROW_GROUP_ROWS_MAX: usize = 10_000_000;

/// A number of bytes, written so that it can be read back exactly: `"64MiB"`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// In bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 > 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ByteSize::deserialize(deserializer).map(|size| Self(size.as_u64()))
    }
}

/// A `[[stream]]`. Fields that are left out take the server's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// The stream's name.
    pub name: String,
    /// Who decides the number of shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeSpec>,
    /// How many shards; where the stream is on demand, those that it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// How long records are kept.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub retention: Option<Duration>,
    /// The most that one record may hold: data plus partition key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_size_max: Option<Size>,
    /// Whether new records are encrypted at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<bool>,
    /// What one shard takes and gives each second.
    #[serde(default, skip_serializing_if = "QuotaSpec::is_empty")]
    pub quota: QuotaSpec,
    /// What becomes of a put that is over a shard's quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_quota: Option<OverQuota>,
    /// The most that the stream holds, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_size_max: Option<RateSpec>,
    /// Whether what a delivery has not committed outlives the retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_for_deliveries: Option<bool>,
}

/// Who decides how many shards a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeSpec {
    /// Its declaration.
    Provisioned,
    /// Its load.
    OnDemand,
}

/// A `[stream.quota]`: for each shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    /// Bytes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_bytes_per_second: Option<RateSpec>,
    /// Records in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_records_per_second: Option<RateSpec>,
    /// Bytes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_bytes_per_second: Option<RateSpec>,
    /// How much of each an idle shard saves up, as time at its rate.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub burst: Option<Duration>,
}

impl QuotaSpec {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rate: a number, a size such as `"2MiB"`, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateSpec {
    /// No limit.
    Off,
    /// So many each second, at least 1.
    PerSecond(u64),
}

impl Serialize for RateSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::PerSecond(rate) => serializer.serialize_u64(*rate),
        }
    }
}

impl<'de> Deserialize<'de> for RateSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = toml::Value::deserialize(deserializer)?;
        let rate = match &value {
            toml::Value::String(text) if text == "off" => return Ok(Self::Off),
            toml::Value::String(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
            toml::Value::Integer(rate) => u64::try_from(*rate).ok(),
            _ => None,
        };
        match rate {
            Some(rate) if rate > 0 => Ok(Self::PerSecond(rate)),
            _ => Err(D::Error::custom(format!("a rate of {value} is not a number above 0, a size or \"off\""))),
        }
    }
}

/// A `[[table]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// `name`, in the default namespace, or `namespace.name`.
    pub name: String,
    /// What happens to fields that the table has no column for.
    #[serde(default)]
    pub schema_policy: SchemaPolicy,
    /// Whether rows carry `_stream`, `_shard`, `_offset` and the like.
    #[serde(default = "yes")]
    pub system_columns: bool,
    /// The event time; left out, the arrival time partitions the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSpec>,
    /// What partitions it, such as `day(at)`, `identity(carrier)`, `bucket(16, flight)` or `truncate(2, carrier)`; left out,
    /// the hour of its time. Columns must be declared, or the table's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<String>,
    /// Declared columns.
    #[serde(default, rename = "column", skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnSpec>,
}

impl TableSpec {
    /// A table that nobody declared: everything by default.
    #[must_use]
    pub fn implied(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            schema_policy: SchemaPolicy::default(),
            system_columns: true,
            time: None,
            partition_by: Vec::new(),
            columns: Vec::new(),
        }
    }
}

const fn yes() -> bool {
    true
}

/// What happens to a field that the table has no column for, or whose value does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaPolicy {
    /// New fields become columns, numbers widen; what conflicts goes to `_rescued`.
    #[default]
    Evolve,
    /// The columns stay; what does not fit goes to `_rescued`.
    Rescue,
    /// The columns stay; a record that does not fit is set aside.
    Reject,
}

/// The event time: `{ field = "time_hour", format = "rfc3339" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSpec {
    /// A top-level field of the events.
    pub field: String,
    /// `rfc3339`, `epoch_seconds`, `epoch_millis`, or a strftime pattern.
    #[serde(default = "rfc3339")]
    pub format: String,
}

fn rfc3339() -> String {
    "rfc3339".to_owned()
}

/// A `[[table.column]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// The column, which is the event's field.
    pub name: String,
    /// An Iceberg type, for example `long`, `timestamptz` or `string`.
    pub r#type: String,
}

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

/// Where a new delivery begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartSpec {
    /// At the oldest record that the stream keeps.
    TrimHorizon,
    /// Behind the newest record.
    Latest,
    /// At the first record that arrived at or after a time.
    Time(Timestamp),
}

impl fmt::Display for StartSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrimHorizon => f.write_str("trim_horizon"),
            Self::Latest => f.write_str("latest"),
            Self::Time(time) => {
                let time = chrono::DateTime::from_timestamp_millis(time.0).unwrap_or_default();
                f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
            }
        }
    }
}

impl Serialize for StartSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StartSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), chrono::DateTime::parse_from_rfc3339(&text)) {
            ("trim_horizon", _) => Ok(Self::TrimHorizon),
            ("latest", _) => Ok(Self::Latest),
            (_, Ok(time)) => Ok(Self::Time(Timestamp(time.timestamp_millis()))),
            _ => Err(serde::de::Error::custom(format!(
                "the start {text:?} is not \"trim_horizon\", \"latest\" or a time such as \"2026-11-23T08:00:00Z\""
            ))),
        }
    }
}

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
    const fn name(self) -> &'static str {
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
    pub(super) const fn name(self) -> &'static str {
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

const ROW_GROUP_ROWS_DEFAULT: usize = 1 << 20;

impl DeliverySpec {
    /// Reads a spec from its normalised TOML.
    pub fn from_toml(text: &str) -> Result<Self> {
        from_toml("delivery", text)
    }

    /// The normalised TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        to_toml(self)
    }

    /// Which declaration it is: another one for each that differs.
    #[must_use]
    pub fn version(&self) -> String {
        version_of(self)
    }

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

    /// Fills in the defaults and checks each field. The error names delivery, field, value and limit.
    pub fn normalised(mut self) -> Result<Self> {
        check_name("delivery", &self.name)?;
        self.check_buffer()?;
        if self.transforms.len() > TRANSFORMS_MAX {
            let steps = self.transforms.len();
            return Err(self.invalid("transforms", format_args!("{steps} steps are more than {TRANSFORMS_MAX}")));
        }
        if self.transforms.iter().skip(1).any(|step| *step == TransformSpec::Deaggregate) {
            return Err(self.invalid("transforms", "deaggregate takes whole records apart, so it must come first"));
        }
        match self.format {
            Format::Parquet => self.normalise_parquet()?,
            Format::JsonLines => self.normalise_json_lines()?,
            Format::Raw => self.normalise_raw()?,
        }
        self.normalise_backup()?;
        if let Some(memory) = self.memory_max.filter(|memory| memory.as_u64() < MEMORY_BYTES_MIN.as_u64()) {
            return Err(self.invalid("memory_max", format_args!("{memory} is less than {MEMORY_BYTES_MIN}")));
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions_max()) {
            let words = format_args!("{} is outside 1 to {PARTITIONS_MAX}", self.partitions_max());
            return Err(self.invalid("partitions_max", words));
        }
        Layout::of(&self)?;
        // What a table declares may be missing yet.
        if !matches!(&self.input, InputSpec::Csv(csv) if csv.columns.is_empty()) {
            self.input()?;
        }
        Ok(self)
    }

    fn check_buffer(&self) -> Result<()> {
        if self.buffer_size < BUFFER_SIZE_MIN || self.buffer_size > BUFFER_SIZE_MAX {
            let words = format_args!("{} is outside {BUFFER_SIZE_MIN} to {BUFFER_SIZE_MAX}", self.buffer_size);
            return Err(self.invalid("buffer_size", words));
        }
        if self.buffer_interval > BUFFER_INTERVAL_MAX {
            let value = humantime::format_duration(self.buffer_interval);
            let most = BUFFER_INTERVAL_MAX.as_secs();
            return Err(self.invalid("buffer_interval", format_args!("{value} is outside 0s to {most}s")));
        }
        Ok(())
    }

    fn normalise_parquet(&mut self) -> Result<()> {
        self.refuse("destination", self.destination.is_some())?;
        self.refuse("extension", self.extension.is_some())?;
        self.check_compression(&[
            Compression::Snappy,
            Compression::Zstd,
            Compression::Gzip,
            Compression::Lz4,
            Compression::None,
        ])?;
        for (field, columns) in [("bloom_filters", &self.bloom_filters), ("sort_by", &self.sort_by)] {
            let count = columns.len();
            if count > LISTED_COLUMNS_MAX || columns.iter().any(String::is_empty) {
                let words = format_args!("{count} columns, each with a name, may be at most {LISTED_COLUMNS_MAX}");
                return Err(self.invalid(field, words));
            }
        }
        self.table.get_or_insert_with(|| self.name.clone());
        self.compression.get_or_insert(Compression::Snappy);
        self.dictionary.get_or_insert(true);
        let rows = *self.row_group_rows.get_or_insert(ROW_GROUP_ROWS_DEFAULT);
        if !(ROW_GROUP_ROWS_MIN..=ROW_GROUP_ROWS_MAX).contains(&rows) {
            let words = format!("{rows} is outside {ROW_GROUP_ROWS_MIN} to {ROW_GROUP_ROWS_MAX}");
            return Err(self.invalid("row_group_rows", words));
        }
        Ok(())
    }

    fn normalise_json_lines(&mut self) -> Result<()> {
        self.refuse("table", self.table.is_some())?;
        self.refuse("input", !self.input.is_json())?;
        self.refuse("bloom_filters", !self.bloom_filters.is_empty())?;
        self.refuse("sort_by", !self.sort_by.is_empty())?;
        self.refuse("row_group_rows", self.row_group_rows.is_some())?;
        self.refuse("dictionary", self.dictionary.is_some())?;
        self.refuse("extension", self.extension.is_some())?;
        self.check_compression(&[Compression::None, Compression::Gzip, Compression::Zstd, Compression::Snappy])?;
        self.normalise_folder()
    }

    fn normalise_raw(&mut self) -> Result<()> {
        self.refuse("table", self.table.is_some())?;
        self.refuse("input", !self.input.is_json())?;
        self.refuse("bloom_filters", !self.bloom_filters.is_empty())?;
        self.refuse("sort_by", !self.sort_by.is_empty())?;
        self.refuse("row_group_rows", self.row_group_rows.is_some())?;
        self.refuse("dictionary", self.dictionary.is_some())?;
        let allowed = [Compression::None, Compression::Gzip, Compression::XerialSnappy, Compression::HadoopSnappy];
        self.check_compression(&allowed)?;
        if let Some(extension) = &self.extension {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
            let starts = extension.starts_with('.') && extension.len() > 1;
            if !starts || extension.len() > EXTENSION_LEN_MAX || !extension.bytes().all(fits) {
                let words = format_args!(
                    "{extension:?} is not a dot and up to {} of a-z A-Z 0-9 ! - _ . * ' ( )",
                    EXTENSION_LEN_MAX - 1
                );
                return Err(self.invalid("extension", words));
            }
        }
        self.normalise_folder()
    }

    fn check_compression(&self, allowed: &[Compression]) -> Result<()> {
        match self.compression {
            Some(compression) if !allowed.contains(&compression) => {
                let names: Vec<_> = allowed.iter().map(|compression| compression.name()).collect();
                let (format, name) = (self.format.name(), compression.name());
                let words = format_args!("{name} is none of those that {format} takes: {}", names.join(", "));
                Err(self.invalid("compression", words))
            }
            _ => Ok(()),
        }
    }

    /// The compression, destination and prefix of files that no table lists.
    fn normalise_folder(&mut self) -> Result<()> {
        self.compression.get_or_insert(Compression::None);
        let destination = self.destination.get_or_insert_with(|| self.name.clone()).clone();
        self.check_folder("destination", &destination)?;
        self.prefix.get_or_insert_with(|| DEFAULT_PREFIX.to_owned());
        Ok(())
    }

    fn normalise_backup(&mut self) -> Result<()> {
        let Some(mut backup) = self.backup.take() else { return Ok(()) };
        if backup.destination.is_empty() {
            backup.destination = format!("backup/{}", self.name);
        }
        self.check_folder("backup.destination", &backup.destination)?;
        let allowed = [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Snappy];
        if !allowed.contains(&backup.compression) {
            let words = "a backup takes none, gzip, zstd or snappy";
            return Err(self.invalid("backup.compression", words));
        }
        self.backup = Some(backup);
        Ok(())
    }

    fn check_folder(&self, field: &str, folder: &str) -> Result<()> {
        let part_is_bad =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
        if folder.len() > PREFIX_BYTES_MAX || folder.split('/').any(part_is_bad) {
            let words = format_args!("{folder:?} is not a relative folder such as \"exports/flights\"");
            return Err(self.invalid(field, words));
        }
        Ok(())
    }

    fn refuse(&self, field: &str, present: bool) -> Result<()> {
        if present {
            return Err(self.invalid(field, format_args!("format {} does not take it", self.format.name())));
        }
        Ok(())
    }

    /// An error at one of the delivery's fields.
    pub(super) fn invalid(&self, field: &str, words: impl std::fmt::Display) -> Error {
        Error::invalid(format_args!("delivery {}: {field}: {words}", self.name))
    }

    /// Checks a changed spec against the one in force: some fields can never change, because batches, positions and
    /// object names hang on them.
    pub fn check_change(&self, next: &Self) -> Result<()> {
        let same = |field: &str, before: &str, after: &str| {
            if before == after {
                return Ok(());
            }
            let words =
                format_args!("it is {before:?} and cannot become {after:?}; declare a delivery with another name");
            Err(next.invalid(field, words))
        };
        same("stream", &self.stream, &next.stream)?;
        let start = |spec: &Self| spec.start.unwrap_or(StartSpec::TrimHorizon).to_string();
        same("start", &start(self), &start(next))?;
        same("format", self.format.name(), next.format.name())?;
        same("table", self.table.as_deref().unwrap_or_default(), next.table.as_deref().unwrap_or_default())?;
        let folder = |spec: &Self| spec.destination.clone().unwrap_or_default();
        same("destination", &folder(self), &folder(next))
    }

    /// The compression's name in settings.
    #[must_use]
    pub fn compression_name(&self) -> &'static str {
        self.compression.unwrap_or(Compression::None).name()
    }
}
