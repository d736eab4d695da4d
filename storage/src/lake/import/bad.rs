//! Rows that could not become records, as JSON lines in the form of Amazon Data Firehose's failed records, with the object and
//! the row's place in it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::{BadRow, Chunk, SourceObject};
use crate::lake::store::Store;
use crate::lake::upload::upload;
use crate::lake::{Error, Result};

/// Of a row that is too large for a record, so many bytes are kept.
pub const BAD_ROW_DATA_BYTES_MAX: usize = 64 << 10;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BadRowLine {
    /// The import.
    pub import: String,
    /// The stream that the row was for.
    pub stream: String,
    /// The object's URL.
    pub object: String,
    /// The row's number in it, from 1.
    pub row: u64,
    /// The cause, as [`super::ImportCause::as_str`] has it.
    pub error_code: String,
    /// Why, in a sentence.
    pub error_message: String,
    /// How often it was tried to make a record of the row.
    pub attempts_made: u32,
    /// The partition key that the row came with, where it is a backup's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Whether `raw_data` is all of the row.
    pub is_whole: bool,
    /// The row's bytes in base64; of one that is too large the beginning.
    pub raw_data: String,
}

/// Writes a chunk's bad rows to `<folder>/<import>/<hash of the object's version>-<chunk>.jsonl`, and gives its URL.
///
/// The name follows from the chunk, so that one that is read again overwrites and never adds. When this returns, the object is
/// durable.
pub async fn write_bad_rows(
    store: &Store,
    folder: &str,
    import: &str,
    stream: &str,
    object: &SourceObject,
    chunk: &Chunk,
) -> Result<String> {
    let mut lines = Vec::new();
    for bad in &chunk.bad {
        serde_json::to_writer(&mut lines, &line_of(import, stream, object, bad))
            .map_err(|error| Error::Invalid(format!("a bad row cannot be written: {error}")))?;
        lines.push(b'\n');
    }
    let named = digest::digest(&digest::SHA256, format!("{}\n{:016x}", object.url, object.version()).as_bytes());
    let named: String = named.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = store.path(&format!("{folder}/{import}/{named}-{:08}.jsonl", chunk.start.chunk));
    upload(store, &path, Bytes::from(lines)).await?;
    Ok(store.url(&path))
}

/// Reads the lines of an object that [`write_bad_rows`] wrote.
pub async fn read_bad_rows(store: &Store, url: &str) -> Result<Vec<BadRowLine>> {
    let bytes = store.get(&store.path_of_url(url)?).await?;
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.is_empty());
    let read = |(line, number): (&[u8], u64)| {
        serde_json::from_slice(line).map_err(|error| Error::Corrupt {
            object: url.to_owned(),
            store: store.root_url(),
            reason: format!("line {number} is no row that was set aside: {error}"),
        })
    };
    lines.map(read).collect()
}

fn line_of(import: &str, stream: &str, object: &SourceObject, bad: &BadRow) -> BadRowLine {
    let (object, row, attempts) = match &bad.origin {
        Some(origin) => (&origin.object, origin.row, origin.attempts),
        None => (&object.url, bad.row, 0),
    };
    BadRowLine {
        import: import.to_owned(),
        stream: stream.to_owned(),
        object: object.clone(),
        row,
        error_code: bad.cause.as_str().to_owned(),
        error_message: bad.message.clone(),
        attempts_made: attempts.saturating_add(1),
        partition_key: bad.partition_key.clone(),
        is_whole: bad.is_whole,
        raw_data: BASE64_STANDARD.encode(&bad.data),
    }
}
