//! A log that cannot be read in one place: the delivery says so, and the other shards go on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use millrace_storage::log::memory::MemoryLog;
use millrace_storage::log::{
    Append, AppendTicket, Appended, Error, Log, Offset, ProducerSequence, ReadLimit, Record, Result, ShardId, ShardKey,
    StreamId,
};
use millrace_storage::time::Timestamp;
use tokio::sync::watch;

use super::site::{Site, event};
use crate::delivery::State;

/// A log whose shard 0 has a corrupt block while it is told so.
#[derive(Debug)]
struct CorruptLog {
    inner: MemoryLog,
    corrupt: AtomicBool,
}

#[async_trait]
impl Log for CorruptLog {
    async fn append(&self, shard: ShardKey, append: Append) -> Result<AppendTicket> {
        self.inner.append(shard, append).await
    }

    fn stored(&self, shard: ShardKey, producer: ProducerSequence, count: u64) -> Result<Option<Appended>> {
        self.inner.stored(shard, producer, count)
    }

    async fn read(&self, shard: ShardKey, from: Offset, limit: ReadLimit) -> Result<Vec<Record>> {
        if shard.shard == ShardId(0) && self.corrupt.load(Ordering::SeqCst) {
            return Err(Error::Corrupt { shard, last_offset: Offset(7), reason: "as told".to_owned() });
        }
        self.inner.read(shard, from, limit).await
    }

    fn offsets(&self, shard: ShardKey) -> Range<Offset> {
        self.inner.offsets(shard)
    }

    async fn offset_at(&self, shard: ShardKey, time: Timestamp) -> Result<Offset> {
        self.inner.offset_at(shard, time).await
    }

    fn newest_arrival(&self, shard: ShardKey) -> Option<Timestamp> {
        self.inner.newest_arrival(shard)
    }

    fn tail(&self, shard: ShardKey) -> watch::Receiver<Offset> {
        self.inner.tail(shard)
    }

    fn stored_bytes(&self, stream: StreamId) -> u64 {
        self.inner.stored_bytes(stream)
    }

    async fn stored_bytes_in(&self, shard: ShardKey, offsets: Range<Offset>) -> Result<u64> {
        self.inner.stored_bytes_in(shard, offsets).await
    }

    async fn trim(&self, shard: ShardKey, before: Offset) -> Result<()> {
        self.inner.trim(shard, before).await
    }

    async fn delete_stream(&self, stream: StreamId) -> Result<()> {
        self.inner.delete_stream(stream).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[tokio::test]
async fn a_corrupt_block_is_named_and_holds_up_its_shard_only() {
    let log = Arc::new(CorruptLog { inner: MemoryLog::new(), corrupt: AtomicBool::new(true) });
    let memory = Site::memory();
    let site = Site::new(Arc::clone(&log) as _, Arc::clone(&memory.meta), memory.store.clone(), None);
    let process = site.start().await;
    let pipeline = super::site::PIPELINE.replace("900s", "0s");
    process.deliveries.apply(&pipeline, false).await.unwrap();
    process.append(0, vec![event(0)]).await;
    process.append(1, vec![event(1)]).await;
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    progress
        .wait_for(|progress| {
            progress.totals.rows == 1 && progress.last_error().is_some_and(|failure| failure.attempts > 2)
        })
        .await
        .unwrap();
    let described = process.deliveries.describe("d").await.unwrap();
    assert_eq!(described.state, State::Retrying);
    let error = described.last_error.unwrap();
    assert!(error.contains("shard 0") && error.contains("offset 7 is corrupt"), "{error}");
    log.corrupt.store(false, Ordering::SeqCst);
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, vec![0, 1], 0).await;
    assert_eq!(process.deliveries.describe("d").await.unwrap().state, State::Running);
}
