//! The log in an embedded RocksDB: blocks of records under `stream | shard | last offset`, one shared folder for all shards.
//!
//! An append takes room in the queue ([`queue`]), is encoded where it runs ([`format`]), and waits for the committer
//! ([`writer`]), which makes whole groups durable with one sync each ([`group`]). Reads are served from the newest blocks in
//! memory ([`tail_cache`]) or, off the async threads, from disk ([`reader`]). No path acknowledges before the sync.

mod settings;
mod keys;
mod index;
mod marks;
mod sequences;
mod block;
mod format;
mod options;
mod db;
mod shards;
mod stored;
mod recovery;
mod queue;
mod group;
mod writer;
mod tail_cache;
mod recent;
mod reader;
mod reclaim;
mod verify;
mod repair;
mod checkpoint;
#[cfg(test)]
mod tests;

pub use repair::{LogRepair, LostBlock, repair};
pub use settings::LogSettings;
pub use verify::{Fault, Verified};

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use super::producers::Producers;
use super::stats::Counters;
use super::{
    AppendTicket, Appended, Error, Log, LogStats, NewRecord, Offset, ProducerSequence, ReadLimit, Record, Result,
    ShardKey, StreamId,
};
use crate::encryption::{DataKey, Keyring};
use crate::time::{Clock, Timestamp};
use db::Db;
use format::Draft;
use queue::{Append, Body, Entry, Queue};
use reader::Reader;
use recent::RecentBlocks;
use reclaim::Reclaimer;
use shards::{Shard, Shards};
use stored::StoredBytes;
use tail_cache::TailCache;
use writer::Committer;

/// An append from this size on is encoded by its caller as blocks of its own; smaller ones share a block.
const OWN_BLOCK_BYTES_MIN: usize = 32 << 10;

/// The log on this machine's disk.
pub struct RocksLog(Arc<Engine>);

struct Engine {
    shared: Arc<Shared>,
    /// `None` once closed.
    db: RwLock<Option<Arc<Db>>>,
    reclaimer: Arc<Reclaimer>,
    threads: Mutex<Threads>,
}

/// What appends, reads and the committer share.
#[derive(Debug)]
struct Shared {
    settings: LogSettings,
    clock: Clock,
    keys: Arc<Keyring>,
    shards: Shards,
    stored: StoredBytes,
    /// The committer's, which looks up and remembers a group at a time.
    producers: Mutex<Producers>,
    queue: Queue,
    tail: TailCache,
    recent: RecentBlocks,
    counters: Counters,
    poisoned: AtomicBool,
}

#[derive(Debug, Default)]
struct Threads {
    counter: Option<JoinHandle<()>>,
    committer: Option<JoinHandle<()>>,
    reclaimer: Option<JoinHandle<()>>,
}

impl RocksLog {
    /// Opens the log in its folder, or makes one. Blocks on the disk.
    ///
    /// Fails with [`Error::InUse`] where another process, or another log in this one, has the folder open.
    pub fn open(settings: LogSettings) -> Result<Self> {
        Self::open_with_clock(settings, Clock::system())
    }

    /// As [`RocksLog::open`], with arrival times from `clock`.
    pub fn open_with_clock(settings: LogSettings, clock: Clock) -> Result<Self> {
        Self::open_with_keys(settings, clock, Arc::default())
    }

    /// As [`RocksLog::open_with_clock`], with data keys: streams that `keys` has a sealing key for are encrypted from then on.
    pub fn open_with_keys(settings: LogSettings, clock: Clock, keys: Arc<Keyring>) -> Result<Self> {
        let settings = settings.bounded();
        let db = Arc::new(Db::open(&settings)?);
        let shards = recovery::recover(&db)?;
        let producers = Mutex::new(recovery::producers(&db, settings.producers, clock.now())?);
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.queue_bytes_max, settings.queue_appends_max),
            tail: TailCache::new(settings.tail_cache_bytes_max),
            recent: RecentBlocks::default(),
            counters: Counters::default(),
            poisoned: AtomicBool::new(false),
            shards,
            stored: StoredBytes::default(),
            producers,
            clock,
            keys,
            settings,
        });
        let reclaimer = Arc::new(Reclaimer::new(shared.settings.write_buffer_bytes as u64));
        let committer = Committer::new(Arc::clone(&shared), Arc::clone(&db), Arc::clone(&reclaimer));
        let threads = Threads {
            counter: Some(count_stored(&shared, &db)?),
            committer: Some(spawn("log-committer", || committer.run())?),
            reclaimer: Some(spawn("log-reclaimer", {
                let (reclaimer, db) = (Arc::clone(&reclaimer), Arc::clone(&db));
                move || reclaimer.run(&db)
            })?),
        };
        let db = RwLock::new(Some(db));
        Ok(Self(Arc::new(Engine { shared, db, reclaimer, threads: Mutex::new(threads) })))
    }

    /// Counts since the log was opened, and gauges as they stand. Lists the log's folder.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let Shared { queue, tail, counters, poisoned, settings, keys, .. } = &*self.0.shared;
        let (queued_appends, queued_bytes) = queue.load();
        LogStats {
            queued_appends: queued_appends as u64,
            queued_bytes: queued_bytes as u64,
            cache_bytes: tail.bytes() as u64,
            locked_keys: keys.locked_count() as u64,
            producers: self.0.shared.producers.lock().len() as u64,
            poisoned: poisoned.load(Relaxed),
            disk_bytes: folder_bytes(&settings.path),
            ..counters.snapshot()
        }
    }
}

impl Engine {
    fn db(&self) -> Result<Arc<Db>> {
        self.db.read().clone().ok_or(Error::Closed)
    }

    /// Runs `read` on a thread that may block.
    async fn on_disk<T: Send + 'static>(
        &self,
        shard: ShardKey,
        state: Arc<Shard>,
        read: impl FnOnce(Reader<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (db, shared) = (self.db()?, Arc::clone(&self.shared));
        blocking(move || {
            let answer = read(Reader { shared: &shared, db: &db, shard, state: &state });
            shared.watch_corruption(answer)
        })
        .await
    }

    /// Stops both threads: after what is queued, or after what is at hand.
    fn stop(&self, drain: bool) {
        if drain {
            self.shared.queue.close();
        } else {
            self.shared.queue.fail(&Error::Closed);
        }
        let mut threads = self.threads.lock();
        join(threads.committer.take());
        let Some(db) = self.db.write().take() else { return };
        self.reclaimer.stop();
        self.shared.stored.stop();
        join(threads.counter.take());
        if drain
            && !self.shared.poisoned.load(Relaxed)
            && let Err(error) = db.flush()
        {
            // Nothing is lost: the write-ahead log holds it all.
            tracing::warn!(%error, "the log closes without a flush; the next open replays more");
        }
        db.cancel_background();
        join(threads.reclaimer.take());
    }
}

/// Counts what each stream holds, from the index as it stands now.
fn count_stored(shared: &Arc<Shared>, db: &Arc<Db>) -> Result<JoinHandle<()>> {
    let (shared, db) = (Arc::clone(shared), Arc::clone(db));
    let (begun, begin) = std::sync::mpsc::channel();
    shared.stored.begin();
    let thread = spawn("log-stored", move || {
        // The scan sees what was there when it was made, and nothing is appended before.
        let index = db.index_of(&keys::all());
        drop(begun);
        if let Err(error) = shared.stored.count(index) {
            tracing::warn!(%error, "cannot count what the log holds; limits of stored bytes see only what came since");
        }
    })?;
    // Answers with an error once the thread has dropped its end.
    let _ = begin.recv() as Result<(), std::sync::mpsc::RecvError>;
    Ok(thread)
}

/// Encodes an append as blocks of its own. Other tasks may run between blocks.
async fn encode(records: &[NewRecord], key: Option<&Arc<DataKey>>, block_bytes_max: usize) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        if !drafts.is_empty() {
            tokio::task::yield_now().await;
        }
        let (block, after) = rest.split_at(format::fill(rest, block_bytes_max));
        drafts.push(Draft::new(block, key.cloned()));
        rest = after;
    }
    drafts
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Storage(format!("its task was lost: {error}")))?
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(|error| Error::Storage(format!("thread {name}: {error}")))
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.join().is_err()
    {
        tracing::error!("a thread of the log panicked");
    }
}

/// Bytes of the files in a folder; files that vanish meanwhile count nothing.
fn folder_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

#[async_trait]
impl Log for RocksLog {
    async fn append(&self, shard: ShardKey, append: super::Append) -> Result<AppendTicket> {
        let super::Append { records, expected_next, producer } = append;
        let Shared { settings, queue, counters, keys, .. } = &*self.0.shared;
        let bytes = settings.limits.check(&records).inspect_err(|_| Counters::count(&counters.refused, 1))?;
        if queue.is_full(bytes) {
            Counters::count(&counters.queue_full, 1);
        }
        let room = queue.room(bytes).await?;
        // Never in the clear where a key is to be used and cannot be.
        let key = keys.sealing(shard.stream).map_err(|why| self.0.shared.key_failure(shard.stream, why))?;
        let count = records.len() as u64;
        let body = if bytes < OWN_BLOCK_BYTES_MIN {
            Body::Loose(records)
        } else {
            Body::Drafts(encode(&records, key.as_ref(), settings.block_bytes_max).await)
        };
        let (ticket, promise) = AppendTicket::new();
        // Nothing can be stored twice of no records.
        let producer = producer.filter(|_| count > 0);
        queue.push(Entry::Append(Append { shard, count, bytes, body, key, expected_next, producer, ticket, room }))?;
        Ok(promise)
    }

    fn stored(&self, shard: ShardKey, producer: ProducerSequence, count: u64) -> Result<Option<Appended>> {
        let found = self.0.shared.producers.lock().find(shard, producer, count)?;
        // The committer remembers a sequence before its sync.
        let durable = self.offsets(shard).end;
        Ok(found.filter(|stored| stored.offsets.end <= durable))
    }

    async fn read(&self, shard: ShardKey, from: Offset, limit: ReadLimit) -> Result<Vec<Record>> {
        self.0.db()?;
        let Some(state) = self.0.shared.shards.get(shard) else { return Ok(Vec::new()) };
        let Range { start, end } = state.offsets();
        let from = from.max(start);
        if from >= end {
            return Ok(Vec::new());
        }
        if let Some(gathered) = self.0.shared.tail.read(shard, from, limit) {
            Counters::count(&self.0.shared.counters.cache_hits, 1);
            return Ok(gathered.records);
        }
        Counters::count(&self.0.shared.counters.cache_misses, 1);
        let gathered = self.0.on_disk(shard, state, move |reader| reader.read(from, limit)).await?;
        Ok(gathered.records)
    }

    fn offsets(&self, shard: ShardKey) -> Range<Offset> {
        self.0.shared.shards.get(shard).map(|state| state.offsets()).unwrap_or_default()
    }

    async fn offset_at(&self, shard: ShardKey, time: Timestamp) -> Result<Offset> {
        self.0.db()?;
        let Some(state) = self.0.shared.shards.get(shard) else { return Ok(Offset::ZERO) };
        self.0.on_disk(shard, state, move |reader| reader.offset_at(time)).await
    }

    fn newest_arrival(&self, shard: ShardKey) -> Option<Timestamp> {
        let state = self.0.shared.shards.get(shard)?;
        let Range { start, end } = state.offsets();
        (start < end).then(|| state.newest())
    }

    fn tail(&self, shard: ShardKey) -> watch::Receiver<Offset> {
        self.0.shared.shards.get_or_new(shard).tail()
    }

    fn stored_bytes(&self, stream: StreamId) -> u64 {
        self.0.shared.stored.of(stream)
    }

    async fn stored_bytes_in(&self, shard: ShardKey, offsets: Range<Offset>) -> Result<u64> {
        let db = self.0.db()?;
        if offsets.is_empty() {
            return Ok(0);
        }
        blocking(move || db.stored_bytes(&keys::of_offsets(shard, offsets))).await
    }

    async fn trim(&self, shard: ShardKey, before: Offset) -> Result<()> {
        let db = self.0.db()?;
        let trim = self.offsets(shard).start;
        if before <= trim {
            return Ok(());
        }
        let stored_bytes = blocking(move || db.stored_bytes(&keys::of_offsets(shard, trim..before))).await?;
        let _room = self.0.shared.queue.room(0).await?;
        let (done, answer) = oneshot::channel();
        self.0.shared.queue.push(Entry::Trim { shard, before, stored_bytes, done })?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    async fn delete_stream(&self, stream: StreamId) -> Result<()> {
        let db = self.0.db()?;
        let stored_bytes = blocking(move || db.stored_bytes(&keys::of_stream(stream))).await?;
        let _room = self.0.shared.queue.room(0).await?;
        let (done, answer) = oneshot::channel();
        self.0.shared.queue.push(Entry::Delete { stream, stored_bytes, done })?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    fn forget_cached(&self, stream: StreamId) {
        self.0.shared.tail.remove_stream(stream);
        self.0.shared.recent.remove_stream(stream);
    }

    /// Also moves what the write-ahead log holds into files. Reads that are on their way end first.
    async fn close(&self) -> Result<()> {
        let engine = Arc::clone(&self.0);
        blocking(move || {
            engine.stop(true);
            Ok(())
        })
        .await
    }
}

impl fmt::Debug for RocksLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksLog").field("path", &self.0.shared.settings.path).finish_non_exhaustive()
    }
}

/// Without a close, what is queued is not written: its tickets fail.
impl Drop for RocksLog {
    fn drop(&mut self) {
        self.0.stop(false);
    }
}
