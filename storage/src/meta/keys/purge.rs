//! `purge/keys`: there while the store's files may hold copies of data keys that were removed.

use bytes::{BufMut, BytesMut};

use super::Key;

/// The mark's key. It is the only one of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeKey;

/// The mark.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PurgeValue {}

impl Key for PurgeKey {
    type Value = PurgeValue;
    const FAMILY: &'static str = "purge/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(b"keys");
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        (rest == b"keys").then_some(Self)
    }
}
