//! `delivery-stream/<name>`: a delivery stream of the Firehose protocol, as its clients declared it.
//!
//! It is written before the hidden stream and the delivery that carry it out, and removed after them: what a crash left half
//! made is finished from it.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::{Key, name};

/// The key of a delivery stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryStreamKey {
    /// Its name.
    pub name: String,
}

/// A delivery stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeliveryStreamValue {
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub created_at_ms: i64,
    /// When its destination was changed last, in milliseconds since the Unix epoch; 0 is never.
    #[prost(int64, tag = "2")]
    pub updated_at_ms: i64,
    /// From 1, and one more with each change of the destination.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// What is under way, or done.
    #[prost(enumeration = "DeliveryStreamState", tag = "4")]
    pub state: i32,
    /// The ARN of the stream that it reads; empty where records are put directly.
    #[prost(string, tag = "5")]
    pub source_stream_arn: String,
    /// The role that the client told for the source.
    #[prost(string, tag = "6")]
    pub source_role_arn: String,
    /// The destination as declared, with its defaults: JSON.
    #[prost(string, tag = "7")]
    pub destination_json: String,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "8")]
    pub tags: BTreeMap<String, String>,
    /// `AWS_OWNED_CMK` or `CUSTOMER_MANAGED_CMK` where its records are encrypted at rest; empty where they are not.
    #[prost(string, tag = "9")]
    pub key_type: String,
    /// The key that the client named.
    #[prost(string, tag = "10")]
    pub key_arn: String,
    /// Whether encryption was on at any time, so that its end is told as one.
    #[prost(bool, tag = "11")]
    pub was_encrypted: bool,
    /// MiB a second that the client expects; 0 is not told.
    #[prost(uint32, tag = "12")]
    pub throughput_hint_mib: u32,
}

/// What is under way with a delivery stream, or done. The numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DeliveryStreamState {
    /// Its parts may be missing.
    Creating = 0,
    /// It works.
    Active = 1,
    /// Its parts may be gone.
    Deleting = 2,
}

impl Key for DeliveryStreamKey {
    type Value = DeliveryStreamValue;
    const FAMILY: &'static str = "delivery-stream/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        Some(Self { name: name(rest)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::keys::{get, put};
    use crate::meta::memory::MemoryMeta;
    use crate::meta::{Error, MetaStore, Write};

    fn key(name: &str) -> DeliveryStreamKey {
        DeliveryStreamKey { name: name.to_owned() }
    }

    #[tokio::test]
    async fn delivery_streams_come_back() {
        let store = MemoryMeta::new();
        let value = DeliveryStreamValue {
            created_at_ms: 1,
            updated_at_ms: 2,
            version: 3,
            state: DeliveryStreamState::Active.into(),
            source_stream_arn: "arn:a".to_owned(),
            source_role_arn: "arn:b".to_owned(),
            destination_json: "{}".to_owned(),
            tags: BTreeMap::from([("team".to_owned(), "ops".to_owned())]),
            key_type: "AWS_OWNED_CMK".to_owned(),
            key_arn: "arn:c".to_owned(),
            was_encrypted: true,
            throughput_hint_mib: 4,
        };
        store.commit(vec![], vec![put(&key("flights"), &value)]).await.unwrap();
        assert_eq!(get(&store, &key("flights")).await.unwrap().unwrap().value, value);
    }

    #[tokio::test]
    async fn a_value_of_another_format_is_corrupt() {
        let store = MemoryMeta::new();
        for bytes in [&b""[..], b"\x02", b"\x01\xff"] {
            let write = Write::Put { key: key("a").encode(), value: bytes.into() };
            store.commit(vec![], vec![write]).await.unwrap();
            assert!(matches!(get(&store, &key("a")).await, Err(Error::Corrupt { .. })), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_come_back_and_garbage_is_none(name in ".{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(DeliveryStreamKey::decode(&key(&name).encode()), Some(key(&name)));
            let garbage = [DeliveryStreamKey::FAMILY.as_bytes(), &bytes].concat();
            if let Some(key) = DeliveryStreamKey::decode(&garbage) {
                prop_assert_eq!(&key.encode()[..], &garbage[..]);
            }
        }
    }
}
