//! Reads every block and says which are not as they were written. It changes nothing, and one bad block keeps no other from
//! being checked.

use std::ops::Range;
use std::sync::Arc;

use super::super::{Offset, Result, ShardKey};
use super::db::Db;
use super::format::{self, Unreadable};
use super::index::Indexed;
use super::shards::Shard;
use super::{RocksLog, Shared, blocking};

/// The most faults that are told.
const FAULTS_MAX: usize = 1000;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Shards that hold records.
    pub shards: u64,
    /// Blocks that were read.
    pub blocks: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes as stored.
    pub stored_bytes: u64,
    /// Encrypted blocks whose check sum holds, but whose key could not be used: that they are authentic is not proven.
    pub unauthenticated: u64,
    /// Each place that is not as it was written, at most 1,000.
    pub faults: Vec<Fault>,
    /// All of them.
    pub fault_count: u64,
}

/// Records that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The shard.
    pub shard: ShardKey,
    /// The offsets that are lost.
    pub offsets: Range<Offset>,
    /// What is wrong.
    pub reason: String,
}

impl Verified {
    fn fault(&mut self, shard: ShardKey, offsets: Range<Offset>, reason: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { shard, offsets, reason });
        }
    }
}

impl RocksLog {
    /// Checks every readable block: its check sum, its decoding, that the index says the same of it, and that offsets have no
    /// gap. `progress` is told after each shard and now and then within one. Appends and trims may go on.
    pub async fn verify(&self, mut progress: impl FnMut(&Verified) + Send + 'static) -> Result<Verified> {
        let (db, shared) = (self.0.db()?, Arc::clone(&self.0.shared));
        blocking(move || {
            let mut verified = Verified::default();
            let mut shards = shared.shards.all();
            shards.sort_by_key(|(shard, _)| *shard);
            for (shard, state) in shards {
                let verify = Verify { shared: &shared, db: &db, shard, state: &state };
                verify.run(&mut verified, &mut progress)?;
                progress(&verified);
            }
            Ok(verified)
        })
        .await
    }
}

struct Verify<'a> {
    shared: &'a Shared,
    db: &'a Db,
    shard: ShardKey,
    state: &'a Shard,
}

impl Verify<'_> {
    fn run(&self, verified: &mut Verified, progress: &mut impl FnMut(&Verified)) -> Result<()> {
        let readable = self.state.offsets();
        verified.shards += u64::from(readable.start < readable.end);
        let mut at = readable.start;
        let mut index = self.db.index(self.shard, at);
        while at < readable.end {
            let entry = match index.entry() {
                Ok(entry) => entry.filter(|entry| entry.first_offset() < readable.end),
                Err(error) => {
                    self.fault(verified, at..readable.end, format!("the index cannot be read: {error}"));
                    return Ok(());
                }
            };
            let Some(entry) = entry else {
                self.fault(verified, at..readable.end, "there is no block".to_owned());
                return Ok(());
            };
            // The first block may begin below a trim.
            if entry.first_offset() > at {
                self.fault(verified, at..entry.first_offset(), "there is no block".to_owned());
            } else if entry.first_offset() < at && at > readable.start {
                self.fault(verified, at..entry.end_offset(), "two blocks hold these offsets".to_owned());
            }
            self.block(entry, verified);
            if verified.blocks.is_multiple_of(256) {
                progress(verified);
            }
            at = entry.end_offset().max(at);
            index.seek(self.shard, at);
        }
        Ok(())
    }

    fn block(&self, indexed: Indexed, verified: &mut Verified) {
        verified.blocks += 1;
        verified.records += u64::from(indexed.entry.count);
        verified.stored_bytes += u64::from(indexed.entry.stored_bytes);
        if let Err(reason) = self.check(indexed, &mut verified.unauthenticated) {
            self.fault(verified, indexed.first_offset()..indexed.end_offset(), reason);
        }
    }

    fn check(&self, indexed: Indexed, unauthenticated: &mut u64) -> Result<(), String> {
        let value = self.db.block(indexed.key).map_err(|error| error.to_string())?;
        let value = value.ok_or("the index has a block that is not there")?;
        let entry = format::index_entry(indexed.key, &value)?;
        if entry != indexed.entry {
            return Err(format!("the index says {:?}, the block {entry:?}", indexed.entry));
        }
        match format::decode(indexed.key, &value, &self.shared.keys) {
            Ok(_) => Ok(()),
            Err(Unreadable::Corrupt(reason)) => Err(reason),
            Err(Unreadable::Key(_)) => {
                *unauthenticated += 1;
                Ok(())
            }
        }
    }

    /// What a trim or a deletion took meanwhile is no fault.
    fn fault(&self, verified: &mut Verified, offsets: Range<Offset>, reason: String) {
        let is_there = self.shared.shards.get(self.shard).is_some_and(|state| state.trim() < offsets.end);
        if is_there {
            verified.fault(self.shard, offsets, reason);
        }
    }
}
