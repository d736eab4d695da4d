//! Rows as they are: the bytes of one after the other, without anything between, as Amazon Data Firehose writes them.
//!
//! Nothing here looks into a row, so none is ever set aside.

mod snappy;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

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

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawSettings {
    /// The folder, relative to the store's root.
    pub destination: String,
    /// What follows it, of each row's time of arrival and partition keys.
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
    let (compression, prefixes) = (settings.compression, by_prefix(&settings.prefix, &rows));
    let rows = Arc::new(rows);
    let extension = settings.extension.as_deref().unwrap_or_else(|| compression.extension());
    let name = format!("{}{extension}", names.part(0, "").trim_end_matches('.'));
    let objects = futures::stream::iter(prefixes).map(|(prefix, places)| {
        let path = store.path(&format!("{}/{}{name}", settings.destination, names.folder(&prefix)));
        let (count, rows) = (places.len() as u64, Arc::clone(&rows));
        async move {
            // Only so many files as are under way are in memory at once.
            let encoded = tokio::task::spawn_blocking(move || encode(compression, &rows, &places));
            let bytes = encoded.await.map_err(broken)?.map_err(broken)?;
            let size_bytes = bytes.len() as u64;
            upload(store, &path, bytes).await?;
            Ok::<_, Error>(WrittenObject { url: store.url(&path), path, size_bytes, rows: count })
        }
    });
    objects.buffered(FILES_IN_PARALLEL).try_collect().await
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("writing raw files broke off: {error}"))
}

/// For each prefix the places of its rows.
fn by_prefix(prefix: &Prefix, rows: &[Row]) -> BTreeMap<String, Vec<usize>> {
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    // Most rows share all that their prefix depends on with others; only the first of them evaluates it.
    let mut known: HashMap<(i64, &[String]), String> = HashMap::new();
    let resolution_millis = prefix.resolution_millis();
    for (place, row) in rows.iter().enumerate() {
        let depends_on = (row.arrival_time.0.div_euclid(resolution_millis), row.keys());
        let evaluated = known.entry(depends_on).or_insert_with(|| prefix.evaluate(row.arrival_time, row.keys()));
        match places.get_mut(evaluated) {
            Some(places) => places.push(place),
            None => drop(places.insert(evaluated.clone(), vec![place])),
        }
    }
    places
}

fn encode(compression: RawCompression, rows: &[Row], places: &[usize]) -> io::Result<Bytes> {
    let mut encoder = Encoder::new(compression);
    for place in places {
        encoder.writer().write_all(&rows[*place].data)?;
    }
    encoder.finish().map(Bytes::from)
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
