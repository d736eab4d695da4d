//! The tail: records that are acknowledged and not yet in a table's snapshot, as Arrow batches for queries.
//!
//! It must have neither a gap nor an overlap with the snapshot, and must never hold more than the memory budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use millrace_storage::catalog::TableName;
use millrace_storage::lake::parquet::KeyedBatch;
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{Offset, ShardId};

use super::Deliveries;
use super::budget::Reservation;
use super::entry::Entry;
use super::worker::{Chunk, Content, Memory, Offsets, Progress, open_converting, raise, reached};
use crate::error::{Error, Kind, Result};

/// Where a snapshot ends: for each delivery into the table, the first offset of each shard that the snapshot lacks.
/// A delivery that never committed to the table is absent.
pub type Ends = BTreeMap<String, BTreeMap<ShardId, Offset>>;

/// Up to where a query must see: for each delivery into a table, each shard's next offset at the time of the call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// By delivery and shard, the first offset that the query need not see.
    pub upto: BTreeMap<String, BTreeMap<ShardId, Offset>>,
}

/// What the snapshot lacks.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// One part for each delivery into the table that has rows.
    pub parts: Vec<TailPart>,
}

/// The tail of one delivery. Records that were set aside or dropped have no row.
#[derive(Debug, Clone)]
pub struct TailPart {
    /// The delivery.
    pub delivery: String,
    /// The newest schema of its batches: the table's, and perhaps columns that the next commit adds or widens. Columns are
    /// known by name: top-level fields carry no field ids.
    pub schema: SchemaRef,
    /// The rows; those of a shard are in the order of their offsets. An older batch may lack columns of the schema, or have
    /// them narrower.
    pub batches: Vec<RecordBatch>,
    /// Memory of batches that were converted for this tail alone.
    _reserved: Vec<Arc<Reservation>>,
}

/// Why there is no tail.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TailError {
    /// The snapshot is older than what the delivery has committed and released: load the table anew and ask again.
    #[error("the snapshot is older than the last commit of delivery {delivery}")]
    TooOld {
        /// The delivery.
        delivery: String,
    },
    /// The tail cannot be had.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Deliveries {
    /// The present end of what is acknowledged, for all deliveries into a table.
    ///
    /// A query that must read the table anew passes the same mark again, so that it ends however fast producers are.
    #[must_use]
    pub fn mark(&self, table: &TableName) -> Mark {
        let entries = self.entries_of(table);
        Mark { upto: entries.iter().map(|entry| (entry.name.clone(), self.acknowledged(entry))).collect() }
    }

    /// What was acknowledged before the call and lies at or after `ends`: [`Deliveries::tail_to`] with the mark of now.
    pub async fn tail(&self, table: &TableName, ends: &Ends) -> Result<Tail, TailError> {
        self.tail_to(table, ends, &self.mark(table)).await
    }

    /// The records that were acknowledged before `mark` and lie at or after `ends`; some later ones may be among them.
    ///
    /// Waits until they are converted. Where a delivery is paused or fails, they are converted for this call, within the
    /// memory budget of deliveries.
    ///
    /// # Errors
    /// [`TailError::TooOld`] where the delivery has committed and let go of records that the snapshot lacks;
    /// [`Kind::Unavailable`] where the tail does not fit the memory budget or the log cannot be read.
    pub async fn tail_to(&self, table: &TableName, ends: &Ends, mark: &Mark) -> Result<Tail, TailError> {
        let mut parts = Vec::new();
        for entry in self.entries_of(table) {
            // One that was declared after the mark has nothing that the query must see.
            let Some(upto) = mark.upto.get(&entry.name) else { continue };
            parts.extend(self.part(&entry, ends.get(&entry.name), upto).await?);
        }
        Ok(Tail { parts })
    }

    async fn part(&self, entry: &Entry, ends: Option<&Offsets>, upto: &Offsets) -> Result<Option<TailPart>, TailError> {
        let stream = Arc::clone(&entry.declared().stream);
        entry.wanted.send_if_modified(|wanted| {
            let topology = stream.topology();
            let have = reached(&topology, &wanted.convert, upto);
            raise(&topology, &mut wanted.convert, upto);
            !have
        });
        let mut progress = entry.progress.clone();
        let stuck = |progress: &Progress| progress.ended || progress.paused || !progress.failing.is_empty();
        let settled = progress.wait_for(|progress| {
            stuck(progress) || (progress.recovered && reached(&stream.topology(), &progress.converted, upto))
        });
        let recovered = settled.await.map_err(|_| super::closing(&entry.name))?.recovered;
        if !recovered {
            let words = format!("delivery {} does not know its position yet", entry.name);
            return Err(Error::new(Kind::Unavailable, words).into());
        }
        let too_old = || TailError::TooOld { delivery: entry.name.clone() };
        let held = entry.held.from(ends).ok_or_else(too_old)?;
        let mut batches: Vec<RecordBatch> = held.chunks.iter().filter_map(|chunk| rows(chunk)).collect();
        let mut reserved = Vec::new();
        if !reached(&stream.topology(), &held.covered, upto) {
            let rest = self.convert_now(entry, &held.covered, upto, held.schema).await?;
            if rest.iter().any(|chunk| chunk.totals.lost > 0) {
                return Err(too_old());
            }
            batches.extend(rest.iter().filter_map(rows));
            reserved.extend(rest.into_iter().map(|chunk| Arc::new(chunk.reservation)));
        }
        let newest = batches.last().map(RecordBatch::schema);
        Ok(newest.map(|schema| TailPart { delivery: entry.name.clone(), schema, batches, _reserved: reserved }))
    }

    /// Converts records that no worker holds, as far as memory goes.
    async fn convert_now(
        &self,
        entry: &Entry,
        from: &Offsets,
        upto: &Offsets,
        base: Option<TableSchema>,
    ) -> Result<Vec<Chunk>> {
        let declared = entry.declared();
        let (transforms, specs) = (&self.parts().transforms, &declared.spec.transforms);
        let pins = transforms.pins(specs, entry.progress.borrow().next_batch)?;
        let chain = transforms.chain(&entry.name, specs, &pins).await?;
        let reader = Arc::new(self.parts().reader(&declared, chain, entry.retry.metrics.clone()));
        let mut converting = open_converting(self.parts(), &declared, base).await?;
        let mut chunks = Vec::new();
        for key in declared.shards() {
            let offset = |offsets: &Offsets| offsets.get(&key.shard).copied().unwrap_or_default();
            let (mut at, end) = (offset(from), offset(upto));
            while at < end {
                let done = Arc::clone(&reader).read(converting, key, at..end, usize::MAX, Memory::Try).await;
                let behind: u64 =
                    upto.iter().map(|(shard, end)| end.since(from.get(shard).copied().unwrap_or_default())).sum();
                let chunk = done.chunk.map_err(|error| {
                    let words = format!(
                        "{behind} records that delivery {} has not committed cannot be read for this query: {error}; \
                         let the delivery catch up, or raise delivery.memory_bytes_max",
                        entry.name
                    );
                    Error::new(error.kind().clone(), words)
                })?;
                converting = done.converting.ok_or_else(|| super::closing(&entry.name))?;
                at = chunk.offsets.end;
                chunks.push(chunk);
            }
        }
        Ok(chunks)
    }
}

/// The rows of a chunk, where it has some. Their columns are known by name: the field ids of columns that no commit has
/// added yet may still become another column's.
fn rows(chunk: &Chunk) -> Option<RecordBatch> {
    let Content::Table(KeyedBatch { batch, .. }) = &chunk.content else { return None };
    if batch.num_rows() == 0 {
        return None;
    }
    let by_name = |field: &FieldRef| Field::new(field.name(), field.data_type().clone(), field.is_nullable());
    let schema = Arc::new(Schema::new(batch.schema_ref().fields().iter().map(by_name).collect::<Vec<_>>()));
    RecordBatch::try_new(schema, batch.columns().to_vec()).ok()
}
