//! How an object is read: all that decides which records it becomes.

use serde::{Deserialize, Serialize};

/// All that decides which records an object becomes. It is kept with an object that is begun, so that the rest of it is read
/// as its beginning was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadOptions {
    /// What the object holds.
    pub format: ImportFormat,
    /// How it is compressed.
    pub compression: ImportCompression,
    /// For [`ImportFormat::Csv`].
    pub csv: CsvOptions,
    /// The top-level field whose value is a record's partition key. Without it, and where a row does not have the field, the
    /// key follows from the row's place.
    pub partition_key: Option<String>,
    /// The most characters of a partition key.
    pub partition_key_chars_max: u32,
    /// The most that one record may hold: data plus partition key, in bytes.
    pub record_bytes_max: u64,
    /// A chunk ends with so many rows.
    pub chunk_rows: u32,
    /// A chunk ends before the row that would take it past so many bytes; one row is always let in.
    pub chunk_bytes: u64,
    /// Where the object is not what the format says, but holds rows that were set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
}

/// How a row that was set aside is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// By the format.
    ByFormat,
    /// Not at all: its bytes are a record.
    AsIs,
}

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportFormat {
    /// A JSON value a line, each a record.
    #[default]
    JsonLines,
    /// Lines, each a record, whatever they hold.
    Lines,
    /// Rows, each a JSON object of the header's names.
    Csv,
    /// Rows, each a JSON object of the columns' names.
    Parquet,
    /// One record, the object as it is.
    Raw,
    /// Backups of source records: each comes back with its partition key and its bytes.
    SourceBackup,
}

impl ImportFormat {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonLines => "json_lines",
            Self::Lines => "lines",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Raw => "raw",
            Self::SourceBackup => "source_backup",
        }
    }
}

/// How an object is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportCompression {
    /// As its name ends: `.gz`, `.zst`, `.sz`, else none.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// gzip; several members are read one after the other.
    Gzip,
    /// Zstandard; several frames are read one after the other.
    Zstd,
    /// Snappy's own framing format.
    Snappy,
}

impl ImportCompression {
    /// What it is for an object of this name: never `Auto`.
    pub(super) fn of(self, name: &str) -> Self {
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending));
        match self {
            Self::Auto if ends(&[".gz", ".gzip"]) => Self::Gzip,
            Self::Auto if ends(&[".zst", ".zstd"]) => Self::Zstd,
            Self::Auto if ends(&[".sz", ".snappy"]) => Self::Snappy,
            Self::Auto => Self::None,
            given => given,
        }
    }
}

/// How CSV is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvOptions {
    /// What stands between two fields: one byte.
    pub delimiter: u8,
    /// The columns' names, where the first row does not tell them.
    pub columns: Vec<String>,
    /// What a field becomes.
    pub values: CsvValues,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', columns: Vec::new(), values: CsvValues::Text }
    }
}

/// What a field of CSV becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CsvValues {
    /// A string, always.
    #[default]
    Text,
    /// A number, `true` or `false` where the field is written as JSON writes one, `null` where it is empty, else a string:
    /// `007` stays text.
    Infer,
}
