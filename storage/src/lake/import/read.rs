//! Reading one object: a thread that may block makes chunks, one ahead of who takes them.

use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::chunk::{Chunk, Chunker, Row};
use super::ranged::Ranged;
use super::text::Text;
use super::{
    ImportCompression, ImportFormat, Mark, ReadError, ReadOptions, SourceObject, again, bad, csv, lines, parquet,
};
use crate::lake::store::Store;

/// What a reader gives, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next chunk.
    Chunk(Chunk),
    /// There are no more: the object has so many rows.
    End {
        /// Rows, those without anything in them not counted.
        rows: u64,
    },
}

/// Reads an object from a place on. Nothing is read any more once the receiver is dropped; after an error, or
/// [`Read::End`], nothing follows.
pub fn read(
    store: Store,
    object: SourceObject,
    options: Arc<ReadOptions>,
    from: Mark,
) -> mpsc::Receiver<Result<Read, ReadError>> {
    let (sender, receiver) = mpsc::channel(1);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let ranged = Ranged::new(store, object.clone(), runtime);
        let mut chunker = Chunker::new(&options, &object, from);
        let mut emit = |chunk| sender.blocking_send(Ok(Read::Chunk(chunk))).is_ok();
        let outcome = read_rows(&ranged, &object, &options, from, &mut chunker, &mut emit);
        let last = match outcome {
            Ok(false) => return,
            Ok(true) => match chunker.finish().is_none_or(emit) {
                true => Ok(Read::End { rows: chunker.rows() }),
                false => return,
            },
            Err(words) => Err(ranged.failed().unwrap_or_else(|| {
                let row = chunker.rows() + 1;
                ReadError::Unreadable(format!("at row {row}: {words}"))
            })),
        };
        // Who does not listen any more has no use for it.
        let _ = sender.blocking_send(last);
    });
    receiver
}

fn read_rows(
    ranged: &Ranged,
    object: &SourceObject,
    options: &ReadOptions,
    from: Mark,
    chunker: &mut Chunker<'_>,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> Result<bool, String> {
    if options.format == ImportFormat::Parquet && options.again.is_none() {
        return parquet::read(ranged, options, from, chunker, emit);
    }
    let words = |error: io::Error| error.to_string();
    if let Some(again) = options.again {
        let mut text = Text::open(ranged, ImportCompression::None).map_err(words)?;
        let read = text.skip_to(from.text_bytes).and_then(|()| again::read(&mut text, options, again, chunker, emit));
        return read.map_err(words);
    }
    let mut text = Text::open(ranged, options.compression.of(&object.name)).map_err(words)?;
    let read = match options.format {
        ImportFormat::Csv => csv::read(&mut text, options, from, chunker, emit),
        ImportFormat::Raw => whole(&mut text, options, from, chunker, emit),
        _ => text.skip_to(from.text_bytes).and_then(|()| lines::read(&mut text, options, chunker, emit)),
    };
    read.map_err(words)
}

/// The whole object as one record.
fn whole(
    text: &mut Text,
    options: &ReadOptions,
    from: Mark,
    chunker: &mut Chunker<'_>,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> io::Result<bool> {
    if from.rows > 0 {
        return Ok(true);
    }
    let limit = options.record_bytes_max.max(bad::BAD_ROW_DATA_BYTES_MAX as u64) + 1;
    let mut data = Vec::new();
    io::Read::take(&mut *text, limit).read_to_end(&mut data)?;
    let data = Bytes::from(data);
    let row = if data.is_empty() {
        Row::Blank
    } else if data.len() as u64 >= limit {
        let message = format!("an object of more than {} bytes is past the stream's limit on a record", limit - 1);
        Row::Cut { message, data }
    } else {
        Row::Record { partition_key: None, data }
    };
    let at = text.at();
    Ok(chunker.push(row, at).is_none_or(emit))
}
