//! Consumer groups: members share a stream's shards, one owner a shard at a time, and the group remembers how far each
//! shard is processed.
//!
//! Who is a member and who owns what is in memory, kept alive by heartbeats. What must outlive the process is in the meta
//! store: each shard's checkpoint and the epoch of the newest lease on it. An epoch is stored before its lease is handed
//! out, so that whoever holds an older one, also from before a restart, can never checkpoint again.
//!
//! Nothing here knows the wire. A group never holds retention back: what is trimmed unread is lost to it.

mod settings;
mod clock;
mod name;
mod metrics;
mod assign;
mod shards;
mod state;
mod rows;
mod registry;
mod membership;
mod checkpoint;
mod rebalance;
mod reset;
mod describe;
#[cfg(test)]
mod tests;

pub use clock::Monotonic;
pub use describe::{GroupView, MemberView, ShardView, SlotState};
pub use membership::{Joined, LeaseView, Leases};
pub use name::{GroupName, MemberId, MemberName};
pub use registry::Groups;
pub use settings::GroupSettings;

use millrace_storage::log::{Offset, ShardId};

use crate::streams::StreamName;

/// Which member of which group a call is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The stream.
    pub stream: StreamName,
    /// The group.
    pub group: GroupName,
    /// The member.
    pub member: MemberId,
}

/// A lease as its holder names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseId {
    /// The shard.
    pub shard: ShardId,
    /// The fencing token.
    pub epoch: u64,
}

/// How far a shard is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GroupOffset {
    /// The first offset that is not processed as a whole.
    pub offset: Offset,
    /// How many user records of that record are processed; zero unless it is an aggregate.
    pub sub: u32,
}
