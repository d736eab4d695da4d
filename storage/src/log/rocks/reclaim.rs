//! Gives the disk space of trimmed blocks back, on a thread of its own. It must not move living blocks as long as the dead
//! ones leave whole files, which they do where streams are kept for equally long.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::db::Db;
use super::keys::KEY_BYTES;

type KeyRange = Range<[u8; KEY_BYTES]>;

/// Ranges that wait are merged beyond this many, so that memory is bounded whatever the shards.
const RANGES_MAX: usize = 1024;
/// Where more than one byte of this many in blob files is dead and spread among the living, RocksDB may move the living.
const GARBAGE_SHARE: u64 = 2;
/// How often a running collection is looked at, to end it.
const COLLECTION_LOOK: Duration = Duration::from_secs(1);

/// Trimmed ranges that wait for the thread.
#[derive(Debug)]
pub(super) struct Reclaimer {
    /// Less than this is left on disk for a while.
    bytes_min: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ranges: Vec<KeyRange>,
    stored_bytes: u64,
    stopped: bool,
}

impl State {
    /// Adds a range to the one that it continues, if any.
    fn add(&mut self, range: KeyRange) {
        match self.ranges.iter_mut().find(|known| known.end == range.start) {
            Some(known) => known.end = range.end,
            None => self.ranges.push(range),
        }
        if self.ranges.len() > RANGES_MAX {
            // Compacting the living in between costs some work and changes nothing.
            let start = self.ranges.iter().map(|range| range.start).min().expect("there are ranges");
            let end = self.ranges.iter().map(|range| range.end).max().expect("there are ranges");
            self.ranges = vec![start..end];
        }
    }
}

impl Reclaimer {
    pub(super) fn new(bytes_min: u64) -> Self {
        Self { bytes_min, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Tells that the blocks in `range`, of `stored_bytes`, are gone.
    pub(super) fn add(&self, range: KeyRange, stored_bytes: u64) {
        let mut state = self.state.lock();
        state.add(range);
        state.stored_bytes += stored_bytes;
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the thread after the range at hand.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Waits for enough to do, and while RocksDB collects garbage at most for [`COLLECTION_LOOK`]; `None` when stopped.
    fn wait(&self, collecting: bool) -> Option<Vec<KeyRange>> {
        let mut state = self.state.lock();
        while !state.stopped && state.stored_bytes < self.bytes_min {
            if !collecting {
                self.changed.wait(&mut state);
            } else if self.changed.wait_for(&mut state, COLLECTION_LOOK).timed_out() {
                break;
            }
        }
        if state.stopped {
            return None;
        }
        if state.stored_bytes < self.bytes_min {
            return Some(Vec::new());
        }
        state.stored_bytes = 0;
        Some(std::mem::take(&mut state.ranges))
    }

    /// Runs until stopped. What then waits is found by compaction some day, or by the next trim.
    pub(super) fn run(&self, db: &Arc<Db>) {
        let mut collecting = false;
        while let Some(ranges) = self.wait(collecting) {
            for range in ranges {
                if self.state.lock().stopped {
                    return;
                }
                db.compact(&range);
            }
            let (bytes, garbage) = db.blob_bytes();
            let collect = garbage > bytes / GARBAGE_SHARE;
            if collect != collecting {
                if let Err(error) = db.set_blob_collection(collect) {
                    tracing::warn!(%error, "the space of trimmed blocks is not given back yet");
                }
                collecting = collect;
            }
        }
    }
}
