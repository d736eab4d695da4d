//! `batch/<delivery>/<number>`: the ledger of objects that no table lists: those of deliveries into plain objects, those of
//! outputs that were set aside, and backups of source records.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::{Key, OffsetRange, Stored, Totals, put_name_and_number, scan_prefix, split_name_and_number};
use crate::meta::{MetaStore, Result};

/// The key of a committed batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchKey {
    /// The delivery's name.
    pub delivery: String,
    /// The batch's number.
    pub batch: u64,
}

/// A committed batch that wrote objects which no table lists.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchValue {
    /// By shard of the stream, also those without new records.
    #[prost(btree_map = "uint32, message", tag = "1")]
    pub ranges: BTreeMap<u32, OffsetRange>,
    /// What was written in place of a table's files.
    #[prost(message, repeated, tag = "2")]
    pub objects: Vec<BatchObject>,
    /// Of this batch.
    #[prost(message, optional, tag = "3")]
    pub totals: Option<Totals>,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub committed_at_ms: i64,
    /// Where outputs were set aside.
    #[prost(message, repeated, tag = "5")]
    pub set_aside_objects: Vec<BatchObject>,
    /// Where the source records were backed up.
    #[prost(message, repeated, tag = "6")]
    pub backup_objects: Vec<BatchObject>,
    /// The newest rebuild of the batch's records.
    #[prost(message, optional, tag = "7")]
    pub rebuilt: Option<RebuiltBatch>,
}

/// What a rebuild made of a batch's records.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RebuiltBatch {
    /// The rebuild's number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The rows that took the place of the batch's.
    #[prost(uint64, tag = "2")]
    pub rows: u64,
    /// Where outputs were set aside.
    #[prost(message, repeated, tag = "3")]
    pub set_aside_objects: Vec<BatchObject>,
}

/// What stands for the batch in [`BatchObject::taken_up_by`] where a rebuild made the records anew.
pub const TAKEN_UP_BY_REBUILD: u64 = u64::MAX;

impl BatchValue {
    /// All objects of records that were set aside: the batch's own, then those of its newest rebuild.
    pub fn all_set_aside(&self) -> impl Iterator<Item = &BatchObject> {
        self.set_aside_objects.iter().chain(self.rebuilt.iter().flat_map(|rebuilt| &rebuilt.set_aside_objects))
    }

    /// The object at a place among [`BatchValue::all_set_aside`].
    pub fn set_aside_mut(&mut self, index: usize) -> Option<&mut BatchObject> {
        let own = self.set_aside_objects.len();
        match index.checked_sub(own) {
            None => self.set_aside_objects.get_mut(index),
            Some(index) => self.rebuilt.as_mut()?.set_aside_objects.get_mut(index),
        }
    }
}

/// An object of a batch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchObject {
    /// Its URL.
    #[prost(string, tag = "1")]
    pub url: String,
    /// Its size.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// The lines that it holds.
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    /// Of records that were set aside: the batch that took them up again, or a rebuild that made rows of their records
    /// anew; zero while they are open. Such an object is never taken up a second time.
    #[prost(uint64, tag = "4")]
    pub taken_up_by: u64,
}

/// Reads a delivery's batches, by number.
pub async fn scan_delivery(store: &dyn MetaStore, delivery: &str) -> Result<Vec<(BatchKey, Stored<BatchValue>)>> {
    let prefix = format!("{}{delivery}/", BatchKey::FAMILY);
    let mut found = scan_prefix::<BatchKey>(store, prefix.as_bytes()).await?;
    found.retain(|(key, _)| key.delivery == delivery);
    Ok(found)
}

impl Key for BatchKey {
    type Value = BatchValue;
    const FAMILY: &'static str = "batch/";

    fn encode_rest(&self, key: &mut BytesMut) {
        put_name_and_number(key, &self.delivery, self.batch);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        split_name_and_number(rest).map(|(delivery, batch)| Self { delivery, batch })
    }
}
