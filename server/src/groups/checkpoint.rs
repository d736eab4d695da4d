//! Checkpoints: how far a shard is processed, noted by whoever holds its lease, and by nobody else.
//!
//! A checkpoint is stored only over the row that has the lease's own epoch, so that a holder who lost its lease meanwhile,
//! while its call was on its way or its process stood still, is refused whatever memory says.

use millrace_storage::meta::keys::group::GroupCheckpointValue;
use millrace_storage::time::Timestamp;

use super::registry::Groups;
use super::state::Group;
use super::{Caller, GroupOffset, LeaseId, rows, shards};
use crate::error::{Error, Kind, Result};

impl Groups {
    /// Notes how far a shard is processed. The same again is no error.
    ///
    /// # Errors
    /// [`Kind::StaleLease`] where the lease is lost; [`Kind::Invalid`] where the position lies before the last one or past
    /// the shard's end.
    pub async fn checkpoint(&self, caller: &Caller, lease: LeaseId, at: GroupOffset) -> Result<()> {
        let group = self.get(&caller.stream, &caller.group)?;
        let outcome = self.store_checkpoint(&group, caller, lease, at).await;
        match &outcome {
            Ok(_) => group.metrics.checkpoints.inc(),
            Err(error) if *error.kind() == Kind::StaleLease => group.metrics.refused.inc(),
            Err(_) => {}
        }
        let value = outcome?;
        let shard = shards::of_one(&self.0.streams, &group.stream, lease.shard);
        let finished = shard.is_some_and(|shard| shard.is_finished(at.offset));
        {
            let mut state = group.lock();
            state.slots.entry(lease.shard).or_default().note(&value);
            if finished {
                state.note_change();
            }
        }
        if finished {
            self.rebalance_or_later(&group).await;
        }
        Ok(())
    }

    async fn store_checkpoint(
        &self,
        group: &Group,
        caller: &Caller,
        lease: LeaseId,
        at: GroupOffset,
    ) -> Result<GroupCheckpointValue> {
        self.check_lease(group, caller, lease)?;
        self.check_end(group, lease, at)?;
        let checkpointed_at_ms = Timestamp::now().as_millis();
        let shards = [lease.shard];
        let rows = rows::update(&*self.0.meta, group.value.id, &shards, |_, row| {
            if row.epoch != lease.epoch {
                return Err(group.stale(lease, row.epoch));
            }
            let before = GroupOffset { offset: millrace_storage::log::Offset(row.offset), sub: row.sub };
            if at < before {
                return Err(group.about(behind(lease, at, before)));
            }
            if at == before {
                return Ok(row);
            }
            Ok(GroupCheckpointValue { offset: at.offset.0, sub: at.sub, checkpointed_at_ms, ..row })
        });
        let [(_, value)] = rows.await?[..] else {
            return Err(Error::new(Kind::Internal, "an update of one row gave another number of rows"));
        };
        Ok(value)
    }

    fn check_lease(&self, group: &Group, caller: &Caller, lease: LeaseId) -> Result<()> {
        let (now, ttl) = (self.0.clock.now(), self.0.settings.lease_ttl());
        let state = group.lock();
        let slot = state.slots.get(&lease.shard);
        let lives = state.members.get(&caller.member).is_some_and(|member| member.lives(now, ttl));
        let held = slot.and_then(|slot| slot.lease.as_ref());
        if lives && held.is_some_and(|held| held.member == caller.member && held.epoch == lease.epoch) {
            return Ok(());
        }
        Err(group.stale(lease, slot.map_or(0, |slot| slot.epoch)))
    }

    fn check_end(&self, group: &Group, lease: LeaseId, at: GroupOffset) -> Result<()> {
        let end = shards::of_one(&self.0.streams, &group.stream, lease.shard).map(|shard| shard.offsets.end);
        // A shard that the stream no longer has is nobody's to judge.
        let Some(end) = end else { return Ok(()) };
        if at.offset > end || (at.offset == end && at.sub > 0) {
            let message = format!(
                "a checkpoint at offset {} (sub {}) is past the next offset {end} of shard {}",
                at.offset, at.sub, lease.shard
            );
            return Err(group.about(Error::invalid(message)).in_field("offset"));
        }
        Ok(())
    }
}

fn behind(lease: LeaseId, at: GroupOffset, before: GroupOffset) -> Error {
    let message = format!(
        "a checkpoint at offset {} (sub {}) is before the one of shard {} at offset {} (sub {})",
        at.offset, at.sub, lease.shard, before.offset, before.sub
    );
    Error::invalid(message).in_field("offset")
}
