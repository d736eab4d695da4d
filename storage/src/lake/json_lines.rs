//! Rows as JSON lines: plain, gzip or framed Snappy, under a prefix of each row's time.
//!
//! A line is one JSON value and nothing else: rows that are none are set aside.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::str::FromStr;

use bytes::Bytes;
use flate2::write::GzEncoder;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

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
    /// The Snappy framing format (not Hadoop's, nor the JVM's own): `.jsonl.sz`.
    Snappy,
}

impl LinesCompression {
    const fn extension(self) -> &'static str {
        match self {
            Self::None => "jsonl",
            Self::Gzip => "jsonl.gz",
            Self::Snappy => "jsonl.sz",
        }
    }
}

impl LinesCompression {
    /// The compression of a file, by its name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let ends = |compression: &Self| name.ends_with(&format!(".{}", compression.extension()));
        [Self::Gzip, Self::Snappy].into_iter().find(ends).unwrap_or_default()
    }

    /// The text of a file.
    pub fn reader<'a>(self, file: impl io::Read + Send + 'a) -> Box<dyn io::Read + Send + 'a> {
        match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Self::Snappy => Box::new(snap::read::FrameDecoder::new(file)),
        }
    }
}

impl FromStr for LinesCompression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "snappy" => Ok(Self::Snappy),
            _ => Err(Error::Invalid(format!(
                "the compression {text:?} is unknown for JSON lines; allowed are none, gzip and snappy"
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

/// Writes rows as lines, one object for each prefix: `<destination>/<prefix><delivery>-<batch>-000.jsonl`.
///
/// Objects that are there already are overwritten. When this returns, all objects are durable.
pub async fn write(store: &Store, settings: &JsonLinesSettings, names: &FileNames, rows: Vec<Row>) -> Result<Written> {
    let (of_rows, compression) = (settings.clone(), settings.compression);
    let sorted = tokio::task::spawn_blocking(move || sort(&of_rows, rows));
    let (files, set_aside) = sorted.await.map_err(broken)??;
    let objects = futures::stream::iter(files).map(|(prefix, file)| async move {
        let name = names.part(0, compression.extension());
        let path = store.path(&format!("{}/{prefix}{name}", settings.destination));
        let size_bytes = file.bytes.len() as u64;
        upload(store, &path, file.bytes).await?;
        Ok::<_, Error>(WrittenObject { url: store.url(&path), path, size_bytes, rows: file.rows })
    });
    Ok(Written { objects: objects.buffered(FILES_IN_PARALLEL).try_collect().await?, set_aside })
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("writing JSON lines broke off: {error}"))
}

struct File {
    bytes: Bytes,
    rows: u64,
}

/// Rows by prefix, compressed; and those that are no lines.
fn sort(settings: &JsonLinesSettings, rows: Vec<Row>) -> Result<(BTreeMap<String, File>, Vec<SetAside>)> {
    let mut open: BTreeMap<String, (Encoder, u64)> = BTreeMap::new();
    let mut set_aside = Vec::new();
    let mut last: Option<(i64, String)> = None;
    for row in rows {
        let time = match check(&row, &settings.time) {
            Ok(time) => time,
            Err((cause, message)) => {
                set_aside.push(SetAside { row, cause, message });
                continue;
            }
        };
        // No prefix tells less than a minute.
        let minute = time.0.div_euclid(60_000);
        let prefix = match &last {
            Some((of, prefix)) if *of == minute => prefix,
            _ => &last.insert((minute, settings.prefix.evaluate(time))).1,
        };
        let (encoder, count) = match open.get_mut(prefix) {
            Some(file) => file,
            None => open.entry(prefix.clone()).or_insert_with(|| (Encoder::new(settings.compression), 0)),
        };
        encoder.write_line(&row.data).map_err(broken)?;
        *count += 1;
    }
    let files = open.into_iter().map(|(prefix, (encoder, rows))| {
        let bytes = encoder.finish().map_err(broken)?;
        Ok((prefix, File { bytes: Bytes::from(bytes), rows }))
    });
    Ok((files.collect::<Result<_>>()?, set_aside))
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

/// A file of lines as it grows.
enum Encoder {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Snappy(Box<snap::write::FrameEncoder<Vec<u8>>>),
}

impl Encoder {
    fn new(compression: LinesCompression) -> Self {
        match compression {
            LinesCompression::None => Self::Plain(Vec::new()),
            LinesCompression::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default()))),
            LinesCompression::Snappy => Self::Snappy(Box::new(snap::write::FrameEncoder::new(Vec::new()))),
        }
    }

    /// Writes one value as one line: white space between its tokens may hold line ends, and only that may.
    fn write_line(&mut self, data: &[u8]) -> io::Result<()> {
        let line = data.trim_ascii();
        if line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let line: Vec<u8> =
                line.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
            self.writer().write_all(&line)?;
        } else {
            self.writer().write_all(line)?;
        }
        self.writer().write_all(b"\n")
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(encoder) => encoder,
            Self::Snappy(encoder) => encoder,
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Snappy(encoder) => encoder.into_inner().map_err(|error| io::Error::other(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
