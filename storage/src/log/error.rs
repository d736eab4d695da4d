//! What can go wrong in the log.

use super::{Offset, ShardKey, StreamId};
use crate::encryption::{KeyFault, KeyUnusable};

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
    /// A stream's data key cannot be used.
    #[error("data key {version} of stream {stream} cannot be used: {reason}")]
    Key {
        /// The stream.
        stream: StreamId,
        /// The data key's number.
        version: u32,
        /// Why, for programs.
        fault: KeyFault,
        /// Why, in words.
        reason: String,
        /// Whether it may be usable later without a change of settings.
        is_retryable: bool,
    },
    /// A block was sealed by a data key that was destroyed since.
    #[error(
        "{shard}: the block that ends at offset {last_offset} was sealed by data key {version}, and nobody can read it any \
         more: {reason}"
    )]
    Shredded {
        /// The shard.
        shard: ShardKey,
        /// The offset of the block's last record.
        last_offset: Offset,
        /// The data key's number.
        version: u32,
        /// When it was destroyed.
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
    /// The append was to lie at another offset than the shard's next.
    #[error("{shard}: the next offset is {actual}, not {expected} as the append expects")]
    NextOffset {
        /// The shard.
        shard: ShardKey,
        /// What the append expects.
        expected: Offset,
        /// What it is.
        actual: Offset,
    },
    /// The log does not know any more whether it stored the sequence.
    #[error("{shard}: sequence {sequence} of producer {producer:016x} is older than what the log remembers of it")]
    SequenceTooOld {
        /// The shard.
        shard: ShardKey,
        /// The producer.
        producer: u64,
        /// The sequence that it sent.
        sequence: u64,
    },
    /// A sequence was stored with another number of records.
    #[error(
        "{shard}: sequence {sequence} of producer {producer:016x} was stored with {stored} records, and comes with {given}"
    )]
    SequenceReused {
        /// The shard.
        shard: ShardKey,
        /// The producer.
        producer: u64,
        /// The sequence that it sent twice.
        sequence: u64,
        /// Records that the log has.
        stored: u64,
        /// Records that came now.
        given: u64,
    },
    /// A write-ahead log is not as it was written, and acknowledged records follow the damage. Nothing was changed.
    #[error(
        "the write-ahead log {file} is damaged at byte {at} ({reason}) and acknowledged records follow; nothing was changed: \
         restore a backup, or stop here and see what `millrace log repair` can save"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Bytes from its beginning.
        at: u64,
        /// What was found there.
        reason: &'static str,
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
    /// That a stream's data key cannot be used.
    pub(crate) fn key(stream: StreamId, why: KeyUnusable) -> Self {
        let KeyUnusable { version, fault, reason, is_retryable } = why;
        Self::Key { stream, version: version.0, fault, reason, is_retryable }
    }

    /// Where reading may go on past a block that nobody can read: the first offset that is not in it.
    #[must_use]
    pub fn next_readable(&self) -> Option<Offset> {
        match self {
            Self::Corrupt { last_offset, .. } | Self::Shredded { last_offset, .. } => Some(*last_offset + 1),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without a restart.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Storage(_) | Self::Key { is_retryable: true, .. })
    }

    /// Whether an append that failed so may have been stored nevertheless.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        // What is older than the log remembers may have been stored by an earlier try.
        matches!(self, Self::Poisoned { .. } | Self::Storage(_) | Self::Closed | Self::SequenceTooOld { .. })
    }
}
