//! Backups of source records: all that is stored of each, as lines of JSON, and beside them which ranges a batch has.
//!
//! What is written must follow from the batch alone. Records pass through in pieces, so that a backup takes the memory of
//! one part file, however large its batch is.

use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::json_lines::{Encoder, LinesCompression, WrittenObject};
use super::prefix::Prefix;
use super::store::Store;
use super::upload::upload;
use super::{Error, FileNames, Result};
use crate::log::{Offset, Record, ShardId};
use crate::time::Timestamp;

/// A part file ends when its lines have so many bytes, before compression.
const PART_BYTES: usize = 8 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupLine {
    /// The record's shard.
    pub shard: u32,
    /// The record's offset in the shard.
    pub offset: u64,
    /// When the record arrived, in milliseconds since the Unix epoch.
    pub arrival_timestamp: i64,
    /// The record's partition key.
    pub partition_key: String,
    /// The record's bytes, in base64.
    pub raw_data: String,
}

/// The object that tells what a batch's backup holds: `<destination>/ranges/<delivery>-<batch>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRanges {
    /// The delivery.
    pub delivery: String,
    /// The stream.
    pub stream: String,
    /// The batch's number.
    pub batch: u64,
    /// By shard, the first offset and the one after the last.
    pub ranges: BTreeMap<u32, [u64; 2]>,
    /// The names of the part files, below the destination.
    pub objects: Vec<String>,
}

/// How backups are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// The folder, relative to the store's root.
    pub destination: String,
    /// What follows it, of each record's time of arrival.
    pub prefix: Prefix,
    /// The compression of the files.
    pub compression: LinesCompression,
    /// The stream's name.
    pub stream: String,
}

/// Writes the backup of one batch.
pub struct BackupWriter<'s> {
    store: &'s Store,
    settings: &'s BackupSettings,
    names: &'s FileNames,
    open: Option<Part>,
    /// How many parts each prefix has.
    parts: BTreeMap<String, u32>,
    written: Vec<WrittenObject>,
}

/// A part file as it grows.
struct Part {
    prefix: String,
    encoder: Encoder,
    bytes: usize,
    rows: u64,
}

impl std::fmt::Debug for BackupWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupWriter").field("names", self.names).finish_non_exhaustive()
    }
}

impl<'s> BackupWriter<'s> {
    /// For a batch that `names` names.
    #[must_use]
    pub fn new(store: &'s Store, settings: &'s BackupSettings, names: &'s FileNames) -> Self {
        Self { store, settings, names, open: None, parts: BTreeMap::new(), written: Vec::new() }
    }

    /// Adds the next records of a shard.
    pub async fn write(&mut self, shard: ShardId, records: Vec<Record>) -> Result<()> {
        let (settings, open) = (self.settings.clone(), self.open.take());
        let encoded = tokio::task::spawn_blocking(move || encode(&settings, open, shard, &records));
        let (done, open) = encoded.await.map_err(broken)?.map_err(broken)?;
        self.open = open;
        for part in done {
            self.upload(part).await?;
        }
        Ok(())
    }

    /// Ends the last part, and writes which ranges the batch has. When this returns, all is durable.
    pub async fn finish(mut self, ranges: &BTreeMap<ShardId, Range<Offset>>) -> Result<Vec<WrittenObject>> {
        if let Some(part) = self.open.take() {
            self.upload(part).await?;
        }
        let root = self.store.path(&self.settings.destination);
        let below = |object: &WrittenObject| {
            let path = object.path.as_ref();
            path.strip_prefix(root.as_ref()).unwrap_or(path).trim_start_matches('/').to_owned()
        };
        let told = BackupRanges {
            delivery: self.names.delivery.clone(),
            stream: self.settings.stream.clone(),
            batch: self.names.batch,
            ranges: ranges.iter().map(|(shard, range)| (shard.0, [range.start.0, range.end.0])).collect(),
            objects: self.written.iter().map(below).collect(),
        };
        let json = serde_json::to_vec(&told).map_err(broken)?;
        let path = self.store.path(&format!("{}/ranges/{}", self.settings.destination, self.names.whole("json")));
        upload(self.store, &path, Bytes::from(json)).await?;
        Ok(self.written)
    }

    async fn upload(&mut self, part: Part) -> Result<()> {
        let count = self.parts.entry(part.prefix.clone()).or_default();
        let name = self.names.part(*count, self.settings.compression.extension());
        *count += 1;
        let folder = self.names.folder(&part.prefix);
        let path = self.store.path(&format!("{}/{folder}{name}", self.settings.destination));
        let rows = part.rows;
        let bytes = part.encoder.finish().map_err(broken)?;
        let size_bytes = bytes.len() as u64;
        upload(self.store, &path, Bytes::from(bytes)).await?;
        self.written.push(WrittenObject { url: self.store.url(&path), path, size_bytes, rows });
        Ok(())
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("writing a backup broke off: {error}"))
}

/// Adds records to the open part; gives the parts that are full, and the one that is not.
fn encode(
    settings: &BackupSettings,
    mut open: Option<Part>,
    shard: ShardId,
    records: &[Record],
) -> std::io::Result<(Vec<Part>, Option<Part>)> {
    let mut done = Vec::new();
    for record in records {
        let prefix = settings.prefix.evaluate(record.arrival_time, &[]);
        let goes_on = open.as_ref().is_some_and(|part| part.prefix == prefix && part.bytes < PART_BYTES);
        if !goes_on {
            done.extend(open.take());
        }
        let part = match &mut open {
            Some(part) => part,
            None => open.insert(Part { prefix, encoder: Encoder::new(settings.compression)?, bytes: 0, rows: 0 }),
        };
        let line = serde_json::to_vec(&BackupLine {
            shard: shard.0,
            offset: record.offset.0,
            arrival_timestamp: record.arrival_time.0,
            partition_key: String::from_utf8_lossy(&record.partition_key).into_owned(),
            raw_data: BASE64_STANDARD.encode(&record.data),
        })?;
        part.encoder.write_line(&line)?;
        (part.bytes, part.rows) = (part.bytes + line.len(), part.rows + 1);
    }
    Ok((done, open))
}

impl BackupLine {
    /// The record again.
    pub fn to_record(&self) -> Result<(ShardId, Record)> {
        let data = BASE64_STANDARD.decode(&self.raw_data).map_err(|error| {
            let (shard, offset) = (self.shard, self.offset);
            Error::Invalid(format!("the data of shard {shard}, offset {offset} of a backup is not base64: {error}"))
        })?;
        let record = Record {
            offset: Offset(self.offset),
            arrival_time: Timestamp(self.arrival_timestamp),
            partition_key: Bytes::from(self.partition_key.clone()),
            data: Bytes::from(data),
        };
        Ok((ShardId(self.shard), record))
    }
}

/// The lines of a file that [`BackupWriter`] wrote; an error names the line that is none.
pub fn read(url: &str, file: &[u8]) -> Result<Vec<BackupLine>> {
    use std::io::{BufRead, BufReader};
    let not_read = |error: std::io::Error| Error::Invalid(format!("{url} cannot be read: {error}"));
    let reader = BufReader::new(LinesCompression::of_name(url).reader(file).map_err(not_read)?);
    let read = |(line, number): (std::io::Result<String>, u64)| {
        serde_json::from_str(&line.map_err(not_read)?)
            .map_err(|error| Error::Invalid(format!("line {number} of {url} is no record of a backup: {error}")))
    };
    reader.lines().zip(1..).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::store::StoreSettings;

    const HOUR: i64 = 1_357_034_400_000; // 2013-01-01T10:00:00Z

    fn record(offset: u64, arrival: i64, data: Vec<u8>) -> Record {
        Record {
            offset: Offset(offset),
            arrival_time: Timestamp(arrival),
            partition_key: Bytes::from_static(b"key"),
            data: Bytes::from(data),
        }
    }

    #[tokio::test]
    async fn records_come_back_from_parts_of_hours_and_sizes() {
        let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
        let settings = BackupSettings {
            destination: "backup/d".into(),
            prefix: "!{timestamp:HH}/".parse().unwrap(),
            compression: LinesCompression::Zstd,
            stream: "s".into(),
        };
        let names = FileNames { delivery: "d".into(), batch: 7 };
        let mut writer = BackupWriter::new(&store, &settings, &names);
        let large = |offset| record(offset, HOUR, vec![offset as u8; 5 << 20]);
        writer.write(ShardId(0), vec![large(0), large(1)]).await.unwrap();
        writer.write(ShardId(0), vec![large(2), record(3, HOUR + 3_600_000, vec![0xff, 0])]).await.unwrap();
        writer.write(ShardId(1), vec![record(9, HOUR, b"x\ny".to_vec())]).await.unwrap();
        let ranges = BTreeMap::from([(ShardId(0), Offset(0)..Offset(4)), (ShardId(1), Offset(9)..Offset(10))]);
        let written = writer.finish(&ranges).await.unwrap();

        let names: Vec<_> = written.iter().map(|object| object.path.as_ref()).collect();
        let part = |hour: u32, part: u32| format!("lake/backup/d/{hour}/d-000000000007-{part:03}.jsonl.zst");
        assert_eq!(names, [part(10, 0), part(10, 1), part(11, 0), part(10, 2)]);
        assert_eq!(written.iter().map(|object| object.rows).collect::<Vec<_>>(), [2, 1, 1, 1]);
        let mut found = Vec::new();
        for object in &written {
            let file = store.get(&object.path).await.unwrap();
            found.extend(read(&object.url, &file).unwrap().iter().map(|line| line.to_record().unwrap()));
        }
        let expected = [
            (ShardId(0), large(0)),
            (ShardId(0), large(1)),
            (ShardId(0), large(2)),
            (ShardId(0), record(3, HOUR + 3_600_000, vec![0xff, 0])),
            (ShardId(1), record(9, HOUR, b"x\ny".to_vec())),
        ];
        assert_eq!(found, expected);
        let told = store.get(&store.path("backup/d/ranges/d-000000000007.json")).await.unwrap();
        let told: BackupRanges = serde_json::from_slice(&told).unwrap();
        assert_eq!(told.ranges, BTreeMap::from([(0, [0, 4]), (1, [9, 10])]));
        assert_eq!(told.objects[2], "11/d-000000000007-000.jsonl.zst");
    }

    #[test]
    fn what_is_no_backup_is_told() {
        let error = read("memory:///b.jsonl", b"{}\n").unwrap_err().to_string();
        assert!(error.contains("line 1 of memory:///b.jsonl"), "{error}");
        assert!(read("memory:///b.jsonl.gz", b"plain").unwrap_err().to_string().contains("b.jsonl.gz"));
    }
}
