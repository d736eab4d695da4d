//! The next batch: what it holds, and when it is cut.

use std::sync::Arc;

use futures::future::FutureExt;
use millrace_storage::lake::partition::PartitionSet;
use millrace_storage::lake::schema::TableSchema;
use tokio::time::Instant;

use super::Session;
use crate::delivery::worker::chunk::Chunk;
use crate::delivery::worker::flight::{self, Batch, Landed};
use crate::delivery::worker::position::Position;
use crate::delivery::worker::progress::{Offsets, Wanted, reached};

/// The chunks of the next batch.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) bytes_in: u64,
    /// The memory that they take.
    pub(super) memory_bytes: u64,
    /// What its files will be.
    pub(super) partitions: PartitionSet,
    /// When the first of its records was seen.
    pub(super) since: Option<Instant>,
    /// The schema after its last chunk.
    pub(super) schema: Option<TableSchema>,
}

impl Session {
    pub(super) fn cut_when_due(&mut self, now: Instant, aims: &Wanted) {
        if self.flight.is_some() || self.buffer.chunks.is_empty() || !self.is_due(now, aims) {
            return;
        }
        let Some(position) = self.position.take() else { return };
        if self.has_many_partitions() {
            self.retry.metrics.partition_cuts.inc();
        }
        let buffer = std::mem::take(&mut self.buffer);
        let waiting = self.waiting.iter().filter_map(|shard| self.index_of(*shard));
        self.buffer.since = waiting.filter_map(|index| self.shards[index].waiting_since).min();
        self.member.set_cuttable(0);
        let batch = Batch::cut(&self.declared, position, buffer.chunks, buffer.schema, self.pins.clone());
        self.filling = batch.number + 1;
        self.flight = Some(flight::fly(Arc::clone(&self.parts), self.retry.clone(), batch).boxed());
    }

    /// Whether the next batch is to be cut now.
    fn is_due(&self, now: Instant, aims: &Wanted) -> bool {
        let spec = &self.declared.spec;
        let aged = self.buffer.since.is_some_and(|since| now >= since + spec.buffer_interval);
        let full = self.buffer.bytes_in >= spec.buffer_size.as_u64();
        full || aged
            || self.has_many_partitions()
            || self.has_much_memory()
            || self.member.is_pressed()
            || self.is_to_be_flushed(&aims.flush)
    }

    /// Whether the next batch is the last one that a flush waits for.
    fn is_to_be_flushed(&self, flush: &Offsets) -> bool {
        if flush.is_empty() {
            return false;
        }
        let topology = self.topology.borrow();
        let read_to: Offsets = self.shards.iter().map(|shard| (shard.key.shard, shard.read_to)).collect();
        let committed = self.position.as_ref().map(Position::committed).unwrap_or_default();
        !reached(&topology, &committed, flush) && reached(&topology, &read_to, flush)
    }

    pub(super) fn landed(&mut self, landed: Landed) {
        let committed = landed.position.committed();
        self.held.release(landed.chunks, committed);
        let oldest_at = self.buffer.chunks.first().and_then(|chunk| chunk.oldest_at);
        let position = landed.position;
        self.retry.progress.send_modify(|progress| {
            progress.oldest_at = oldest_at;
            progress.buffered_bytes = self.buffer.bytes_in;
            progress.open_partitions = self.buffer.partitions.len();
            position.show(progress);
        });
        self.position = Some(position);
    }
}
