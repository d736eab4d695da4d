//! CSV, after RFC 4180: quoted fields may hold delimiters, quotes and line ends. A row past the limit on a record is never held
//! as a whole, so that a quote that is never closed costs no memory.

use std::collections::BTreeSet;
use std::io::{self, BufRead};

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::bad::BAD_ROW_DATA_BYTES_MAX;
use super::chunk::{Chunk, Chunker, Row};
use super::field::scalar;
use super::text::Text;
use super::{CsvValues, ImportCause, Mark, ReadOptions};

/// The most columns.
const COLUMNS_MAX: usize = 10_000;

/// Reads rows from a place on until `emit` says no.
pub(super) fn read(
    text: &mut Text,
    options: &ReadOptions,
    from: Mark,
    chunker: &mut Chunker<'_>,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> io::Result<bool> {
    let bytes_max = usize::try_from(options.record_bytes_max).unwrap_or(usize::MAX).max(BAD_ROW_DATA_BYTES_MAX);
    let mut rows = Rows::new(options.csv.delimiter, bytes_max);
    let columns = if options.csv.columns.is_empty() {
        match rows.next(text)? {
            None => return Ok(true),
            Some(_) => names(&rows)?,
        }
    } else {
        options.csv.columns.clone()
    };
    if from.text_bytes > 0 {
        text.skip_to(from.text_bytes)?;
        rows = Rows::new(options.csv.delimiter, bytes_max);
    }
    while let Some(is_whole) = rows.next(text)? {
        let row = if is_whole { row(&rows, &columns, options) } else { rows.too_large() };
        if let Some(chunk) = chunker.push(row, text.at())
            && !emit(chunk)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads one row alone, by the columns that are declared: what is no row of them stays as it came.
pub(super) fn row_alone(bytes: &[u8], options: &ReadOptions) -> Row {
    let bad = |message: String| Row::bad(ImportCause::InvalidCsv, message, Bytes::copy_from_slice(bytes));
    if options.csv.columns.is_empty() {
        return bad(
            "its columns are told by its file only: declare csv.columns, or take rows up as they are".to_owned()
        );
    }
    let bytes_max = usize::try_from(options.record_bytes_max).unwrap_or(usize::MAX).max(BAD_ROW_DATA_BYTES_MAX);
    let (mut rows, mut left) = (Rows::new(options.csv.delimiter, bytes_max), bytes);
    let Ok(Some(true)) = rows.next(&mut left) else { return bad("it is no row, or past the limits".to_owned()) };
    let row = match row(&rows, &options.csv.columns, options) {
        Row::Bad { message, .. } => return bad(message),
        row => row,
    };
    match rows.next(&mut left) {
        Ok(None) => row,
        _ => bad("it is more than one row".to_owned()),
    }
}

/// The columns' names, of the first row.
fn names(rows: &Rows) -> io::Result<Vec<String>> {
    let invalid = |words: String| io::Error::new(io::ErrorKind::InvalidData, words);
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    for field in rows.fields() {
        let name = std::str::from_utf8(field).map_err(|_| invalid("the header is not UTF-8".to_owned()))?;
        let name = name.strip_prefix('\u{feff}').unwrap_or(name).trim();
        if name.is_empty() || !seen.insert(name.to_owned()) {
            return Err(invalid(format!("the header has the column {name:?} twice, or without a name")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn row(rows: &Rows, columns: &[String], options: &ReadOptions) -> Row {
    let bad = |message: String| Row::bad(ImportCause::InvalidCsv, message, rows.raw(options));
    let count = rows.fields().count();
    if count != columns.len() {
        return bad(format!("the row has {count} fields, and there are {} columns", columns.len()));
    }
    let mut object = String::with_capacity(64);
    let mut partition_key = None;
    for (index, (name, field)) in columns.iter().zip(rows.fields()).enumerate() {
        let Ok(value) = std::str::from_utf8(field) else {
            return bad(format!("the column {name:?} is not UTF-8"));
        };
        object.push(if index == 0 { '{' } else { ',' });
        push_string(&mut object, name);
        object.push(':');
        match options.csv.values {
            CsvValues::Text => push_string(&mut object, value),
            CsvValues::Infer => push_inferred(&mut object, value),
        }
        if options.partition_key.as_deref() == Some(name) && !value.is_empty() {
            partition_key = Some(value.to_owned());
        }
    }
    object.push('}');
    Row::Record { partition_key, data: object.into() }
}

fn push_string(object: &mut String, value: &str) {
    object.push_str(&serde_json::Value::from(value).to_string());
}

/// Writes a field as what it says in JSON's own words, where it does; nothing is rounded, because its text stays.
fn push_inferred(object: &mut String, value: &str) {
    let begins = |byte: u8| byte == b'-' || byte.is_ascii_digit();
    let is_number = value.bytes().next().is_some_and(begins) && value.trim() == value && scalar(value, None).is_ok();
    match value {
        "" => object.push_str("null"),
        "true" | "false" => object.push_str(value),
        _ if is_number => object.push_str(value),
        _ => push_string(object, value),
    }
}

/// One row at a time.
struct Rows {
    reader: Reader,
    delimiter: u8,
    bytes_max: usize,
    fields: Vec<u8>,
    ends: Vec<usize>,
    field_count: usize,
}

impl Rows {
    fn new(delimiter: u8, bytes_max: usize) -> Self {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Self { reader, delimiter, bytes_max, fields: vec![0; 4096], ends: vec![0; 64], field_count: 0 }
    }

    /// Reads the next row; `None` at the end, `false` where it is past the limit and cut.
    fn next(&mut self, text: &mut impl BufRead) -> io::Result<Option<bool>> {
        let (mut bytes, mut count, mut is_whole) = (0, 0, true);
        loop {
            let held = text.fill_buf()?;
            let (result, consumed, written, ended) =
                self.reader.read_record(held, &mut self.fields[bytes..], &mut self.ends[count..]);
            text.consume(consumed);
            bytes += written;
            count += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.fields.len() < self.bytes_max => {
                    let length = (self.fields.len() * 2).min(self.bytes_max);
                    self.fields.resize(length, 0);
                }
                ReadRecordResult::OutputEndsFull if self.ends.len() < COLUMNS_MAX => {
                    let length = (self.ends.len() * 2).min(COLUMNS_MAX);
                    self.ends.resize(length, 0);
                }
                // The beginning is kept; what is read over goes where it would have ended.
                ReadRecordResult::OutputFull => {
                    is_whole = false;
                    bytes = BAD_ROW_DATA_BYTES_MAX.min(self.fields.len() / 2);
                }
                ReadRecordResult::OutputEndsFull => {
                    is_whole = false;
                    count = 0;
                }
                ReadRecordResult::Record => {
                    self.field_count = count;
                    return Ok(Some(is_whole));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ends = self.ends.iter().take(self.field_count).copied();
        starts.zip(ends).map(|(start, end)| self.fields.get(start..end).unwrap_or_default())
    }

    /// The row as CSV, which may quote otherwise than the object does.
    fn raw(&self, options: &ReadOptions) -> Bytes {
        let delimiter = options.csv.delimiter;
        let mut raw = Vec::new();
        for (index, field) in self.fields().enumerate() {
            if index > 0 {
                raw.push(delimiter);
            }
            let needs_quotes = field.iter().any(|byte| *byte == delimiter || b"\"\r\n".contains(byte));
            if needs_quotes {
                raw.push(b'"');
                raw.extend(field.iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"'))));
                raw.push(b'"');
            } else {
                raw.extend_from_slice(field);
            }
        }
        raw.into()
    }

    fn too_large(&self) -> Row {
        let message = format!(
            "a row of more than {} bytes or {COLUMNS_MAX} fields, delimited by {:?}, is past the limits; a quote may be open",
            self.bytes_max,
            char::from(self.delimiter)
        );
        let data = Bytes::copy_from_slice(&self.fields[..BAD_ROW_DATA_BYTES_MAX.min(self.fields.len() / 2)]);
        Row::Cut { message, data }
    }
}
