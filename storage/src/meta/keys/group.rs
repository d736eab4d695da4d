//! `group/<stream id>/<name>`: a consumer group; `group-id/next`: the id that the next group gets;
//! `group-checkpoint/<group id>/<shard>`: how far a group has processed a shard, and the newest epoch of a lease on it.

use bytes::{BufMut, BytesMut};

use super::{Key, Stored, name, put_number, scan_numbered, split_number};
use crate::meta::{MetaStore, Result};

/// The key of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The number of its stream in the log, so that a group never outlives its stream under the same name.
    pub stream: u32,
    /// The group's name.
    pub name: String,
}

/// A consumer group.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GroupValue {
    /// Never reused, also not by a group of the same name. The upper half of the epochs of its leases.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub created_at_ms: i64,
    /// Where the shards began that the group came into being with.
    #[prost(enumeration = "GroupStart", tag = "3")]
    pub start: i32,
    /// For [`GroupStart::Time`]: milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub start_time_ms: i64,
}

/// Where a group began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum GroupStart {
    /// At the oldest record that was kept.
    TrimHorizon = 0,
    /// After the newest record.
    Latest = 1,
    /// At a time.
    Time = 2,
}

impl Key for GroupKey {
    type Value = GroupValue;
    const FAMILY: &'static str = "group/";

    fn encode_rest(&self, key: &mut BytesMut) {
        put_number(key, self.stream);
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (stream, rest) = split_number(rest)?;
        name(rest).map(|name| Self { stream, name })
    }
}

/// The key of the counter that group ids come from. It is the only one of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupIdKey;

/// The counter that group ids come from.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GroupIdValue {
    /// The id that the next group gets. Absent means 1: an id is never 0.
    #[prost(uint32, tag = "1")]
    pub next: u32,
}

impl Key for GroupIdKey {
    type Value = GroupIdValue;
    const FAMILY: &'static str = "group-id/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(b"next");
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        (rest == b"next").then_some(Self)
    }
}

/// The key of a group's checkpoint of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupCheckpointKey {
    /// The group's id.
    pub group: u32,
    /// The shard's number in the stream.
    pub shard: u32,
}

/// How far a group has processed a shard.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GroupCheckpointValue {
    /// The first offset that is not processed as a whole.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// How many user records of that record are processed; zero unless it is an aggregate.
    #[prost(uint32, tag = "2")]
    pub sub: u32,
    /// Of the newest lease; it never falls.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// When the offset was noted, in milliseconds since the Unix epoch; zero where it is where the group began.
    #[prost(int64, tag = "4")]
    pub checkpointed_at_ms: i64,
}

impl Key for GroupCheckpointKey {
    type Value = GroupCheckpointValue;
    const FAMILY: &'static str = "group-checkpoint/";

    fn encode_rest(&self, key: &mut BytesMut) {
        put_number(key, self.group);
        key.put_u32(self.shard);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (group, shard) = split_number(rest)?;
        Some(Self { group, shard: u32::from_be_bytes(shard.try_into().ok()?) })
    }
}

/// Reads a group's checkpoints, by shard.
pub async fn scan_checkpoints(
    store: &dyn MetaStore,
    group: u32,
) -> Result<Vec<(GroupCheckpointKey, Stored<GroupCheckpointValue>)>> {
    scan_numbered(store, group).await
}
