//! What a rebuild makes anew: batches, and the files that hold their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use millrace_storage::catalog::{self, BatchSummary};
use millrace_storage::log::{Offset, ShardId, ShardKey};
use millrace_storage::meta::keys::Stored;
use millrace_storage::meta::keys::batch::{self, BatchValue, TAKEN_UP_BY_REBUILD};
use millrace_storage::meta::keys::rebuild::RebuildValue;
use millrace_storage::time::Timestamp;

use crate::delivery::Parts;
use crate::delivery::declared::{Declared, DeclaredTable};
use crate::error::{Error, Kind, Result};

/// What is to be made anew.
#[derive(Debug)]
pub(super) struct Plan {
    /// By number. One that took up what was set aside has no ranges: its rows come from the records of others.
    pub(super) batches: BTreeMap<u64, BatchSummary>,
    /// The URLs of the files with their rows.
    pub(super) files: BTreeSet<String>,
    /// Their rows.
    pub(super) rows: u64,
    /// What the ledger has of these batches.
    pub(super) ledger: BTreeMap<u64, Stored<BatchValue>>,
}

impl Plan {
    pub(super) async fn of(
        parts: &Parts,
        declared: &Declared,
        table: &DeclaredTable,
        rebuild: &RebuildValue,
    ) -> Result<Self> {
        let name = &declared.spec.name;
        let loaded = parts.catalog.load(&table.name).await?;
        let snapshots = catalog::snapshots(&loaded)?.into_iter();
        let batches = snapshots.filter_map(|snapshot| snapshot.batch).filter(|batch| batch.delivery == *name);
        let batches: BTreeMap<u64, BatchSummary> = batches.map(|batch| (batch.batch, batch)).collect();
        let ledger = batch::scan_delivery(&*parts.meta, name).await?;
        let mut ledger: BTreeMap<_, _> = ledger.into_iter().map(|(key, stored)| (key.batch, stored)).collect();
        let range = arrived(parts, declared, rebuild, &batches).await?;
        let overlaps = |batch: &BatchSummary| {
            batch.ranges.iter().any(|(shard, of_batch)| {
                let wanted = range.get(shard).cloned().unwrap_or(Offset::ZERO..Offset::ZERO);
                of_batch.start.max(wanted.start) < of_batch.end.min(wanted.end)
            })
        };
        let chosen = batches.iter().filter(|(_, batch)| overlaps(batch)).map(|(number, _)| *number);
        let chosen = with_replays(chosen.collect(), &ledger);
        let mut plan = Self { batches: BTreeMap::new(), files: BTreeSet::new(), rows: 0, ledger: BTreeMap::new() };
        for number in &chosen {
            let missing = || {
                let words =
                    format_args!("batch {number} of delivery {name} is not in the history of table {}", table.name);
                Error::new(Kind::FailedPrecondition, words)
            };
            plan.batches.insert(*number, batches.get(number).cloned().ok_or_else(missing)?);
        }
        ledger.retain(|number, _| chosen.contains(number));
        plan.ledger = ledger;
        let files = parts.catalog.files(&loaded).await?;
        plan.find_files(name, files.entries.iter().map(|file| (file.url(), file.rows())))?;
        Ok(plan)
    }

    /// Takes the files of the batches by their names, and checks that these are all of their rows.
    fn find_files<'f>(&mut self, delivery: &str, files: impl Iterator<Item = (&'f str, u64)>) -> Result<()> {
        let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
        for (url, count) in files {
            let Some(number) = batch_of(delivery, url).filter(|number| self.batches.contains_key(number)) else {
                continue;
            };
            *rows.entry(number).or_default() += count;
            self.rows += count;
            self.files.insert(url.to_owned());
        }
        for (number, batch) in &self.batches {
            let rebuilt = self.ledger.get(number).and_then(|entry| entry.value.rebuilt.as_ref());
            let expected = rebuilt.map_or(batch.totals.rows, |rebuilt| rebuilt.rows);
            let found = rows.get(number).copied().unwrap_or(0);
            if found != expected {
                return Err(Error::new(
                    Kind::FailedPrecondition,
                    format_args!(
                        "the files of batch {number} of delivery {delivery} have {found} of its {expected} rows: \
                         somebody else rewrote them"
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// By shard, the offsets whose records arrived in the rebuild's range.
async fn arrived(
    parts: &Parts,
    declared: &Declared,
    rebuild: &RebuildValue,
    batches: &BTreeMap<u64, BatchSummary>,
) -> Result<BTreeMap<ShardId, Range<Offset>>> {
    let shards: BTreeSet<ShardId> = batches.values().flat_map(|batch| batch.ranges.keys().copied()).collect();
    let mut ranges = BTreeMap::new();
    for shard in shards {
        let key = ShardKey { stream: declared.stream.id(), shard };
        let start = match rebuild.from_ms {
            Some(from) => parts.log.offset_at(key, Timestamp(from)).await?,
            None => Offset::ZERO,
        };
        let end = match rebuild.to_ms {
            Some(to) => parts.log.offset_at(key, Timestamp(to)).await?,
            None => Offset(u64::MAX),
        };
        ranges.insert(shard, start..end);
    }
    Ok(ranges)
}

/// With each batch those that took up what it set aside, and with these all whose records they took up: none of their rows
/// may stay beside the new ones.
fn with_replays(mut chosen: BTreeSet<u64>, ledger: &BTreeMap<u64, Stored<BatchValue>>) -> BTreeSet<u64> {
    let links: Vec<(u64, u64)> = ledger
        .iter()
        .flat_map(|(number, entry)| entry.value.all_set_aside().map(|object| (*number, object.taken_up_by)))
        .filter(|(_, by)| *by != 0 && *by != TAKEN_UP_BY_REBUILD)
        .collect();
    loop {
        let before = chosen.len();
        for (number, by) in &links {
            if chosen.contains(number) || chosen.contains(by) {
                chosen.extend([*number, *by]);
            }
        }
        if chosen.len() == before {
            return chosen;
        }
    }
}

/// The batch that a data file belongs to, by its name: `<delivery>-<batch>-<part>.parquet`, or that of a rebuild,
/// `<delivery>@r<rebuild>.<piece>-<batch>-<part>.parquet`.
fn batch_of(delivery: &str, url: &str) -> Option<u64> {
    let stem = url.rsplit('/').next()?.strip_suffix(".parquet")?;
    let rest = stem.strip_prefix(delivery)?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = match rest.strip_prefix("@r") {
        Some(rebuilt) => {
            let (numbers, _) = rebuilt.split_once('-')?;
            let (number, piece) = numbers.split_once('.')?;
            (is_number(number) && is_number(piece)).then_some(())?;
            &rebuilt[numbers.len()..]
        }
        None => rest,
    };
    let (batch, part) = rest.strip_prefix('-')?.split_once('-')?;
    (is_number(batch) && is_number(part)).then(|| batch.parse().ok())?
}

#[cfg(test)]
mod tests {
    use millrace_storage::meta::keys;
    use millrace_storage::meta::keys::batch::{BatchKey, BatchObject};

    use super::*;

    #[test]
    fn files_tell_their_batch() {
        for (name, expected) in [
            ("d-000000000042-000.parquet", Some(42)),
            ("d@r3.0-000000000042-017.parquet", Some(42)),
            ("d-x-000000000042-000.parquet", None),
            ("d2-000000000042-000.parquet", None),
            ("d@r3-000000000042-000.parquet", None),
            ("d-000000000042.parquet", None),
            ("compacted.parquet", None),
        ] {
            assert_eq!(batch_of("d", &format!("file:///lake/t/data/hour=1/{name}")), expected, "{name}");
        }
        assert_eq!(batch_of("d-x", "d-x-000000000042-000.parquet"), Some(42));
    }

    #[test]
    fn replays_come_along_with_all_that_they_took_up() {
        let entry = |batch: u64, taken: &[u64]| {
            let object = |by: &u64| BatchObject { taken_up_by: *by, ..BatchObject::default() };
            let value = BatchValue { set_aside_objects: taken.iter().map(object).collect(), ..BatchValue::default() };
            (batch, keys::stored(&BatchKey { delivery: "d".to_owned(), batch }, value))
        };
        let ledger = BTreeMap::from([
            entry(1, &[4, 0]),
            entry(2, &[4]),
            entry(3, &[TAKEN_UP_BY_REBUILD]),
            entry(4, &[6]),
            entry(5, &[7]),
        ]);
        let chosen = |numbers: &[u64]| with_replays(numbers.iter().copied().collect(), &ledger);
        assert_eq!(chosen(&[1]), BTreeSet::from([1, 2, 4, 6]));
        assert_eq!(chosen(&[3]), BTreeSet::from([3]));
        assert_eq!(chosen(&[7, 8]), BTreeSet::from([5, 7, 8]));
    }
}
