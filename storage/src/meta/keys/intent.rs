//! `intent/<delivery>`: the batch that a delivery is about to write. After a crash it is redone exactly so.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::{Key, OffsetRange, name};

/// The key of a delivery's open intent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IntentKey {
    /// The delivery's name.
    pub delivery: String,
}

/// A batch that was cut and not yet committed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IntentValue {
    /// The batch's number.
    #[prost(uint64, tag = "1")]
    pub batch: u64,
    /// By shard of the stream, also those without new records.
    #[prost(btree_map = "uint32, message", tag = "2")]
    pub ranges: BTreeMap<u32, OffsetRange>,
    /// The declaration that the batch is made by, in TOML; a newer one waits for the next batch.
    #[prost(string, tag = "3")]
    pub spec_toml: String,
    /// When the batch was cut, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub cut_at_ms: i64,
    /// The declaration of the table that it is made by, in TOML; empty where it makes plain objects.
    #[prost(string, tag = "5")]
    pub table_spec_toml: String,
    /// What the batch takes up again of what was set aside. Such a batch has no other records: its ranges are empty.
    #[prost(message, repeated, tag = "6")]
    pub replayed: Vec<ReplayedObject>,
    /// The versions of transform modules that the batch is made by; newer ones wait for the next batch.
    #[prost(message, repeated, tag = "10")]
    pub modules: Vec<IntentModule>,
}

/// An object with records that were set aside.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReplayedObject {
    /// The batch that set them aside.
    #[prost(uint64, tag = "1")]
    pub batch: u64,
    /// The place among that batch's objects.
    #[prost(uint32, tag = "2")]
    pub index: u32,
}

/// The version of a transform module that a batch is made by.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IntentModule {
    /// The module's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version that the declaration names; 0 where it names none.
    #[prost(uint32, tag = "2")]
    pub declared: u32,
    /// The version that is used.
    #[prost(uint32, tag = "3")]
    pub version: u32,
}

impl Key for IntentKey {
    type Value = IntentValue;
    const FAMILY: &'static str = "intent/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.delivery.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|delivery| Self { delivery })
    }
}
