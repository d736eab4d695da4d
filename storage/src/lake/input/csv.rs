//! Comma-separated values as RFC 4180 has them: rows within an output, and fields within a row.
//!
//! Fields are read by `csv-core`, which takes anything for a row in some way. What it would have to guess at (a quote that
//! is never closed, text behind a closing quote) is refused before, when rows are told apart.

use std::collections::HashSet;

use bytes::Bytes;
use csv_core::{ReadFieldResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr3};

use super::Rows;
use crate::lake::schema::check_name;
use crate::lake::{Error, Result};

/// The longest text that stands for null, in bytes.
const NULL_BYTES_MAX: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFormat {
    columns: Vec<String>,
    delimiter: u8,
    quote: Option<u8>,
    null: String,
    skips_header: bool,
}

impl CsvFormat {
    /// Rows with these columns, in this order: a comma between fields, `"` for quotes, and a field of nothing for null.
    pub fn new(columns: Vec<String>) -> Result<Self> {
        if columns.is_empty() {
            return Err(Error::Invalid("csv needs the names of its columns".into()));
        }
        let mut names = HashSet::new();
        for name in &columns {
            check_name(name)?;
            if !names.insert(name.to_lowercase()) {
                return Err(Error::Invalid(format!("the csv column {name:?} is there twice; case does not count")));
            }
        }
        Ok(Self { columns, delimiter: b',', quote: Some(b'"'), null: String::new(), skips_header: false })
    }

    /// With another character between fields, and other quotes; `None` where a quote is a character as every other.
    pub fn with_marks(mut self, delimiter: char, quote: Option<char>) -> Result<Self> {
        let mark = |what: &str, mark: char| match u8::try_from(mark) {
            Ok(byte) if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Ok(byte),
            _ => Err(Error::Invalid(format!("the csv {what} {mark:?} is no single ASCII character within a line"))),
        };
        self.delimiter = mark("delimiter", delimiter)?;
        self.quote = quote.map(|quote| mark("quote", quote)).transpose()?;
        if self.quote == Some(self.delimiter) {
            return Err(Error::Invalid(format!("{delimiter:?} cannot be both delimiter and quote of csv")));
        }
        Ok(self)
    }

    /// With another text for null. A field in quotes is never null.
    pub fn with_null(mut self, null: &str) -> Result<Self> {
        if null.len() > NULL_BYTES_MAX {
            let bytes = null.len();
            return Err(Error::Invalid(format!("the csv null text has {bytes} bytes; the limit is {NULL_BYTES_MAX}")));
        }
        null.clone_into(&mut self.null);
        Ok(self)
    }

    /// Whether a row of the columns' names is no row of data.
    #[must_use]
    pub fn with_header_skipped(self, skips_header: bool) -> Self {
        Self { skips_header, ..self }
    }

    /// The columns, in the order of the fields.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether a row has the columns' names as its fields, in their order and in quotes or not, and such rows are skipped. As
    /// with columns elsewhere, case does not count.
    pub(super) fn is_skipped_header(&self, row: &[u8]) -> bool {
        if !self.skips_header {
            return false;
        }
        let mut at = 0;
        for (place, name) in self.columns.iter().enumerate() {
            if place > 0 {
                match row.get(at) {
                    Some(byte) if *byte == self.delimiter => at += 1,
                    _ => return false,
                }
            }
            let Ok(end) = self.field_end(row, at) else { return false };
            if !self.is_name(&row[at..end], name) {
                return false;
            }
            at = end;
        }
        at == row.len()
    }

    fn is_name(&self, field: &[u8], name: &str) -> bool {
        let unquoted =
            self.quote.and_then(|quote| field.strip_prefix(&[quote])?.strip_suffix(&[quote])).unwrap_or(field);
        std::str::from_utf8(unquoted).is_ok_and(|field| field.to_lowercase() == name.to_lowercase())
    }

    /// The rows of an output, without their ends; empty lines between them are none. Else why they cannot be told apart.
    pub(super) fn rows(&self, output: &Bytes) -> Result<Rows, String> {
        let text = output.strip_prefix(BYTE_ORDER_MARK).unwrap_or(output);
        let mut first: Option<&[u8]> = None;
        let mut rows: Vec<Bytes> = Vec::new();
        let (mut start, mut at) = (0, 0);
        loop {
            at = self.field_end(text, at)?;
            let ended = at == text.len();
            if !ended && text[at] == self.delimiter {
                at += 1;
                continue;
            }
            if start < at {
                let row = &text[start..at];
                match (first, rows.is_empty()) {
                    (None, _) => first = Some(row),
                    (Some(before), true) => rows.extend([output.slice_ref(before), output.slice_ref(row)]),
                    (Some(_), false) => rows.push(output.slice_ref(row)),
                }
            }
            if ended {
                break;
            }
            at += 1;
            start = at;
        }
        match first {
            _ if !rows.is_empty() => Ok(Rows::Many(rows)),
            Some(row) => Ok(Rows::One(output.slice_ref(row))),
            None => Err("there is no row".into()),
        }
    }

    /// Where the field that begins at `at` ends: at a delimiter, at a line's end, or with the text.
    fn field_end(&self, text: &[u8], at: usize) -> Result<usize, String> {
        if let Some(quote) = self.quote
            && text.get(at) == Some(&quote)
        {
            let end = closing_quote(text, at, quote).ok_or_else(|| format!("the quote at byte {at} is not closed"))?;
            return match text.get(end) {
                Some(byte) if ![self.delimiter, b'\r', b'\n'].contains(byte) => {
                    Err(format!("byte {end} follows a closing quote, and is neither a delimiter nor the row's end"))
                }
                _ => Ok(end),
            };
        }
        Ok(memchr3(self.delimiter, b'\r', b'\n', &text[at..]).map_or(text.len(), |length| at + length))
    }

    /// A parser of this format.
    #[must_use]
    pub fn parser(&self) -> CsvParser {
        CsvParser { format: self.clone(), reader: self.reader(), text: Vec::new(), fields: Vec::new() }
    }

    fn reader(&self) -> Reader {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(self.delimiter).quoting(self.quote.is_some()).quote(self.quote.unwrap_or(b'"'));
        let mut reader = builder.build();
        // It takes a byte order mark off the first that it reads, and nothing off a row.
        let _nothing = reader.read_field(b"\n", &mut [0]);
        reader
    }
}

/// The byte after the quote that closes the one at `at`; two quotes within are one of the text.
fn closing_quote(text: &[u8], at: usize, quote: u8) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let end = from + memchr(quote, text.get(from..)?)? + 1;
        if text.get(end) != Some(&quote) {
            return Some(end);
        }
        from = end + 1;
    }
}

/// Takes rows apart into fields, one row after the other.
#[derive(Debug)]
pub struct CsvParser {
    format: CsvFormat,
    reader: Reader,
    /// The fields of the row at hand, without quotes, one after the other.
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// A field of the row at hand.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    is_null: bool,
}

impl CsvParser {
    /// The columns, in the order of the fields.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.format.columns
    }

    /// Reads a row; then [`CsvParser::value`] gives its fields. Else why it is no row of this format.
    pub fn read(&mut self, row: &[u8]) -> Result<(), String> {
        if let Err(error) = std::str::from_utf8(row) {
            return Err(format!("not UTF-8 at byte {}", error.valid_up_to()));
        }
        let read = self.read_fields(row);
        if read.is_err() {
            // The reader may stand within a field.
            self.reader = self.format.reader();
        }
        read?;
        let (found, wanted) = (self.fields.len(), self.format.columns.len());
        if found != wanted {
            return Err(format!("the row has {found} fields, and there are {wanted} columns"));
        }
        Ok(())
    }

    /// A field's text, by its place in the row; `None` for null. The row must have been read well.
    #[must_use]
    pub fn value(&self, place: usize) -> Option<&str> {
        let field = self.fields.get(place).filter(|field| !field.is_null)?;
        let text = std::str::from_utf8(&self.text[field.start..field.end]);
        Some(text.expect("the row is UTF-8, and is cut at ASCII characters alone"))
    }

    fn read_fields(&mut self, row: &[u8]) -> Result<(), String> {
        self.fields.clear();
        // Taking quotes off makes nothing longer; the reader wants room for one byte more.
        self.text.resize(row.len() + 1, 0);
        let (mut at, mut start, mut end) = (0, 0, 0);
        let mut is_quoted = self.is_quote(row.first());
        loop {
            // What ends the row is not part of it.
            let rest = if at < row.len() { &row[at..] } else { b"\n".as_slice() };
            let (result, read, written) = self.reader.read_field(rest, &mut self.text[end..]);
            (at, end) = (at + read, end + written);
            match result {
                ReadFieldResult::InputEmpty if at <= row.len() => {}
                ReadFieldResult::Field { record_end } => {
                    let is_null = !is_quoted && self.text[start..end] == *self.format.null.as_bytes();
                    self.fields.push(Field { start, end, is_null });
                    match (record_end, at > row.len()) {
                        (true, true) => return Ok(()),
                        (true, false) => return Err(format!("the row ends before byte {at}, and more follows")),
                        (false, _) => {}
                    }
                    start = end;
                    is_quoted = self.is_quote(row.get(at));
                }
                _ => return Err("the row ends within a field".into()),
            }
        }
    }

    fn is_quote(&self, byte: Option<&u8>) -> bool {
        self.format.quote.is_some() && byte == self.format.quote.as_ref()
    }
}

#[cfg(test)]
mod tests;
