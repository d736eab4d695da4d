//! A group as it runs: its members, and what they hold. All of it is decided under one lock, and none of it outlives the
//! process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::group::{GroupCheckpointValue, GroupValue};
use millrace_storage::time::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::assign::{self, Holder, Workable};
use super::metrics::GroupMetrics;
use super::name::{GroupName, MemberId, MemberName};
use super::settings::GroupSettings;
use super::shards::Shards;
use super::{GroupOffset, LeaseId};
use crate::error::{Error, Kind};
use crate::streams::{StreamState, Streams, Topology};

/// A group that exists.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) stream: Arc<StreamState>,
    pub(super) name: GroupName,
    pub(super) value: GroupValue,
    /// One change of who holds what at a time: it stores epochs on its way.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Counts changes of the leases.
    version: watch::Sender<u64>,
    pub(super) metrics: GroupMetrics,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Shards with a checkpoint or a lease.
    pub(super) slots: BTreeMap<ShardId, Slot>,
    /// Members that ever joined.
    joins: u64,
    /// It was deleted, or its stream was.
    pub(super) gone: bool,
    /// Counts what may call for other leases: each join, leave, release, reset, expiry, end of a shard, and each rebalance
    /// that begins.
    changes: u64,
    /// The count that the last rebalance which came to its end had seen. While it is behind, a rebalance is due: whoever made
    /// a change and went away before its own rebalance, leaves it to the next look.
    settled: u64,
    /// What the last rebalance looked at.
    pub(super) seen: Option<Arc<Topology>>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: MemberName,
    /// When its last heartbeat came.
    pub(super) seen: Instant,
    /// Its place in the order of joining.
    pub(super) joined: u64,
}

/// What is known of a shard.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) checkpoint: GroupOffset,
    /// Zero where none was made.
    pub(super) checkpointed_at: Timestamp,
    /// Of the newest lease.
    pub(super) epoch: u64,
    pub(super) lease: Option<Lease>,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) member: MemberId,
    pub(super) epoch: u64,
    /// Until when its owner may finish, where it was asked back.
    pub(super) release_by: Option<Instant>,
}

impl From<&GroupCheckpointValue> for Slot {
    fn from(value: &GroupCheckpointValue) -> Self {
        let mut slot = Self::default();
        slot.note(value);
        slot
    }
}

impl Slot {
    /// Takes over what was stored. Another call may have stored, and noted, something newer since.
    pub(super) fn note(&mut self, value: &GroupCheckpointValue) {
        let checkpoint = GroupOffset { offset: Offset(value.offset), sub: value.sub };
        if (value.epoch, checkpoint) < (self.epoch, self.checkpoint) {
            return;
        }
        self.checkpoint = checkpoint;
        self.checkpointed_at = Timestamp(value.checkpointed_at_ms);
        self.epoch = value.epoch;
    }
}

/// What a look at the group found to be done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Free shards and who gets them.
    pub(super) grant: Vec<(ShardId, MemberId)>,
    /// Shards that the stream no longer has.
    pub(super) vanished: Vec<ShardId>,
}

impl Group {
    pub(super) fn new(
        stream: Arc<StreamState>,
        name: GroupName,
        value: GroupValue,
        slots: BTreeMap<ShardId, Slot>,
        metrics: GroupMetrics,
    ) -> Self {
        let state = Mutex::new(State { slots, ..State::default() });
        Self {
            stream,
            name,
            value,
            turn: tokio::sync::Mutex::default(),
            state,
            version: watch::Sender::new(1),
            metrics,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Tells members that the leases changed.
    pub(super) fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Names the group in an error.
    pub(super) fn about(&self, error: Error) -> Error {
        error.about("stream", self.stream.name()).about("group", &self.name)
    }

    pub(super) fn no_member(&self, member: &MemberId) -> Error {
        let (name, stream) = (&self.name, self.stream.name());
        let message = format!(
            "group {name} of stream {stream} has no member {member}: it never joined, left, or was silent for longer than the lease time"
        );
        self.about(Error::not_found(message)).about("member", member)
    }

    pub(super) fn stale(&self, lease: LeaseId, newest: u64) -> Error {
        let LeaseId { shard, epoch } = lease;
        let (name, stream) = (&self.name, self.stream.name());
        let message = format!(
            "the lease on shard {shard} of stream {stream} with epoch {epoch} is lost to its holder in group {name}; the newest epoch is {newest}"
        );
        self.about(Error::new(Kind::StaleLease, message)).about("shard", shard).about("epoch", epoch)
    }
}

impl State {
    /// Notes that a rebalance is due.
    pub(super) const fn note_change(&mut self) {
        self.changes += 1;
    }

    /// Which changes have been made; a rebalance notes it as it begins.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// A rebalance came to its end; what changed after it began is still due.
    pub(super) const fn settled_at(&mut self, began: u64) {
        self.settled = began;
    }

    /// Drops what has had its time, and plans what is to be held by whom. Asking shards back happens here; giving them needs
    /// their epochs stored first. It counts as a change, so that a rebalance which does not come to its end is done again.
    pub(super) fn settle(
        &mut self,
        shards: &Shards,
        now: Instant,
        settings: &GroupSettings,
        metrics: &GroupMetrics,
    ) -> (bool, Settled) {
        self.note_change();
        let before = self.leases();
        self.expire(now, settings.lease_ttl(), metrics);
        self.take_overdue(now, metrics);
        let vanished = self.slots.keys().filter(|shard| !shards.contains_key(shard)).copied().collect();
        for id in shards.keys().filter(|id| self.is_finished(**id, shards)).copied().collect::<Vec<_>>() {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.lease = None;
            }
        }
        let workable: Vec<Workable> =
            shards.keys().filter(|id| self.is_open(**id, shards)).map(|id| self.workable(*id)).collect();
        let mut members: Vec<(&MemberId, u64)> = self.members.iter().map(|(id, member)| (id, member.joined)).collect();
        members.sort_by_key(|(_, joined)| *joined);
        let members: Vec<MemberId> = members.into_iter().map(|(id, _)| id.clone()).collect();
        let plan = assign::plan(&members, &workable);
        for shard in &plan.ask_back {
            if let Some(lease) = self.slots.get_mut(shard).and_then(|slot| slot.lease.as_mut()) {
                lease.release_by = Some(now + settings.hand_over_timeout);
                metrics.asked_back.inc();
            }
        }
        let changed = before != self.leases() || !plan.ask_back.is_empty();
        (changed, Settled { grant: plan.grant, vanished })
    }

    /// How far a shard is processed.
    pub(super) fn at(&self, shard: ShardId) -> GroupOffset {
        self.slots.get(&shard).map_or_else(GroupOffset::default, |slot| slot.checkpoint)
    }

    /// Whether a shard is closed and processed to its end. One that the stream no longer has, is.
    pub(super) fn is_finished(&self, id: ShardId, shards: &Shards) -> bool {
        shards.get(&id).is_none_or(|shard| shard.is_finished(self.at(id).offset))
    }

    /// Whether a shard may be worked on: it is not finished, and all that comes before it is.
    pub(super) fn is_open(&self, id: ShardId, shards: &Shards) -> bool {
        let parents = shards.get(&id).map_or(&[][..], |shard| &shard.parents);
        !self.is_finished(id, shards) && parents.iter().all(|parent| self.is_finished(*parent, shards))
    }

    /// How many shards a member holds.
    pub(super) fn leases_of(&self, member: &MemberId) -> usize {
        let leases = self.slots.values().filter_map(|slot| slot.lease.as_ref());
        leases.filter(|lease| lease.member == *member).count()
    }

    fn workable(&self, shard: ShardId) -> Workable {
        let lease = self.slots.get(&shard).and_then(|slot| slot.lease.as_ref());
        let holder = match lease {
            None => Holder::Nobody,
            Some(lease) if lease.release_by.is_some() => Holder::Leaving,
            Some(lease) => Holder::Owner(lease.member.clone()),
        };
        Workable { shard, holder }
    }

    /// Ends members that were silent for too long, with their leases.
    fn expire(&mut self, now: Instant, ttl: Duration, metrics: &GroupMetrics) {
        let silent: Vec<MemberId> =
            self.members.iter().filter(|(_, member)| !member.lives(now, ttl)).map(|(id, _)| id.clone()).collect();
        for member in silent {
            tracing::warn!(%member, "a member of a group was silent for longer than the lease time");
            metrics.expired.inc();
            self.remove_member(&member);
        }
    }

    fn take_overdue(&mut self, now: Instant, metrics: &GroupMetrics) {
        for slot in self.slots.values_mut() {
            if slot.lease.as_ref().is_some_and(|lease| lease.is_overdue(now)) {
                metrics.taken_away.inc();
                slot.lease = None;
            }
        }
    }

    /// Takes a member in.
    pub(super) fn add_member(&mut self, id: MemberId, name: MemberName, now: Instant) {
        self.note_change();
        self.joins += 1;
        let joined = self.joins;
        self.members.insert(id, Member { name, seen: now, joined });
    }

    /// Takes a lease back from its holder; tells whether it was held.
    pub(super) fn release(&mut self, member: &MemberId, lease: LeaseId) -> bool {
        let slot = self.slots.get_mut(&lease.shard);
        let held = slot.and_then(|slot| slot.lease.take_if(|held| held.member == *member && held.epoch == lease.epoch));
        if held.is_some() {
            self.note_change();
        }
        held.is_some()
    }

    /// Frees all shards, to be given anew: nobody may checkpoint from here on.
    pub(super) fn take_all(&mut self) {
        self.note_change();
        self.slots.values_mut().for_each(|slot| slot.lease = None);
    }

    /// Ends a member; its leases are free.
    pub(super) fn remove_member(&mut self, member: &MemberId) -> bool {
        for slot in self.slots.values_mut() {
            if slot.lease.as_ref().is_some_and(|lease| lease.member == *member) {
                slot.lease = None;
            }
        }
        let was_there = self.members.remove(member).is_some();
        if was_there {
            self.note_change();
        }
        was_there
    }

    /// Whether a turn would change something: a call's change that nobody saw to, time that passed, or a reshard.
    pub(super) fn is_due(&self, now: Instant, ttl: Duration, topology: &Arc<Topology>) -> bool {
        let resharded = self.seen.as_ref().is_some_and(|seen| !Arc::ptr_eq(seen, topology));
        let overdue = |slot: &Slot| slot.lease.as_ref().is_some_and(|lease| lease.is_overdue(now));
        self.changes != self.settled
            || resharded
            || self.members.values().any(|member| !member.lives(now, ttl))
            || self.slots.values().any(overdue)
    }

    /// Whether somebody holds a shard of which nothing is left: its last records were trimmed.
    pub(super) fn holds_finished(&self, topology: &Topology, streams: &Streams) -> bool {
        let is_finished = |id: &ShardId, slot: &Slot| {
            let shard = topology.shard(*id)?;
            let end = shard.closed()?.end;
            Some(slot.checkpoint.offset.max(streams.log().offsets(shard.key()).start) >= end)
        };
        let mut held = self.slots.iter().filter(|(_, slot)| slot.lease.is_some());
        held.any(|(id, slot)| is_finished(id, slot) == Some(true))
    }

    fn leases(&self) -> usize {
        self.slots.values().filter(|slot| slot.lease.is_some()).count()
    }

    /// Members and leases, for the gauges.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.members.len(), self.leases())
    }
}

impl Member {
    pub(super) fn lives(&self, now: Instant, ttl: Duration) -> bool {
        now.saturating_duration_since(self.seen) < ttl
    }
}

impl Lease {
    fn is_overdue(&self, now: Instant) -> bool {
        self.release_by.is_some_and(|by| by <= now)
    }
}
