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
use crate::delivery::{CorruptBlocks, DeliverySettings, State};

/// A log whose shard 0 has a corrupt block while it is told so.
#[derive(Debug)]
struct CorruptLog {
    inner: MemoryLog,
    corrupt: AtomicBool,
    /// The first and the last offset of the block.
    block: (Offset, Offset),
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
            let (start, last_offset) = self.block;
            if (start..=last_offset).contains(&from) {
                return Err(Error::Corrupt { shard, last_offset, reason: "as told".to_owned() });
            }
            // A read before the block ends at it.
            let records = self.inner.read(shard, from, limit).await?;
            return Ok(records.into_iter().filter(|record| from > last_offset || record.offset < start).collect());
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
    let log =
        Arc::new(CorruptLog { inner: MemoryLog::new(), corrupt: AtomicBool::new(true), block: (Offset(0), Offset(7)) });
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

#[tokio::test]
async fn a_delivery_that_skips_corrupt_blocks_loses_their_records_and_no_other() {
    let block = (Offset(2), Offset(4));
    let log = Arc::new(CorruptLog { inner: MemoryLog::new(), corrupt: AtomicBool::new(true), block });
    let memory = Site::memory();
    let site = Site::new(Arc::clone(&log) as _, Arc::clone(&memory.meta), memory.store.clone(), None);
    let settings = DeliverySettings { corrupt_blocks: CorruptBlocks::Skip, ..super::site::settings() };
    let process = site.start_with(settings).await;
    process.deliveries.apply(super::site::PIPELINE, false).await.unwrap();
    process.append(0, (0..8).map(event).collect()).await;
    process.append(1, vec![event(8)]).await;
    process.deliveries.flush("d").await.unwrap();
    assert_eq!(process.table_ids(&site).await, [0, 1, 5, 6, 7, 8]);
    let described = process.deliveries.describe("d").await.unwrap();
    assert_eq!((described.state, described.totals.lost, described.totals.records), (State::Running, 3, 6));
    let verified = process.deliveries.verify("d").await.unwrap();
    assert!(verified.faults.len() == 1 && verified.faults[0].contains("3 records were lost"), "{:?}", verified.faults);
}
