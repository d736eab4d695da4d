//! A stream as it runs: its shards with their accounts, and the gate that keeps a deletion from overtaking puts.

use std::sync::Arc;
use std::time::Instant;

use millrace_storage::log::{ShardId, ShardKey, StreamId};
use millrace_storage::time::Timestamp;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::hash_key::{self, HashKeyRange};
use super::metrics::{ShardMetrics, StreamMetrics};
use super::name::StreamName;
use super::options::StreamSpec;
use super::quota::Account;
use crate::error::{Error, Result};

/// A stream that exists.
#[derive(Debug)]
pub struct StreamState {
    id: StreamId,
    name: StreamName,
    created_at: Timestamp,
    spec: RwLock<StreamSpec>,
    shards: Vec<ShardState>,
    /// Puts hold it shared until they are durable; a deletion takes it alone.
    pub(super) gate: Arc<tokio::sync::RwLock<()>>,
    pub(super) deleted: CancellationToken,
}

/// A shard of a stream.
#[derive(Debug)]
pub struct ShardState {
    key: ShardKey,
    range: HashKeyRange,
    account: RwLock<Arc<Account>>,
    pub(super) metrics: ShardMetrics,
}

impl StreamState {
    pub(super) fn new(
        id: StreamId,
        name: StreamName,
        created_at: Timestamp,
        spec: StreamSpec,
        metrics: &StreamMetrics,
    ) -> Self {
        let now = Instant::now();
        let shard = |(number, range)| ShardState {
            key: ShardKey { stream: id, shard: ShardId(number) },
            range,
            account: RwLock::new(Arc::new(Account::new(spec.quota, spec.record_bytes_max, now))),
            metrics: metrics.shard(&name, number),
        };
        let shards = (0..).zip(hash_key::split_evenly(spec.shard_count)).map(shard).collect();
        Self {
            id,
            name,
            created_at,
            spec: RwLock::new(spec),
            shards,
            gate: Arc::default(),
            deleted: CancellationToken::new(),
        }
    }

    /// The number that the log knows the stream by.
    #[must_use]
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// The stream's name.
    #[must_use]
    pub const fn name(&self) -> &StreamName {
        &self.name
    }

    /// When the stream was created.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// What the stream is made to be now.
    #[must_use]
    pub fn spec(&self) -> StreamSpec {
        *self.spec.read()
    }

    /// The shards, by number from 0.
    #[must_use]
    pub fn shards(&self) -> &[ShardState] {
        &self.shards
    }

    /// A shard by number.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`] where the stream has no such shard.
    pub fn shard(&self, shard: ShardId) -> Result<&ShardState> {
        self.shards.get(shard.0 as usize).ok_or_else(|| {
            Error::not_found(format_args!(
                "stream {} has {} shards, and no shard {shard}",
                self.name,
                self.shards.len()
            ))
            .in_field("shard")
            .about("stream", &self.name)
            .about("shard", shard)
        })
    }

    /// Ends when the stream is deleted.
    #[must_use]
    pub const fn deleted(&self) -> &CancellationToken {
        &self.deleted
    }

    /// The index of the shard that a hash key belongs to.
    pub(super) fn route(&self, hash_key: u128) -> usize {
        self.shards.partition_point(|shard| shard.range.start <= hash_key) - 1
    }

    pub(super) fn set_spec(&self, spec: StreamSpec) {
        let before = std::mem::replace(&mut *self.spec.write(), spec);
        if before.quota != spec.quota || before.record_bytes_max != spec.record_bytes_max {
            let now = Instant::now();
            for shard in &self.shards {
                *shard.account.write() = Arc::new(Account::new(spec.quota, spec.record_bytes_max, now));
            }
        }
    }

    pub(super) fn is_deleted(&self) -> Error {
        Error::not_found(format_args!("stream {} was deleted", self.name)).about("stream", &self.name)
    }
}

impl ShardState {
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

    pub(super) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.account.read())
    }
}
