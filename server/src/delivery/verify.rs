//! Verifying: proves from what is stored that each record was delivered once.
//!
//! The proof reads the table's snapshots and files, or the ledger of a delivery into plain objects, and the store's own
//! listing of them. It must never trust a count that it can check, and must name the place of each fault.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use bytes::{Buf, Bytes};
use futures::{StreamExt, stream};
use millrace_storage::catalog::{self, SnapshotEntry, TableName};
use millrace_storage::lake::json_lines::LinesCompression;
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::batch::{self, BatchObject, BatchValue};
use millrace_storage::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};
use millrace_storage::meta::keys::{self, Totals};
use object_store::ObjectStoreExt as _;

use super::Deliveries;
use super::worker::Offsets;
use crate::error::{Error, Kind, Result};

/// How many objects are looked at at once.
const OBJECTS_AT_A_TIME: usize = 16;
/// The most faults that are told.
const FAULTS_MAX: usize = 100;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// By shard, what the batches cover together.
    pub shards: Vec<VerifiedShard>,
    /// Each place where the proof fails; empty when it holds. At most 100.
    pub faults: Vec<String>,
    /// The sum of all batches.
    pub totals: Totals,
    /// Batches that were read.
    pub batches: u64,
}

/// What the batches cover of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedShard {
    /// The shard.
    pub shard: ShardId,
    /// Its offsets.
    pub offsets: Range<Offset>,
}

impl Verified {
    /// Whether the proof holds.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, words: impl std::fmt::Display) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(words.to_string());
        }
    }
}

/// One batch as it is stored.
struct Batch {
    number: u64,
    ranges: BTreeMap<ShardId, Range<Offset>>,
    totals: Totals,
}

impl Deliveries {
    /// Proves a delivery: its ranges have neither a gap nor an overlap up to the position, its counts add up, and its files
    /// are there and hold what they should.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what keeps the stored state from being read. A proof that fails is not an error.
    pub async fn verify(&self, name: &str) -> Result<Verified> {
        let declared = self.entry(name)?.declared();
        // The position is read first: the table holds at least its batches by then.
        let checkpoint = self.checkpoint(name).await?;
        let mut verified = Verified::default();
        let batches = match &declared.table {
            Some(table) => self.verify_table(name, &table.name, &mut verified).await?,
            None => Vec::new(),
        };
        let ledger = batch::scan_delivery(&*self.parts().meta, name).await?;
        let mut ledger: BTreeMap<u64, BatchValue> =
            ledger.into_iter().map(|(key, stored)| (key.batch, stored.value)).collect();
        let mut batches = if declared.table.is_some() { batches } else { ledger.iter().map(of_ledger).collect() };
        let ours = |number: u64| (checkpoint.first_batch..checkpoint.next_batch).contains(&number);
        batches.retain(|batch| ours(batch.number));
        ledger.retain(|number, _| ours(*number));
        verify_batches(&batches, &checkpoint, &mut verified);
        self.verify_ledger(&batches, &ledger, declared.table.is_none(), &mut verified).await;
        Ok(verified)
    }

    async fn checkpoint(&self, name: &str) -> Result<CheckpointValue> {
        let key = CheckpointKey { delivery: name.to_owned() };
        let stored = keys::get(&*self.parts().meta, &key).await?;
        let gone = || Error::new(Kind::DataLoss, format_args!("delivery {name} has no checkpoint"));
        Ok(stored.ok_or_else(gone)?.value)
    }

    /// Checks a table as a whole; gives the delivery's batches in it.
    async fn verify_table(&self, name: &str, table: &TableName, verified: &mut Verified) -> Result<Vec<Batch>> {
        let loaded = self.parts().catalog.load(table).await?;
        let snapshots = catalog::snapshots(&loaded)?;
        let files = self.parts().catalog.files(&loaded).await?;
        let rows: u64 = files.entries.iter().map(catalog::FileEntry::rows).sum();
        verify_rows(table, &snapshots, rows, verified);
        let objects: Vec<_> = files.entries.iter().map(|file| (file.url().to_owned(), file.size_bytes())).collect();
        self.verify_sizes(objects, verified).await;
        let batches =
            snapshots.into_iter().filter_map(|snapshot| snapshot.batch).filter(|batch| batch.delivery == name);
        Ok(batches.map(|batch| Batch { number: batch.batch, ranges: batch.ranges, totals: batch.totals }).collect())
    }

    /// Checks that objects are there with their sizes.
    async fn verify_sizes(&self, objects: Vec<(String, u64)>, verified: &mut Verified) {
        let mut checks = stream::iter(objects)
            .map(|(url, bytes)| async move { self.size_fault(&url, bytes).await })
            .buffered(OBJECTS_AT_A_TIME);
        while let Some(fault) = checks.next().await {
            fault.into_iter().for_each(|fault| verified.fault(fault));
        }
    }

    async fn size_fault(&self, url: &str, bytes: u64) -> Option<String> {
        let store = &self.parts().store;
        let path = match store.path_of_url(url) {
            Ok(path) => path,
            Err(error) => return Some(error.to_string()),
        };
        match store.object_store().head(&path).await {
            Ok(found) if found.size == bytes => None,
            Ok(found) => Some(format!("{url} has {} bytes, and the catalog says {bytes}", found.size)),
            Err(error) => Some(store.error(&path, &error).to_string()),
        }
    }

    /// Checks the objects that no table lists: those of plain deliveries, and those of records that were set aside.
    async fn verify_ledger(
        &self,
        batches: &[Batch],
        ledger: &BTreeMap<u64, BatchValue>,
        plain: bool,
        verified: &mut Verified,
    ) {
        for batch in batches {
            let empty = BatchValue::default();
            let listed = ledger.get(&batch.number).unwrap_or(&empty);
            let lines = self.count_lines(&listed.set_aside_objects, verified).await;
            expect(verified, batch.number, "records set aside", "the error files", lines, batch.totals.set_aside);
            if !listed.backup_objects.is_empty() {
                let lines = self.count_lines(&listed.backup_objects, verified).await;
                expect(verified, batch.number, "source records", "the backup", lines, batch.totals.records);
            }
            if plain {
                let lines = self.count_lines(&listed.objects, verified).await;
                expect(verified, batch.number, "rows", "the files", lines, batch.totals.rows);
            }
        }
    }

    /// Counts the lines of objects, as far as they are as the ledger says.
    async fn count_lines(&self, objects: &[BatchObject], verified: &mut Verified) -> u64 {
        let mut lines = 0;
        for object in objects {
            match self.lines(object).await {
                Ok(found) if found == object.rows => lines += found,
                Ok(found) => verified
                    .fault(format_args!("{} has {found} lines, and the ledger says {}", object.url, object.rows)),
                Err(fault) => verified.fault(fault),
            }
        }
        lines
    }

    async fn lines(&self, object: &BatchObject) -> Result<u64, String> {
        let store = &self.parts().store;
        let path = store.path_of_url(&object.url).map_err(|error| error.to_string())?;
        let bytes = store.get(&path).await.map_err(|error| error.to_string())?;
        if bytes.len() as u64 != object.bytes {
            return Err(format!("{} has {} bytes, and the ledger says {}", object.url, bytes.len(), object.bytes));
        }
        let url = object.url.clone();
        let counted = tokio::task::spawn_blocking(move || count_lines(&url, bytes)).await;
        counted.map_err(|error| error.to_string())?.map_err(|error| format!("{} cannot be read: {error}", object.url))
    }
}

fn count_lines(url: &str, bytes: Bytes) -> std::io::Result<u64> {
    let mut reader = LinesCompression::of_name(url).reader(bytes.reader())?;
    let (mut lines, mut chunk) = (0, vec![0; 64 << 10]);
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(lines),
            read => lines += memchr::memchr_iter(b'\n', &chunk[..read]).count() as u64,
        }
    }
}

fn of_ledger((number, value): (&u64, &BatchValue)) -> Batch {
    Batch { number: *number, ranges: keys::load_ranges(&value.ranges), totals: value.totals.unwrap_or_default() }
}

/// The rows that snapshots say they added are the rows that the manifests list.
fn verify_rows(table: &TableName, snapshots: &[SnapshotEntry], rows: u64, verified: &mut Verified) {
    let mut expected = 0;
    for snapshot in snapshots {
        match (&snapshot.batch, snapshot.operation.as_str()) {
            (Some(batch), _) => {
                let added = snapshot.added_rows.unwrap_or(0);
                expect(verified, batch.batch, "rows", "the snapshot", added, batch.totals.rows);
                expected += batch.totals.rows;
            }
            (None, "append") => expected += snapshot.added_rows.unwrap_or(0),
            // Files were rewritten; no row came or went.
            (None, "replace") => {}
            // Ours: the rows that it removed were counted when they were added.
            (None, "overwrite") if snapshot.rebuild.is_some() => {
                expected += snapshot.added_rows.unwrap_or(0);
                expected = expected.saturating_sub(snapshot.removed_rows.unwrap_or(0));
            }
            (None, operation) => {
                let id = snapshot.id;
                verified.fault(format_args!(
                    "snapshot {id} of table {table} is a {operation} of another engine: its rows cannot be proven"
                ));
                return;
            }
        }
    }
    if rows != expected {
        verified.fault(format_args!("the files of table {table} hold {rows} rows, and its batches have {expected}"));
    }
}

/// Ranges and counts of the batches, one after the other and up to the position.
fn verify_batches(batches: &[Batch], checkpoint: &CheckpointValue, verified: &mut Verified) {
    let mut number = checkpoint.first_batch;
    let mut reached: Option<Offsets> = None;
    let mut covered: BTreeMap<ShardId, Range<Offset>> = BTreeMap::new();
    for batch in batches {
        if batch.number != number {
            verified.fault(format_args!("batch {} follows where batch {number} should", batch.number));
        }
        number = batch.number + 1;
        verify_batch(batch, reached.as_ref(), verified);
        for (shard, range) in &batch.ranges {
            covered.entry(*shard).or_insert_with(|| range.clone()).end = range.end;
        }
        reached = Some(batch.ranges.iter().map(|(shard, range)| (*shard, range.end)).collect());
        verified.totals += batch.totals;
        verified.batches += 1;
    }
    if number != checkpoint.next_batch {
        let next = checkpoint.next_batch;
        verified.fault(format_args!("the position is before batch {next}, and the last batch is before {number}"));
    }
    let position = keys::load_offsets(&checkpoint.offsets);
    for (shard, end) in reached.iter().flatten() {
        if position.get(shard) != Some(end) {
            let at = position.get(shard).copied().unwrap_or_default();
            verified.fault(format_args!("shard {shard}: the batches end at offset {end}, and the position is {at}"));
        }
    }
    if checkpoint.totals.unwrap_or_default() != verified.totals {
        let (position, batches) = (checkpoint.totals.unwrap_or_default(), verified.totals);
        verified.fault(format_args!("the position counts {position:?}, and the batches {batches:?}"));
    }
    verified.shards = covered.into_iter().map(|(shard, offsets)| VerifiedShard { shard, offsets }).collect();
}

fn verify_batch(batch: &Batch, reached: Option<&Offsets>, verified: &mut Verified) {
    let number = batch.number;
    for (shard, range) in &batch.ranges {
        let Some(reached) = reached else { break };
        let expected = reached.get(shard).copied().unwrap_or_default();
        let kind = match range.start.cmp(&expected) {
            std::cmp::Ordering::Equal => continue,
            std::cmp::Ordering::Greater => "gap",
            std::cmp::Ordering::Less => "overlap",
        };
        let start = range.start;
        verified.fault(format_args!(
            "batch {number}, shard {shard}: {kind}: it begins at offset {start}, and {expected} is next"
        ));
    }
    let Totals { records, outputs, rows, set_aside, dropped, lost, .. } = batch.totals;
    let offsets: u64 = batch.ranges.values().map(|range| range.end.since(range.start)).sum();
    if offsets != records + lost {
        verified.fault(format_args!("batch {number}: {offsets} offsets, and {records} records with {lost} lost"));
    }
    if outputs != rows + set_aside + dropped {
        verified.fault(format_args!(
            "batch {number}: {outputs} outputs, and {rows} rows with {set_aside} set aside and {dropped} dropped"
        ));
    }
    if lost > 0 {
        verified.fault(format_args!(
            "batch {number}: {lost} records were lost before they were delivered: trimmed, or in a corrupt block"
        ));
    }
}

fn expect(verified: &mut Verified, batch: u64, what: &str, place: &str, found: u64, counted: u64) {
    if found != counted {
        verified.fault(format_args!("batch {batch}: {found} {what} in {place}, and {counted} were counted"));
    }
}
