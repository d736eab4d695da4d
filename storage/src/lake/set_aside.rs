//! Rows that did not become part of the table, as JSON lines with all that a replay needs.
//!
//! The form is that of Amazon Data Firehose's failed records
//! (<https://docs.aws.amazon.com/firehose/latest/dev/data-transformation-failure-handling.html>) with stream, shard and
//! offset besides. Nothing in it may depend on when a batch is written: one that is done again writes the same.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::json_lines::WrittenObject;
use super::prefix::Prefix;
use super::row::{Cause, Row, SetAside};
use super::store::Store;
use super::upload::upload;
use super::{Error, FileNames, Result};
use crate::log::{Offset, ShardId};
use crate::time::Timestamp;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAsideLine {
    /// The stream's name.
    pub stream: String,
    /// The record's shard.
    pub shard: u32,
    /// The record's offset in the shard.
    pub offset: u64,
    /// The row's number among the outputs of the record, from 0.
    pub sub: u32,
    /// How often the step that failed tried the record.
    #[serde(default = "once")]
    pub attempts_made: u32,
    /// When the record arrived, in milliseconds since the Unix epoch.
    pub arrival_timestamp: i64,
    /// When the batch of the record was cut, in milliseconds since the Unix epoch. It is the time of the last attempt as far
    /// as it is told: it is noted before the batch is written, and so the same when the batch is done again.
    #[serde(default)]
    pub attempt_ending_timestamp: i64,
    /// The record's partition key.
    pub partition_key: String,
    /// The cause, as [`Cause::as_str`] has it.
    pub error_code: String,
    /// Why, in a sentence.
    pub error_message: String,
    /// Whose bytes `raw_data` are.
    #[serde(default)]
    pub raw_data_of: RawDataOf,
    /// The bytes, in base64.
    pub raw_data: String,
}

/// Whose bytes a line has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawDataOf {
    /// The record's: it goes through the transform chain again.
    Record,
    /// One of several outputs that the transform chain made of the record.
    #[default]
    Output,
}

const fn once() -> u32 {
    1
}

/// How rows that are set aside are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAsideSettings {
    /// The folder, relative to the store's root, that the prefix is below.
    pub root: String,
    /// A prefix of errors, of each record's time of arrival and cause.
    pub prefix: Prefix,
    /// The stream's name.
    pub stream: String,
    /// When the batch was cut.
    pub cut_at: Timestamp,
}

/// Writes set-aside rows: one file for each evaluated prefix, `<root>/<prefix><delivery>-<batch>.jsonl`.
///
/// Files that are there already are overwritten. When this returns, all files are durable.
pub async fn write(
    store: &Store,
    settings: &SetAsideSettings,
    names: &FileNames,
    rows: &[SetAside],
) -> Result<Vec<WrittenObject>> {
    let mut files: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
    for row in rows {
        let prefix = settings.prefix.evaluate_error(row.row.arrival_time, row.cause);
        let (lines, count) = files.entry(prefix).or_default();
        serde_json::to_writer(&mut *lines, &line_of(settings, row))
            .map_err(|error| Error::Invalid(format!("a set-aside row cannot be written: {error}")))?;
        lines.push(b'\n');
        *count += 1;
    }
    let mut written = Vec::with_capacity(files.len());
    for (prefix, (lines, rows)) in files {
        let path = store.path(&format!("{}/{}{}", settings.root, names.folder(&prefix), names.whole("jsonl")));
        let size_bytes = lines.len() as u64;
        upload(store, &path, Bytes::from(lines)).await?;
        written.push(WrittenObject { url: store.url(&path), path, size_bytes, rows });
    }
    Ok(written)
}

fn line_of(settings: &SetAsideSettings, aside: &SetAside) -> SetAsideLine {
    let SetAside { row, cause, message, attempts } = aside;
    let (raw_data_of, raw_data) = match &row.source {
        Some(record) => (RawDataOf::Record, record),
        None => (RawDataOf::Output, &row.data),
    };
    SetAsideLine {
        stream: settings.stream.clone(),
        shard: row.shard.0,
        offset: row.offset.0,
        sub: row.sub,
        attempts_made: *attempts,
        arrival_timestamp: row.arrival_time.0,
        attempt_ending_timestamp: settings.cut_at.0,
        partition_key: String::from_utf8_lossy(&row.partition_key).into_owned(),
        error_code: cause.as_str().to_owned(),
        error_message: message.clone(),
        raw_data_of,
        raw_data: BASE64_STANDARD.encode(raw_data),
    }
}

/// The lines of a file that [`write`] wrote; an error names the line that is none.
pub fn read(url: &str, file: &[u8]) -> Result<Vec<SetAsideLine>> {
    let lines = file.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.is_empty());
    let read = |(line, number): (&[u8], u64)| {
        serde_json::from_slice(line)
            .map_err(|error| Error::Invalid(format!("line {number} of {url} is no record that was set aside: {error}")))
    };
    lines.map(read).collect()
}

impl SetAsideLine {
    /// The row again, as it was set aside.
    pub fn to_row(&self) -> Result<Row> {
        let data = BASE64_STANDARD.decode(&self.raw_data).map_err(|error| {
            let (shard, offset) = (self.shard, self.offset);
            Error::Invalid(format!(
                "the data of shard {shard}, offset {offset} that was set aside is not base64: {error}"
            ))
        })?;
        let data = Bytes::from(data);
        Ok(Row {
            shard: ShardId(self.shard),
            offset: Offset(self.offset),
            sub: self.sub,
            arrival_time: Timestamp(self.arrival_timestamp),
            partition_key: Bytes::from(self.partition_key.clone()),
            source: (self.raw_data_of == RawDataOf::Record).then(|| data.clone()),
            data,
            keys: None,
        })
    }

    /// The cause, as far as it is known.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        Cause::of_word(&self.error_code)
    }
}

#[cfg(test)]
mod tests;
