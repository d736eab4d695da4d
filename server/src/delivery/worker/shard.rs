//! A shard as a worker reads it: how far it read, what waits there, and whether reading fails at present.

use std::sync::Arc;
use std::time::Duration;

use millrace_storage::log::{Offset, ShardId, ShardKey};
use tokio::sync::watch;
use tokio::time::Instant;

use super::chunk::Chunk;
use super::reader::CHUNK_BYTES_MAX;
use super::retry::Streak;
use crate::streams::ShardState;

/// So many waiting records are read at once, without waiting for more.
const READY_RECORDS: u64 = 1_000;
/// So many waiting bytes likewise, going by the size of the records before.
const READY_BYTES: u64 = 1 << 20;
/// Fewer are waited for this long, because small chunks cost more; and longer where batches are cut seldom, so that a shard
/// has at most [`CHUNKS_OF_AN_INTERVAL`] of them in a batch. A query or a flush that needs them does not wait.
const LINGER_MIN: Duration = Duration::from_millis(250);
const CHUNKS_OF_AN_INTERVAL: u32 = 128;
/// What a record is taken to have before one was read.
const RECORD_BYTES_GUESS: u64 = 1_024;
/// The least that a read asks for.
const READ_BYTES_MIN: u64 = 256 << 10;

/// A shard as a worker reads it.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) key: ShardKey,
    state: Arc<ShardState>,
    /// The first offset that was not read.
    pub(crate) read_to: Offset,
    tail: watch::Receiver<Offset>,
    /// When the worker first saw a record that it has not read.
    pub(crate) waiting_since: Option<Instant>,
    /// The mean of the last chunk; `None` before the first.
    record_bytes: Option<u64>,
    failing: Option<(Streak, Instant)>,
}

impl Shard {
    /// A shard to read from an offset on.
    pub(crate) fn new(state: Arc<ShardState>, read_to: Offset, tail: watch::Receiver<Offset>) -> Self {
        Self { key: state.key(), state, read_to, tail, waiting_since: None, record_bytes: None, failing: None }
    }

    /// The shards that are to be read before it.
    pub(crate) fn parents(&self) -> &[ShardId] {
        self.state.parents()
    }

    /// Whether it is closed and all of it was read.
    pub(crate) fn is_read_out(&self) -> bool {
        self.state.closed().is_some_and(|closed| self.read_to >= closed.end)
    }

    /// The offset that the shard's next record gets.
    pub(crate) fn next(&self) -> Offset {
        *self.tail.borrow()
    }

    /// Looks whether records wait, and says so.
    pub(crate) fn notice(&mut self, now: Instant) -> bool {
        if self.next() <= self.read_to {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        self.waiting_since.is_some()
    }

    /// Waits for a record that is not read yet, and gives the shard; for ever where the log ended.
    pub(crate) fn appended(&self) -> impl Future<Output = ShardId> + Send + use<> {
        let (mut tail, read_to, shard) = (self.tail.clone(), self.read_to, self.key.shard);
        async move {
            if tail.wait_for(|next| *next > read_to).await.is_err() {
                std::future::pending::<()>().await;
            }
            shard
        }
    }

    /// When the shard is to be read: at once when much waits or `upto` is not reached, soon when little does.
    pub(crate) fn due_at(&self, now: Instant, interval: Duration, upto: Offset) -> Option<Instant> {
        let since = self.waiting_since?;
        let records = self.next().since(self.read_to);
        let urgent = self.read_to < upto || records >= READY_RECORDS || self.waiting_bytes(records) >= READY_BYTES;
        let due = if urgent { now } else { since + self.linger(interval) };
        Some(match &self.failing {
            Some((_, retry_at)) => due.max(*retry_at),
            None => due,
        })
    }

    /// How long few records wait for more. Not long before the first chunk tells how large records are.
    fn linger(&self, interval: Duration) -> Duration {
        let seldom = if self.record_bytes.is_some() { interval / CHUNKS_OF_AN_INTERVAL } else { Duration::ZERO };
        interval.min(LINGER_MIN.max(seldom))
    }

    fn waiting_bytes(&self, records: u64) -> u64 {
        records.saturating_mul(self.record_bytes.unwrap_or(RECORD_BYTES_GUESS))
    }

    /// How many bytes the next read may ask for, so that it reserves no more than it needs.
    pub(crate) fn read_bytes(&self) -> usize {
        let waiting = self.waiting_bytes(self.next().since(self.read_to)).saturating_mul(2);
        usize::try_from(waiting.max(READ_BYTES_MIN)).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX)
    }

    /// A chunk was read.
    pub(crate) fn done(&mut self, chunk: &Chunk) {
        self.read_to = chunk.offsets.end;
        self.waiting_since = None;
        self.failing = None;
        if let Some(mean) = chunk.totals.bytes_in.checked_div(chunk.totals.records) {
            self.record_bytes = Some(mean.max(1));
        }
    }

    /// Reading failed; it is tried again later.
    pub(crate) fn failed(&mut self, streak: impl FnOnce() -> Streak, error: &impl std::fmt::Display) {
        let mut streak = self.failing.take().map_or_else(streak, |(streak, _)| streak);
        let delay = streak.failed(error);
        self.failing = Some((streak, Instant::now() + delay));
    }
}
