//! Files of an object store as records for a stream: lines, JSON lines, CSV, Parquet, whole objects, and backups of source
//! records.
//!
//! An object is read in chunks. *Invariant: a chunk is a pure function of the object's bytes, of the [`ReadOptions`] and of the
//! [`Mark`] that it begins at, so that one that is read again after a crash has the same records.* An object is never held as a
//! whole: a few ranges of it, one chunk that is being made and one that waits. Nothing here knows streams or what was imported.

mod error;
mod source;
mod options;
mod ranged;
mod text;
mod chunk;
mod field;
mod lines;
mod csv;
mod parquet;
mod read;
mod bad;
mod again;
#[cfg(test)]
mod tests;

pub use bad::{BAD_ROW_DATA_BYTES_MAX, BadRowLine, read_bad_rows, write_bad_rows};
pub use chunk::{BadRow, Chunk, ImportCause, ImportRecord, Mark, Origin};
pub use error::ReadError;
pub use options::{Again, CsvOptions, CsvValues, ImportCompression, ImportFormat, ReadOptions};
pub use read::{Read, read};
pub use source::{Pattern, Source, SourceObject};
