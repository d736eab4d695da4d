//! A block that the disk lost costs its records and nothing else: subscriptions, reads that wait, and retention go past it.
//! The log is the real one, and the block is broken in its files.

use std::path::Path;

use futures::StreamExt;
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::log::{Offset, ReadLimit, ShardId};
use tempfile::TempDir;

use super::*;
use crate::error::{Error, Kind};
use crate::streams::{Position, ShardRecords};

const ALL: ReadLimit = ReadLimit { records_max: 0, bytes_max: 0 };
const HOUR_MS: i64 = 3_600_000;

/// A stream `s` of two shards over a log on disk.
struct Broken {
    log: Arc<RocksLog>,
    streams: Streams,
    metrics: Metrics,
    _folder: TempDir,
}

impl Broken {
    /// An hour between the records of shard 0, each in a block of its own; the one at offset 1 is broken. Shard 1 has one.
    async fn new() -> Self {
        let (folder, meta) = (tempfile::tempdir().unwrap(), Arc::new(MemoryMeta::new()) as Arc<dyn MetaStore>);
        let now = Arc::new(AtomicI64::new(NOON.as_millis()));
        let (log, streams, _) = start(folder.path(), &meta, &now).await;
        let options = StreamOptions { shard_count: Some(2), ..StreamOptions::default() };
        streams.create(&name("s"), &options).await.unwrap();
        for hour in 0..4u8 {
            now.store(NOON.as_millis() + i64::from(hour) * HOUR_MS, Ordering::Relaxed);
            let fates = streams.put(&name("s"), vec![record_for(0, data(hour))]).await.unwrap();
            assert!(fates[0].is_ok());
        }
        streams.put(&name("s"), vec![record_for(1, "whole")]).await.unwrap();
        drop(streams);
        log.close().await.unwrap();
        drop(log);
        flip(folder.path(), &data(1));
        let (log, streams, metrics) = start(folder.path(), &meta, &now).await;
        Self { log, streams, metrics, _folder: folder }
    }

    async fn get(&self, from: u64) -> crate::error::Result<ShardRecords> {
        self.streams.get_records(&name("s"), ShardId(0), Position::Offset(Offset(from)), ALL).await
    }
}

async fn start(folder: &Path, meta: &Arc<dyn MetaStore>, now: &Arc<AtomicI64>) -> (Arc<RocksLog>, Streams, Metrics) {
    let told = Arc::clone(now);
    let clock = Clock::new(move || Timestamp(told.load(Ordering::Relaxed)));
    let settings = LogSettings { tail_cache_bytes_max: 0, ..LogSettings::new(folder) };
    let (log, metrics) = (Arc::new(RocksLog::open_with_clock(settings, clock).unwrap()), Metrics::new());
    let shared = Arc::clone(&log) as Arc<dyn Log>;
    let streams = Streams::open(shared, Arc::clone(meta), StreamSettings::default(), &metrics).await.unwrap();
    (log, streams, metrics)
}

/// Bytes that stand nowhere else, and that no codec shrinks.
fn data(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..4_000).map(next).collect()
}

/// Changes a byte of a record in the log's files.
fn flip(folder: &Path, record: &[u8]) {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|kind| kind == "sst" || kind == "blob")) {
        let mut bytes = std::fs::read(&path).unwrap();
        let needle = &record[1_000..1_064];
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("the record is in no file");
}

fn offsets(read: &ShardRecords) -> Vec<u64> {
    read.records.iter().map(|record| record.offset.0).collect()
}

fn is_told(error: &Error) {
    assert_eq!(*error.kind(), Kind::DataLoss, "{error}");
    assert!(error.to_string().contains("offset 1 is corrupt"), "{error}");
    assert!(error.objects().contains(&("next_offset", "2".to_owned())), "{error:?}");
}

#[tokio::test]
async fn a_subscriber_gets_all_before_a_corrupt_block_is_told_and_goes_on_after_it() {
    let broken = Broken::new().await;
    let subscribe = async |position| broken.streams.subscribe(&name("s"), Some(ShardId(0)), position).await.unwrap();
    let mut pushed = subscribe(Position::TrimHorizon).await;
    assert_eq!(offsets(&pushed.next().await.unwrap().unwrap()), [0]);
    is_told(&pushed.next().await.unwrap().unwrap_err());
    assert!(pushed.next().await.is_none());
    let mut seen = Vec::new();
    let mut pushed = subscribe(Position::Offset(Offset(2))).await;
    while seen.len() < 2 {
        seen.extend(offsets(&pushed.next().await.unwrap().unwrap()));
    }
    assert_eq!(seen, [2, 3]);
    // By time too, and in the other shard.
    let mut pushed = subscribe(Position::Time(Timestamp(NOON.as_millis() + 2 * HOUR_MS))).await;
    assert_eq!(pushed.next().await.unwrap().unwrap().records[0].offset, Offset(2));
    let other = broken.streams.get_records(&name("s"), ShardId(1), Position::TrimHorizon, ALL).await.unwrap();
    assert_eq!(other.records[0].data, "whole");
    assert!(broken.log.stats().corrupt_blocks >= 1, "it is counted");
}

#[tokio::test]
async fn reads_at_the_tail_do_not_meet_a_corrupt_block_behind_them() {
    let broken = Broken::new().await;
    is_told(&broken.get(1).await.unwrap_err());
    let mut pushed = broken.streams.subscribe(&name("s"), None, Position::Latest).await.unwrap();
    let streams = broken.streams.clone();
    let wait = std::time::Duration::from_secs(30);
    let waiting = tokio::spawn(async move {
        streams.get_waiting(&name("s"), ShardId(0), Position::Offset(Offset(4)), ALL, wait, None).await
    });
    let fates = broken.streams.put(&name("s"), vec![record_for(0, "next")]).await.unwrap();
    assert_eq!(fates[0].as_ref().unwrap().offset, Offset(4));
    assert_eq!(offsets(&waiting.await.unwrap().unwrap()), [4]);
    assert_eq!(offsets(&pushed.next().await.unwrap().unwrap()), [4]);
}

#[tokio::test]
async fn retention_passes_a_corrupt_block_as_any_other() {
    let broken = Broken::new().await;
    let at = |hour: i64| Timestamp(NOON.as_millis() + hour * HOUR_MS + 1);
    let key = broken.streams.get(&name("s")).unwrap().shard(ShardId(0)).unwrap().key();
    // The first is past its 24 hours, then the corrupt one too.
    for (hour, start) in [(24, 1), (25, 2)] {
        broken.streams.retain(at(hour)).await.unwrap();
        assert_eq!(broken.log.offsets(key), Offset(start)..Offset(4), "after {hour} hours");
    }
    let rest = broken.streams.get_records(&name("s"), ShardId(0), Position::TrimHorizon, ALL).await.unwrap();
    assert_eq!(offsets(&rest), [2, 3]);
    assert!(broken.metrics.text().contains("millrace_streams_retention_errors_total 0"));
    assert_eq!(broken.log.verify(|_| {}).await.unwrap().fault_count, 0, "nothing is left of it");
}
