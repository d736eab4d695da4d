//! Rows into chunks. Where one ends follows from its rows alone.

use bytes::Bytes;
use ring::digest;

use super::bad::BAD_ROW_DATA_BYTES_MAX;
use super::{ImportFormat, ReadOptions, SourceObject};

/// Where a chunk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The chunk's number, from 0.
    pub chunk: u64,
    /// Rows before it, those without anything in them not counted.
    pub rows: u64,
    /// Bytes of decompressed text before it; zero where the format has no text.
    pub text_bytes: u64,
}

/// A record to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRecord {
    /// Its partition key.
    pub partition_key: String,
    /// Its bytes.
    pub data: Bytes,
}

/// A row that cannot become a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The row's number in the object, from 1.
    pub row: u64,
    /// Why, in a word.
    pub cause: ImportCause,
    /// Why, in a sentence.
    pub message: String,
    /// The partition key that it came with, where it is a backup's.
    pub partition_key: Option<String>,
    /// The row; of one that is too large the beginning.
    pub data: Bytes,
    /// Whether that is all of it.
    pub is_whole: bool,
    /// Where it was set aside first, where it had been before.
    pub origin: Option<Origin>,
}

/// The place of a row that was set aside before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The object's URL.
    pub object: String,
    /// The row's number in it, from 1.
    pub row: u64,
    /// How often it was tried.
    pub attempts: u32,
}

/// Why a row cannot become a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportCause {
    /// Not one JSON value.
    InvalidJson,
    /// A row of CSV without as many fields as there are columns, or that is not UTF-8.
    InvalidCsv,
    /// A line that is no line of a backup.
    InvalidBackup,
    /// Past the stream's limit on a record.
    TooLarge,
    /// Its partition key is too long.
    PartitionKey,
}

impl ImportCause {
    /// The word, for `errorCode` and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidCsv => "invalid_csv",
            Self::InvalidBackup => "invalid_backup",
            Self::TooLarge => "too_large",
            Self::PartitionKey => "partition_key",
        }
    }
}

/// Rows that are put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chunk {
    /// Where it begins.
    pub start: Mark,
    /// Where the next one begins.
    pub next: Mark,
    /// The records.
    pub records: Vec<ImportRecord>,
    /// The rows that are none.
    pub bad: Vec<BadRow>,
}

impl Chunk {
    fn rows(&self) -> usize {
        self.records.len() + self.bad.len()
    }
}

/// What a reader made of one row.
pub(super) enum Row {
    Record {
        partition_key: Option<String>,
        data: Bytes,
    },
    Bad {
        cause: ImportCause,
        message: String,
        partition_key: Option<String>,
        data: Bytes,
    },
    /// One that is too large to be held: its beginning.
    Cut {
        message: String,
        data: Bytes,
    },
    /// Nothing: an empty line.
    Blank,
}

impl Row {
    pub(super) const fn bad(cause: ImportCause, message: String, data: Bytes) -> Self {
        Self::Bad { cause, message, partition_key: None, data }
    }
}

/// Makes chunks of rows.
pub(super) struct Chunker<'o> {
    options: &'o ReadOptions,
    seed: String,
    chunk: Chunk,
    bytes: u64,
    at: Mark,
}

impl<'o> Chunker<'o> {
    pub(super) fn new(options: &'o ReadOptions, object: &SourceObject, from: Mark) -> Self {
        let seed = format!("{}\n{:016x}\n", object.url, object.version());
        let chunk = Chunk { start: from, ..Chunk::default() };
        Self { options, seed, chunk, bytes: 0, at: from }
    }

    /// Rows before the next one.
    pub(super) const fn rows(&self) -> u64 {
        self.at.rows
    }

    /// Adds a row, behind which so many bytes of text lie; gives a chunk that ended before it or with it.
    pub(super) fn push(&mut self, row: Row, text_bytes: u64) -> Option<Chunk> {
        self.push_of(row, text_bytes, None)
    }

    /// The same with a row that was set aside before.
    pub(super) fn push_again(&mut self, row: Row, text_bytes: u64, origin: Origin) -> Option<Chunk> {
        self.push_of(row, text_bytes, Some(origin))
    }

    fn push_of(&mut self, row: Row, text_bytes: u64, origin: Option<Origin>) -> Option<Chunk> {
        let (full, bytes) = match self.check(row) {
            Row::Blank => {
                self.at.text_bytes = text_bytes;
                return None;
            }
            Row::Record { partition_key, data } => {
                let partition_key = partition_key.unwrap_or_else(|| self.key_of_place());
                let bytes = (partition_key.len() + data.len()) as u64;
                let full = self.end_before(bytes);
                self.chunk.records.push(ImportRecord { partition_key, data });
                (full, bytes)
            }
            Row::Bad { cause, message, partition_key, data } => {
                let is_whole = cause != ImportCause::TooLarge || data.len() <= BAD_ROW_DATA_BYTES_MAX;
                self.push_bad(BadRow { row: 0, cause, message, partition_key, data, is_whole, origin })
            }
            Row::Cut { message, data } => {
                let (cause, partition_key, is_whole) = (ImportCause::TooLarge, None, false);
                self.push_bad(BadRow { row: 0, cause, message, partition_key, data, is_whole, origin })
            }
        };
        self.bytes += bytes;
        self.at.rows += 1;
        self.at.text_bytes = text_bytes;
        full.or_else(|| (self.chunk.rows() >= self.options.chunk_rows.max(1) as usize).then(|| self.end()))
    }

    /// Adds a bad row at the place that the chunker is at.
    fn push_bad(&mut self, mut bad: BadRow) -> (Option<Chunk>, u64) {
        if !bad.is_whole && bad.data.len() > BAD_ROW_DATA_BYTES_MAX {
            // A copy, so that what is left of a large row does not hold all of it.
            bad.data = Bytes::copy_from_slice(&bad.data[..BAD_ROW_DATA_BYTES_MAX]);
        }
        let bytes = bad.data.len() as u64;
        let full = self.end_before(bytes);
        self.chunk.bad.push(BadRow { row: self.at.rows + 1, ..bad });
        (full, bytes)
    }

    /// What is left.
    pub(super) fn finish(&mut self) -> Option<Chunk> {
        (self.chunk.rows() > 0).then(|| self.end())
    }

    fn end_before(&mut self, bytes: u64) -> Option<Chunk> {
        (self.chunk.rows() > 0 && self.bytes + bytes > self.options.chunk_bytes).then(|| self.end())
    }

    fn end(&mut self) -> Chunk {
        self.at.chunk += 1;
        self.bytes = 0;
        let ended = std::mem::replace(&mut self.chunk, Chunk { start: self.at, ..Chunk::default() });
        Chunk { next: self.at, ..ended }
    }

    /// Turns a record that no stream would take into a bad row.
    fn check(&self, row: Row) -> Row {
        let Row::Record { partition_key, data } = row else { return row };
        let partition_key = partition_key.filter(|key| !key.is_empty());
        let chars = partition_key.as_ref().map_or(0, |key| key.chars().count());
        let chars_max = self.options.partition_key_chars_max as usize;
        if chars > chars_max {
            let message = format!("its partition key of {chars} characters is past the limit of {chars_max}");
            return Row::Bad {
                cause: ImportCause::PartitionKey,
                message,
                partition_key: self.kept(partition_key),
                data,
            };
        }
        let bytes = (partition_key.as_ref().map_or(KEY_LEN, String::len) + data.len()) as u64;
        let bytes_max = self.options.record_bytes_max;
        if bytes > bytes_max {
            let message =
                format!("a record of {bytes} bytes (data and partition key) is past the limit of {bytes_max}");
            return Row::Bad { cause: ImportCause::TooLarge, message, partition_key: self.kept(partition_key), data };
        }
        Row::Record { partition_key, data }
    }

    /// A key that the row's bytes do not tell.
    fn kept(&self, partition_key: Option<String>) -> Option<String> {
        partition_key.filter(|_| self.options.format == ImportFormat::SourceBackup)
    }

    /// A key that spreads rows over the shards and is the same whenever the object is read.
    fn key_of_place(&self) -> String {
        let hash = digest::digest(&digest::SHA256, format!("{}{}", self.seed, self.at.rows).as_bytes());
        hash.as_ref().iter().take(KEY_LEN / 2).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Characters of a key that follows from a row's place.
const KEY_LEN: usize = 16;
