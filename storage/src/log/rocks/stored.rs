//! How many bytes each stream holds as stored, kept as blocks come and go. What an earlier process left is counted from the
//! index on a thread of its own, so that opening a large log does not wait for it. It must never touch a block.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::super::{Result, StreamId};
use super::db::IndexScan;

/// Index entries that are counted before others see them.
const ENTRIES_PER_STEP: usize = 4096;

/// The bytes of each stream.
#[derive(Debug, Default)]
pub(super) struct StoredBytes {
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Signed: a trim may be counted before what it trimmed.
    by_stream: HashMap<StreamId, i64>,
    /// Streams that were deleted while the index was counted; their entries there are no more.
    deleted_meanwhile: HashSet<StreamId>,
    counting: bool,
}

impl StoredBytes {
    pub(super) fn of(&self, stream: StreamId) -> u64 {
        let bytes = self.state.lock().by_stream.get(&stream).copied().unwrap_or(0);
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Counts blocks that became durable.
    pub(super) fn add(&self, stream: StreamId, bytes: u64) {
        *self.state.lock().by_stream.entry(stream).or_default() += signed(bytes);
    }

    /// Counts blocks that were trimmed.
    pub(super) fn remove(&self, stream: StreamId, bytes: u64) {
        *self.state.lock().by_stream.entry(stream).or_default() -= signed(bytes);
    }

    /// Forgets a deleted stream.
    pub(super) fn forget(&self, stream: StreamId) {
        let mut state = self.state.lock();
        state.by_stream.remove(&stream);
        if state.counting {
            state.deleted_meanwhile.insert(stream);
        }
    }

    /// Says that [`StoredBytes::count`] will follow, before anything is appended or deleted.
    pub(super) fn begin(&self) {
        self.state.lock().counting = true;
    }

    /// Counts the blocks of an index as it was before the first append.
    pub(super) fn count(&self, mut index: IndexScan<'_>) -> Result<()> {
        let mut step: HashMap<StreamId, i64> = HashMap::new();
        let mut entries = 0;
        while let Some(found) = index.entry()? {
            *step.entry(found.key.shard.stream).or_default() += i64::from(found.entry.stored_bytes);
            index.advance();
            entries += 1;
            if entries % ENTRIES_PER_STEP == 0 {
                self.publish(&mut step);
                if self.stop.load(Relaxed) {
                    break;
                }
            }
        }
        self.publish(&mut step);
        let mut state = self.state.lock();
        state.counting = false;
        state.deleted_meanwhile.clear();
        Ok(())
    }

    fn publish(&self, step: &mut HashMap<StreamId, i64>) {
        let mut state = self.state.lock();
        for (stream, bytes) in step.drain() {
            if !state.deleted_meanwhile.contains(&stream) {
                *state.by_stream.entry(stream).or_default() += bytes;
            }
        }
    }

    /// Ends a count that runs.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
