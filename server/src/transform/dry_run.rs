//! A chain run to look at: what it makes of records, with nothing kept.

use millrace_storage::log::{Record, ShardId};

use super::{Chain, Input, Outcome, TransformSpec, Transforms};
use crate::error::{Error, Kind, Result};

/// The most records of one dry run.
pub const DRY_RUN_RECORDS_MAX: usize = 1_000;
/// The most bytes of the records of one dry run.
pub const DRY_RUN_BYTES_MAX: usize = 4 << 20;

/// What became of a record, or of a user record of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which of the given records it is, or was part of.
    pub record: usize,
    /// Its name.
    pub id: String,
    /// What went in.
    pub before: bytes::Bytes,
    /// What came out.
    pub outcome: Outcome,
}

impl Transforms {
    /// Runs steps over records and their shards, on a thread that may block, by the versions that are in use.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where something that the steps name is not there.
    pub async fn try_out(&self, specs: &[TransformSpec], records: Vec<(ShardId, Record)>) -> Result<Vec<Tried>> {
        let pins = self.pins(specs, 0)?;
        // It counts as no delivery's.
        let chain = self.chain("", specs, &pins).await?;
        let ended = |error| Error::new(Kind::Internal, format_args!("the dry run ended early: {error}"));
        let tried = tokio::task::spawn_blocking(move || try_all(&chain, records)).await.map_err(ended)?;
        self.forget_delivery("");
        Ok(tried)
    }
}

fn try_all(chain: &Chain, records: Vec<(ShardId, Record)>) -> Vec<Tried> {
    let mut inputs = Vec::with_capacity(records.len());
    for (index, (shard, record)) in records.into_iter().enumerate() {
        let parts = chain.inputs(shard, &[record]);
        inputs.extend(parts.into_iter().map(|part| Input { record: index, ..part }));
    }
    let outcomes = chain.apply(&inputs);
    let tried = |(input, outcome): (Input, Outcome)| Tried {
        record: input.record,
        id: input.id(),
        before: input.data,
        outcome,
    };
    inputs.into_iter().zip(outcomes).map(tried).collect()
}
