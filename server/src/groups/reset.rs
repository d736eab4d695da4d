//! Where a group begins, and where a reset moves it.

use std::collections::BTreeMap;

use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::group::GroupCheckpointValue;
use millrace_storage::time::Timestamp;

use super::name::GroupName;
use super::registry::Groups;
use super::rows;
use crate::error::Result;
use crate::streams::{Position, StreamName, StreamState};

impl Groups {
    /// The offset of every shard for a position now. Children of closed shards have theirs too: after a time that lies
    /// before the reshard, a parent is read first.
    pub(super) async fn begins(&self, stream: &StreamState, position: Position) -> Result<Vec<(ShardId, Offset)>> {
        let topology = stream.topology();
        let mut begins = Vec::with_capacity(topology.shards().len());
        for shard in topology.shards() {
            begins.push((shard.id(), self.0.streams.resolve(stream, shard, position).await?));
        }
        Ok(begins)
    }

    /// Moves a group to a position. Every lease is taken away first, and given anew: what members had in hand cannot be
    /// checkpointed any more.
    ///
    /// # Errors
    /// Where there is no such stream or group, or the position is an offset.
    pub async fn reset(&self, stream: &StreamName, name: &GroupName, position: Position) -> Result<()> {
        super::registry::start_of(position)?;
        let group = self.get(stream, name)?;
        {
            let _turn = group.turn.lock().await;
            let begins = self.begins(&group.stream, position).await?;
            let shards: Vec<ShardId> = begins.iter().map(|(shard, _)| *shard).collect();
            let begins: BTreeMap<ShardId, Offset> = begins.into_iter().collect();
            let checkpointed_at_ms = Timestamp::now().as_millis();
            group.lock().take_all();
            group.changed();
            let rows = rows::update(&*self.0.meta, group.value.id, &shards, |shard, row| {
                let offset = begins.get(&shard).copied().unwrap_or_default().0;
                Ok(GroupCheckpointValue { offset, sub: 0, epoch: row.epoch + 1, checkpointed_at_ms })
            });
            let rows = rows.await?;
            let mut state = group.lock();
            for (shard, row) in rows {
                state.slots.entry(shard).or_default().note(&row);
            }
        }
        tracing::info!(stream = %stream, group = %name, ?position, "reset a consumer group");
        self.rebalance_or_later(&group).await;
        Ok(())
    }
}
