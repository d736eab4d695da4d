//! A batch: records of one shard, in order, and the way to note how far of it is done.

use std::sync::Arc;

use millrace_proto::v1::GroupOffset;

use super::membership::{LeaseId, Membership};
use super::settings::GroupSettings;
use crate::{Error, Record, Result};

/// Records of one shard for a group's handler, in order. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GroupBatch {
    pub(super) records: Arc<[Record]>,
    /// The place after the last record.
    pub(super) end: GroupOffset,
    pub(super) millis_behind_latest: u64,
    pub(super) attempt: u32,
    pub(super) lease: LeaseId,
    pub(super) membership: Arc<Membership>,
    pub(super) settings: Arc<GroupSettings>,
}

impl GroupBatch {
    /// The records; at least one.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The shard that they are from.
    #[must_use]
    pub const fn shard(&self) -> u32 {
        self.lease.shard
    }

    /// The epoch of the member's lease on the shard: a fencing token, for stores that take one. It grows with each owner.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.lease.epoch
    }

    /// How long ago the last record arrived, in milliseconds; zero when no newer one was there.
    #[must_use]
    pub const fn millis_behind_latest(&self) -> u64 {
        self.millis_behind_latest
    }

    /// Which call of the handler with this batch it is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Notes that all records up to this one, and it, are processed: none of them comes again. A server that is away is
    /// waited for.
    ///
    /// # Errors
    /// `Invalid` where the record is not of this batch, or one after it was noted already; with the reason `STALE_LEASE`
    /// where the member lost the shard.
    pub async fn checkpoint(&self, upto: &Record) -> Result<()> {
        let place = |record: &Record| (record.offset, record.sub_sequence);
        let Some(index) = self.records.iter().position(|record| place(record) == place(upto)) else {
            let message = format!("the record at offset {} of shard {} is not of this batch", upto.offset, upto.shard);
            return Err(Error::invalid(message));
        };
        self.note(self.after(index)).await
    }

    /// The place after a record: within its aggregate, or the next offset.
    pub(super) fn after(&self, index: usize) -> GroupOffset {
        let record = &self.records[index];
        match self.records.get(index + 1) {
            None => self.end,
            Some(next) if next.offset == record.offset => {
                GroupOffset { offset: next.offset, sub: next.sub_sequence.unwrap_or(0) }
            }
            Some(next) => GroupOffset { offset: next.offset, sub: 0 },
        }
    }

    pub(super) async fn note(&self, at: GroupOffset) -> Result<()> {
        self.membership.checkpoint(self.lease, at, &self.settings).await
    }
}
