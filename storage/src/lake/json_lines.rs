//! Rows as JSON lines: plain, gzip, Zstandard or framed Snappy, under a prefix of each row's time and partition keys.
//!
//! A line is one JSON value and nothing else: rows that are none are set aside. However many partitions there are, only a
//! few of their files are in memory at once.

mod encode;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

pub(super) use self::encode::Encoder;
use super::convert::read::{explain, text_of};
use super::event_time::{TimeFormat, TimeSource};
use super::json::{Json, JsonError, Peek};
use super::prefix::Prefix;
use super::row::{Cause, Row, SetAside};
use super::store::Store;
use super::upload::upload;
use super::{Error, FileNames, Result};
use crate::time::Timestamp;

/// How deep a line's objects and arrays may nest: as deep as any reader goes.
const NESTING_DEPTH_MAX: usize = 128;
/// How many files of a batch are uploaded at once.
const FILES_IN_PARALLEL: usize = 4;

/// How JSON lines are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonLinesSettings {
    /// The folder, relative to the store's root, such as `exports/flights`.
    pub destination: String,
    /// What follows it, of each row's time.
    pub prefix: Prefix,
    /// The compression of the files.
    pub compression: LinesCompression,
    /// Which time a row is filed under.
    pub time: TimeSource,
}

/// The compression of files of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinesCompression {
    /// Plain text: `.jsonl`.
    #[default]
    None,
    /// `.jsonl.gz`.
    Gzip,
    /// Zstandard, at level 3: `.jsonl.zst`.
    Zstd,
    /// The Snappy framing format (not Hadoop's, nor the JVM's own): `.jsonl.sz`.
    Snappy,
}

impl LinesCompression {
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::None => "jsonl",
            Self::Gzip => "jsonl.gz",
            Self::Zstd => "jsonl.zst",
            Self::Snappy => "jsonl.sz",
        }
    }
}

impl LinesCompression {
    /// The compression of a file, by its name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let ends = |compression: &Self| name.ends_with(&format!(".{}", compression.extension()));
        [Self::Gzip, Self::Zstd, Self::Snappy].into_iter().find(ends).unwrap_or_default()
    }

    /// The text of a file.
    ///
    /// # Errors
    /// Where a decoder cannot be set up; a file that is none fails when it is read.
    pub fn reader<'a>(self, file: impl io::Read + Send + 'a) -> io::Result<Box<dyn io::Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
            Self::Snappy => Box::new(snap::read::FrameDecoder::new(file)),
        })
    }
}

impl FromStr for LinesCompression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "snappy" => Ok(Self::Snappy),
            _ => Err(Error::Invalid(format!(
                "the compression {text:?} is unknown for JSON lines; allowed are none, gzip, zstd and snappy"
            ))),
        }
    }
}

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenObject {
    /// Its path in the store.
    pub path: Path,
    /// Its absolute URL.
    pub url: String,
    /// Its size.
    pub size_bytes: u64,
    /// How many rows it holds.
    pub rows: u64,
}

/// What became of a batch's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The objects, in the order of their prefixes.
    pub objects: Vec<WrittenObject>,
    /// The rows that are no JSON lines.
    pub set_aside: Vec<SetAside>,
}

/// Writes rows as lines, one object for each prefix: `<destination>/<prefix><delivery>-<batch>-000.jsonl`, the largest first.
///
/// Objects that are there already are overwritten. When this returns, all objects are durable.
pub async fn write(store: &Store, settings: &JsonLinesSettings, names: &FileNames, rows: Vec<Row>) -> Result<Written> {
    let (of_rows, compression) = (settings.clone(), settings.compression);
    let sorted = tokio::task::spawn_blocking(move || Sorted::new(&of_rows, rows));
    let Sorted { rows, prefixes, set_aside } = sorted.await.map_err(broken)?;
    let rows = Arc::new(rows);
    let mut prefixes: Vec<_> = prefixes.into_iter().collect();
    prefixes.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    let objects = futures::stream::iter(prefixes).map(|(prefix, places)| {
        let (count, rows) = (places.len() as u64, Arc::clone(&rows));
        async move {
            let encoded = tokio::task::spawn_blocking(move || encode(compression, &rows, &places));
            let bytes = encoded.await.map_err(broken)?.map_err(broken)?;
            let name = names.part(0, compression.extension());
            let path = store.path(&format!("{}/{}{name}", settings.destination, names.folder(&prefix)));
            let size_bytes = bytes.len() as u64;
            upload(store, &path, bytes).await?;
            Ok::<_, Error>((prefix, WrittenObject { url: store.url(&path), path, size_bytes, rows: count }))
        }
    });
    let objects: BTreeMap<_, _> = objects.buffer_unordered(FILES_IN_PARALLEL).try_collect().await?;
    Ok(Written { objects: objects.into_values().collect(), set_aside })
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("writing JSON lines broke off: {error}"))
}

fn encode(compression: LinesCompression, rows: &[Row], places: &[u32]) -> io::Result<Bytes> {
    let mut encoder = Encoder::new(compression)?;
    for place in places {
        encoder.write_line(&rows[*place as usize].data)?;
    }
    encoder.finish().map(Bytes::from)
}

/// What a row's prefix depends on: its time, as far as the prefix tells it, and its keys.
type DependsOn = (i64, Option<Arc<[String]>>);

/// Rows, which of them each prefix has, and those that are no lines.
struct Sorted {
    rows: Vec<Row>,
    prefixes: BTreeMap<String, Vec<u32>>,
    set_aside: Vec<SetAside>,
}

impl Sorted {
    fn new(settings: &JsonLinesSettings, rows: Vec<Row>) -> Self {
        let mut sorted =
            Self { rows: Vec::with_capacity(rows.len()), prefixes: BTreeMap::new(), set_aside: Vec::new() };
        let mut by_place: Vec<(String, Vec<u32>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        // Most rows share all that their prefix depends on with others; only the first of them evaluates it.
        let mut known: HashMap<DependsOn, usize> = HashMap::new();
        let resolution_millis = settings.prefix.resolution_millis();
        for row in rows {
            let time = match check(&row, &settings.time) {
                Ok(time) => time,
                Err((cause, message)) => {
                    sorted.set_aside.push(SetAside { row, cause, message, attempts: 1 });
                    continue;
                }
            };
            let depends_on = (time.0.div_euclid(resolution_millis), row.keys.clone());
            let place = *known.entry(depends_on).or_insert_with(|| {
                let prefix = settings.prefix.evaluate(time, row.keys());
                *places.entry(prefix).or_insert_with_key(|prefix| {
                    by_place.push((prefix.clone(), Vec::new()));
                    by_place.len() - 1
                })
            });
            by_place[place].1.push(sorted.rows.len() as u32);
            sorted.rows.push(row);
        }
        sorted.prefixes = by_place.into_iter().collect();
        sorted
    }
}

/// Checks that a row is one JSON value; gives its time.
fn check(row: &Row, time: &TimeSource) -> Result<Timestamp, (Cause, String)> {
    let text = text_of(&row.data)?;
    let mut json = Json::new(text, String::new());
    let first = json.peek().map_err(explain)?;
    json.skip(first, 0, NESTING_DEPTH_MAX).and_then(|()| json.finish()).map_err(explain)?;
    let TimeSource::Field { field, format } = time else { return Ok(row.arrival_time) };
    if first != Peek::Object {
        return Err((Cause::NotAnObject, format!("the row is not an object, so it has no event time {field:?}")));
    }
    let micros = read_time(text, field, format).map_err(explain)?;
    let missing =
        || (Cause::EventTime, format!("the event time {field:?} is absent or not a time in the format {format}"));
    Ok(Timestamp(micros.ok_or_else(missing)?.div_euclid(1_000)))
}

/// The event time of an object, in microseconds since the Unix epoch; of the first field of that name.
fn read_time(text: &str, field: &str, format: &TimeFormat) -> Result<Option<i64>, JsonError> {
    let mut json = Json::new(text, String::new());
    json.peek()?;
    let mut found = json.first_key()?.map(|name| name == field);
    while let Some(is_field) = found {
        match json.peek()? {
            Peek::String if is_field => return Ok(format.read_text(json.read_string()?)),
            Peek::Number if is_field => return Ok(format.read_number(json.read_number()?)),
            _ if is_field => return Ok(None),
            peek => json.skip(peek, 1, NESTING_DEPTH_MAX)?,
        }
        found = json.next_key()?.map(|name| name == field);
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
