//! The open RocksDB, in the log's terms. Calls block on the disk; none may run on an async thread.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamily, DB, DBPinnableSlice, DBRawIterator, ErrorKind, FlushOptions, ReadOptions, WriteBatch, WriteOptions,
};

use super::super::producers::{ProducerKey, Window};
use super::super::{Error, Offset, Result, ShardKey};
use super::LogSettings;
use super::index::Indexed;
use super::keys::{self, BlockKey};
use super::marks::{self, Mark};
use super::{options, sequences};
use crate::time::Timestamp;
use crate::wal;

/// The log's RocksDB.
#[derive(Debug)]
pub(super) struct Db {
    rocks: DB,
    path: PathBuf,
}

/// The windows of producers, and until when the forgotten ones were used.
type FoundProducers = (Vec<(ProducerKey, Window)>, Option<Timestamp>);

/// A failure of RocksDB that is not about one block.
pub(super) fn storage(error: rocksdb::Error) -> Error {
    Error::Storage(error.into_string())
}

fn open_error(error: rocksdb::Error, path: &Path) -> Error {
    let message = error.as_ref();
    if error.kind() == ErrorKind::IOError && message.to_ascii_lowercase().contains("lock") && message.contains("LOCK") {
        return Error::InUse { path: path.display().to_string() };
    }
    storage(error)
}

/// Refuses a folder whose write-ahead logs lost acknowledged records in their middle; RocksDB would go on without them.
fn check_logs(path: &Path) -> Result<()> {
    match wal::check(path, wal::Framing::Recycled) {
        Ok(None) => Ok(()),
        Ok(Some(wal::Damage { file, at, reason })) => {
            Err(Error::Damaged { file: file.display().to_string(), at, reason })
        }
        Err(error) => Err(Error::Storage(format!("{}: {error}", path.display()))),
    }
}

impl Db {
    /// Opens or makes the folder.
    pub(super) fn open(settings: &LogSettings) -> Result<Self> {
        let path = settings.path.clone();
        std::fs::create_dir_all(&path).map_err(|error| Error::Storage(format!("{}: {error}", path.display())))?;
        check_logs(&path)?;
        let rocks = DB::open_cf_descriptors(&options::database(settings), &path, options::column_families(settings))
            .map_err(|error| open_error(error, &path))?;
        let db = Self { rocks, path };
        db.check_format()?;
        Ok(db)
    }

    fn check_format(&self) -> Result<()> {
        match self.rocks.get_cf(self.meta(), marks::FORMAT_KEY).map_err(storage)? {
            Some(format) if format == marks::FORMAT => Ok(()),
            Some(format) => Err(Error::Storage(format!(
                "the log at {} has format {}, this version reads {}",
                self.path.display(),
                format.escape_ascii(),
                marks::FORMAT.escape_ascii()
            ))),
            None => {
                let mut batch = WriteBatch::default();
                batch.put_cf(self.meta(), marks::FORMAT_KEY, marks::FORMAT);
                self.write_sync(batch).map_err(storage)
            }
        }
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.rocks.cf_handle(name).expect("every column family is made at open")
    }

    pub(super) fn log(&self) -> &ColumnFamily {
        self.family(options::LOG)
    }

    pub(super) fn time(&self) -> &ColumnFamily {
        self.family(options::TIME)
    }

    pub(super) fn producer(&self) -> &ColumnFamily {
        self.family(options::PRODUCER)
    }

    pub(super) fn meta(&self) -> &ColumnFamily {
        self.family(options::META)
    }

    /// Writes a batch and syncs it. After a failure nobody knows what is on disk.
    pub(super) fn write_sync(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.write(batch)?;
        self.sync()
    }

    /// Writes a batch: it is with the operating system, and lasts after [`Db::sync`]. Nothing may be written in between.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.rocks.write_opt(batch, &WriteOptions::default())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<(), rocksdb::Error> {
        self.rocks.flush_wal(true)
    }

    /// A block's bytes, or the reason why they cannot be had.
    pub(super) fn block(&self, key: BlockKey) -> Result<Option<DBPinnableSlice<'_>>> {
        self.rocks.get_pinned_cf(self.log(), key.encode()).map_err(|error| match error.kind() {
            ErrorKind::Corruption => {
                Error::Corrupt { shard: key.shard, last_offset: key.last_offset, reason: error.into_string() }
            }
            _ => storage(error),
        })
    }

    /// The index entries of a shard's blocks from the one that holds `from` on.
    pub(super) fn index(&self, shard: ShardKey, from: Offset) -> IndexScan<'_> {
        self.index_of(&keys::of_offsets(shard, from..Offset(u64::MAX)))
    }

    /// The index entries in a range of keys.
    pub(super) fn index_of(&self, range: &Range<[u8; keys::KEY_BYTES]>) -> IndexScan<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(range.end);
        let mut entries = self.rocks.raw_iterator_cf_opt(self.time(), options);
        entries.seek(range.start);
        IndexScan { entries }
    }

    /// Bytes of the blocks in a range of keys.
    pub(super) fn stored_bytes(&self, range: &Range<[u8; keys::KEY_BYTES]>) -> Result<u64> {
        let mut index = self.index_of(range);
        let mut bytes = 0;
        while let Some(found) = index.entry()? {
            bytes += u64::from(found.entry.stored_bytes);
            index.advance();
        }
        Ok(bytes)
    }

    /// The index entry of a shard's last block.
    pub(super) fn index_last(&self, shard: ShardKey) -> Result<Option<Indexed>> {
        let range = keys::of_shard(shard);
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.start);
        let mut entries = self.rocks.raw_iterator_cf_opt(self.time(), options);
        entries.seek_for_prev(range.end);
        indexed(&entries)
    }

    /// The first shard at or after `shard` that has a block.
    pub(super) fn shard_from(&self, shard: ShardKey) -> Result<Option<ShardKey>> {
        let mut entries = self.rocks.raw_iterator_cf(self.time());
        entries.seek(keys::of_shard(shard).start);
        Ok(indexed(&entries)?.map(|found| found.key.shard))
    }

    /// The marks of all trimmed shards.
    pub(super) fn marks(&self) -> Result<Vec<(ShardKey, Mark)>> {
        let range = marks::all();
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(range.end);
        let mut entries = self.rocks.raw_iterator_cf_opt(self.meta(), options);
        entries.seek(range.start);
        let mut found = Vec::new();
        while let Some((key, value)) = entries.item() {
            let mark = marks::decode_key(key).zip(Mark::decode(value));
            found.push(mark.ok_or_else(|| Error::Storage(format!("the mark {} is garbage", key.escape_ascii())))?);
            entries.next();
        }
        entries.status().map_err(storage)?;
        Ok(found)
    }

    /// All producers' windows, and until when the forgotten ones were used. A window that cannot be read counts as forgotten
    /// at `now`.
    pub(super) fn producers(&self, now: Timestamp) -> Result<FoundProducers> {
        let mut entries = self.rocks.raw_iterator_cf(self.producer());
        entries.seek_to_first();
        let (mut windows, mut forgotten_until) = (Vec::new(), None);
        while let Some((key, value)) = entries.item() {
            match sequences::decode(key, value) {
                Some(sequences::Found::Window(key, window)) => windows.push((key, window)),
                Some(sequences::Found::ForgottenUntil(until)) => forgotten_until = forgotten_until.max(Some(until)),
                None => {
                    tracing::warn!(key = %key.escape_ascii(), "what is known of a producer is garbage, and is forgotten");
                    forgotten_until = forgotten_until.max(Some(now));
                }
            }
            entries.next();
        }
        entries.status().map_err(storage)?;
        Ok((windows, forgotten_until))
    }

    /// Compacts the keys in `range`: those of trimmed blocks go, and with them the blob files that no key refers to any more.
    /// Blocks are not moved. Dropping whole table files instead would be quicker, but could drop a range deletion before the
    /// keys that it covers.
    pub(super) fn compact(&self, range: &Range<[u8; keys::KEY_BYTES]>) {
        for family in [self.log(), self.time()] {
            self.rocks.compact_range_cf(family, Some(range.start), Some(range.end));
        }
    }

    /// Bytes of blob files, and how many of them belong to blocks that are gone.
    pub(super) fn blob_bytes(&self) -> (u64, u64) {
        let property = |name: &str| self.rocks.property_int_value_cf(self.log(), name).ok().flatten().unwrap_or(0);
        (property("rocksdb.live-blob-file-size"), property("rocksdb.live-blob-file-garbage-size"))
    }

    /// Lets RocksDB move the living blocks out of old blob files that are mostly garbage, or not.
    pub(super) fn set_blob_collection(&self, on: bool) -> Result<()> {
        let on = if on { "true" } else { "false" };
        self.rocks.set_options_cf(self.log(), &[("enable_blob_garbage_collection", on)]).map_err(storage)
    }

    /// Moves what the write-ahead log holds into files, so that the next open has nothing to replay.
    pub(super) fn flush(&self) -> Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        for family in [self.log(), self.time(), self.producer(), self.meta()] {
            self.rocks.flush_cf_opt(family, &options).map_err(storage)?;
        }
        Ok(())
    }

    /// Makes a copy of all there is, in a folder that is made: files that never change are linked, others copied. No write may
    /// be under way.
    pub(super) fn checkpoint(&self, path: &Path) -> Result<()> {
        let checkpoint = Checkpoint::new(&self.rocks).map_err(storage)?;
        checkpoint.create_checkpoint(path).map_err(storage)
    }

    /// Makes a running reclaim return.
    pub(super) fn cancel_background(&self) {
        self.rocks.cancel_all_background_work(false);
    }
}

fn indexed(entries: &DBRawIterator<'_>) -> Result<Option<Indexed>> {
    let Some((key, value)) = entries.item() else {
        return entries.status().map(|()| None).map_err(storage);
    };
    match Indexed::decode(key, value) {
        Some(found) => Ok(Some(found)),
        None => Err(Error::Storage(format!("the index entry {} is garbage", key.escape_ascii()))),
    }
}

/// Index entries in offset order.
pub(super) struct IndexScan<'a> {
    entries: DBRawIterator<'a>,
}

impl IndexScan<'_> {
    /// The entry here; `None` behind the last.
    pub(super) fn entry(&self) -> Result<Option<Indexed>> {
        indexed(&self.entries)
    }

    pub(super) fn advance(&mut self) {
        self.entries.next();
    }

    /// Goes to the block that holds `offset`, or to the first one after it.
    pub(super) fn seek(&mut self, shard: ShardKey, offset: Offset) {
        self.entries.seek(BlockKey::new(shard, offset).encode());
    }
}
