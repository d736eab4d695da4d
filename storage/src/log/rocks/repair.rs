//! Opens the way past a damaged write-ahead log: takes the damaged records out, puts back what of them is proven whole, and
//! says what is lost.
//!
//! A record of the write-ahead log is a whole group: blocks of many shards. Each block has a check sum of its own, so that rot
//! in one byte costs one block. What has none (marks, removals, producers' sequences) is not taken from a damaged record: a trim
//! is done again by retention, and all producers are forgotten, so that a batch which is sent again is refused rather than
//! stored twice. Blocks of a stream that a later group deleted come back, and stay: nothing in the log tells of the deletion.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rocksdb::WriteBatch;

use super::super::{Error, Offset, Result, ShardKey};
use super::LogSettings;
use super::db::Db;
use super::format;
use super::index::{IndexEntry, Indexed};
use super::keys::{self, BlockKey};
use super::{options, sequences};
use crate::time::Timestamp;
use crate::wal::batch::{Entry, entries};
use crate::wal::repair::{After, Plan, plan};
use crate::wal::{Damage, Framing};

/// What a repair found, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRepair {
    /// Each damaged place: file, byte and what was found.
    pub damages: Vec<(PathBuf, u64, String)>,
    /// Groups of appends that were damaged.
    pub groups: u64,
    /// Blocks of damaged groups that are whole and stay.
    pub blocks_saved: u64,
    /// Blocks that are lost, as far as they can be told.
    pub blocks_lost: Vec<LostBlock>,
    /// Groups of which it cannot be told what they held.
    pub groups_unknown: u64,
}

/// Records that a repair could not save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBlock {
    /// The shard.
    pub shard: ShardKey,
    /// Their offsets. A read of one fails as of a corrupt block; they are never given to other records.
    pub offsets: Range<Offset>,
}

/// Says what is damaged in the write-ahead logs of a log that nobody has open, and with `aside` repairs it: the damaged files
/// are kept there.
pub fn repair(settings: &LogSettings, aside: Option<&Path>) -> Result<LogRepair> {
    let failed = |error: std::io::Error| Error::Storage(format!("{}: {error}", settings.path.display()));
    let plan = plan(&settings.path, Framing::Recycled, After::Keep).map_err(failed)?;
    let salvages: Vec<Salvage> = plan.suspects.iter().map(|batch| Salvage::of(batch)).collect();
    let report = report(&plan, &salvages);
    let Some(aside) = aside.filter(|_| !report.damages.is_empty()) else { return Ok(report) };
    plan.apply(aside).map_err(failed)?;
    let db = Db::open(settings)?;
    let trims: HashMap<ShardKey, Offset> = db.marks()?.into_iter().map(|(shard, mark)| (shard, mark.trim)).collect();
    for salvage in &salvages {
        db.write_sync(salvage.batch(&db, &trims)).map_err(super::db::storage)?;
    }
    let mut forgotten = WriteBatch::default();
    sequences::forget_all(&db, Timestamp::now(), &mut forgotten);
    db.write_sync(forgotten).map_err(super::db::storage)?;
    db.flush()?;
    Ok(report)
}

fn report(plan: &Plan, salvages: &[Salvage]) -> LogRepair {
    let told = |Damage { file, at, reason }: &Damage| (file.clone(), *at, (*reason).to_owned());
    let mut report = LogRepair { damages: plan.damages.iter().map(told).collect(), ..LogRepair::default() };
    report.groups = plan.records_lost;
    report.groups_unknown = plan.records_lost.saturating_sub(salvages.len() as u64);
    for salvage in salvages {
        report.blocks_saved += salvage.whole.len() as u64;
        report.groups_unknown += u64::from(!salvage.is_understood);
        let lost = salvage.lost.iter().filter_map(|(key, entry)| {
            let indexed = Indexed { key: BlockKey::decode(key)?, entry: *entry };
            Some(LostBlock { shard: indexed.key.shard, offsets: indexed.first_offset()..indexed.end_offset() })
        });
        report.blocks_lost.extend(lost);
    }
    report
}

type Key = [u8; keys::KEY_BYTES];

/// What a damaged group still tells.
#[derive(Debug, Default)]
struct Salvage {
    /// Blocks whose check sum holds, with what the index must say of them.
    whole: BTreeMap<Key, (Vec<u8>, IndexEntry)>,
    /// Index entries of blocks that are not whole.
    lost: BTreeMap<Key, IndexEntry>,
    /// Whether all of its entries keep their lengths.
    is_understood: bool,
}

impl Salvage {
    fn of(batch: &[u8]) -> Self {
        let (entries, is_understood) = entries(batch);
        let mut salvage = Self { is_understood, ..Self::default() };
        for entry in entries {
            let Entry::Put { family, key, value } = entry else { continue };
            let (Some(block_key), Ok(key)) = (BlockKey::decode(key), Key::try_from(key)) else { continue };
            match family {
                options::LOG_NUMBER => {
                    if let Ok(entry) = format::index_entry(block_key, value) {
                        salvage.whole.insert(key, (value.to_vec(), entry));
                    }
                }
                options::TIME_NUMBER => {
                    salvage.lost.extend(Indexed::decode(&key, value).map(|indexed| (key, indexed.entry)));
                }
                _ => {}
            }
        }
        let whole = &salvage.whole;
        salvage.lost.retain(|key, _| !whole.contains_key(key));
        salvage
    }

    /// Puts the whole blocks back. Lost ones keep their index entries where these follow what is there, so that their offsets
    /// are not given again. What was trimmed since stays away.
    fn batch(&self, db: &Db, trims: &HashMap<ShardKey, Offset>) -> WriteBatch {
        let is_trimmed = |key: BlockKey| trims.get(&key.shard).is_some_and(|trim| key.last_offset < *trim);
        let mut batch = WriteBatch::default();
        for (key, (value, entry)) in &self.whole {
            if BlockKey::decode(key).is_some_and(is_trimmed) {
                continue;
            }
            batch.put_cf(db.log(), key, value);
            batch.put_cf(db.time(), key, entry.encode());
        }
        for (key, entry) in &self.lost {
            if let Some(key) = BlockKey::decode(key)
                && !is_trimmed(key)
                && fits(db, Indexed { key, entry: *entry })
            {
                batch.put_cf(db.time(), key.encode(), entry.encode());
            }
        }
        batch
    }
}

/// Whether a lost block's index entry takes no offset of another block. It has no check sum, so it may be wrong itself.
fn fits(db: &Db, lost: Indexed) -> bool {
    let next = db.index(lost.key.shard, lost.first_offset()).entry();
    next.is_ok_and(|next| next.is_none_or(|next| next.first_offset() >= lost.end_offset()))
}
