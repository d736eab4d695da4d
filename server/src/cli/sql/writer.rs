//! The formats of an answer. Each writes rows as they come and holds a bounded number of them.

use std::io::{self, StdoutLock, Write, stdout};

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::LineDelimited;
use arrow::json::{self, WriterBuilder};
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;

use super::super::{Failure, Result};
use super::SqlFormat;

/// Text columns are as wide as their widest value within so many rows; then the heading comes again.
const TABLE_ROWS_MAX: usize = 10_000;

type Out = io::BufWriter<StdoutLock<'static>>;

/// Writes one answer to stdout.
pub(super) enum Writer {
    Table(Pages),
    Csv(Box<csv::Writer<Out>>),
    Json(json::Writer<Out, LineDelimited>),
    Arrow(StreamWriter<Out>),
}

impl Writer {
    pub(super) fn new(format: SqlFormat, schema: &Schema) -> Result<Self> {
        let out = io::BufWriter::new(stdout().lock());
        Ok(match format {
            SqlFormat::Table => Self::Table(Pages::new(out, schema)),
            SqlFormat::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
                // An answer without rows still has its header.
                writer.write(&RecordBatch::new_empty(SchemaRef::new(schema.clone()))).map_err(failed)?;
                Self::Csv(Box::new(writer))
            }
            SqlFormat::Json => Self::Json(WriterBuilder::new().with_explicit_nulls(true).build(out)),
            SqlFormat::Arrow => Self::Arrow(StreamWriter::try_new(out, schema).map_err(failed)?),
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Table(pages) => pages.write(batch),
            Self::Csv(writer) => writer.write(batch).map_err(failed),
            Self::Json(writer) => writer.write(batch).map_err(failed),
            Self::Arrow(writer) => writer.write(batch).map_err(failed),
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        let mut out = match self {
            Self::Table(pages) => return pages.finish(),
            Self::Csv(writer) => writer.into_inner(),
            Self::Json(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner()
            }
            Self::Arrow(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner().map_err(failed)?
            }
        };
        Ok(out.flush()?)
    }
}

/// Text, a page at a time.
pub(super) struct Pages {
    out: Out,
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    rows: usize,
    written: bool,
}

impl Pages {
    fn new(out: Out, schema: &Schema) -> Self {
        Self { out, schema: SchemaRef::new(schema.clone()), held: Vec::new(), rows: 0, written: false }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(TABLE_ROWS_MAX - self.rows);
            self.held.push(batch.slice(from, rows));
            self.rows += rows;
            from += rows;
            if self.rows == TABLE_ROWS_MAX {
                self.page()?;
            }
        }
        Ok(())
    }

    fn page(&mut self) -> Result<()> {
        if self.held.is_empty() {
            self.held.push(RecordBatch::new_empty(SchemaRef::clone(&self.schema)));
        }
        let options = FormatOptions::default().with_null("NULL").with_display_error(true);
        let text = pretty_format_batches_with_options(&self.held, &options).map_err(failed)?;
        writeln!(self.out, "{text}")?;
        self.held.clear();
        self.rows = 0;
        self.written = true;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.rows > 0 || !self.written {
            self.page()?;
        }
        Ok(self.out.flush()?)
    }
}

/// Arrow hides the error of a reader that went away inside its own.
fn failed(error: ArrowError) -> Failure {
    match error {
        ArrowError::IoError(_, error) => error.into(),
        ArrowError::CsvError(message) | ArrowError::ParseError(message) if message.contains("Broken pipe") => {
            io::Error::from(io::ErrorKind::BrokenPipe).into()
        }
        error => Failure::new(format!("cannot write the answer: {error}"))
            .with_hint("CSV holds no nested values; --output json and arrow hold all"),
    }
}
