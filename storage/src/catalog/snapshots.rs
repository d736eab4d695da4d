//! A table's history, and what it proves: which records of which delivery it holds.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{Snapshot, SnapshotRef};
use iceberg::table::Table;

use super::{BatchSummary, Error, Result};
use crate::log::{Offset, ShardId};
use crate::time::Timestamp;

/// A snapshot and what it says of itself. Counts are `None` where the engine that made it did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Its id.
    pub id: i64,
    /// Its place in the order of commits.
    pub sequence_number: i64,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// `append`, `replace`, `overwrite` or `delete`.
    pub operation: String,
    /// Rows that it added.
    pub added_rows: Option<u64>,
    /// Data files that it added.
    pub added_files: Option<u64>,
    /// Rows that it removed, or replaced by those that it added.
    pub removed_rows: Option<u64>,
    /// Rows of the table with it.
    pub total_rows: Option<u64>,
    /// Data files of the table with it.
    pub total_files: Option<u64>,
    /// Bytes of all data files of the table with it.
    pub total_bytes: Option<u64>,
    /// The batch that it holds, where a delivery made it.
    pub batch: Option<BatchSummary>,
    /// The rebuild that made it, where one did.
    pub rebuild: Option<String>,
}

/// The property of a rebuild's snapshot that names it.
pub const REBUILD: &str = "millrace.rebuild";

/// The snapshots that led to the table's current state, oldest first.
pub fn snapshots(table: &Table) -> Result<Vec<SnapshotEntry>> {
    let mut entries = newest_first(table).map(|snapshot| entry(table, snapshot)).collect::<Result<Vec<_>>>()?;
    entries.reverse();
    Ok(entries)
}

/// The newest batch of a delivery in the table.
pub fn last_batch(table: &Table, delivery: &str) -> Result<Option<BatchSummary>> {
    for snapshot in newest_first(table) {
        if let Some(batch) = batch(table, snapshot)?.filter(|batch| batch.delivery == delivery) {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// By shard, the first offset of a delivery's stream that the table does not hold; `None` where it holds none of it.
pub fn ends(table: &Table, delivery: &str) -> Result<Option<BTreeMap<ShardId, Offset>>> {
    let batch = last_batch(table, delivery)?;
    Ok(batch.map(|batch| batch.ranges.into_iter().map(|(shard, range)| (shard, range.end)).collect()))
}

fn newest_first(table: &Table) -> impl Iterator<Item = &SnapshotRef> {
    let metadata = table.metadata();
    std::iter::successors(metadata.current_snapshot(), |snapshot| {
        snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent))
    })
}

fn entry(table: &Table, snapshot: &SnapshotRef) -> Result<SnapshotEntry> {
    let summary = snapshot.summary();
    let properties = &summary.additional_properties;
    Ok(SnapshotEntry {
        id: snapshot.snapshot_id(),
        sequence_number: snapshot.sequence_number(),
        committed_at: Timestamp(snapshot.timestamp_ms()),
        operation: summary.operation.as_str().to_owned(),
        added_rows: count(properties, "added-records"),
        added_files: count(properties, "added-data-files"),
        removed_rows: count(properties, "deleted-records"),
        total_rows: count(properties, "total-records"),
        total_files: count(properties, "total-data-files"),
        total_bytes: count(properties, "total-files-size"),
        batch: batch(table, snapshot)?,
        rebuild: properties.get(REBUILD).cloned(),
    })
}

fn count(properties: &HashMap<String, String>, name: &str) -> Option<u64> {
    properties.get(name)?.parse().ok()
}

fn batch(table: &Table, snapshot: &Snapshot) -> Result<Option<BatchSummary>> {
    BatchSummary::from_properties(&snapshot.summary().additional_properties).map_err(|reason| Error::Summary {
        table: table.identifier().to_string(),
        snapshot: snapshot.snapshot_id(),
        reason,
    })
}
