//! `stream/<name>`: what a stream is; `stream-id/next`: the id that the next stream gets.

use bytes::{BufMut, BytesMut};

use super::{Key, name};

/// The key of a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey {
    /// The stream's name.
    pub name: String,
}

/// A stream: its id in the log and its declaration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamValue {
    /// Its number in the log. Never reused, also not by a stream of the same name.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// How many open shards it has. Where it was never resharded, shard `i` of `n` takes the `i`-th of `n` equal ranges of
    /// hash keys; else see the family `shard`.
    #[prost(uint32, tag = "2")]
    pub shard_count: u32,
    /// How long a record is kept, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub retention_ms: u64,
    /// The most that a record may hold: data plus partition key, in bytes.
    #[prost(uint64, tag = "4")]
    pub record_bytes_max: u64,
    /// Per shard; zero is no limit.
    #[prost(uint64, tag = "5")]
    pub in_bytes_per_second: u64,
    /// Per shard; zero is no limit.
    #[prost(uint64, tag = "6")]
    pub in_records_per_second: u64,
    /// Per shard; zero is no limit.
    #[prost(uint64, tag = "7")]
    pub out_bytes_per_second: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "8")]
    pub created_at_ms: i64,
    /// The declaration in TOML where a pipeline made the stream; empty otherwise.
    #[prost(string, tag = "9")]
    pub spec_toml: String,
    /// Whether its deletion has begun: the log may have lost some of it, and opening the streams finishes the rest.
    #[prost(bool, tag = "10")]
    pub deleting: bool,
    /// The data key that seals new blocks; zero is none: they are stored in the clear.
    #[prost(uint32, tag = "20")]
    pub encryption_key_version: u32,
    /// How much of its quotas an idle shard saves up, in milliseconds' worth; 0, as in values of the first version, is 1,000.
    #[prost(uint64, tag = "30")]
    pub burst_ms: u64,
    /// What becomes of a put over quota: 0 it is refused, 1 it waits.
    #[prost(uint32, tag = "31")]
    pub over_quota: u32,
    /// The most bytes as stored; zero is no limit.
    #[prost(uint64, tag = "32")]
    pub stored_bytes_max: u64,
    /// Whether the retention trims what a delivery has not yet committed.
    #[prost(bool, tag = "33")]
    pub trims_undelivered: bool,
    /// Who decides the number of shards.
    #[prost(enumeration = "StreamMode", tag = "11")]
    pub mode: i32,
}

/// Who decides how many shards a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum StreamMode {
    /// Its users.
    Provisioned = 0,
    /// Its load.
    OnDemand = 1,
}

impl Key for StreamKey {
    type Value = StreamValue;
    const FAMILY: &'static str = "stream/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|name| Self { name })
    }
}

/// The key of the counter that stream ids come from. It is the only one of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamIdKey;

/// The counter that stream ids come from.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StreamIdValue {
    /// The id that the next stream gets. Absent means 1: an id is never 0.
    #[prost(uint32, tag = "1")]
    pub next: u32,
}

impl Key for StreamIdKey {
    type Value = StreamIdValue;
    const FAMILY: &'static str = "stream-id/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(b"next");
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        (rest == b"next").then_some(Self)
    }
}
