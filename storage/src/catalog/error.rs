//! What can go wrong in the catalog.

use bytes::Bytes;

use super::TableName;
use crate::meta;

/// A catalog result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog has no such table.
    #[error("table {table} does not exist")]
    NotFound {
        /// The table.
        table: TableName,
    },
    /// The catalog has such a table already.
    #[error("table {table} exists already")]
    Exists {
        /// The table.
        table: TableName,
    },
    /// A name cannot be a table's.
    #[error("{name:?} is not a table name: {reason}")]
    Name {
        /// The text.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// One of the caller's own conditions did not hold; nothing was committed, and trying again cannot help.
    #[error("the commit to table {table} was refused: the value of {} was changed by another writer", key.escape_ascii())]
    Conflict {
        /// The table.
        table: TableName,
        /// The key whose condition failed.
        key: Bytes,
    },
    /// Other writers moved the table each time.
    #[error("table {table} was moved by other writers in each of {attempts} attempts to commit")]
    Contended {
        /// The table.
        table: TableName,
        /// How often it was tried.
        attempts: u32,
    },
    /// The files were written with columns that the table, as it is now, cannot take; convert the rows again.
    #[error("the schema does not fit table {table}: {reason}")]
    Schema {
        /// The table.
        table: TableName,
        /// What does not fit.
        reason: String,
    },
    /// A file that was to be replaced is not the table's any more: somebody else replaced or removed it.
    #[error("table {table} does not list {file} any more, which was to be replaced")]
    FileGone {
        /// The table.
        table: TableName,
        /// The file's URL.
        file: String,
    },
    /// A snapshot's summary has Millrace properties that cannot be read.
    #[error("snapshot {snapshot} of table {table} cannot be read: {reason}")]
    Summary {
        /// The table.
        table: String,
        /// The snapshot's id.
        snapshot: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// A metadata file could not be read, written or made; nothing was committed.
    #[error("the metadata of table {table} failed: {source}")]
    Metadata {
        /// The table.
        table: TableName,
        /// The cause.
        source: Box<iceberg::Error>,
    },
    /// The meta store failed.
    #[error(transparent)]
    Meta(#[from] meta::Error),
}

impl Error {
    pub(super) fn iceberg(table: &TableName, source: iceberg::Error) -> Self {
        Self::Metadata { table: table.clone(), source: Box::new(source) }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended { .. } => true,
            Self::Metadata { source, .. } => is_of_the_store(&**source),
            Self::Meta(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether a commit that failed so may have been applied nevertheless; reading the checkpoint or the table decides it.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        match self {
            Self::Meta(error) => error.may_have_applied(),
            _ => false,
        }
    }
}

/// Whether the object store, not a file's content, is the cause.
fn is_of_the_store(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<object_store::Error>()).next().is_some()
}
