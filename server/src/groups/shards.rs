//! A stream's shards as a group sees them: which come after which, and where a closed one ends.

use std::collections::BTreeMap;
use std::ops::Range;

use millrace_storage::log::{Offset, ShardId, ShardKey};

use crate::streams::{ShardState, StreamState, Streams, Topology};

/// The shards of a stream, by number.
pub(super) type Shards = BTreeMap<ShardId, Shard>;

/// A shard.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    pub(super) key: ShardKey,
    /// Those that are not among the shards any more had all their records trimmed.
    pub(super) parents: Vec<ShardId>,
    /// The offset after the last, where it is closed.
    pub(super) end: Option<Offset>,
    /// What can be read.
    pub(super) offsets: Range<Offset>,
}

impl Shard {
    fn of(streams: &Streams, shard: &ShardState) -> Self {
        // Whether it is closed is asked first: then what can be read is final.
        let end = shard.closed().map(|closed| closed.end);
        let offsets = streams.log().offsets(shard.key());
        Self { key: shard.key(), parents: shard.parents().to_vec(), end, offsets }
    }

    /// Whether nothing of it is left for a reader at `at`, now and for ever.
    pub(super) fn is_finished(&self, at: Offset) -> bool {
        self.end.is_some_and(|end| at.max(self.offsets.start) >= end)
    }

    /// Records that are kept and not before `at`.
    pub(super) fn lag(&self, at: Offset) -> u64 {
        self.offsets.end.since(at.max(self.offsets.start))
    }
}

/// The shards of a topology as they stand.
pub(super) fn of(streams: &Streams, topology: &Topology) -> Shards {
    topology.shards().iter().map(|shard| (shard.id(), Shard::of(streams, shard))).collect()
}

/// One shard as it stands.
pub(super) fn of_one(streams: &Streams, stream: &StreamState, shard: ShardId) -> Option<Shard> {
    stream.topology().shard(shard).map(|shard| Shard::of(streams, shard))
}
