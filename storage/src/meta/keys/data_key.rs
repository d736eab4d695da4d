//! `data-key/<stream id><version>`: a stream's data keys, wrapped by a master key. They are never stored otherwise.

use bytes::{BufMut, BytesMut};

use super::{Key, Stored, scan_prefix};
use crate::meta::{MetaStore, Result};

/// The key of a data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DataKeyKey {
    /// The stream's number in the log.
    pub stream_id: u32,
    /// The data key's number within the stream, from 1.
    pub version: u32,
}

/// A wrapped data key, or what is left of one that was destroyed: its number and its times.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DataKeyValue {
    /// What the master key made of the data key; empty once it is destroyed.
    #[prost(bytes = "vec", tag = "1")]
    pub wrapped: Vec<u8>,
    /// The id of the master key.
    #[prost(string, tag = "2")]
    pub master_key_id: String,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub created_at_ms: i64,
    /// When the key sealed its last block at the latest, in milliseconds since the Unix epoch; zero while it seals.
    #[prost(int64, tag = "4")]
    pub replaced_at_ms: i64,
    /// When the key was destroyed while there were records that need it, in milliseconds since the Unix epoch; zero while it
    /// exists.
    #[prost(int64, tag = "5")]
    pub destroyed_at_ms: i64,
}

impl Key for DataKeyKey {
    type Value = DataKeyValue;
    const FAMILY: &'static str = "data-key/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_u32(self.stream_id);
        key.put_u32(self.version);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (stream_id, version) = rest.split_first_chunk()?;
        Some(Self { stream_id: u32::from_be_bytes(*stream_id), version: u32::from_be_bytes(version.try_into().ok()?) })
    }
}

/// How every data key of a stream begins.
#[must_use]
pub fn prefix_of_stream(stream_id: u32) -> Vec<u8> {
    [DataKeyKey::FAMILY.as_bytes(), &stream_id.to_be_bytes()].concat()
}

/// A stream's data keys, oldest first.
pub async fn scan_stream(store: &dyn MetaStore, stream_id: u32) -> Result<Vec<(DataKeyKey, Stored<DataKeyValue>)>> {
    scan_prefix(store, &prefix_of_stream(stream_id)).await
}
