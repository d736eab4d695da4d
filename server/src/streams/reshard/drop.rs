//! Closed shards go once nothing of them is needed: their records are trimmed, every delivery has committed all of them,
//! they are closed for the whole retention, and their ancestors are gone.

use std::collections::BTreeMap;

use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys;
use millrace_storage::time::Timestamp;

use super::key_of;
use crate::error::Result;
use crate::streams::registry::Streams;
use crate::streams::state::StreamState;
use crate::streams::topology::{ShardState, Topology};

impl Streams {
    /// Drops the closed shards of a stream that were closed at or before `oldest` and of which nothing is needed any more.
    /// `needed` is the first offset of a shard that a delivery has not committed; all where there is no delivery.
    pub(in crate::streams) async fn drop_closed_shards(
        &self,
        stream: &StreamState,
        oldest: Timestamp,
        needed: impl Fn(ShardId) -> Offset,
    ) -> Result<()> {
        let is_over = |shard: &ShardState| {
            shard.closed().is_some_and(|closed| {
                let trimmed = self.log().offsets(shard.key()).start >= closed.end;
                closed.at <= oldest && trimmed && needed(shard.id()) >= closed.end
            })
        };
        if !stream.topology().shards().iter().any(|shard| is_over(shard)) {
            return Ok(());
        }
        let _turn = self.changes().lock().await;
        if stream.deleted.is_cancelled() {
            return Ok(());
        }
        let topology = stream.topology();
        // Parents have lower numbers, so one pass finds whole families.
        let mut kept = BTreeMap::new();
        let mut gone = Vec::new();
        for shard in topology.shards() {
            if is_over(shard) && !shard.parents().iter().any(|parent| kept.contains_key(parent)) {
                gone.push(shard);
            } else {
                kept.insert(shard.id(), shard);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        // Should this be stored although the store fails, a restart finds fewer shards, and the next pass asks again.
        self.meta().commit(Vec::new(), gone.iter().map(|shard| keys::delete(&key_of(shard.key()))).collect()).await?;
        let numbers: Vec<u32> = gone.iter().map(|shard| shard.id().0).collect();
        stream.set_topology(Topology::new(kept.into_values().cloned().collect()), []);
        for shard in &numbers {
            self.metrics().remove_shard(stream.name(), *shard);
        }
        tracing::info!(stream = %stream.name(), shards = ?numbers, "closed shards are past their retention and gone");
        Ok(())
    }
}
