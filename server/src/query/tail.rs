//! What a query needs of deliveries: the records that were acknowledged but are in no snapshot yet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use millrace_storage::catalog::TableName;
use millrace_storage::log::{Offset, ShardId};

use crate::delivery::{self, Deliveries};
use crate::error::{Error, Result};

/// Offsets by delivery and shard.
pub type Offsets = BTreeMap<String, BTreeMap<ShardId, Offset>>;

/// The rows of a table that lie after a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// One part for each delivery into the table.
    pub parts: Vec<TailPart>,
}

/// The rows of one delivery.
#[derive(Debug, Clone)]
pub struct TailPart {
    /// The schema of the batches: the table's or a newer one.
    pub schema: SchemaRef,
    /// The rows. An older batch may lack columns of the schema, or have them narrower.
    pub batches: Vec<RecordBatch>,
    /// What accounts for the batches' memory; it is kept as long as the query runs.
    pub accounted: Option<Arc<dyn fmt::Debug + Send + Sync>>,
}

/// Why there is no tail.
#[derive(Debug, Clone)]
pub enum TailError {
    /// The snapshot is older than what the source still holds: read the table again.
    TooOld,
    /// Anything else.
    Failed(Error),
}

/// Where tails come from.
///
/// A tail MUST hold the rows of every record from `ends` to `mark`, none before `ends`, and none twice; it may hold later
/// ones. A delivery that `ends` does not name begins at its first record. It MUST say [`TailError::TooOld`] rather than leave out a record.
#[async_trait]
pub trait TailSource: Send + Sync + fmt::Debug + 'static {
    /// Up to where a query that begins now must see: the next offset of each shard, for each delivery into the table.
    async fn mark(&self, table: &TableName) -> Result<Offsets>;

    /// The rows of `table` from `ends` to `mark`.
    async fn tail(&self, table: &TableName, ends: &Offsets, mark: &Offsets) -> Result<Tail, TailError>;
}

#[async_trait]
impl TailSource for Deliveries {
    async fn mark(&self, table: &TableName) -> Result<Offsets> {
        Ok(Deliveries::mark(self, table).upto)
    }

    async fn tail(&self, table: &TableName, ends: &Offsets, mark: &Offsets) -> Result<Tail, TailError> {
        let mark = delivery::Mark { upto: mark.clone() };
        let tail = self.tail_to(table, ends, &mark).await.map_err(|error| match error {
            delivery::TailError::TooOld { .. } => TailError::TooOld,
            delivery::TailError::Failed(error) => TailError::Failed(error),
        })?;
        let parts = tail.parts.into_iter().map(|part| TailPart {
            schema: SchemaRef::clone(&part.schema),
            batches: part.batches.clone(),
            accounted: Some(Arc::new(part)),
        });
        Ok(Tail { parts: parts.collect() })
    }
}

/// No tails: queries see what is committed.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTail;

#[async_trait]
impl TailSource for NoTail {
    async fn mark(&self, _table: &TableName) -> Result<Offsets> {
        Ok(Offsets::new())
    }

    async fn tail(&self, _table: &TableName, _ends: &Offsets, _mark: &Offsets) -> Result<Tail, TailError> {
        Ok(Tail::default())
    }
}
