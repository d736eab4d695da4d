//! The log: records in dense offsets, per shard, durable before they are acknowledged.
//!
//! [`Log`] is the contract. It must not tell how an engine keeps blocks: another engine fronts the same trait.

mod types;
mod error;
mod limits;
mod stats;
mod producers;
pub mod memory;
pub mod rocks;
#[cfg(test)]
mod conformance;

pub use error::{Error, Result};
pub use limits::{AppendLimits, ProducerLimits};
pub use stats::{Distribution, LogStats};
pub use types::{
    Append, Appended, NewRecord, Offset, ProducerSequence, ReadLimit, Record, ShardId, ShardKey, StreamId,
};

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use crate::time::Timestamp;

/// An ordered, durable sequence of records for each shard.
///
/// ```text
///            trim                     next
///             ▼                        ▼
///  [ trimmed ][ readable, dense offsets ][ not yet written ]
/// ```
///
/// **Offsets** are dense: the first record of a shard has offset 0, and each one after it has the offset of the one before
/// plus 1. They are never reused, not after a trim and not after a restart.
///
/// **Append** MUST acknowledge only what survives a power cut, MUST keep the order in which `append` returned its tickets
/// within a shard, and stores all records of one call or none of them. A record is readable at the latest when its ticket
/// resolves. After a failed sync the engine is poisoned: every append fails with [`Error::Poisoned`] until the process
/// opens the log again; reads go on.
///
/// **Expected offset**: an append with [`Append::expected_next`] is stored only if that is the shard's next offset when its
/// turn comes; otherwise it stores nothing and its ticket fails with [`Error::NextOffset`], once the appends that it lost
/// against are durable.
///
/// **Producer sequence**: an append with [`Append::producer`] that was stored before under the same producer, sequence and
/// number of records stores nothing and answers as the first one did, across restarts. This comes before the expected offset,
/// so that a conditional append may be sent again. The log remembers, for each shard and producer, the last
/// [`ProducerLimits::sequences_max`] sequences; sequences may come out of order within these. What it does not remember any
/// more is refused with [`Error::SequenceTooOld`], and never stored twice, if the caller tells its age.
///
/// **Read** returns records in offset order without a gap, starting at the wanted offset or, where that was trimmed, at
/// the trim offset. An empty answer means that the offset is the next one.
///
/// **Arrival times** never fall within a shard.
///
/// **Trim** is idempotent and never moves backwards.
///
/// A shard comes into being with its first append; one that was never written is empty, with `trim == next == 0`. So is one
/// of a deleted stream. An append of no records is acknowledged in its turn and stores nothing.
///
/// **Limits**: an append past the engine's [`AppendLimits`] fails with [`Error::TooLarge`] and stores nothing.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug + 'static {
    /// Queues records for one shard and returns when they have their place in the order.
    ///
    /// Waits while the queue is full. The ticket resolves when the records are durable.
    async fn append(&self, shard: ShardKey, append: Append) -> Result<AppendTicket>;

    /// What the log durably stored in a shard under a producer's sequence of `count` records, as far as it remembers.
    ///
    /// Fails as an append of that sequence would: with [`Error::SequenceReused`] or [`Error::SequenceTooOld`].
    fn stored(&self, shard: ShardKey, producer: ProducerSequence, count: u64) -> Result<Option<Appended>>;

    /// Reads records of one shard from an offset on, within `limit`; at least one record where there is one.
    async fn read(&self, shard: ShardKey, from: Offset, limit: ReadLimit) -> Result<Vec<Record>>;

    /// The readable offsets: `trim..next`.
    fn offsets(&self, shard: ShardKey) -> Range<Offset>;

    /// The first readable offset whose record arrived at or after `time`; the next offset where none did.
    async fn offset_at(&self, shard: ShardKey, time: Timestamp) -> Result<Offset>;

    /// When the shard's newest readable record arrived.
    fn newest_arrival(&self, shard: ShardKey) -> Option<Timestamp>;

    /// Watches the shard's next offset; it changes after each durable append.
    fn tail(&self, shard: ShardKey) -> watch::Receiver<Offset>;

    /// Bytes of a stream's readable records as stored. Counts what was durable when its append was answered; for a moment
    /// after an open it may still lack what was there before.
    fn stored_bytes(&self, stream: StreamId) -> u64;

    /// Bytes as stored of the records in a range of offsets; what shares a block with the range's last record may be missing.
    async fn stored_bytes_in(&self, shard: ShardKey, offsets: Range<Offset>) -> Result<u64>;

    /// Makes all records below `before` unreadable and gives their disk space back in the background.
    async fn trim(&self, shard: ShardKey, before: Offset) -> Result<()>;

    /// Removes a stream's records, for all its shards. Ids of streams are never reused.
    async fn delete_stream(&self, stream: StreamId) -> Result<()>;

    /// Forgets what memory holds of a stream's records, so that they are read from the disk again: what cannot be opened
    /// there any more must not be found here.
    fn forget_cached(&self, _stream: StreamId) {}

    /// Stops taking appends, makes what is queued durable and releases the files.
    async fn close(&self) -> Result<()>;
}

/// The promise of one append. It must be awaited before the caller acknowledges.
#[must_use = "records may be acknowledged only after `durable` returned"]
#[derive(Debug)]
pub struct AppendTicket {
    outcome: oneshot::Receiver<Result<Appended>>,
}

impl AppendTicket {
    /// A ticket and the sender that an engine resolves it with.
    pub fn new() -> (oneshot::Sender<Result<Appended>>, Self) {
        let (sender, outcome) = oneshot::channel();
        (sender, Self { outcome })
    }

    /// Waits until the records are durable.
    pub async fn durable(self) -> Result<Appended> {
        self.outcome.await.unwrap_or(Err(Error::Closed))
    }
}
