//! Reads from disk: block by block along the index. A block that is corrupt fails the read that begins at it, and no other.
//! Everything here blocks; none of it may run on an async thread.

use std::sync::Arc;

use super::super::stats::Counters;
use super::super::{Error, Offset, ReadLimit, Result, ShardKey, StreamId};
use super::Shared;
use super::block::{Block, Gathered};
use super::db::{Db, IndexScan};
use super::format::{self, Unreadable};
use super::index::Indexed;
use super::keys::BlockKey;
use super::shards::Shard;
use crate::encryption::KeyUnusable;
use crate::time::Timestamp;

/// A reader of one shard.
pub(super) struct Reader<'a> {
    pub(super) shared: &'a Shared,
    pub(super) db: &'a Db,
    pub(super) shard: ShardKey,
    pub(super) state: &'a Shard,
}

impl Reader<'_> {
    /// The records from an offset on. Blocks that are in memory are taken from there.
    pub(super) fn read(&self, from: Offset, limit: ReadLimit) -> Result<Gathered> {
        let mut gathered = Gathered::new(limit);
        let end = self.state.next();
        let mut at = from.max(self.state.trim());
        let mut index = self.db.index(self.shard, at);
        while at < end && !gathered.is_full() {
            let in_memory = self.shared.tail.block(self.shard, at).or_else(|| self.shared.recent.get(self.shard, at));
            let block = match in_memory {
                Some(block) => Ok(Some(block)),
                None => index.entry().and_then(|entry| self.load(entry, at)),
            };
            match block {
                Ok(Some(block)) => {
                    gathered.take(&block, at);
                    at = block.end_offset();
                    index.seek(self.shard, at);
                }
                // A trim passed by while this read was on its way. One answer has no gap: what is behind the trim is for the next.
                Ok(None) if self.state.trim() > at && !gathered.records.is_empty() => return Ok(gathered),
                Ok(None) if self.state.trim() > at => {
                    at = self.state.trim();
                    index.seek(self.shard, at);
                }
                Ok(None) if self.is_deleted() => return Ok(gathered),
                Ok(None) => return or_gathered(gathered, self.missing(at, &index)),
                Err(error) => return or_gathered(gathered, error),
            }
        }
        Ok(gathered)
    }

    /// The block of an index entry; `None` where the entry or the block does not hold `at`.
    fn load(&self, entry: Option<Indexed>, at: Offset) -> Result<Option<Block>> {
        let Some(entry) = entry.filter(|entry| entry.first_offset() <= at) else { return Ok(None) };
        let moment = self.shared.recent.moment();
        let Some(value) = self.db.block(entry.key)? else { return Ok(None) };
        let block = format::decode(entry.key, &value, &self.shared.keys).map_err(|error| match error {
            Unreadable::Corrupt(reason) => corrupt(entry.key, reason),
            Unreadable::Key(why) if why.is_destroyed() => shredded(entry.key, why),
            Unreadable::Key(why) => self.shared.key_failure(self.shard.stream, why),
        })?;
        if format::is_encrypted(&value) {
            Counters::count(&self.shared.counters.decrypted_blocks, 1);
        }
        self.shared.recent.insert(moment, self.shard, block.clone());
        Ok(Some(block))
    }

    /// Whether the stream was deleted since this reader began.
    fn is_deleted(&self) -> bool {
        self.shared.shards.get(self.shard).is_none_or(|state| !std::ptr::eq(Arc::as_ptr(&state), self.state))
    }

    /// That no block holds `at`: up to the next block, or to the end.
    fn missing(&self, at: Offset, index: &IndexScan<'_>) -> Error {
        let (last_offset, reason) = match index.entry() {
            Err(error) => return error,
            // The index knows a block that is not there.
            Ok(Some(entry)) if entry.first_offset() <= at => (entry.key.last_offset, "it is not there"),
            Ok(Some(entry)) => (Offset(entry.first_offset().0 - 1), "there is no block"),
            Ok(None) => (Offset(self.state.next().0 - 1), "there is no block"),
        };
        corrupt(BlockKey::new(self.shard, last_offset), reason.to_owned())
    }

    /// The first readable offset whose record arrived at or after `time`.
    pub(super) fn offset_at(&self, time: Timestamp) -> Result<Offset> {
        let readable = self.state.offsets();
        let mut index = self.db.index(self.shard, readable.start);
        // Everything below `low` arrived earlier; what lies at `high`, if anything, did not.
        let (mut low, mut high) = (readable.start, readable.end);
        while low < high {
            let middle = Offset(low.0 + high.since(low) / 2);
            index.seek(self.shard, middle);
            match index.entry()? {
                Some(found) if found.first_offset() > middle => low = found.first_offset().min(high),
                Some(found) if found.entry.time < time => low = found.end_offset().min(high),
                Some(found) => high = found.first_offset().max(low),
                None => high = middle,
            }
        }
        Ok(low.max(self.state.trim()))
    }
}

fn corrupt(key: BlockKey, reason: String) -> Error {
    Error::Corrupt { shard: key.shard, last_offset: key.last_offset, reason }
}

fn shredded(key: BlockKey, why: KeyUnusable) -> Error {
    let KeyUnusable { version, reason, .. } = why;
    Error::Shredded { shard: key.shard, last_offset: key.last_offset, version: version.0, reason }
}

/// What was read before a failure is good; the next read begins at the failure and tells it.
fn or_gathered(gathered: Gathered, error: Error) -> Result<Gathered> {
    if gathered.records.is_empty() { Err(error) } else { Ok(gathered) }
}

impl Shared {
    /// Counts that a key could not be used, and gives the error.
    pub(super) fn key_failure(&self, stream: StreamId, why: KeyUnusable) -> Error {
        Counters::count(&self.counters.key_failures, 1);
        Error::key(stream, why)
    }

    /// Counts a corrupt block and passes the answer on.
    pub(super) fn watch_corruption<T>(&self, answer: Result<T>) -> Result<T> {
        if let Err(error @ Error::Corrupt { .. }) = &answer {
            Counters::count(&self.counters.corrupt_blocks, 1);
            tracing::error!(%error, path = %self.settings.path.display(), "a block cannot be read");
        }
        answer
    }
}
