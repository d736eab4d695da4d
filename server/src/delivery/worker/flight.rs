//! The flight of a batch: intent, files, commit.
//!
//! The intent is durable before the first file is written. All steps are tried for ever; a commit whose outcome is unknown is decided by reading the checkpoint. It must never commit a batch over a
//! position that is not the one it was cut from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use millrace_storage::catalog::{self, Append, BatchSummary};
use millrace_storage::lake::row::{Cause, SetAside};
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::batch::{BatchKey, BatchValue};
use millrace_storage::meta::keys::checkpoint::CheckpointValue;
use millrace_storage::meta::keys::intent::IntentValue;
use millrace_storage::meta::keys::{self, Stored, Totals, store_offsets, store_ranges};
use millrace_storage::meta::{self, Condition, Write};
use millrace_storage::time::Timestamp;

use super::chunk::Chunk;
use super::position::{Position, checkpoint_key, intent_key};
use super::progress::Offsets;
use super::replay::Taken;
use super::retry::Retry;
use super::sink::{self, Written};
use crate::delivery::Parts;
use crate::delivery::declaration::Declaration;
use crate::delivery::declared::Declared;
use crate::transform::Pins;

/// A batch that was cut.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) declared: Arc<Declared>,
    pub(super) number: u64,
    pub(super) ranges: BTreeMap<ShardId, Range<Offset>>,
    /// By shard and offset.
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// For a table: the schema after the last chunk.
    pub(super) schema: Option<TableSchema>,
    /// The versions of transform modules that the chunks were made by.
    pins: Pins,
    /// What it takes up again of what was set aside.
    replayed: Vec<Taken>,
    /// What must hold at its intent besides; where it does not, the batch is given up.
    guard: Vec<Condition>,
    checkpoint: Stored<CheckpointValue>,
    /// The intent that an earlier attempt left.
    intent: Option<Stored<IntentValue>>,
    cut_at: Instant,
}

/// A batch that was committed.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) position: Position,
    /// How many chunks it had.
    pub(super) chunks: usize,
    /// What it took and made.
    pub(super) totals: Totals,
}

impl Batch {
    /// The batch of the next number, with all of `chunks`.
    pub(super) fn cut(
        declared: &Arc<Declared>,
        position: Position,
        chunks: Vec<Arc<Chunk>>,
        schema: Option<TableSchema>,
        pins: Pins,
    ) -> Self {
        let mut ranges = ranges_of(&position.committed(), &chunks);
        // Shards that are gone were committed to their end, and leave the position.
        let topology = declared.stream.topology();
        ranges.retain(|shard, range| range.start < range.end || topology.shard(*shard).is_some());
        let number = position.checkpoint.value.next_batch;
        Self { pins, ..Self::new(declared, number, ranges, chunks, schema, Vec::new(), position.checkpoint, None) }
    }

    /// The batch of the next number that takes up `replayed`, whose records `chunks` are, and no other records. Where an
    /// earlier attempt left its intent, it is that batch once more.
    pub(super) fn replay(
        declared: &Arc<Declared>,
        position: Position,
        chunks: Vec<Arc<Chunk>>,
        schema: Option<TableSchema>,
        replayed: Vec<Taken>,
        guard: Vec<Condition>,
        pins: Pins,
    ) -> Self {
        let number = position.checkpoint.value.next_batch;
        let ranges = ranges_of(&position.committed(), &[]);
        let batch = Self::new(declared, number, ranges, chunks, schema, replayed, position.checkpoint, position.intent);
        Self { guard, pins, ..batch }
    }

    /// The batch of an open intent once more.
    pub(super) fn again(
        declared: &Arc<Declared>,
        position: Position,
        intent: Stored<IntentValue>,
        chunks: Vec<Arc<Chunk>>,
        schema: Option<TableSchema>,
    ) -> Self {
        let ranges = keys::load_ranges(&intent.value.ranges);
        let number = intent.value.batch;
        Self::new(declared, number, ranges, chunks, schema, Vec::new(), position.checkpoint, Some(intent))
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the batch")]
    fn new(
        declared: &Arc<Declared>,
        number: u64,
        ranges: BTreeMap<ShardId, Range<Offset>>,
        mut chunks: Vec<Arc<Chunk>>,
        schema: Option<TableSchema>,
        replayed: Vec<Taken>,
        checkpoint: Stored<CheckpointValue>,
        intent: Option<Stored<IntentValue>>,
    ) -> Self {
        chunks.sort_by_key(|chunk| (chunk.shard, chunk.offsets.start));
        let declared = Arc::clone(declared);
        let (cut_at, guard, pins) = (Instant::now(), Vec::new(), Pins::default());
        Self { declared, number, ranges, chunks, schema, pins, replayed, guard, checkpoint, intent, cut_at }
    }

    /// The intent: which records, by which declarations.
    fn intent(&self) -> IntentValue {
        if let Some(before) = &self.intent {
            return before.value.clone();
        }
        IntentValue {
            batch: self.number,
            ranges: store_ranges(&self.ranges),
            spec_toml: self.declared.spec.to_toml(),
            table_spec_toml: self.declared.table.as_ref().map(|table| table.spec.to_toml()).unwrap_or_default(),
            cut_at_ms: Timestamp::now().as_millis(),
            modules: self.pins.store(),
            replayed: self.replayed.iter().flat_map(Taken::objects).collect(),
        }
    }

    /// The position after the commit.
    fn next_checkpoint(&self, totals: Totals) -> CheckpointValue {
        let before = &self.checkpoint.value;
        let mut sum = before.totals.unwrap_or_default();
        sum += totals;
        CheckpointValue {
            next_batch: self.number + 1,
            offsets: store_offsets(&self.ranges.iter().map(|(shard, range)| (*shard, range.end)).collect()),
            totals: Some(sum),
            last_commit_at_ms: Timestamp::now().as_millis().max(1),
            ..before.clone()
        }
    }
}

/// Carries a batch to its commit. `None` where it cannot be committed as it is: the position or the table's columns are
/// others now, and it must be begun from the store again.
pub(super) async fn fly(parts: Arc<Parts>, retry: Retry, batch: Batch) -> Option<Landed> {
    let intent = declare(&parts, &retry, &batch).await?;
    let written = sink::write(&parts, &retry, &batch, Timestamp(intent.value.cut_at_ms)).await;
    let totals = Totals {
        rows: written.rows,
        set_aside: written.set_aside.len() as u64,
        files: written.files,
        bytes_out: written.bytes,
        ..sum(&batch.chunks)
    };
    let position = commit(&parts, &retry, &batch, &intent, &written, totals).await?;
    count(&retry, &batch, &written.set_aside, totals);
    Some(Landed { position, chunks: batch.chunks.len(), totals })
}

/// Makes the intent durable.
async fn declare(parts: &Parts, retry: &Retry, batch: &Batch) -> Option<Stored<IntentValue>> {
    let (checkpoint_key, intent_key) = (checkpoint_key(&retry.delivery), intent_key(&retry.delivery));
    let wanted = keys::stored(&intent_key, batch.intent());
    if batch.intent.as_ref() == Some(&wanted) {
        return Some(wanted);
    }
    let mut streak = retry.streak("write the intent");
    loop {
        let mut conditions = vec![
            keys::unchanged(&checkpoint_key, &batch.checkpoint),
            keys::as_found(&intent_key, batch.intent.as_ref()),
        ];
        conditions.extend(batch.guard.iter().cloned());
        let error = match parts.meta.commit(conditions, vec![keys::put(&intent_key, &wanted.value)]).await {
            Ok(()) => return Some(wanted),
            Err(error) => error,
        };
        if matches!(error, meta::Error::Conflict { .. }) || error.may_have_applied() {
            match Position::read(parts, &retry.delivery).await {
                Ok(now) if now.intent.as_ref() == Some(&wanted) && now.checkpoint == batch.checkpoint => {
                    return Some(wanted);
                }
                Ok(now) if now.intent != batch.intent || now.checkpoint != batch.checkpoint => {
                    return surprised(retry, batch);
                }
                // Only the guard is left to have failed.
                Ok(_) if matches!(error, meta::Error::Conflict { .. }) && !batch.guard.is_empty() => return None,
                Ok(_) | Err(_) => {}
            }
        }
        tokio::time::sleep(streak.failed(&error)).await;
    }
}

/// Somebody else moved the position, which no second worker should.
fn surprised<T>(retry: &Retry, batch: &Batch) -> Option<T> {
    let (delivery, batch) = (&retry.delivery, batch.number);
    tracing::warn!(delivery, batch, "the position was moved by another writer; reading it again");
    None
}

/// Moves the table, or the ledger, together with the position.
async fn commit(
    parts: &Parts,
    retry: &Retry,
    batch: &Batch,
    intent: &Stored<IntentValue>,
    written: &Written,
    totals: Totals,
) -> Option<Position> {
    let (checkpoint_key, intent_key) = (checkpoint_key(&retry.delivery), intent_key(&retry.delivery));
    let next = keys::stored(&checkpoint_key, batch.next_checkpoint(totals));
    let mut conditions =
        vec![keys::unchanged(&checkpoint_key, &batch.checkpoint), keys::unchanged(&intent_key, intent)];
    let mut writes = vec![keys::put(&checkpoint_key, &next.value), keys::delete(&intent_key)];
    for taken in &batch.replayed {
        let (condition, write) = taken.take_up(batch.number);
        conditions.push(condition);
        writes.push(write);
    }
    if batch.declared.table.is_none() || !written.has_no_ledger() {
        writes.push(ledger(retry, batch, written, totals));
    }
    let mut streak = retry.streak("commit the batch");
    loop {
        let outcome = match &batch.declared.table {
            Some(table) => {
                let append = Append {
                    files: written.data_files.clone(),
                    schema: batch.schema.as_ref().map(|schema| Arc::clone(&schema.schema)),
                    partition_spec_id: written.partition_spec_id,
                    summary: summary(retry, batch, totals),
                    conditions: conditions.clone(),
                    writes: writes.clone(),
                };
                parts.catalog.append(&table.name, append).await.map(drop).map_err(Refused::from)
            }
            None => parts.meta.commit(conditions.clone(), writes.clone()).await.map_err(Refused::from),
        };
        let refused = match outcome {
            Ok(()) => return Some(Position { checkpoint: next, intent: None }),
            Err(refused) => refused,
        };
        match Position::read(parts, &retry.delivery).await {
            Ok(now) if now.checkpoint == next => return Some(Position { checkpoint: next, intent: None }),
            Ok(now) if now.checkpoint != batch.checkpoint || now.intent.as_ref() != Some(intent) => {
                return surprised(retry, batch);
            }
            Ok(_) if refused.must_convert => {
                tracing::info!(
                    delivery = retry.delivery,
                    batch = batch.number,
                    "{}; converting again",
                    refused.message
                );
                return None;
            }
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(streak.failed(&refused.message)).await;
    }
}

/// Why a commit did not go through.
struct Refused {
    message: String,
    /// The rows must be converted anew.
    must_convert: bool,
}

impl From<catalog::Error> for Refused {
    fn from(error: catalog::Error) -> Self {
        Self { must_convert: matches!(error, catalog::Error::Schema { .. }), message: error.to_string() }
    }
}

impl From<meta::Error> for Refused {
    fn from(error: meta::Error) -> Self {
        Self { must_convert: false, message: error.to_string() }
    }
}

fn summary(retry: &Retry, batch: &Batch, totals: Totals) -> BatchSummary {
    BatchSummary { delivery: retry.delivery.clone(), batch: batch.number, ranges: batch.ranges.clone(), totals }
}

/// What the batch wrote outside of a table.
fn ledger(retry: &Retry, batch: &Batch, written: &Written, totals: Totals) -> Write {
    let key = BatchKey { delivery: retry.delivery.clone(), batch: batch.number };
    let value = BatchValue {
        ranges: store_ranges(&batch.ranges),
        objects: written.objects.clone(),
        set_aside_objects: written.set_aside_objects.clone(),
        backup_objects: written.backup_objects.clone(),
        totals: Some(totals),
        committed_at_ms: Timestamp::now().as_millis(),
        rebuilt: None,
    };
    keys::put(&key, &value)
}

/// Counts what was committed.
fn count(retry: &Retry, batch: &Batch, set_aside: &[SetAside], totals: Totals) {
    let metrics = &retry.metrics;
    metrics.records.inc_by(totals.records);
    metrics.bytes_in.inc_by(totals.bytes_in);
    metrics.outputs.inc_by(totals.outputs);
    metrics.rows.inc_by(totals.rows);
    metrics.dropped.inc_by(totals.dropped);
    metrics.lost.inc_by(totals.lost);
    metrics.replayed.inc_by(totals.replayed);
    metrics.files.inc_by(totals.files);
    metrics.bytes_out.inc_by(totals.bytes_out);
    metrics.batches.inc();
    metrics.commit_seconds.observe(batch.cut_at.elapsed().as_secs_f64());
    let offsets: u64 = batch.ranges.values().map(|range| range.end.since(range.start)).sum();
    let unbalanced = unbalanced(offsets, &totals);
    metrics.unbalanced.inc_by(unbalanced);
    if unbalanced > 0 {
        tracing::error!(delivery = retry.delivery, batch = batch.number, offsets, ?totals, "a batch does not add up");
    }
    let mut causes: BTreeMap<Cause, u64> = BTreeMap::new();
    set_aside.iter().for_each(|aside| *causes.entry(aside.cause).or_default() += 1);
    causes.into_iter().for_each(|(cause, count)| metrics.set_aside(cause.as_str(), count));
    let (delivery, number) = (&retry.delivery, batch.number);
    let Totals { records, rows, set_aside, dropped, files, .. } = totals;
    tracing::info!(delivery, batch = number, records, rows, set_aside, dropped, files, "committed a batch");
}

/// By how much a batch does not add up: its offsets are records or lost, its outputs rows, set aside or dropped.
const fn unbalanced(offsets: u64, totals: &Totals) -> u64 {
    offsets.abs_diff(totals.records + totals.lost)
        + totals.outputs.abs_diff(totals.rows + totals.set_aside + totals.dropped)
}

/// The ranges of a batch: from the committed position to the end of its chunks, for every shard.
fn ranges_of(committed: &Offsets, chunks: &[Arc<Chunk>]) -> BTreeMap<ShardId, Range<Offset>> {
    let mut ranges: BTreeMap<_, _> = committed.iter().map(|(shard, offset)| (*shard, *offset..*offset)).collect();
    for chunk in chunks {
        let range = ranges.entry(chunk.shard).or_insert_with(|| chunk.offsets.clone());
        range.end = range.end.max(chunk.offsets.end);
    }
    ranges
}

fn sum(chunks: &[Arc<Chunk>]) -> Totals {
    chunks.iter().fold(Totals::default(), |mut totals, chunk| {
        totals += chunk.totals;
        totals
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_does_not_add_up_is_counted_by_how_much() {
        let whole = Totals { records: 5, lost: 1, outputs: 7, rows: 4, set_aside: 2, dropped: 1, ..Totals::default() };
        assert_eq!(unbalanced(6, &whole), 0);
        assert_eq!(unbalanced(7, &whole), 1);
        assert_eq!(unbalanced(6, &Totals { rows: 2, ..whole }), 2);
        assert_eq!(unbalanced(4, &Totals { outputs: 10, ..whole }), 5);
    }
}
