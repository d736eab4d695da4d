//! Shards as the meta store keeps them.

use std::sync::Arc;

use millrace_storage::log::{Offset, ShardId, StreamId};
use millrace_storage::meta::keys::Stored;
use millrace_storage::meta::keys::shard::{ClosedValue, ShardMetaKey, ShardValue};
use millrace_storage::meta::keys::stream::StreamValue;
use millrace_storage::time::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::streams::hash_key::HashKeyRange;
use crate::streams::metrics::StreamMetrics;
use crate::streams::name::StreamName;
use crate::streams::options::StreamSpec;
use crate::streams::topology::{Closed, ShardSpec, ShardState, Topology};

/// The topology of a stream as it was found; without stored shards, that of a stream that was never resharded.
pub(in crate::streams) fn load(
    name: &StreamName,
    value: &StreamValue,
    spec: &StreamSpec,
    shards: &[(ShardMetaKey, Stored<ShardValue>)],
    metrics: &StreamMetrics,
) -> Result<Topology> {
    let make = |shard: ShardSpec| Arc::new(ShardState::new(shard, spec, name, metrics));
    let created_at = Timestamp(value.created_at_ms);
    if shards.is_empty() {
        let specs = ShardSpec::evenly(StreamId(value.id), spec.shard_count, created_at);
        return Ok(Topology::new(specs.map(make).collect()));
    }
    let mut loaded = Vec::with_capacity(shards.len());
    for (key, stored) in shards {
        let corrupt = || {
            let message = format!("the stored shard {} of stream {name} has no range of hash keys", key.shard.shard);
            Error::new(Kind::DataLoss, message)
        };
        let range = range_of(&stored.value).ok_or_else(corrupt)?;
        let shard = make(ShardSpec {
            key: key.shard,
            range,
            parents: stored.value.parents.iter().copied().map(ShardId).collect(),
            created_at: Timestamp(stored.value.created_at_ms),
            reason: stored.value.reason.as_str().into(),
        });
        if let Some(closed) = &stored.value.closed {
            shard.close(Closed {
                at: Timestamp(closed.at_ms),
                end: Offset(closed.end_offset),
                children: closed.children.iter().copied().map(ShardId).collect(),
            });
        }
        loaded.push(shard);
    }
    let topology = Topology::new(loaded);
    if !topology.is_whole() {
        let message = format!("the stored open shards of stream {name} do not cover each hash key once");
        return Err(Error::new(Kind::DataLoss, message));
    }
    Ok(topology)
}

fn range_of(value: &ShardValue) -> Option<HashKeyRange> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u128::from_be_bytes);
    Some(HashKeyRange { start: number(&value.hash_key_start)?, end: number(&value.hash_key_end)? })
}

/// A shard as it is stored, with its end where it has or gets one.
pub(super) fn value_of(shard: &ShardState, closed: Option<&Closed>) -> ShardValue {
    ShardValue {
        hash_key_start: shard.range().start.to_be_bytes().to_vec(),
        hash_key_end: shard.range().end.to_be_bytes().to_vec(),
        parents: shard.parents().iter().map(|parent| parent.0).collect(),
        created_at_ms: shard.created_at().as_millis(),
        closed: closed.map(|closed| ClosedValue {
            at_ms: closed.at.as_millis(),
            end_offset: closed.end.0,
            children: closed.children.iter().map(|child| child.0).collect(),
        }),
        reason: shard.reason().to_owned(),
    }
}
