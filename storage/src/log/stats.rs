//! Counts of a log since it was opened, for the server's metrics. The snapshot is plain; the counters stay with the engine.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets of times, in microseconds.
const TIME_BUCKETS_MICROS: [u64; 13] =
    [50, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 512_000, 2_000_000];
/// Upper bounds of the group-size buckets, in bytes.
const GROUP_BYTES_BUCKETS: [u64; 8] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];
/// Upper bounds of the buckets of appends a group.
const GROUP_APPENDS_BUCKETS: [u64; 8] = [1, 2, 4, 8, 16, 64, 256, 1024];

/// A snapshot of a log's counts. All are totals since the log was opened unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Durable appends.
    pub appends: u64,
    /// Durable records.
    pub records: u64,
    /// Data plus partition keys of durable records.
    pub bytes: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Blocks written that are encrypted.
    pub encrypted_blocks: u64,
    /// Blocks that reads decrypted.
    pub decrypted_blocks: u64,
    /// Data keys that exist and cannot be used now.
    pub locked_keys: u64,
    /// Appends and reads that failed because a data key could not be used.
    pub key_failures: u64,
    /// Bytes of blocks as stored, after compression.
    pub stored_bytes: u64,
    /// Groups: each is one write and one sync.
    pub groups: u64,
    /// Microseconds that each group took to be written, to the operating system and into the index.
    pub write_micros: Distribution,
    /// Microseconds that its sync took after that.
    pub sync_micros: Distribution,
    /// Bytes that each group wrote.
    pub group_bytes: Distribution,
    /// Appends that each group made durable; none where it only trimmed or deleted.
    pub group_appends: Distribution,
    /// Appends that wait now.
    pub queued_appends: u64,
    /// Bytes of appends that wait now or are being written.
    pub queued_bytes: u64,
    /// Appends that had to wait for room in the queue.
    pub queue_full: u64,
    /// Appends refused for a limit.
    pub refused: u64,
    /// Appends that an earlier one of the same producer and sequence had stored.
    pub duplicates: u64,
    /// Appends refused because the shard's next offset was another than expected.
    pub unexpected: u64,
    /// Appends refused because their sequence was too old or used for other records.
    pub sequences_refused: u64,
    /// Producers that were forgotten, for a limit on their number or after a time.
    pub producers_evicted: u64,
    /// Producers that are remembered now, counted once for each shard.
    pub producers: u64,
    /// Reads served from memory alone.
    pub cache_hits: u64,
    /// Reads that went to disk.
    pub cache_misses: u64,
    /// Bytes in the tail cache now.
    pub cache_bytes: u64,
    /// Blocks found corrupt by reads.
    pub corrupt_blocks: u64,
    /// Records trimmed.
    pub trimmed_records: u64,
    /// Whether a failed write or sync has stopped appends.
    pub poisoned: bool,
    /// Bytes of the log's files now.
    pub disk_bytes: u64,
}

/// How values spread: for a histogram.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// An upper bound, inclusive, and how many values lie in its bucket alone. Bounds ascend; values past the last are in
    /// `count` alone.
    pub buckets: Vec<(u64, u64)>,
    /// All values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// The engine's side of [`Distribution`].
#[derive(Debug)]
struct Spread<const N: usize> {
    bounds: &'static [u64; N],
    counts: [AtomicU64; N],
    count: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Spread<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, counts, count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    fn add(&self, value: u64) {
        let bucket = self.bounds.partition_point(|upper| *upper < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    fn snapshot(&self) -> Distribution {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        Distribution {
            buckets: self.bounds.iter().copied().zip(counts).collect(),
            count: self.count.load(Relaxed),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// How long a group took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupTime {
    /// Its write.
    pub(crate) write: Duration,
    /// The sync after it.
    pub(crate) sync: Duration,
}

/// The engine's side of [`LogStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) blocks: AtomicU64,
    pub(crate) encrypted_blocks: AtomicU64,
    pub(crate) decrypted_blocks: AtomicU64,
    pub(crate) key_failures: AtomicU64,
    pub(crate) stored_bytes: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) unexpected: AtomicU64,
    pub(crate) sequences_refused: AtomicU64,
    pub(crate) producers_evicted: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) corrupt_blocks: AtomicU64,
    pub(crate) trimmed_records: AtomicU64,
    groups: Groups,
}

/// How large groups are, and how long they take.
#[derive(Debug)]
struct Groups {
    bytes: Spread<{ GROUP_BYTES_BUCKETS.len() }>,
    appends: Spread<{ GROUP_APPENDS_BUCKETS.len() }>,
    write: Spread<{ TIME_BUCKETS_MICROS.len() }>,
    sync: Spread<{ TIME_BUCKETS_MICROS.len() }>,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            bytes: Spread::new(&GROUP_BYTES_BUCKETS),
            appends: Spread::new(&GROUP_APPENDS_BUCKETS),
            write: Spread::new(&TIME_BUCKETS_MICROS),
            sync: Spread::new(&TIME_BUCKETS_MICROS),
        }
    }
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Relaxed);
    }

    /// Counts a group of so many appends in so many bytes.
    pub(crate) fn group(&self, took: GroupTime, bytes: u64, appends: u64) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.groups.bytes.add(bytes);
        self.groups.appends.add(appends);
        self.groups.write.add(micros(took.write));
        self.groups.sync.add(micros(took.sync));
    }

    /// The counts; the gauges are left at zero for the engine to fill in.
    pub(crate) fn snapshot(&self) -> LogStats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        LogStats {
            appends: get(&self.appends),
            records: get(&self.records),
            bytes: get(&self.bytes),
            blocks: get(&self.blocks),
            encrypted_blocks: get(&self.encrypted_blocks),
            decrypted_blocks: get(&self.decrypted_blocks),
            key_failures: get(&self.key_failures),
            stored_bytes: get(&self.stored_bytes),
            groups: self.groups.bytes.count.load(Relaxed),
            write_micros: self.groups.write.snapshot(),
            sync_micros: self.groups.sync.snapshot(),
            group_bytes: self.groups.bytes.snapshot(),
            group_appends: self.groups.appends.snapshot(),
            queue_full: get(&self.queue_full),
            refused: get(&self.refused),
            duplicates: get(&self.duplicates),
            unexpected: get(&self.unexpected),
            sequences_refused: get(&self.sequences_refused),
            producers_evicted: get(&self.producers_evicted),
            cache_hits: get(&self.cache_hits),
            cache_misses: get(&self.cache_misses),
            corrupt_blocks: get(&self.corrupt_blocks),
            trimmed_records: get(&self.trimmed_records),
            ..LogStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_in_the_bucket_whose_bound_it_does_not_pass() {
        let counters = Counters::default();
        for micros in [250, 251, 2_000_000, 2_000_001] {
            let took = GroupTime { write: Duration::from_micros(1), sync: Duration::from_micros(micros) };
            counters.group(took, micros, 1025);
        }
        let stats = counters.snapshot();
        let counts: Vec<u64> = stats.sync_micros.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((stats.sync_micros.count, stats.sync_micros.sum), (4, 4_000_502));
        assert_eq!((stats.write_micros.buckets[0], stats.write_micros.sum), ((50, 4), 4));
        assert_eq!(stats.groups, 4);
        assert_eq!(stats.group_bytes.buckets[0], (1 << 10, 2));
        assert_eq!((stats.group_appends.count, stats.group_appends.sum), (4, 4 * 1025));
        assert!(stats.group_appends.buckets.iter().all(|(_, count)| *count == 0), "1,025 is past the last bound");
    }
}
