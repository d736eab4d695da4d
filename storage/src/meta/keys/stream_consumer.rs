//! `stream-consumer/<stream id>/<name>`: a reader that is registered with a stream.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::{Key, Stored, name, put_number, scan_numbered, split_number};
use crate::meta::{MetaStore, Result};

/// The key of a registered consumer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamConsumerKey {
    /// The stream's number in the log.
    pub stream: u32,
    /// The consumer's name.
    pub name: String,
}

/// A registered consumer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamConsumerValue {
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub created_at_ms: i64,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "2")]
    pub tags: BTreeMap<String, String>,
    /// The resource policy, as JSON; empty is none.
    #[prost(string, tag = "3")]
    pub policy: String,
}

/// Reads the consumers of one stream, by name.
pub async fn scan_consumers(
    store: &dyn MetaStore,
    stream: u32,
) -> Result<Vec<(StreamConsumerKey, Stored<StreamConsumerValue>)>> {
    scan_numbered(store, stream).await
}

impl Key for StreamConsumerKey {
    type Value = StreamConsumerValue;
    const FAMILY: &'static str = "stream-consumer/";

    fn encode_rest(&self, key: &mut BytesMut) {
        put_number(key, self.stream);
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (stream, rest) = split_number(rest)?;
        name(rest).map(|name| Self { stream, name })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::keys::{get, put};
    use crate::meta::memory::MemoryMeta;

    fn key(stream: u32, name: &str) -> StreamConsumerKey {
        StreamConsumerKey { stream, name: name.to_owned() }
    }

    #[tokio::test]
    async fn consumers_come_back() {
        let store = MemoryMeta::new();
        let tags = BTreeMap::from([("team".to_owned(), "ops".to_owned())]);
        let value = StreamConsumerValue { created_at_ms: 5, tags, policy: "{}".to_owned() };
        store.commit(vec![], vec![put(&key(1, "app"), &value)]).await.unwrap();
        assert_eq!(get(&store, &key(1, "app")).await.unwrap().unwrap().value, value);
    }

    #[tokio::test]
    async fn a_scan_takes_one_stream_only_by_name() {
        let store = MemoryMeta::new();
        let keys = [key(0x2f, "b"), key(0x2f, "a"), key(0x2f2f, "c"), key(0x2f00, "d")];
        let writes = keys.iter().map(|key| put(key, &StreamConsumerValue::default())).collect();
        store.commit(vec![], writes).await.unwrap();
        let found: Vec<_> = scan_consumers(&store, 0x2f).await.unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, [key(0x2f, "a"), key(0x2f, "b")]);
    }

    proptest! {
        #[test]
        fn keys_come_back_and_garbage_is_none(
            stream: u32, name in ".{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            prop_assert_eq!(StreamConsumerKey::decode(&key(stream, &name).encode()), Some(key(stream, &name)));
            let garbage = [StreamConsumerKey::FAMILY.as_bytes(), &bytes].concat();
            if let Some(key) = StreamConsumerKey::decode(&garbage) {
                prop_assert_eq!(&key.encode()[..], &garbage[..]);
            }
        }
    }
}
