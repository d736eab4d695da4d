//! Rows that did not become part of the table, as JSON lines under `errors/<cause>/`, with all that a replay needs.
//!
//! The form follows Amazon Data Firehose's failed records, with shard and offset in place of attempts.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::json_lines::WrittenObject;
use super::names::{hour_folder, hour_of};
use super::row::{Cause, SetAside};
use super::store::Store;
use super::upload::upload;
use super::{Error, FileNames, Result};

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
    /// When the record arrived, in milliseconds since the Unix epoch.
    pub arrival_timestamp: i64,
    /// The record's partition key.
    pub partition_key: String,
    /// The cause, as [`Cause::as_str`] has it.
    pub error_code: String,
    /// Why, in a sentence.
    pub error_message: String,
    /// The row's bytes, in base64.
    pub raw_data: String,
}

/// Writes set-aside rows below `root`, a folder relative to the store's root: one file for each cause and hour of arrival,
/// `<root>/errors/<cause>/year=…/month=…/date=…/hour=…/<delivery>-<batch>.jsonl`.
///
/// Files that are there already are overwritten. When this returns, all files are durable.
pub async fn write(
    store: &Store,
    root: &str,
    stream: &str,
    names: &FileNames,
    rows: &[SetAside],
) -> Result<Vec<WrittenObject>> {
    let mut files: BTreeMap<(Cause, i64), (Vec<u8>, u64)> = BTreeMap::new();
    for row in rows {
        let (lines, count) = files.entry((row.cause, hour_of(row.row.arrival_time))).or_default();
        serde_json::to_writer(&mut *lines, &line_of(stream, row))
            .map_err(|error| Error::Invalid(format!("a set-aside row cannot be written: {error}")))?;
        lines.push(b'\n');
        *count += 1;
    }
    let mut written = Vec::with_capacity(files.len());
    for ((cause, hour), (lines, rows)) in files {
        let path = store.path(&format!("{root}/errors/{cause}/{}/{}", hour_folder(hour), names.whole("jsonl")));
        let size_bytes = lines.len() as u64;
        upload(store, &path, Bytes::from(lines)).await?;
        written.push(WrittenObject { url: store.url(&path), path, size_bytes, rows });
    }
    Ok(written)
}

fn line_of(stream: &str, SetAside { row, cause, message }: &SetAside) -> SetAsideLine {
    SetAsideLine {
        stream: stream.to_owned(),
        shard: row.shard.0,
        offset: row.offset.0,
        sub: row.sub,
        arrival_timestamp: row.arrival_time.0,
        partition_key: String::from_utf8_lossy(&row.partition_key).into_owned(),
        error_code: cause.as_str().to_owned(),
        error_message: message.clone(),
        raw_data: BASE64_STANDARD.encode(&row.data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::row::Row;
    use crate::lake::store::StoreSettings;
    use crate::log::{Offset, ShardId};
    use crate::time::Timestamp;

    #[tokio::test]
    async fn rows_are_kept_by_cause_and_hour_with_their_bytes() {
        let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
        let names = FileNames { delivery: "flights".into(), batch: 7 };
        let row = |offset, arrival, data: &'static [u8]| Row {
            shard: ShardId(1),
            offset: Offset(offset),
            sub: 2,
            arrival_time: Timestamp(arrival),
            partition_key: Bytes::from_static(b"key"),
            data: Bytes::from_static(data),
        };
        let aside = |row, cause| SetAside { row, cause, message: "why \"so\"".into() };
        let hour = 1_357_034_400_000;
        let rows = [
            aside(row(0, hour, b"\xff{"), Cause::InvalidJson),
            aside(row(1, hour + 3_600_000, b"{}{}"), Cause::InvalidJson),
            aside(row(2, hour, b"[]"), Cause::NotAnObject),
            aside(row(3, hour, b""), Cause::InvalidJson),
        ];
        let written = write(&store, "default/flights", "events", &names, &rows).await.unwrap();

        let paths: Vec<_> = written.iter().map(|object| object.path.to_string()).collect();
        let folder = "year=2013/month=01/date=01/hour=";
        assert_eq!(
            paths,
            [
                format!("lake/default/flights/errors/invalid_json/{folder}10/flights-000000000007.jsonl"),
                format!("lake/default/flights/errors/invalid_json/{folder}11/flights-000000000007.jsonl"),
                format!("lake/default/flights/errors/not_an_object/{folder}10/flights-000000000007.jsonl"),
            ]
        );
        assert_eq!(written.iter().map(|object| object.rows).collect::<Vec<_>>(), [2, 1, 1]);
        let text = store.get(&written[0].path).await.unwrap();
        let lines: Vec<SetAsideLine> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines[0].offset, 0);
        assert_eq!(lines[0].error_message, "why \"so\"");
        assert_eq!(BASE64_STANDARD.decode(&lines[0].raw_data).unwrap(), b"\xff{");
        assert_eq!(lines[1], line_of("events", &rows[3]));
    }
}
