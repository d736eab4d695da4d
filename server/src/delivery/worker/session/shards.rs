//! The shards that a session reads, as the stream is resharded.

use std::sync::Arc;

use futures::future::FutureExt;
use millrace_storage::log::{Offset, ShardId};
use tokio::time::Instant;

use super::Session;
use crate::delivery::worker::shard::Shard;

impl Session {
    /// Notes whether a shard has records to be read, and else watches it.
    pub(super) fn watch(&mut self, shard: ShardId, now: Instant) {
        let Some(index) = self.index_of(shard) else { return };
        let watched = &mut self.shards[index];
        if watched.notice(now) {
            self.waiting.insert(shard);
            return;
        }
        self.waiting.remove(&shard);
        if !watched.is_read_out() {
            self.idle.push(watched.appended().boxed());
        }
    }

    pub(super) fn index_of(&self, shard: ShardId) -> Option<usize> {
        self.shards.binary_search_by_key(&shard, |shard| shard.key.shard).ok()
    }

    /// Takes in the shards that came and lets go of those that went. A new one is read from its first record on, or from
    /// where it was committed.
    pub(super) fn follow_topology(&mut self, now: Instant) {
        let topology = Arc::clone(&self.topology.borrow_and_update());
        if self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &topology)) {
            return;
        }
        self.shards.retain(|shard| topology.shard(shard.key.shard).is_some());
        // Numbers only grow, so that what is new stands last.
        let known = self.shards.last().map(|shard| shard.key.shard);
        for state in topology.shards().iter().filter(|shard| known.is_none_or(|known| shard.id() > known)) {
            let from = match &self.position {
                Some(position) => position.committed_in(state.id()),
                // Its position cannot have moved: it was never read.
                None => Offset::ZERO,
            };
            let tail = self.parts.log.tail(state.key());
            self.shards.push(Shard::new(Arc::clone(state), from, tail));
        }
        self.followed = Some(topology);
        self.waiting.clear();
        self.idle.clear();
        for index in 0..self.shards.len() {
            self.watch(self.shards[index].key.shard, now);
        }
    }

    /// Whether a shard's turn has not come: its parents are not read to their end.
    pub(super) fn is_held_back(&self, shard: &Shard) -> bool {
        shard
            .parents()
            .iter()
            .any(|parent| self.index_of(*parent).is_some_and(|index| !self.shards[index].is_read_out()))
    }
}
