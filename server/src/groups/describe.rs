//! A group as people see it: its members, and how far each shard is.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_storage::log::{Offset, ReadLimit, ShardId, ShardKey, StreamId};
use millrace_storage::meta::keys::group::GroupValue;
use millrace_storage::time::Timestamp;

use super::GroupOffset;
use super::name::{GroupName, MemberId, MemberName};
use super::registry::Groups;
use super::shards::{self, Shards};
use super::state::{Group, State};
use crate::error::Result;
use crate::streams::StreamName;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Its stream.
    pub stream: StreamName,
    /// The stream's number; groups are listed by it.
    pub stream_id: StreamId,
    /// Its name.
    pub name: GroupName,
    /// What it came into being as.
    pub value: GroupValue,
    /// By id.
    pub members: Vec<MemberView>,
    /// By number.
    pub shards: Vec<ShardView>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Its id.
    pub id: MemberId,
    /// What people call it.
    pub name: MemberName,
    /// Shards that it holds.
    pub leases: usize,
    /// Since its last heartbeat.
    pub silent: Duration,
}

/// A shard, for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardView {
    /// Its number.
    pub shard: ShardId,
    /// Who has it.
    pub state: SlotState,
    /// Of the newest lease.
    pub epoch: u64,
    /// How far it is processed.
    pub checkpoint: GroupOffset,
    /// Zero where no checkpoint was made.
    pub checkpointed_at: Timestamp,
    /// Records that are kept and not yet processed.
    pub lag_records: u64,
    /// How long ago the record at the checkpoint arrived; zero where none is left.
    pub millis_behind_latest: u64,
}

/// Who has a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    /// Nobody.
    Free,
    /// A member.
    Leased(MemberId),
    /// A member that is asked to give it to another.
    Releasing(MemberId),
    /// Nobody, until its parents are processed.
    Waiting,
    /// It is closed and processed to its end.
    Finished,
}

impl Groups {
    /// A group with its members and shards.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`], or where the log cannot be read.
    pub async fn describe(&self, stream: &StreamName, name: &GroupName) -> Result<GroupView> {
        let group = self.get(stream, name)?;
        let (mut view, keys) = self.view(&group);
        for shard in &mut view.shards {
            if let Some(key) = keys.get(&shard.shard).filter(|_| shard.lag_records > 0) {
                shard.millis_behind_latest = self.millis_behind(*key, shard.checkpoint.offset).await?;
            }
        }
        Ok(view)
    }

    /// At most `count` groups after the one named, by stream's id and group's name; of one stream, or of all.
    #[must_use]
    pub fn list(&self, stream: Option<StreamId>, after: Option<(StreamId, GroupName)>, count: usize) -> Vec<GroupView> {
        let groups = self.list_after(after, stream, count);
        groups.iter().map(|group| self.view(group).0).collect()
    }

    fn view(&self, group: &Group) -> (GroupView, BTreeMap<ShardId, ShardKey>) {
        let shards = shards::of(&self.0.streams, &group.stream.topology());
        let now = self.0.clock.now();
        let state = group.lock();
        let members = state.members.iter().map(|(id, member)| MemberView {
            id: id.clone(),
            name: member.name.clone(),
            leases: state.leases_of(id),
            silent: now.saturating_duration_since(member.seen),
        });
        let view = GroupView {
            stream: group.stream.name().clone(),
            stream_id: group.stream.id(),
            name: group.name.clone(),
            value: group.value,
            members: members.collect(),
            shards: shards.keys().map(|shard| view_of(*shard, &shards, &state)).collect(),
        };
        (view, shards.into_iter().map(|(id, shard)| (id, shard.key)).collect())
    }

    /// How long ago the first record from an offset on arrived.
    async fn millis_behind(&self, key: ShardKey, from: Offset) -> Result<u64> {
        let limit = ReadLimit { records_max: 1, bytes_max: 1 };
        let records = self.0.streams.log().read(key, from, limit).await?;
        let behind =
            |arrival: Timestamp| u64::try_from(Timestamp::now().as_millis() - arrival.as_millis()).unwrap_or(0);
        Ok(records.first().map_or(0, |record| behind(record.arrival_time)))
    }
}

fn view_of(id: ShardId, shards: &Shards, state: &State) -> ShardView {
    let slot = state.slots.get(&id);
    let checkpoint = state.at(id);
    let owner = match slot.and_then(|slot| slot.lease.as_ref()) {
        Some(lease) if lease.release_by.is_some() => SlotState::Releasing(lease.member.clone()),
        Some(lease) => SlotState::Leased(lease.member.clone()),
        None if state.is_finished(id, shards) => SlotState::Finished,
        None if state.is_open(id, shards) => SlotState::Free,
        None => SlotState::Waiting,
    };
    ShardView {
        shard: id,
        state: owner,
        epoch: slot.map_or(0, |slot| slot.epoch),
        checkpoint,
        checkpointed_at: slot.map_or_else(Timestamp::default, |slot| slot.checkpointed_at),
        lag_records: shards.get(&id).map_or(0, |shard| shard.lag(checkpoint.offset)),
        millis_behind_latest: 0,
    }
}

impl GroupView {
    /// Records that are kept and not yet processed, in all shards.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lag_records).sum()
    }
}
