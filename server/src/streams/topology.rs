//! A stream's shards at one moment: the open ones by hash key, and the closed ones whose records are still kept.
//!
//! A topology never changes; a reshard puts another in its place. Numbers of shards are never reused: children get the next
//! free ones, so a child's number is higher than its parents', and the highest is always open.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use millrace_storage::log::{Offset, ShardId, ShardKey, StreamId};
use millrace_storage::time::Timestamp;
use parking_lot::RwLock;

use super::hash_key::{self, HashKeyRange};
use super::metrics::{ShardMetrics, StreamMetrics};
use super::name::StreamName;
use super::options::StreamSpec;
use super::quota::Account;

/// The shards of a stream at one moment.
#[derive(Debug)]
pub struct Topology {
    /// All, by number.
    shards: Box<[Arc<ShardState>]>,
    /// The open ones, by hash key.
    open: Box<[Arc<ShardState>]>,
}

/// A shard of a stream. It is shared by the topologies that it is in.
#[derive(Debug)]
pub struct ShardState {
    key: ShardKey,
    range: HashKeyRange,
    parents: Box<[ShardId]>,
    created_at: Timestamp,
    reason: Box<str>,
    /// Set with the topology that has its children.
    closed: OnceLock<Closed>,
    /// When this process closed it, by a clock that nobody sets.
    closed_here: OnceLock<Instant>,
    account: RwLock<Arc<Account>>,
    /// Bytes and records that became durable since the process began.
    taken: [AtomicU64; 2],
    pub(super) metrics: ShardMetrics,
}

/// The end of a shard that was split or merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When.
    pub at: Timestamp,
    /// The offset after its last record.
    pub end: Offset,
    /// The shards that took over, by hash key.
    pub children: Box<[ShardId]>,
}

/// What a shard is made from.
#[derive(Debug, Clone)]
pub(super) struct ShardSpec {
    pub(super) key: ShardKey,
    pub(super) range: HashKeyRange,
    pub(super) parents: Box<[ShardId]>,
    pub(super) created_at: Timestamp,
    pub(super) reason: Box<str>,
}

impl ShardSpec {
    /// The shards of a stream that was never resharded.
    pub(super) fn evenly(stream: StreamId, count: NonZeroU32, created_at: Timestamp) -> impl Iterator<Item = Self> {
        (0..).zip(hash_key::split_evenly(count)).map(move |(number, range)| Self {
            key: ShardKey { stream, shard: ShardId(number) },
            range,
            parents: Box::default(),
            created_at,
            reason: Box::default(),
        })
    }
}

impl Topology {
    /// A topology of shards in any order.
    pub(super) fn new(shards: Vec<Arc<ShardState>>) -> Self {
        Self::closing(shards, &BTreeMap::new())
    }

    /// As [`Self::new`], where some shards are to be closed at the same moment and do not know it yet.
    pub(super) fn closing(mut shards: Vec<Arc<ShardState>>, closing: &BTreeMap<ShardId, Closed>) -> Self {
        shards.sort_unstable_by_key(|shard| shard.id());
        let is_open = |shard: &&Arc<ShardState>| shard.closed().is_none() && !closing.contains_key(&shard.id());
        let mut open: Vec<_> = shards.iter().filter(is_open).cloned().collect();
        open.sort_unstable_by_key(|shard| shard.range.start);
        Self { shards: shards.into(), open: open.into() }
    }

    /// All shards whose records are still kept, by number.
    #[must_use]
    pub fn shards(&self) -> &[Arc<ShardState>] {
        &self.shards
    }

    /// The shards that take records, by hash key.
    #[must_use]
    pub fn open(&self) -> &[Arc<ShardState>] {
        &self.open
    }

    /// A shard by number.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&Arc<ShardState>> {
        self.shards.binary_search_by_key(&shard, |shard| shard.id()).ok().map(|index| &self.shards[index])
    }

    /// The index in [`Self::open`] of the shard that a hash key belongs to.
    pub(super) fn route(&self, hash_key: u128) -> usize {
        self.open.partition_point(|shard| shard.range.start <= hash_key) - 1
    }

    /// The number that the next shard gets.
    pub(super) fn next_id(&self) -> u32 {
        self.shards.last().map_or(0, |shard| shard.id().0 + 1)
    }

    /// Whether the open shards cover each hash key once.
    pub(super) fn is_whole(&self) -> bool {
        let mut next = Some(0);
        for shard in &self.open {
            if next != Some(shard.range.start) || shard.range.end < shard.range.start {
                return false;
            }
            next = shard.range.end.checked_add(1);
        }
        next.is_none() && !self.open.is_empty()
    }
}

impl ShardState {
    pub(super) fn new(shard: ShardSpec, spec: &StreamSpec, name: &StreamName, metrics: &StreamMetrics) -> Self {
        let ShardSpec { key, range, parents, created_at, reason } = shard;
        Self {
            key,
            range,
            parents,
            created_at,
            reason,
            closed: OnceLock::new(),
            closed_here: OnceLock::new(),
            account: RwLock::new(Arc::new(Account::new(spec.quota, spec.record_bytes_max, Instant::now()))),
            taken: Default::default(),
            metrics: metrics.shard(name, key.shard.0),
        }
    }

    /// The shard's number within the stream.
    #[must_use]
    pub const fn id(&self) -> ShardId {
        self.key.shard
    }

    /// The shard as the log knows it.
    #[must_use]
    pub const fn key(&self) -> ShardKey {
        self.key
    }

    /// The hash keys that belong to it.
    #[must_use]
    pub const fn range(&self) -> HashKeyRange {
        self.range
    }

    /// The shards that it took over from: none, one that was split, or two that were merged. One that is not in the
    /// topology any more had all its records trimmed.
    #[must_use]
    pub const fn parents(&self) -> &[ShardId] {
        &self.parents
    }

    /// When it came into being.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Why it came into being, in words; empty for those that the stream began with.
    #[must_use]
    pub const fn reason(&self) -> &str {
        &self.reason
    }

    /// Where it ended; `None` while it is open. Its children are in the stream's topology by then.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.get()
    }

    /// Whether it was closed, and not longer than this ago. Where this process closed it, no step of the system's clock
    /// changes the answer.
    pub(super) fn closed_within(&self, age: Duration) -> bool {
        match (self.closed(), self.closed_here.get()) {
            (None, _) => false,
            (Some(_), Some(at)) => at.elapsed() <= age,
            (Some(closed), None) => closed.at >= Timestamp::now().before(age),
        }
    }

    /// Closes it, for good, at this moment.
    pub(super) fn close_now(&self, closed: Closed) {
        // Before the other, by which it counts as closed.
        let _ = self.closed_here.set(Instant::now());
        self.close(closed);
    }

    /// Closes it, for good.
    pub(super) fn close(&self, closed: Closed) {
        // A second close can only come from a bug, and must not move the end.
        debug_assert!(self.closed.get().is_none(), "shard {} is closed twice", self.key);
        let _ = self.closed.set(closed);
    }

    /// Counts what became durable.
    pub(super) fn take(&self, bytes: u64, records: u64) {
        self.taken[0].fetch_add(bytes, Ordering::Relaxed);
        self.taken[1].fetch_add(records, Ordering::Relaxed);
    }

    /// Bytes and records that became durable since the process began.
    pub(super) fn taken(&self) -> (u64, u64) {
        (self.taken[0].load(Ordering::Relaxed), self.taken[1].load(Ordering::Relaxed))
    }

    pub(super) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.account.read())
    }

    /// Begins a new account, for other quotas.
    pub(super) fn set_account(&self, spec: &StreamSpec) {
        *self.account.write() = Arc::new(Account::new(spec.quota, spec.record_bytes_max, Instant::now()));
    }
}
