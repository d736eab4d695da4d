//! The embedded engine: one small RocksDB, synced on every commit.
//!
//! The state is a few kilobytes and is written a few times a second, so everything here is sized for little memory.
//! It must never share a RocksDB with the log: their write patterns and their failures are kept apart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, IteratorMode, LogLevel, Options, ReadOptions};
use rocksdb::{BottommostLevelCompaction, CompactOptions, WriteBatch, WriteOptions};
use tokio::sync::Mutex;
use tokio::task;

use super::{Condition, Error, MetaStore, Result, Write};
use crate::failpoint;
use crate::wal;

/// One memtable; two of them at most.
const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// What is read again and again fits easily.
const BLOCK_CACHE_BYTES: usize = 1 << 20;
/// The write-ahead log is cut at this size, so that a restart replays little.
const WAL_BYTES_MAX: u64 = 4 << 20;
/// RocksDB's own text log.
const TEXT_LOG_BYTES_MAX: usize = 1 << 20;

/// A meta store in a RocksDB of its own.
#[derive(Debug, Clone)]
pub struct RocksMeta {
    engine: Arc<Engine>,
}

#[derive(Debug)]
struct Engine {
    /// `None` once the store is closed.
    db: RwLock<Option<DB>>,
    /// Held from the first check to the end of the write: that makes commits linearizable. Who waits for it holds no thread, as
    /// what a copy does meanwhile needs one.
    commits: Arc<Mutex<()>>,
}

/// What a repair of a meta store found, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaRepair {
    /// Each damaged place: file, byte and what was found.
    pub damages: Vec<(PathBuf, u64, String)>,
    /// Commits that are lost: the damaged one and all that follow, as each may rest on those before it.
    pub commits: u64,
}

/// Says what is damaged in the write-ahead logs of a store that nobody has open, and with `aside` repairs it: the store is then
/// as it was before the damage, and the damaged files are kept in that folder.
pub fn repair(path: &Path, aside: Option<&Path>) -> Result<MetaRepair> {
    let failed = |error: std::io::Error| Error::Storage(format!("{}: {error}", path.display()));
    let plan = wal::repair::plan(path, wal::Framing::Plain, wal::repair::After::Drop).map_err(failed)?;
    let told = |damage: &wal::Damage| (damage.file.clone(), damage.at, damage.reason.to_owned());
    let repair = MetaRepair { damages: plan.damages.iter().map(told).collect(), commits: plan.records_lost };
    if let Some(aside) = aside.filter(|_| !repair.damages.is_empty()) {
        plan.apply(aside).map_err(failed)?;
    }
    Ok(repair)
}

impl RocksMeta {
    /// Opens the store in a folder, which is made where it is missing. Blocks while the write-ahead log is replayed.
    pub fn open(path: &Path) -> Result<Self> {
        check_logs(path)?;
        let db = DB::open(&options(), path).map_err(|error| open_error(path, &error))?;
        Ok(Self { engine: Arc::new(Engine { db: RwLock::new(Some(db)), commits: Arc::default() }) })
    }

    /// Copies the store into a folder that is made, and runs `meanwhile` before any other commit: what it copies belongs to
    /// the same moment. Reads go on. Files that never change are links, so the folder must lie on the store's file system.
    pub async fn checkpoint<T: Send + 'static, E: From<Error> + Send + 'static>(
        &self,
        path: PathBuf,
        meanwhile: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let engine = Arc::clone(&self.engine);
        let no_commit = Arc::clone(&engine.commits).lock_owned().await;
        let copied = task::spawn_blocking(move || {
            let _no_commit = no_commit;
            engine.with_db(|db| {
                let checkpoint = Checkpoint::new(db).map_err(|error| storage(&error))?;
                checkpoint.create_checkpoint(&path).map_err(|error| storage(&error))
            })?;
            meanwhile()
        });
        copied.await.unwrap_or_else(|error| Err(Error::Storage(format!("the copy ended early: {error}")).into()))
    }

    /// Runs `work` where it may block.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Engine) -> Result<T> + Send + 'static) -> Result<T> {
        let engine = Arc::clone(&self.engine);
        match task::spawn_blocking(move || work(&engine)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::Storage(format!("the task that ran the call ended early: {error}"))),
        }
    }
}

fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    blocks.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_open_files(64);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(TEXT_LOG_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// Refuses a folder whose write-ahead logs lost commits in their middle; RocksDB would go on without them.
fn check_logs(path: &Path) -> Result<()> {
    match wal::check(path, wal::Framing::Plain) {
        Ok(None) => Ok(()),
        Ok(Some(wal::Damage { file, at, reason })) => {
            Err(Error::Damaged { file: file.display().to_string(), at, reason })
        }
        Err(error) => Err(Error::Storage(format!("{}: {error}", path.display()))),
    }
}

fn open_error(path: &Path, error: &rocksdb::Error) -> Error {
    // RocksDB has no kind for a held lock; its message names the LOCK file.
    if error.as_ref().contains("lock") && error.as_ref().contains("LOCK") {
        return Error::InUse { path: path.display().to_string() };
    }
    storage(error)
}

fn storage(error: &rocksdb::Error) -> Error {
    Error::Storage(error.to_string())
}

/// The families that writes change, as failpoints name them.
fn families(writes: &[Write]) -> BTreeSet<String> {
    let key = |write: &Write| match write {
        Write::Put { key, .. } | Write::Delete { key } => key.clone(),
    };
    let family =
        |key: Bytes| key.split(|byte| *byte == b'/').next().map(|name| format!("meta.{}", name.escape_ascii()));
    writes.iter().map(key).filter_map(family).collect()
}

impl Engine {
    fn with_db<T>(&self, work: impl FnOnce(&DB) -> Result<T>) -> Result<T> {
        work(self.db.read().as_ref().ok_or(Error::Closed)?)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>> {
        self.with_db(|db| {
            let mut reading = ReadOptions::default();
            reading.set_iterate_range(rocksdb::PrefixRange(prefix));
            // An iterator reads from the snapshot at which it was made.
            let pairs = db.iterator_opt(IteratorMode::Start, reading);
            pairs
                .map(|pair| pair.map(|(key, value)| (Bytes::from(key), Bytes::from(value))))
                .collect::<Result<_, _>>()
                .map_err(|error: rocksdb::Error| storage(&error))
        })
    }

    /// Flushes, so that the write-ahead log is cut, and compacts down to the last level, where removed keys vanish.
    fn purge(&self) -> Result<()> {
        self.with_db(|db| {
            db.flush().map_err(|error| storage(&error))?;
            let mut all_levels = CompactOptions::default();
            all_levels.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
            db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &all_levels);
            Ok(())
        })
    }

    fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<()> {
        self.with_db(|db| {
            for Condition { key, expected } in conditions {
                let held = db.get_pinned(&key).map_err(|error| storage(&error))?;
                if held.as_deref() != expected.as_deref() {
                    return Err(Error::Conflict { key });
                }
            }
            if writes.is_empty() {
                return Ok(());
            }
            let families = if failpoint::ENABLED { families(&writes) } else { BTreeSet::new() };
            families.iter().for_each(|family| failpoint::hit(family, "before"));
            let mut batch = WriteBatch::default();
            for write in writes {
                match write {
                    Write::Put { key, value } => batch.put(key, value),
                    Write::Delete { key } => batch.delete(key),
                }
            }
            let mut durably = WriteOptions::default();
            durably.set_sync(true);
            db.write_opt(batch, &durably).map_err(|error| storage(&error))?;
            families.iter().for_each(|family| failpoint::hit(family, "after"));
            Ok(())
        })
    }
}

#[async_trait]
impl MetaStore for RocksMeta {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let key = key.to_vec();
        self.run(move |engine| {
            let value = engine.with_db(|db| db.get(key).map_err(|error| storage(&error)))?;
            Ok(value.map(Bytes::from))
        })
        .await
    }

    async fn scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>> {
        let prefix = prefix.to_vec();
        self.run(move |engine| engine.scan(&prefix)).await
    }

    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<()> {
        let one_at_a_time = Arc::clone(&self.engine.commits).lock_owned().await;
        self.run(move |engine| {
            let _one_at_a_time = one_at_a_time;
            engine.commit(conditions, writes)
        })
        .await
    }

    async fn purge(&self) -> Result<()> {
        self.run(Engine::purge).await
    }

    async fn close(&self) -> Result<()> {
        self.run(|engine| {
            // Waits for the calls that are under way, then drops the database, which releases its lock file.
            drop(engine.db.write().take());
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    fn open(folder: &Path) -> RocksMeta {
        RocksMeta::open(folder).expect("a fresh folder opens")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let mut stores = 0;
        conformance::check(|| {
            stores += 1;
            let store = open(&folder.path().join(stores.to_string()));
            async move { store }
        })
        .await;
    }

    #[tokio::test]
    async fn a_reopened_store_holds_what_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let put = |key: &'static str| Write::Put { key: key.into(), value: "kept".into() };
        let store = open(folder.path());
        store.commit(vec![], vec![put("a"), put("b")]).await.unwrap();
        store.commit(vec![], vec![Write::Delete { key: "a".into() }]).await.unwrap();
        store.close().await.unwrap();

        let store = open(folder.path());
        assert_eq!(store.scan(b"").await.unwrap(), [("b".into(), "kept".into())]);
    }

    #[tokio::test]
    async fn a_store_that_was_not_closed_holds_what_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.commit(vec![], vec![Write::Put { key: "a".into(), value: "kept".into() }]).await.unwrap();
        // What a killed process leaves: the files as they are now, never closed.
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        assert_eq!(open(copy.path()).get(b"a").await.unwrap(), Some("kept".into()));
    }

    #[tokio::test]
    async fn a_second_open_says_that_the_store_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let error = RocksMeta::open(folder.path()).unwrap_err();
        assert!(
            matches!(&error, Error::InUse { path } if folder.path().ends_with(path) || path.contains("tmp")),
            "{error}"
        );
        store.close().await.unwrap();
        open(folder.path());
    }
}
