//! `shard/<stream id>/<shard>`: a shard of a stream that was resharded: its hash keys, its lineage, and whether it is closed.
//!
//! A stream without such keys was never resharded: it has the shards that its `shard_count` splits the hash keys into.

use bytes::{BufMut, BytesMut};

use super::{Key, Stored, put_number, scan_numbered, split_number};
use crate::log::{ShardId, ShardKey, StreamId};
use crate::meta::{MetaStore, Result};

/// The key of a shard. Both numbers are of fixed width, so a stream's shards stand together, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardMetaKey {
    /// The stream's number in the log, and the shard's within the stream.
    pub shard: ShardKey,
}

/// A shard.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ShardValue {
    /// The first hash key that belongs to it, in 16 bytes, big-endian.
    #[prost(bytes = "vec", tag = "1")]
    pub hash_key_start: Vec<u8>,
    /// The last one, as well.
    #[prost(bytes = "vec", tag = "2")]
    pub hash_key_end: Vec<u8>,
    /// The shards that it took over from: none, one that was split, or two that were merged. They may be gone.
    #[prost(uint32, repeated, tag = "3")]
    pub parents: Vec<u32>,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub created_at_ms: i64,
    /// Where it was closed; absent while it is open.
    #[prost(message, optional, tag = "5")]
    pub closed: Option<ClosedValue>,
    /// Why it came into being, in words; empty for those that the stream began with.
    #[prost(string, tag = "6")]
    pub reason: String,
}

/// The end of a shard.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ClosedValue {
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub at_ms: i64,
    /// The offset after its last record.
    #[prost(uint64, tag = "2")]
    pub end_offset: u64,
    /// The shards that took over.
    #[prost(uint32, repeated, tag = "3")]
    pub children: Vec<u32>,
}

/// Reads the shards of one stream, by number.
pub async fn scan_stream(store: &dyn MetaStore, stream: StreamId) -> Result<Vec<(ShardMetaKey, Stored<ShardValue>)>> {
    scan_numbered(store, stream.0).await
}

impl Key for ShardMetaKey {
    type Value = ShardValue;
    const FAMILY: &'static str = "shard/";

    fn encode_rest(&self, key: &mut BytesMut) {
        put_number(key, self.shard.stream.0);
        key.put_u32(self.shard.shard.0);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (stream, shard) = split_number(rest)?;
        let shard = ShardId(u32::from_be_bytes(shard.try_into().ok()?));
        Some(Self { shard: ShardKey { stream: StreamId(stream), shard } })
    }
}
