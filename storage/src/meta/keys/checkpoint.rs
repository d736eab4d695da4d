//! `checkpoint/<delivery>`: how far a delivery has committed. One value, so that one write moves all of it.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::{Key, Totals, name};

/// The key of a delivery's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointKey {
    /// The delivery's name.
    pub delivery: String,
}

/// How far a delivery has committed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CheckpointValue {
    /// The number that the next batch gets.
    #[prost(uint64, tag = "1")]
    pub next_batch: u64,
    /// By shard, the first offset that is not yet committed.
    #[prost(btree_map = "uint32, uint64", tag = "2")]
    pub offsets: BTreeMap<u32, u64>,
    /// Since the delivery was created.
    #[prost(message, optional, tag = "3")]
    pub totals: Option<Totals>,
    /// When the last batch was committed, in milliseconds since the Unix epoch; zero where none was.
    #[prost(int64, tag = "4")]
    pub last_commit_at_ms: i64,
    /// The number of the stream in the log that the offsets are of.
    #[prost(uint32, tag = "5")]
    pub stream_id: u32,
    /// The first batch of the totals. Earlier ones are of another stream, or of before a gap.
    #[prost(uint64, tag = "6")]
    pub first_batch: u64,
    /// By shard, where the first batch of the totals began. A shard that came later began at its first record.
    #[prost(btree_map = "uint32, uint64", tag = "7")]
    pub first_offsets: BTreeMap<u32, u64>,
}

impl Key for CheckpointKey {
    type Value = CheckpointValue;
    const FAMILY: &'static str = "checkpoint/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.delivery.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|delivery| Self { delivery })
    }
}
