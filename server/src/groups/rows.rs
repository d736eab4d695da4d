//! A group's checkpoints and epochs in the meta store: read, changed, and written only over what was read.

use std::collections::BTreeMap;

use millrace_storage::log::ShardId;
use millrace_storage::meta::keys::group::{GroupCheckpointKey, GroupCheckpointValue, scan_checkpoints};
use millrace_storage::meta::{self, MetaStore, keys};

use super::state::Slot;
use crate::error::{Error, Kind, Result};

/// Rows of one commit.
const ROWS_MAX: usize = 1000;
/// How often another writer may be faster before the caller is told so.
const CONFLICTS_MAX: usize = 16;

/// The epoch below the first one of a group's leases. Ids of groups are never reused, so neither are epochs.
pub(super) const fn epoch_before(group: u32) -> u64 {
    (group as u64) << 32
}

/// A checkpoint at the beginning, with no lease yet.
pub(super) fn fresh(group: u32, offset: u64) -> GroupCheckpointValue {
    GroupCheckpointValue { offset, epoch: epoch_before(group), ..GroupCheckpointValue::default() }
}

/// All that is stored of a group.
pub(super) async fn load(meta: &dyn MetaStore, group: u32) -> Result<BTreeMap<ShardId, Slot>> {
    let stored = scan_checkpoints(meta, group).await?;
    Ok(stored.into_iter().map(|(key, stored)| (ShardId(key.shard), Slot::from(&stored.value))).collect())
}

/// Changes rows, each from what it is to what `change` makes of it. Rows that come out the same are not written.
///
/// # Errors
/// What `change` refuses, or the store's. Rows of earlier commits are changed then, if there were more than
/// [`ROWS_MAX`].
pub(super) async fn update(
    meta: &dyn MetaStore,
    group: u32,
    shards: &[ShardId],
    mut change: impl FnMut(ShardId, GroupCheckpointValue) -> Result<GroupCheckpointValue>,
) -> Result<Vec<(ShardId, GroupCheckpointValue)>> {
    let mut changed = Vec::with_capacity(shards.len());
    for shards in shards.chunks(ROWS_MAX) {
        changed.extend(update_at_once(meta, group, shards, &mut change).await?);
    }
    Ok(changed)
}

async fn update_at_once(
    meta: &dyn MetaStore,
    group: u32,
    shards: &[ShardId],
    change: &mut impl FnMut(ShardId, GroupCheckpointValue) -> Result<GroupCheckpointValue>,
) -> Result<Vec<(ShardId, GroupCheckpointValue)>> {
    for _ in 0..CONFLICTS_MAX {
        let (mut conditions, mut writes, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for shard in shards {
            let key = GroupCheckpointKey { group, shard: shard.0 };
            let stored = keys::get(meta, &key).await?;
            let before = stored.as_ref().map_or_else(|| fresh(group, 0), |stored| stored.value);
            let after = change(*shard, before)?;
            if after != before {
                conditions.push(keys::as_found(&key, stored.as_ref()));
                writes.push(keys::put(&key, &after));
            }
            values.push((*shard, after));
        }
        if writes.is_empty() {
            return Ok(values);
        }
        match meta.commit(conditions, writes).await {
            Ok(()) => return Ok(values),
            Err(meta::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::new(
        Kind::Conflict,
        format_args!("the checkpoints of group {group} changed {CONFLICTS_MAX} times meanwhile"),
    ))
}

/// Removes rows.
pub(super) async fn remove(meta: &dyn MetaStore, group: u32, shards: &[ShardId]) -> Result<()> {
    for shards in shards.chunks(ROWS_MAX) {
        let delete = |shard: &ShardId| keys::delete(&GroupCheckpointKey { group, shard: shard.0 });
        meta.commit(Vec::new(), shards.iter().map(delete).collect()).await?;
    }
    Ok(())
}
