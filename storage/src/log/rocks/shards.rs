//! What is known of each shard in memory: its readable offsets and when its newest record arrived. The committer alone
//! changes it, after the change is durable.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::super::{Offset, ShardKey, StreamId};
use crate::time::Timestamp;

/// A shard's state.
#[derive(Debug)]
pub(super) struct Shard {
    next: watch::Sender<Offset>,
    trim: AtomicU64,
    newest: AtomicI64,
}

impl Shard {
    pub(super) fn new(offsets: Range<Offset>, newest: Timestamp) -> Self {
        Self {
            next: watch::Sender::new(offsets.end),
            trim: AtomicU64::new(offsets.start.0),
            newest: AtomicI64::new(newest.0),
        }
    }

    pub(super) fn next(&self) -> Offset {
        *self.next.borrow()
    }

    pub(super) fn trim(&self) -> Offset {
        Offset(self.trim.load(SeqCst))
    }

    pub(super) fn offsets(&self) -> Range<Offset> {
        // Trim first: `next` never falls, so the range is never upside down.
        let trim = self.trim();
        trim..self.next()
    }

    /// When the newest record arrived, readable or not; 0 where there was none.
    pub(super) fn newest(&self) -> Timestamp {
        Timestamp(self.newest.load(SeqCst))
    }

    pub(super) fn tail(&self) -> watch::Receiver<Offset> {
        self.next.subscribe()
    }

    /// Publishes durable records up to `next`.
    pub(super) fn advance(&self, next: Offset, newest: Timestamp) {
        self.newest.store(newest.0, SeqCst);
        self.next.send_replace(next);
    }

    /// Publishes a trim.
    pub(super) fn set_trim(&self, trim: Offset) {
        self.trim.store(trim.0, SeqCst);
    }
}

/// All shards that have been written, asked for or recovered.
#[derive(Debug, Default)]
pub(super) struct Shards {
    map: RwLock<HashMap<ShardKey, Arc<Shard>>>,
}

impl Shards {
    pub(super) fn new(recovered: HashMap<ShardKey, Arc<Shard>>) -> Self {
        Self { map: RwLock::new(recovered) }
    }

    pub(super) fn get(&self, shard: ShardKey) -> Option<Arc<Shard>> {
        self.map.read().get(&shard).map(Arc::clone)
    }

    pub(super) fn all(&self) -> Vec<(ShardKey, Arc<Shard>)> {
        self.map.read().iter().map(|(shard, state)| (*shard, Arc::clone(state))).collect()
    }

    pub(super) fn get_or_new(&self, shard: ShardKey) -> Arc<Shard> {
        if let Some(found) = self.get(shard) {
            return found;
        }
        let mut map = self.map.write();
        let new = || Arc::new(Shard::new(Offset::ZERO..Offset::ZERO, Timestamp(0)));
        Arc::clone(map.entry(shard).or_insert_with(new))
    }

    /// Forgets a stream's shards.
    pub(super) fn remove_stream(&self, stream: StreamId) {
        self.map.write().retain(|shard, _| shard.stream != stream);
    }
}
