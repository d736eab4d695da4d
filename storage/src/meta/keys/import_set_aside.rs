//! `import-set-aside/<import>/<number>`: the objects of rows that an import set aside. One is there with the commit that moves the
//! import behind those rows, never before.

use bytes::BytesMut;

use super::{Key, Stored, put_name_and_number, scan_prefix, split_name_and_number};
use crate::meta::{MetaStore, Result};

/// The key of such an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportSetAsideKey {
    /// The import's name.
    pub import: String,
    /// The sequence of the chunk that the rows were of.
    pub number: u64,
}

/// Rows that were set aside together.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImportSetAsideValue {
    /// The URL of the object that holds them.
    #[prost(string, tag = "1")]
    pub url: String,
    /// How many they are.
    #[prost(uint64, tag = "2")]
    pub rows: u64,
    /// The run that set them aside.
    #[prost(uint64, tag = "3")]
    pub run: u64,
    /// When, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
    /// The run that took them up again; zero while none did.
    #[prost(uint64, tag = "5")]
    pub replayed_run: u64,
}

/// Reads what an import set aside, oldest first.
pub async fn scan_set_aside(
    store: &dyn MetaStore,
    import: &str,
) -> Result<Vec<(ImportSetAsideKey, Stored<ImportSetAsideValue>)>> {
    let prefix = format!("{}{import}/", ImportSetAsideKey::FAMILY);
    scan_prefix(store, prefix.as_bytes()).await
}

impl Key for ImportSetAsideKey {
    type Value = ImportSetAsideValue;
    const FAMILY: &'static str = "import-set-aside/";

    fn encode_rest(&self, key: &mut BytesMut) {
        put_name_and_number(key, &self.import, self.number);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        split_name_and_number(rest).map(|(import, number)| Self { import, number })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::keys::put;
    use crate::meta::memory::MemoryMeta;

    proptest! {
        #[test]
        fn keys_come_back_and_sort_by_number(import in "[a-zA-Z0-9._-]{1,40}", a: u64, b: u64) {
            let key = |number| ImportSetAsideKey { import: import.clone(), number };
            prop_assert_eq!(ImportSetAsideKey::decode(&key(a).encode()), Some(key(a)));
            prop_assert_eq!(key(a).encode().cmp(&key(b).encode()), a.cmp(&b));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let key = [ImportSetAsideKey::FAMILY.as_bytes(), &bytes].concat();
            if let Some(decoded) = ImportSetAsideKey::decode(&key) {
                prop_assert_eq!(&decoded.encode()[..], &key[..]);
            }
        }
    }

    /// `a` is a prefix of `a-b`, and what that set aside is not its own.
    #[tokio::test]
    async fn a_scan_takes_one_import_and_values_come_back() {
        let store = MemoryMeta::new();
        let value = |rows| ImportSetAsideValue { url: "s3://b/x".into(), rows, run: 2, at_ms: 3, replayed_run: 4 };
        let key = |import: &str, number| ImportSetAsideKey { import: import.into(), number };
        let writes =
            vec![put(&key("a", 0x2f2f), &value(7)), put(&key("a", 2), &value(8)), put(&key("a-b", 1), &value(9))];
        store.commit(vec![], writes).await.unwrap();
        let found = scan_set_aside(&store, "a").await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(key, stored)| (key, stored.value)).collect();
        assert_eq!(found, [(key("a", 2), value(8)), (key("a", 0x2f2f), value(7))]);
    }
}
