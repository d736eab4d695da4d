//! `batch/<delivery>/<number>`: the ledger of objects that no table lists: those of deliveries into plain objects, and those
//! of outputs that were set aside.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::{Key, OffsetRange, Stored, Totals, name, scan_prefix};
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
        key.put_slice(self.delivery.as_bytes());
        key.put_u8(b'/');
        key.put_u64(self.batch);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        // The number has a fixed width, so the name is whatever stands before it.
        let (rest, number) = rest.split_last_chunk()?;
        let delivery = name(rest.strip_suffix(b"/")?)?;
        Some(Self { delivery, batch: u64::from_be_bytes(*number) })
    }
}
