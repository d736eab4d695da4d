//! Gives the disk space of trimmed blocks back, on a thread of its own. It must not move living blocks as long as the dead
//! ones leave whole files, which they do where streams are kept for equally long.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::super::Result;
use super::db::Db;
use super::keys::KEY_BYTES;

type KeyRange = Range<[u8; KEY_BYTES]>;

/// Ranges beyond this many that wait are kept only as the span around them, so that memory is bounded whatever the shards.
const RANGES_MAX: usize = 1024;
/// Where more than one byte of this many in blob files is dead and spread among the living, RocksDB may move the living.
const GARBAGE_SHARE: u64 = 2;

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
    /// Around the ranges past the limit. The living lie in it too, so its files must never be dropped, only compacted.
    span: Option<KeyRange>,
    stored_bytes: u64,
    stopped: bool,
}

impl State {
    /// Adds a range to the one that it continues, if any.
    fn add(&mut self, range: KeyRange) {
        if let Some(known) = self.ranges.iter_mut().find(|known| known.end == range.start) {
            known.end = range.end;
        } else if self.ranges.len() < RANGES_MAX {
            self.ranges.push(range);
        } else {
            self.span = Some(match self.span.take() {
                Some(span) => span.start.min(range.start)..span.end.max(range.end),
                None => range,
            });
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

    /// Waits for enough to do; `None` when stopped.
    fn wait(&self) -> Option<(Vec<KeyRange>, Option<KeyRange>)> {
        let mut state = self.state.lock();
        while !state.stopped && (state.stored_bytes < self.bytes_min || state.ranges.is_empty()) {
            self.changed.wait(&mut state);
        }
        if state.stopped {
            return None;
        }
        state.stored_bytes = 0;
        Some((std::mem::take(&mut state.ranges), state.span.take()))
    }

    /// Runs until stopped. What then waits is found by compaction some day, or by the next trim.
    pub(super) fn run(&self, db: &Arc<Db>) {
        let mut collecting = false;
        while let Some((ranges, span)) = self.wait() {
            for range in ranges {
                if self.state.lock().stopped {
                    return;
                }
                report(db.reclaim(&range));
            }
            if let Some(span) = span {
                db.compact(&span);
            }
            let (bytes, garbage) = db.blob_bytes();
            let collect = garbage > bytes / GARBAGE_SHARE;
            if collect != collecting {
                report(db.set_blob_collection(collect));
                collecting = collect;
            }
        }
    }
}

/// Disk space that stays taken is no reason to stop.
fn report(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the space of trimmed blocks is not given back yet");
    }
}
