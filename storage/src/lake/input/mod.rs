//! How the outputs of a transform chain are written, and where in them one row ends and the next begins.
//!
//! A row is a piece of its output, never a changed copy, so that a row that is set aside can be read again as it is. It must
//! never pass a byte of an output by that may belong to a row.

mod csv;

pub use csv::{CsvFormat, CsvParser};

use bytes::Bytes;
use iceberg::spec::PrimitiveType;

use super::row::Cause;
use super::schema::ColumnSpec;

/// The column that holds a line or a whole record.
pub const VALUE_COLUMN: &str = "value";

/// How outputs are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Input {
    /// Each output is one JSON object, whose fields are columns.
    #[default]
    Json,
    /// Each output has rows of comma-separated values.
    Csv(CsvFormat),
    /// Each line is a row, with the one column [`VALUE_COLUMN`]: text, unless the table declares it as `binary`.
    Lines,
    /// Each output is a row, with the one column [`VALUE_COLUMN`]: `binary`, unless the table declares it as `string`.
    Raw,
}

/// The rows of one output.
#[derive(Debug, PartialEq, Eq)]
pub enum Rows {
    /// As most outputs have.
    One(Bytes),
    /// At least two, in their order.
    Many(Vec<Bytes>),
}

impl Input {
    /// Whether each output is one row, as it is.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Json | Self::Raw)
    }

    /// The rows of an output: at least one. Fails with the cause for which the output is set aside as a whole, as nobody can
    /// tell where its rows end.
    pub fn rows(&self, output: Bytes) -> Result<Rows, (Cause, String)> {
        match self {
            Self::Json | Self::Raw => Ok(Rows::One(output)),
            Self::Csv(format) => format.rows(&output).map_err(|message| (Cause::InvalidCsv, message)),
            Self::Lines => Ok(lines(&output)),
        }
    }

    /// Whether a row is no data but a header, and is to be left out.
    #[must_use]
    pub fn skips(&self, row: &[u8]) -> bool {
        matches!(self, Self::Csv(format) if format.is_skipped_header(row))
    }

    /// The columns that rows fill whether the table declares them or not, with the type of one that it does not.
    #[must_use]
    pub fn columns(&self) -> Vec<ColumnSpec> {
        let column =
            |name: &str, primitive: PrimitiveType| ColumnSpec { name: name.to_owned(), column_type: primitive.into() };
        match self {
            Self::Json => Vec::new(),
            Self::Csv(format) => format.columns().iter().map(|name| column(name, PrimitiveType::String)).collect(),
            Self::Lines => vec![column(VALUE_COLUMN, PrimitiveType::String)],
            Self::Raw => vec![column(VALUE_COLUMN, PrimitiveType::Binary)],
        }
    }
}

/// Lines without their ends, `\n` or `\r\n`. What follows the last end is a line only where it is not empty.
fn lines(output: &Bytes) -> Rows {
    let ended = output.strip_suffix(b"\n").unwrap_or(output);
    let mut lines: Vec<Bytes> = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', ended).chain([ended.len()]) {
        let line = &ended[start..end];
        // The very last line has an end of its own only where the output has it.
        let line = if end < output.len() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        lines.push(output.slice_ref(line));
        start = end + 1;
    }
    match lines.pop() {
        Some(line) if lines.is_empty() => Rows::One(line),
        Some(last) => {
            lines.push(last);
            Rows::Many(lines)
        }
        None => Rows::One(output.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(rows: Rows) -> Vec<String> {
        let rows = match rows {
            Rows::One(row) => vec![row],
            Rows::Many(rows) => rows,
        };
        rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_line_ends_with_its_end_or_with_the_output() {
        for (output, expected) in [
            ("", vec![""]),
            ("\n", vec![""]),
            ("a", vec!["a"]),
            ("a\n", vec!["a"]),
            ("a\r\n", vec!["a"]),
            ("a\r", vec!["a\r"]),
            ("a\rb\n", vec!["a\rb"]),
            ("a\n\nb", vec!["a", "", "b"]),
            ("a\r\nb\r\n", vec!["a", "b"]),
            ("a\n\n", vec!["a", ""]),
        ] {
            let rows = Input::Lines.rows(Bytes::from_static(output.as_bytes())).unwrap();
            assert_eq!(matches!(rows, Rows::One(_)), expected.len() == 1, "{output:?}");
            assert_eq!(texts(rows), expected, "{output:?}");
        }
    }

    #[test]
    fn raw_and_json_outputs_are_rows_as_they_are() {
        for input in [Input::Raw, Input::Json] {
            let output = Bytes::from_static(b"\xFF\n\n{}");
            assert_eq!(input.rows(output.clone()).unwrap(), Rows::One(output));
        }
    }
}
