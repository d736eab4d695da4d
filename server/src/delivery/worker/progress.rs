//! What a worker says of itself, and what others ask of it. Both are watch channels: whoever waits, waits on a condition.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::Totals;
use millrace_storage::time::Timestamp;

use crate::delivery::declared::Declared;
use crate::error::Error;
use crate::streams::Topology;

/// An offset for each shard.
pub(crate) type Offsets = BTreeMap<ShardId, Offset>;

/// What a worker says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// It knows its position.
    pub(crate) recovered: bool,
    /// It holds nothing and reads nothing, because it was asked to pause.
    pub(crate) paused: bool,
    /// Steps that fail at present, each tried again with back-off.
    pub(crate) failing: BTreeMap<String, Failure>,
    /// For each shard the first offset that is not committed.
    pub(crate) committed: Offsets,
    /// For each shard the first offset that is neither committed nor held converted.
    pub(crate) converted: Offsets,
    /// The number that the next batch gets.
    pub(crate) next_batch: u64,
    /// Since the delivery was created.
    pub(crate) totals: Totals,
    /// When the last batch was committed.
    pub(crate) last_commit_at: Option<Timestamp>,
    /// When the oldest uncommitted record arrived, where there is one.
    pub(crate) oldest_at: Option<Timestamp>,
    /// Bytes of records that are held for the next batches.
    pub(crate) buffered_bytes: u64,
    /// In how many partitions these are.
    pub(crate) open_partitions: usize,
    /// The last request for a replay that was answered.
    pub(crate) replay_answered: u64,
    /// Why that replay was given up, if it was.
    pub(crate) replay_failure: Option<Error>,
    /// What replays took and made since the worker began.
    pub(crate) replays: Totals,
    /// The worker ended.
    pub(crate) ended: bool,
}

/// A step that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The last error.
    pub(crate) message: String,
    /// Failed attempts since the last success.
    pub(crate) attempts: u64,
}

impl Progress {
    /// The error to show, of the step that failed most often.
    pub(crate) fn last_error(&self) -> Option<&Failure> {
        self.failing.values().max_by_key(|failure| failure.attempts)
    }
}

/// What others ask of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Whether it shall run.
    pub(crate) running: bool,
    /// What it shall do. A new declaration takes effect with the next batch.
    pub(crate) declared: Arc<Declared>,
    /// Up to here all shall be committed as soon as possible.
    pub(crate) flush: Offsets,
    /// Up to here all shall be converted as soon as possible.
    pub(crate) convert: Offsets,
    /// What shall be taken up again.
    pub(crate) replay: ReplayAim,
}

/// A wish for a replay.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReplayAim {
    /// The number of the newest wish.
    pub(crate) request: u64,
    /// What batches before this one set aside.
    pub(crate) upto: u64,
}

/// Whether every shard of `wanted` is reached that the stream still has: one is gone only after every delivery has committed
/// all of it.
pub(crate) fn reached(topology: &Topology, have: &Offsets, wanted: &Offsets) -> bool {
    let reached = |shard: &ShardId, offset: &Offset| have.get(shard).copied().unwrap_or_default() >= *offset;
    wanted.iter().all(|(shard, offset)| reached(shard, offset) || topology.shard(*shard).is_none())
}

/// Moves `target` forward to `more`, shard by shard, and forgets the shards that the stream has no more.
pub(crate) fn raise(topology: &Topology, target: &mut Offsets, more: &Offsets) {
    for (shard, offset) in more {
        let held = target.entry(*shard).or_default();
        *held = (*held).max(*offset);
    }
    target.retain(|shard, _| topology.shard(*shard).is_some());
}
