//! The structures that several answers share.

use std::borrow::Cow;

use millrace_storage::log::{Log, Record, ShardKey};
use serde::Serialize;

use super::sequence_number::SequenceNumber;
use super::shard_id::ShardName;
use crate::api::aws::protocol::{Blob, Time};
use crate::streams::{ChildShard, HashKeyRange, ShardEnd, ShardState, StreamMode, StreamState};

/// `HashKeyRange`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HashKeys {
    starting_hash_key: String,
    ending_hash_key: String,
}

impl From<HashKeyRange> for HashKeys {
    fn from(range: HashKeyRange) -> Self {
        Self { starting_hash_key: range.start.to_string(), ending_hash_key: range.end.to_string() }
    }
}

/// `SequenceNumberRange`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SequenceNumbers {
    starting_sequence_number: SequenceNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<SequenceNumber>,
}

/// `Shard`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shard {
    shard_id: ShardName,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<ShardName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<ShardName>,
    hash_key_range: HashKeys,
    sequence_number_range: SequenceNumbers,
}

impl From<&ShardState> for Shard {
    /// A closed shard's last number is that of its last record.
    fn from(shard: &ShardState) -> Self {
        let mut parents = shard.parents().iter().copied().map(ShardName);
        Self {
            shard_id: ShardName(shard.id()),
            parent_shard_id: parents.next(),
            adjacent_parent_shard_id: parents.next(),
            hash_key_range: shard.range().into(),
            sequence_number_range: SequenceNumbers {
                starting_sequence_number: SequenceNumber::before(shard.key(), millrace_storage::log::Offset::ZERO),
                ending_sequence_number: shard.closed().map(|closed| SequenceNumber::before(shard.key(), closed.end)),
            },
        }
    }
}

/// `ChildShard`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Child {
    shard_id: ShardName,
    parent_shards: Vec<ShardName>,
    hash_key_range: HashKeys,
}

impl Child {
    /// The children that go on where a shard ends.
    pub(super) fn all(end: ShardEnd) -> Vec<Self> {
        let child = |child: ChildShard| Self {
            shard_id: ShardName(child.shard),
            parent_shards: child.parents.into_iter().map(ShardName).collect(),
            hash_key_range: child.range.into(),
        };
        end.children.into_iter().map(child).collect()
    }
}

/// `Record`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GivenRecord<'a> {
    sequence_number: SequenceNumber,
    approximate_arrival_timestamp: Time,
    data: Blob,
    partition_key: Cow<'a, str>,
    encryption_type: &'static str,
}

impl<'a> GivenRecord<'a> {
    /// What was read of a shard.
    pub(super) fn all(stream: &StreamState, shard: ShardKey, records: &'a [Record]) -> Vec<Self> {
        let encryption_type = encryption_of(stream);
        let given = |record: &'a Record| Self {
            sequence_number: SequenceNumber::of(shard, record.offset),
            approximate_arrival_timestamp: Time(record.arrival_time),
            // Shares the block's bytes.
            data: Blob(record.data.clone()),
            partition_key: String::from_utf8_lossy(&record.partition_key),
            encryption_type,
        };
        records.iter().map(given).collect()
    }
}

/// `StreamModeDetails`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ModeDetails {
    stream_mode: &'static str,
}

impl From<StreamMode> for ModeDetails {
    fn from(mode: StreamMode) -> Self {
        let stream_mode = match mode {
            StreamMode::Provisioned => "PROVISIONED",
            StreamMode::OnDemand => "ON_DEMAND",
        };
        Self { stream_mode }
    }
}

/// `EncryptionType` of what a stream takes now.
pub(super) fn encryption_of(stream: &StreamState) -> &'static str {
    if stream.spec().encryption { "KMS" } else { "NONE" }
}

/// The next offset of a shard.
pub(super) fn tip(log: &dyn Log, shard: &ShardState) -> millrace_storage::log::Offset {
    log.offsets(shard.key()).end
}
