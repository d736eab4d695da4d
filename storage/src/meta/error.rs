//! What can go wrong in the meta store.

use bytes::Bytes;

/// A meta store result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the meta store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A condition did not hold; nothing was written.
    #[error("the value of {} was changed by another writer", key.escape_ascii())]
    Conflict {
        /// The first key whose condition failed.
        key: Bytes,
    },
    /// A stored value cannot be read.
    #[error("the value of {} cannot be read: {reason}", key.escape_ascii())]
    Corrupt {
        /// The key.
        key: Bytes,
        /// What is wrong with it.
        reason: String,
    },
    /// A write-ahead log is not as it was written, and commits follow the damage. Nothing was changed.
    #[error(
        "the write-ahead log {file} is damaged at byte {at} ({reason}) and commits follow; nothing was changed: restore a \
         backup, or stop here and see what `millrace log repair` can save"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Bytes from its beginning.
        at: u64,
        /// What was found there.
        reason: &'static str,
    },
    /// Another process has the store open.
    #[error("the meta store at {path} is in use by another process; stop it first or choose another --data-dir")]
    InUse {
        /// The folder.
        path: String,
    },
    /// The store is closed.
    #[error("the meta store is closed")]
    Closed,
    /// The disk or the engine failed; a commit may have been applied.
    #[error("the meta store failed: {0}")]
    Storage(String),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Storage(_))
    }

    /// Whether a commit that failed so may have been stored nevertheless; reading the keys again decides it.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        matches!(self, Self::Storage(_))
    }
}
