//! A chunk: converted records of one shard, and the chunks that a worker holds until they are committed.
//!
//! What is held must be exactly the offsets from the committed position on, without a gap, because queries unite it with
//! the table.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use millrace_storage::lake::parquet::KeyedBatch;
use millrace_storage::lake::partition::PartitionSet;
use millrace_storage::lake::row::{Row, SetAside};
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::Totals;
use millrace_storage::time::Timestamp;
use parking_lot::Mutex;

use super::progress::Offsets;
use crate::delivery::budget::Reservation;

/// Converted records of one shard.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) shard: ShardId,
    pub(crate) offsets: Range<Offset>,
    pub(crate) content: Content,
    pub(crate) set_aside: Vec<SetAside>,
    /// The partitions that its rows are in.
    pub(crate) partitions: PartitionSet,
    /// Without files and bytes out, which a chunk does not know.
    pub(crate) totals: Totals,
    /// When its first record arrived.
    pub(crate) oldest_at: Option<Timestamp>,
    /// The memory that it takes.
    pub(crate) reservation: Reservation,
}

/// What records became.
#[derive(Debug)]
pub(crate) enum Content {
    /// Rows of a table.
    Table(KeyedBatch),
    /// Lines.
    Lines(Vec<Row>),
}

/// The chunks of a worker, oldest first: those of the batch in flight, then those of the next one.
#[derive(Debug, Default)]
pub(crate) struct Held {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    committed: Offsets,
    /// No batch was ever committed.
    fresh: bool,
    chunks: VecDeque<Arc<Chunk>>,
    /// The schema after the last chunk.
    schema: Option<TableSchema>,
}

/// What is held from some ends on.
#[derive(Debug)]
pub(crate) struct HeldFrom {
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Up to where the chunks reach.
    pub(crate) covered: Offsets,
    /// The schema after the last chunk, where there was one.
    pub(crate) schema: Option<TableSchema>,
}

impl Held {
    /// Holds nothing, from a committed position on; `fresh` where no batch was ever committed.
    pub(crate) fn reset(&self, committed: Offsets, fresh: bool) {
        *self.inner.lock() = Inner { committed, fresh, chunks: VecDeque::new(), schema: None };
    }

    /// Adds the next chunk of a shard.
    pub(crate) fn push(&self, chunk: Arc<Chunk>, schema: Option<TableSchema>) {
        let mut inner = self.inner.lock();
        inner.chunks.push_back(chunk);
        inner.schema = schema;
    }

    /// Lets go of the oldest chunks, whose batch is committed.
    pub(crate) fn release(&self, chunks: usize, committed: Offsets) {
        let mut inner = self.inner.lock();
        inner.chunks.drain(..chunks);
        inner.committed = committed;
        inner.fresh = false;
    }

    /// What is held at and after `ends`, which are `None` where the snapshot has no batch of the delivery. The answer is
    /// `None` where some of that was committed and let go.
    pub(crate) fn from(&self, ends: Option<&Offsets>) -> Option<HeldFrom> {
        let inner = self.inner.lock();
        let ends = match ends {
            Some(ends) => ends,
            None if inner.fresh => &inner.committed,
            None => return None,
        };
        let end = |shard: &ShardId| ends.get(shard).copied().unwrap_or_default();
        if inner.committed.iter().any(|(shard, committed)| *committed > end(shard)) {
            return None;
        }
        let mut covered = ends.clone();
        let mut chunks = Vec::new();
        for chunk in &inner.chunks {
            if chunk.offsets.end <= end(&chunk.shard) {
                continue;
            }
            // Snapshots end where batches end, and batches end where chunks end.
            if chunk.offsets.start < end(&chunk.shard) {
                return None;
            }
            covered.insert(chunk.shard, chunk.offsets.end);
            chunks.push(Arc::clone(chunk));
        }
        Some(HeldFrom { chunks, covered, schema: inner.schema.clone() })
    }
}
