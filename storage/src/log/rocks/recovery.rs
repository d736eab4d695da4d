//! What an open finds: each shard's readable offsets and newest arrival, by a few seeks in the index. It reads no block, so
//! that neither a large log nor a rotten block holds it up.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::producers::Producers;
use super::super::{Offset, ProducerLimits, Result, ShardId, ShardKey, StreamId};
use super::db::Db;
use super::shards::{Shard, Shards};
use crate::time::Timestamp;

/// The state of every shard on disk.
pub(super) fn recover(db: &Db) -> Result<Shards> {
    let mut found: HashMap<ShardKey, (Offset, Offset, Timestamp)> = HashMap::new();
    for (shard, mark) in db.marks()? {
        // Nothing is left above a mark unless the index says so below.
        found.insert(shard, (mark.trim, mark.trim, mark.newest));
    }
    let mut from = Some(ShardKey { stream: StreamId(0), shard: ShardId(0) });
    while let Some(shard) = from.map(|from| db.shard_from(from)).transpose()?.flatten() {
        if let Some(last) = db.index_last(shard)? {
            let (_, next, newest) = found.entry(shard).or_insert((Offset::ZERO, Offset::ZERO, last.entry.time));
            *next = (*next).max(last.end_offset());
            *newest = (*newest).max(last.entry.time);
        }
        from = after(shard);
    }
    let shards = found.into_iter().map(|(shard, (trim, next, newest))| {
        let state = Shard::new(trim..next, newest);
        (shard, Arc::new(state))
    });
    Ok(Shards::new(shards.collect()))
}

/// What is remembered of producers.
pub(super) fn producers(db: &Db, limits: ProducerLimits, now: Timestamp) -> Result<Producers> {
    let (windows, forgotten_until) = db.producers(now)?;
    let mut producers = Producers::new(limits);
    producers.recover(windows, forgotten_until, now);
    Ok(producers)
}

/// The next shard in the order of keys.
fn after(ShardKey { stream, shard }: ShardKey) -> Option<ShardKey> {
    match shard.0.checked_add(1) {
        Some(shard) => Some(ShardKey { stream, shard: ShardId(shard) }),
        None => Some(ShardKey { stream: StreamId(stream.0.checked_add(1)?), shard: ShardId(0) }),
    }
}
