//! What clients did to one stream and what they were told, with the times between which it happened.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// (shard, offset).
pub(crate) type Place = (u32, u64);

/// What a client knows of one record that it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Durable, says the server.
    Stored(Place),
    /// Not stored, says the server.
    Refused,
    /// Nobody said.
    Unknown,
}

/// Records that were put together.
#[derive(Debug, Clone)]
pub(crate) struct Append {
    /// The id of each record, which it carries in its data.
    pub(crate) ids: Vec<i64>,
    pub(crate) fates: Vec<Fate>,
    /// Where the first was to lie, and what the server said was the next offset if that was another.
    pub(crate) expected: Option<(Place, Option<u64>)>,
    pub(crate) invoked: u64,
    pub(crate) ended: u64,
}

/// A shard read from an offset on.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) shard: u32,
    pub(crate) from: u64,
    /// The ids that were found, from there on.
    pub(crate) ids: Vec<i64>,
    /// Whether it was told that nothing more was there.
    pub(crate) to_the_end: bool,
    pub(crate) invoked: u64,
    pub(crate) ended: u64,
}

/// All that was done. Times are nanoseconds since it began.
#[derive(Debug)]
pub(crate) struct History {
    began: Instant,
    next_id: AtomicI64,
    pub(crate) appends: Mutex<Vec<Append>>,
    pub(crate) reads: Mutex<Vec<Read>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), next_id: AtomicI64::new(0), appends: Mutex::default(), reads: Mutex::default() }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("a test is short")
    }

    /// Ids that no other record has.
    pub(crate) fn ids(&self, count: usize) -> Vec<i64> {
        let first = self.next_id.fetch_add(count as i64, Ordering::SeqCst);
        (first..).take(count).collect()
    }
}
