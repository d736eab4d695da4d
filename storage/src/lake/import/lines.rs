//! Lines of text: JSON, anything, or a backup of source records. A line past the limit on a record is never held as a whole.

use std::io::{self, BufRead, Read};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::bad::BAD_ROW_DATA_BYTES_MAX;
use super::chunk::{Chunk, Chunker, Row};
use super::field::scalar;
use super::text::Text;
use super::{ImportCause, ImportFormat, ReadOptions};
use crate::lake::convert::read::{explain, text_of};
use crate::lake::source_backup::BackupLine;

/// What base64 and JSON add to a record of a backup, at most: a third, and the other fields.
const BACKUP_OVERHEAD_BYTES: u64 = 4096;

/// Reads lines until `emit` says no.
pub(super) fn read(
    text: &mut Text,
    options: &ReadOptions,
    chunker: &mut Chunker<'_>,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> io::Result<bool> {
    let record_bytes_max = options.record_bytes_max.max(BAD_ROW_DATA_BYTES_MAX as u64);
    let bytes_max = match options.format {
        ImportFormat::SourceBackup => record_bytes_max / 3 * 4 + 2 * record_bytes_max + BACKUP_OVERHEAD_BYTES,
        _ => record_bytes_max,
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let Some(is_whole) = next_line(text, &mut line, bytes_max)? else { return Ok(true) };
        let row = if is_whole { row(options, &line) } else { too_large(&line, bytes_max) };
        if let Some(chunk) = chunker.push(row, text.at())
            && !emit(chunk)
        {
            return Ok(false);
        }
    }
}

/// Reads the next line without its end; `None` at the text's end, `false` where it is longer than the limit and cut.
fn next_line(text: &mut Text, line: &mut Vec<u8>, bytes_max: u64) -> io::Result<Option<bool>> {
    let limit = bytes_max.saturating_add(1);
    let read = text.by_ref().take(limit).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(None);
    }
    let is_whole = line.ends_with(b"\n") || (read as u64) < limit;
    if !is_whole {
        skip_line(text)?;
    }
    if line.ends_with(b"\n") {
        line.pop();
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    Ok(Some(is_whole))
}

/// Reads over what is left of a line.
fn skip_line(text: &mut Text) -> io::Result<()> {
    loop {
        let held = text.fill_buf()?;
        if held.is_empty() {
            return Ok(());
        }
        match memchr::memchr(b'\n', held) {
            Some(end) => {
                text.consume(end + 1);
                return Ok(());
            }
            None => {
                let count = held.len();
                text.consume(count);
            }
        }
    }
}

fn too_large(line: &[u8], bytes_max: u64) -> Row {
    let message = format!("a line of more than {bytes_max} bytes is past the stream's limit on a record");
    let data = Bytes::copy_from_slice(&line[..line.len().min(BAD_ROW_DATA_BYTES_MAX)]);
    Row::Cut { message, data }
}

fn row(options: &ReadOptions, line: &[u8]) -> Row {
    if line.trim_ascii().is_empty() {
        return Row::Blank;
    }
    match options.format {
        ImportFormat::JsonLines => json(line, options.partition_key.as_deref()),
        ImportFormat::SourceBackup => backup(line),
        _ => Row::Record { partition_key: None, data: Bytes::copy_from_slice(line) },
    }
}

pub(super) fn json(line: &[u8], field: Option<&str>) -> Row {
    // A mark of the byte order is no part of JSON, and some programs write one at a file's beginning.
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let data = Bytes::copy_from_slice(line);
    let found = text_of(line).and_then(|text| scalar(text, field).map_err(explain));
    match found {
        Ok(partition_key) => Row::Record { partition_key, data },
        Err((_, message)) => Row::bad(ImportCause::InvalidJson, message, data),
    }
}

pub(super) fn backup(line: &[u8]) -> Row {
    let bad = |message: String| Row::bad(ImportCause::InvalidBackup, message, Bytes::copy_from_slice(line));
    let parsed: BackupLine = match serde_json::from_slice(line) {
        Ok(parsed) => parsed,
        Err(error) => return bad(format!("not a line of a backup of source records: {error}")),
    };
    match BASE64_STANDARD.decode(&parsed.raw_data) {
        Ok(data) => Row::Record { partition_key: Some(parsed.partition_key), data: data.into() },
        Err(error) => bad(format!("its rawData is not base64: {error}")),
    }
}
