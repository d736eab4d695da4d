//! `stream-attribute/<stream id>`: what a stream carries for its clients and does not act by: tags, a policy, and the like.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::Key;

/// The key of a stream's attributes. The number is never reused, so they never outlive their stream under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamAttributeKey {
    /// The stream's number in the log.
    pub stream: u32,
}

/// A stream's attributes. Absent ones are empty.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamAttributeValue {
    /// Tags.
    #[prost(btree_map = "string, string", tag = "1")]
    pub tags: BTreeMap<String, String>,
    /// The shard metrics that enhanced monitoring was switched on for.
    #[prost(string, repeated, tag = "2")]
    pub shard_metrics: Vec<String>,
    /// The id of the key that encryption was asked for with.
    #[prost(string, tag = "3")]
    pub kms_key_id: String,
    /// The throughput that the stream was warmed to, in MiB/s; zero is none.
    #[prost(uint32, tag = "4")]
    pub warm_mib_per_second: u32,
    /// When the number of shards was updated, within the last day: milliseconds since the Unix epoch.
    #[prost(int64, repeated, tag = "5")]
    pub shard_count_updated_at_ms: Vec<i64>,
    /// The resource policy, as JSON; empty is none.
    #[prost(string, tag = "6")]
    pub policy: String,
}

impl Key for StreamAttributeKey {
    type Value = StreamAttributeValue;
    const FAMILY: &'static str = "stream-attribute/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_u32(self.stream);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        Some(Self { stream: u32::from_be_bytes(rest.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::MetaStore;
    use crate::meta::keys::{get, put};
    use crate::meta::memory::MemoryMeta;

    #[tokio::test]
    async fn attributes_come_back() {
        let (store, key) = (MemoryMeta::new(), StreamAttributeKey { stream: 0x2f2f });
        let value = StreamAttributeValue {
            tags: BTreeMap::from([("team".to_owned(), "ops".to_owned()), ("empty".to_owned(), String::new())]),
            shard_metrics: vec!["IncomingBytes".to_owned()],
            kms_key_id: "alias/aws/kinesis".to_owned(),
            warm_mib_per_second: 4,
            shard_count_updated_at_ms: vec![5, 6],
            policy: "{}".to_owned(),
        };
        store.commit(vec![], vec![put(&key, &value)]).await.unwrap();
        assert_eq!(get(&store, &key).await.unwrap().unwrap().value, value);
    }

    proptest! {
        #[test]
        fn keys_come_back_and_garbage_is_none(stream: u32, bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let key = StreamAttributeKey { stream };
            prop_assert_eq!(StreamAttributeKey::decode(&key.encode()), Some(key));
            let garbage = [StreamAttributeKey::FAMILY.as_bytes(), &bytes].concat();
            if let Some(key) = StreamAttributeKey::decode(&garbage) {
                prop_assert_eq!(&key.encode()[..], &garbage[..]);
            }
        }
    }
}
