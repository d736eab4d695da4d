//! Rebalance: whoever is silent loses its shards, free shards get an owner, and shards are asked back where members have
//! more than their part.
//!
//! An epoch is stored before the lease that has it is handed out. Were the process killed in between, the epoch is passed
//! over; the other way round, it would be given twice.

use std::collections::BTreeMap;

use millrace_storage::log::ShardId;

use super::name::MemberId;
use super::registry::Groups;
use super::state::{Group, Lease};
use super::{rows, shards};
use crate::error::Result;

impl Groups {
    /// Rebalances; a failure is left for the next look at the group.
    pub(super) async fn rebalance_or_later(&self, group: &Group) {
        if let Err(error) = self.rebalance(group).await {
            tracing::warn!(%error, group = %group.name, stream = %group.stream.name(), "a rebalance is done again");
        }
    }

    pub(super) async fn rebalance(&self, group: &Group) -> Result<()> {
        let _turn = group.turn.lock().await;
        let (began, settled) = {
            let topology = group.stream.topology();
            let shards = shards::of(&self.0.streams, &topology);
            let mut state = group.lock();
            if state.gone {
                return Ok(());
            }
            let (changed, settled) = state.settle(&shards, self.0.clock.now(), &self.0.settings, &group.metrics);
            state.seen = Some(topology);
            let began = state.changes();
            drop(state);
            if changed {
                group.changed();
            }
            (began, settled)
        };
        self.grant(group, settled.grant).await?;
        rows::remove(&*self.0.meta, group.value.id, &settled.vanished).await?;
        let mut state = group.lock();
        for shard in settled.vanished {
            // Only now that its row is gone too: a failure before has it found again.
            state.slots.remove(&shard);
            self.0.metrics.remove_shard(group.stream.name(), &group.name, shard);
        }
        state.settled_at(began);
        let (members, leases) = state.counts();
        group.metrics.members.set(i64::try_from(members).unwrap_or(i64::MAX));
        group.metrics.leases.set(i64::try_from(leases).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Stores the next epoch of each shard, then hands the leases out.
    async fn grant(&self, group: &Group, grants: Vec<(ShardId, MemberId)>) -> Result<()> {
        if grants.is_empty() {
            return Ok(());
        }
        let shards: Vec<ShardId> = grants.iter().map(|(shard, _)| *shard).collect();
        let rows = rows::update(&*self.0.meta, group.value.id, &shards, |_, mut row| {
            row.epoch += 1;
            Ok(row)
        });
        let mut members: BTreeMap<ShardId, MemberId> = grants.into_iter().collect();
        let rows = rows.await?;
        let mut state = group.lock();
        for (shard, row) in rows {
            let Some(member) = members.remove(&shard) else { continue };
            // Else the shard stays free and the epoch is passed over; that the member left is a change of its own.
            let lives = state.members.contains_key(&member);
            let slot = state.slots.entry(shard).or_default();
            slot.note(&row);
            slot.lease = lives.then_some(Lease { member, epoch: row.epoch, release_by: None });
        }
        drop(state);
        tracing::debug!(group = %group.name, stream = %group.stream.name(), granted = shards.len(), "rebalanced");
        group.metrics.rebalances.inc();
        group.changed();
        Ok(())
    }
}
