//! Rows as they are: the bytes of one after the other, without anything between, as Amazon Data Firehose writes them.
//!
//! Nothing here looks into a row, so none is ever set aside.

mod snappy;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::str::FromStr;

use bytes::Bytes;
use flate2::write::GzEncoder;
use futures::{StreamExt, TryStreamExt};

pub use snappy::Framing;

use self::snappy::SnappyWriter;
use super::json_lines::WrittenObject;
use super::prefix::Prefix;
use super::row::Row;
use super::store::Store;
use super::upload::upload;
use super::{Error, FileNames, Result};

/// How many files of a batch are uploaded at once.
const FILES_IN_PARALLEL: usize = 4;
/// No prefix tells less than a minute.
const MINUTE_MILLIS: i64 = 60_000;

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawSettings {
    /// The folder, relative to the store's root.
    pub destination: String,
    /// What follows it, of each row's time of arrival.
    pub prefix: Prefix,
    /// The compression of the files.
    pub compression: RawCompression,
    /// What names end with, such as `.json`; by the compression where it is left out.
    pub extension: Option<String>,
}

/// The compression of files of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RawCompression {
    /// None; names have no extension.
    #[default]
    None,
    /// `.gz`.
    Gzip,
    /// Snappy blocks as the Java library frames them (`.snappy`) or as Hadoop does (`.hsnappy`).
    Snappy(Framing),
}

impl RawCompression {
    const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy(Framing::Xerial) => ".snappy",
            Self::Snappy(Framing::Hadoop) => ".hsnappy",
        }
    }
}

impl FromStr for RawCompression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "xerial_snappy" => Ok(Self::Snappy(Framing::Xerial)),
            "hadoop_snappy" => Ok(Self::Snappy(Framing::Hadoop)),
            _ => Err(Error::Invalid(format!(
                "the compression {text:?} is unknown for raw files; allowed are none, gzip, xerial_snappy and hadoop_snappy"
            ))),
        }
    }
}

/// Writes rows, one object for each prefix: `<destination>/<prefix><delivery>-<batch>-000<extension>`.
///
/// Objects that are there already are overwritten. When this returns, all objects are durable.
///
/// # Errors
/// Where the store fails, or an encoder does.
pub async fn write(
    store: &Store,
    settings: &RawSettings,
    names: &FileNames,
    rows: Vec<Row>,
) -> Result<Vec<WrittenObject>> {
    let of_rows = settings.clone();
    let encoded = tokio::task::spawn_blocking(move || encode(&of_rows, &rows).map_err(broken));
    let files = encoded.await.map_err(broken)??;
    let extension = settings.extension.as_deref().unwrap_or_else(|| settings.compression.extension());
    let name = format!("{}{extension}", names.part(0, "").trim_end_matches('.'));
    let objects = futures::stream::iter(files).map(|(prefix, File { bytes, rows })| {
        let path = store.path(&format!("{}/{prefix}{name}", settings.destination));
        async move {
            let size_bytes = bytes.len() as u64;
            upload(store, &path, bytes).await?;
            Ok::<_, Error>(WrittenObject { url: store.url(&path), path, size_bytes, rows })
        }
    });
    objects.buffered(FILES_IN_PARALLEL).try_collect().await
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("writing raw files broke off: {error}"))
}

struct File {
    bytes: Bytes,
    rows: u64,
}

fn encode(settings: &RawSettings, rows: &[Row]) -> io::Result<BTreeMap<String, File>> {
    let mut open: BTreeMap<String, (Encoder, u64)> = BTreeMap::new();
    let mut last: Option<(i64, String)> = None;
    for row in rows {
        let minute = row.arrival_time.0.div_euclid(MINUTE_MILLIS);
        let prefix = match &last {
            Some((of, prefix)) if *of == minute => prefix,
            _ => &last.insert((minute, settings.prefix.evaluate(row.arrival_time))).1,
        };
        let (encoder, count) = match open.get_mut(prefix) {
            Some(file) => file,
            None => open.entry(prefix.clone()).or_insert_with(|| (Encoder::new(settings.compression), 0)),
        };
        encoder.writer().write_all(&row.data)?;
        *count += 1;
    }
    let files = open.into_iter().map(|(prefix, (encoder, rows))| {
        let bytes = Bytes::from(encoder.finish()?);
        Ok((prefix, File { bytes, rows }))
    });
    files.collect()
}

/// A file as it grows.
enum Encoder {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Snappy(Box<SnappyWriter>),
}

impl Encoder {
    fn new(compression: RawCompression) -> Self {
        match compression {
            RawCompression::None => Self::Plain(Vec::new()),
            RawCompression::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default()))),
            RawCompression::Snappy(framing) => Self::Snappy(Box::new(SnappyWriter::new(framing))),
        }
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
            Self::Snappy(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
