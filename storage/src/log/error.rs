//! What can go wrong in the log.

use super::{Offset, ShardKey};

/// A log result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the log. The same failure may be told to every append of a group, so it can be cloned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An earlier write or sync failed; only opening the log anew decides what is on disk.
    #[error("the log stopped taking writes after a failed sync: {cause}; restart the server once the disk is well")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// The log is closed or closing.
    #[error("the log is closed")]
    Closed,
    /// A block's bytes are not what was written.
    #[error("{shard}: the block that ends at offset {last_offset} is corrupt: {reason}")]
    Corrupt {
        /// The shard.
        shard: ShardKey,
        /// The offset of the block's last record.
        last_offset: Offset,
        /// What the check found.
        reason: String,
    },
    /// An append breaks a limit of the log.
    #[error("an append of {actual} {unit} is past the log's limit of {limit}")]
    TooLarge {
        /// What was asked for.
        actual: u64,
        /// The limit.
        limit: u64,
        /// "records", "bytes" or "bytes of partition key".
        unit: &'static str,
    },
    /// Another process has the log open.
    #[error("the log at {path} is in use by another process; stop it first or choose another --data-dir")]
    InUse {
        /// The folder.
        path: String,
    },
    /// The disk or the engine failed.
    #[error("the log's storage failed: {0}")]
    Storage(String),
}

impl Error {
    /// Whether the same call may succeed later without a restart.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Storage(_))
    }

    /// Whether an append that failed so may have been stored nevertheless.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        matches!(self, Self::Poisoned { .. } | Self::Storage(_) | Self::Closed)
    }
}
