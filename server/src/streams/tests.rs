//! What the service of streams promises, over the reference log and meta store.

mod put;
mod conditions;
mod admit;
mod read;
mod registry;
mod encryption;
mod reshard;
mod retention;
mod corrupt;
mod clock;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use millrace_storage::log::memory::MemoryLog;
use millrace_storage::log::{AppendLimits, Log};
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::memory::MemoryMeta;
use millrace_storage::time::{Clock, Timestamp};

use super::{OverQuota, PutRecord, StreamName, StreamOptions, StreamSettings, StreamState, Streams};
use crate::metrics::Metrics;

/// Streams on stores in memory, whose clock the test sets.
struct World {
    log: Arc<MemoryLog>,
    meta: Arc<dyn MetaStore>,
    now: Arc<AtomicI64>,
    settings: StreamSettings,
    metrics: Metrics,
    streams: Streams,
}

/// Noon of a day.
const NOON: Timestamp = Timestamp(1_700_000_000_000);

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StreamSettings)) -> Self {
        let mut settings = StreamSettings {
            in_bytes_per_second: bytesize::ByteSize::b(0),
            in_records_per_second: 0,
            out_bytes_per_second: bytesize::ByteSize::b(0),
            ..StreamSettings::default()
        };
        change(&mut settings);
        let now = Arc::new(AtomicI64::new(NOON.as_millis()));
        let told = Arc::clone(&now);
        let clock = Clock::new(move || Timestamp(told.load(Ordering::Relaxed)));
        let log = Arc::new(MemoryLog::with(AppendLimits::default(), clock));
        let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
        let (metrics, streams) = open(&log, &meta, &settings).await;
        Self { log, meta, now, settings, metrics, streams }
    }

    /// The streams as a restart finds them.
    async fn restarted(mut self) -> Self {
        (self.metrics, self.streams) = open(&self.log, &self.meta, &self.settings).await;
        self
    }

    async fn create(&self, stream: &str, shards: u32) -> Arc<StreamState> {
        let options = StreamOptions { shard_count: Some(shards), ..StreamOptions::default() };
        self.streams.create(&name(stream), &options).await.unwrap()
    }

    fn set_now(&self, now: Timestamp) {
        self.now.store(now.as_millis(), Ordering::Relaxed);
    }

    /// The value of a metric's line, such as `name{label="x"}`; 0 where there is none.
    fn metric(&self, line: &str) -> f64 {
        let text = self.metrics.text();
        let value = text.lines().find_map(|each| each.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Counts that are whole numbers.
    fn count(&self, line: &str) -> u64 {
        self.metric(line) as u64
    }
}

async fn open(log: &Arc<MemoryLog>, meta: &Arc<dyn MetaStore>, settings: &StreamSettings) -> (Metrics, Streams) {
    let (metrics, log) = (Metrics::new(), Arc::clone(log) as Arc<dyn Log>);
    let streams = Streams::open(log, Arc::clone(meta), settings.clone(), &metrics).await.unwrap();
    (metrics, streams)
}

fn name(name: &str) -> StreamName {
    name.parse().unwrap()
}

fn record(key: &str, data: impl Into<Bytes>) -> PutRecord {
    PutRecord { partition_key: key.to_owned(), explicit_hash_key: None, data: data.into() }
}

/// A record for one of two shards.
fn record_for(shard: u32, data: impl Into<Bytes>) -> PutRecord {
    let hash_key = if shard == 0 { 0 } else { u128::MAX };
    PutRecord { explicit_hash_key: Some(hash_key.to_string()), ..record("key", data) }
}
