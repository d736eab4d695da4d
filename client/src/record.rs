//! Records as a program sees them: to put, placed, and read. Bytes are never looked into.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millrace_proto::{aggregate, v1};

pub use millrace_proto::v1::Placed;

/// A record to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRecord {
    /// 1 to 256 characters; its MD5 routes the record to a shard, so that records of one key keep their order.
    pub partition_key: String,
    /// A decimal 128-bit hash key that overrides the partition key's.
    pub explicit_hash_key: Option<String>,
    /// The record's bytes; with the partition key at most the stream's limit, by default 1 MiB.
    pub data: Bytes,
}

impl PutRecord {
    /// A record routed by its partition key.
    pub fn new(partition_key: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { partition_key: partition_key.into(), explicit_hash_key: None, data: data.into() }
    }

    /// The same record, routed by a hash key instead.
    #[must_use]
    pub fn with_explicit_hash_key(mut self, hash_key: u128) -> Self {
        self.explicit_hash_key = Some(hash_key.to_string());
        self
    }

    /// What the record counts against limits, in bytes: data plus partition key.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

impl From<PutRecord> for v1::PutRecord {
    fn from(record: PutRecord) -> Self {
        Self { partition_key: record.partition_key, explicit_hash_key: record.explicit_hash_key, data: record.data }
    }
}

/// The name of a batch: under it the server stores the batch once, however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchName {
    /// The producer: a random number, not 0.
    pub producer_id: u64,
    /// The batch among those of the producer, from 1; later batches have higher numbers.
    pub sequence: u64,
    /// How long ago the batch was first sent, where it is sent again.
    pub age: Option<Duration>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The stream it was read from.
    pub stream: Arc<str>,
    /// The shard it lies in.
    pub shard: u32,
    /// Its place in the shard: dense, ascending.
    pub offset: u64,
    /// Its number within the aggregate at that offset, from 0; `None` for a record that is no part of one.
    pub sub_sequence: Option<u32>,
    /// When the server appended it, to the millisecond; never falls within a shard.
    pub arrival_time: SystemTime,
    /// The key it was put with.
    pub partition_key: String,
    /// Its bytes, as they were put.
    pub data: Bytes,
}

impl Record {
    pub(crate) fn from_wire(stream: &Arc<str>, shard: u32, record: v1::Record) -> Self {
        Self {
            stream: Arc::clone(stream),
            shard,
            offset: record.offset,
            sub_sequence: None,
            arrival_time: system_time(record.arrival_time_ms),
            partition_key: record.partition_key,
            data: record.data,
        }
    }

    /// The user records of an aggregate of the Kinesis Producer Library, or of a producer of ours that aggregates, in their
    /// order and each with its [`Self::sub_sequence`]; the record itself where it is none.
    #[must_use]
    pub fn user_records(self) -> Vec<Self> {
        let Some(parts) = aggregate::unpack(&self.data) else { return vec![self] };
        let parts = (0..).zip(parts).map(|(sub, part)| Self {
            sub_sequence: Some(sub),
            // The keys within an aggregate are UTF-8, or it is none.
            partition_key: String::from_utf8_lossy(&part.partition_key).into_owned(),
            data: part.data,
            ..self.clone()
        });
        parts.collect()
    }
}

/// Milliseconds since the Unix epoch as a time; a time before the epoch is the epoch.
pub(crate) fn system_time(unix_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0))
}

/// A time as milliseconds since the Unix epoch; a time before the epoch is the epoch.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
