//! Members: they join, send heartbeats, give leases back, and leave.

use std::time::{Duration, Instant};

use millrace_storage::log::{Offset, ShardId};

use super::name::{MemberId, MemberName};
use super::registry::Groups;
use super::state::{Group, State};
use super::{Caller, GroupOffset, LeaseId};
use crate::error::{Error, Kind, Result};
use crate::streams::{Position, Topology};

/// What a member is told as it joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// How long its leases last without a heartbeat.
    pub lease_ttl: Duration,
    /// How often to send one.
    pub heartbeat_interval: Duration,
}

/// All that a member holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leases {
    /// Changes with the leases.
    pub version: u64,
    /// By shard.
    pub leases: Vec<LeaseView>,
}

/// A lease as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// The shard.
    pub shard: ShardId,
    /// The fencing token.
    pub epoch: u64,
    /// Where to read on.
    pub checkpoint: GroupOffset,
    /// How long its holder has to hand it over, where it was asked to.
    pub release_within: Option<Duration>,
    /// Where the shard ends, once it is closed.
    pub end: Option<Offset>,
}

impl Groups {
    /// Makes a member, and the group with the first one. Joining again keeps what the member holds.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is no such stream; [`Kind::FailedPrecondition`] where the group has as many members,
    /// or the stream as many groups, as it may.
    pub async fn join(&self, caller: &Caller, name: MemberName, position: Position) -> Result<Joined> {
        let group = {
            let _turn = self.0.changes.lock().await;
            let group = self.get_or_create(&caller.stream, &caller.group, position).await?;
            self.take_in(&group, &caller.member, name)?;
            group
        };
        self.rebalance_or_later(&group).await;
        let settings = &self.0.settings;
        Ok(Joined { lease_ttl: settings.lease_ttl(), heartbeat_interval: settings.heartbeat_interval() })
    }

    fn take_in(&self, group: &Group, member: &MemberId, name: MemberName) -> Result<()> {
        let (now, ttl) = (self.0.clock.now(), self.0.settings.lease_ttl());
        let mut state = group.lock();
        if let Some(known) = state.members.get_mut(member).filter(|known| known.lives(now, ttl)) {
            known.seen = now;
            return Ok(());
        }
        let (count, most) = (state.members.len(), self.0.settings.members_max as usize);
        if count >= most {
            self.0.metrics.rejected("members_max");
            let message = format!("group {} has {count} members, and the limit is {most}", group.name);
            return Err(group.about(Error::new(Kind::FailedPrecondition, message)));
        }
        // A member that was silent for too long begins anew.
        state.remove_member(member);
        state.add_member(member.clone(), name, now);
        Ok(())
    }

    /// Keeps a member alive and tells what it holds. Where nothing changed since `version`, waits up to `wait`, and at most
    /// the heartbeat interval, for a change.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where its time has passed: its leases are lost, and it may join again.
    pub async fn heartbeat(&self, caller: &Caller, version: u64, wait: Duration) -> Result<Leases> {
        let group = self.get(&caller.stream, &caller.group)?;
        let mut watch = group.watch();
        self.see(&group, &caller.member)?;
        let wait = wait.min(self.0.settings.heartbeat_interval());
        if *watch.borrow_and_update() == version && !wait.is_zero() {
            let stopping = self.0.streams.stopping();
            tokio::select! {
                _ = watch.changed() => {}
                () = tokio::time::sleep(wait) => {}
                () = stopping.cancelled() => return Err(Error::unavailable("the server is closing; send it again")),
            }
        }
        // The version is read before the leases: a change in between is told once more rather than not at all.
        let version = *watch.borrow_and_update();
        let (now, topology) = (self.0.clock.now(), group.stream.topology());
        let state = group.lock();
        if state.gone || !state.members.contains_key(&caller.member) {
            return Err(group.no_member(&caller.member));
        }
        Ok(Leases { version, leases: held_by(&state, &caller.member, &topology, now) })
    }

    fn see(&self, group: &Group, member: &MemberId) -> Result<()> {
        let (now, ttl) = (self.0.clock.now(), self.0.settings.lease_ttl());
        let mut state = group.lock();
        let known = state.members.get_mut(member).filter(|known| known.lives(now, ttl));
        known.map(|known| known.seen = now).ok_or_else(|| group.no_member(member))
    }

    /// Ends a member; its leases go to others at once. One that is not there has left already.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is no such stream or group.
    pub async fn leave(&self, caller: &Caller) -> Result<()> {
        let group = self.get(&caller.stream, &caller.group)?;
        let was_there = group.lock().remove_member(&caller.member);
        if was_there {
            group.changed();
            self.rebalance_or_later(&group).await;
        }
        Ok(())
    }

    /// Gives a lease back. One that is lost already is no error.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is no such stream or group.
    pub async fn release(&self, caller: &Caller, lease: LeaseId) -> Result<()> {
        let group = self.get(&caller.stream, &caller.group)?;
        let held = group.lock().release(&caller.member, lease);
        if held {
            group.changed();
            self.rebalance_or_later(&group).await;
        }
        Ok(())
    }
}

fn held_by(state: &State, member: &MemberId, topology: &Topology, now: Instant) -> Vec<LeaseView> {
    let mine = state.slots.iter().filter_map(|(shard, slot)| {
        let lease = slot.lease.as_ref().filter(|lease| lease.member == *member)?;
        Some(LeaseView {
            shard: *shard,
            epoch: lease.epoch,
            checkpoint: slot.checkpoint,
            release_within: lease.release_by.map(|by| by.saturating_duration_since(now)),
            end: topology.shard(*shard).and_then(|shard| shard.closed()).map(|closed| closed.end),
        })
    });
    mine.collect()
}
