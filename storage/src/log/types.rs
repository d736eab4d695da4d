//! The nouns of the log.

use std::fmt;
use std::ops::{Add, Range};
use std::time::Duration;

use bytes::Bytes;

use crate::time::Timestamp;

/// The number of a stream on this node. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// The number of a shard within its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// A shard of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardKey {
    /// The stream.
    pub stream: StreamId,
    /// The shard within it.
    pub shard: ShardId,
}

/// The place of a record in its shard: dense, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The first offset of every shard.
    pub const ZERO: Self = Self(0);

    /// How many offsets lie from `start` up to this one; 0 where `start` is later.
    #[must_use]
    pub const fn since(self, start: Self) -> u64 {
        self.0.saturating_sub(start.0)
    }
}

impl Add<u64> for Offset {
    type Output = Self;

    fn add(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} shard {}", self.stream, self.shard)
    }
}

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// UTF-8, at most 1,024 bytes.
    pub partition_key: Bytes,
    /// The event.
    pub data: Bytes,
}

impl NewRecord {
    /// Data plus partition key.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }
}

/// What to append to one shard: its records, and what must hold for them to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Append {
    /// The records, in order.
    pub records: Vec<NewRecord>,
    /// Stored only if this is the shard's next offset, so that no other append comes between.
    pub expected_next: Option<Offset>,
    /// Stored only once under this name.
    pub producer: Option<ProducerSequence>,
}

impl From<Vec<NewRecord>> for Append {
    /// Without conditions.
    fn from(records: Vec<NewRecord>) -> Self {
        Self { records, expected_next: None, producer: None }
    }
}

/// A producer's name for one append, by which the log knows it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSequence {
    /// The producer: a random number that no other one has.
    pub producer: u64,
    /// The append among those of the producer. A later append has a higher one.
    pub sequence: u64,
    /// How long ago it was first sent; zero where this is the first time. It tells a sequence that was never stored from one
    /// that the log no longer knows.
    pub age: Duration,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the shard.
    pub offset: Offset,
    /// When it was appended.
    pub arrival_time: Timestamp,
    /// UTF-8, at most 1,024 bytes.
    pub partition_key: Bytes,
    /// The event.
    pub data: Bytes,
}

impl Record {
    /// Data plus partition key.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }
}

/// Where an append came to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// One offset for each record, in the order of the call.
    pub offsets: Range<Offset>,
    /// The arrival time of all of them.
    pub arrival_time: Timestamp,
    /// Whether an earlier append of the same producer and sequence stored them, and this one nothing.
    pub duplicate: bool,
}

/// The most that one read returns. At least one record is returned whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records.
    pub records_max: usize,
    /// Data plus partition keys, in bytes.
    pub bytes_max: usize,
}
