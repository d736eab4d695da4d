//! `transform/<name>`: a transform module and which of its versions is in use; `transform-version/<name>/<number>`: a version;
//! `transform-part/<SHA-256><number>`: a module's bytes, in parts, under what they are; `transform-compiled/<SHA-256><engine>`:
//! the digest of what an engine made of a module, so that a file of it can be trusted.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Key, Stored, name, scan_prefix};
use crate::meta::{MetaStore, Result};

/// The most bytes of one part of a module.
pub const PART_BYTES_MAX: usize = 1 << 20;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl std::fmt::Display for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl TryFrom<&[u8]> for Sha256 {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> std::result::Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

/// The key of a transform module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransformKey {
    /// The module's name.
    pub name: String,
}

/// Which versions of a module are in use.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TransformValue {
    /// The version that deliveries run which name none.
    #[prost(uint32, tag = "1")]
    pub current: u32,
    /// The newest version; they are numbered from 1 and never reused.
    #[prost(uint32, tag = "2")]
    pub newest: u32,
    /// The version that some batches run instead; 0 where there is none.
    #[prost(uint32, tag = "3")]
    pub canary: u32,
    /// How many of 100 batches run it.
    #[prost(uint32, tag = "4")]
    pub canary_percent: u32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "5")]
    pub created_at_ms: i64,
    /// The version that was current before; 0 where there was none.
    #[prost(uint32, tag = "6")]
    pub previous: u32,
}

impl Key for TransformKey {
    type Value = TransformValue;
    const FAMILY: &'static str = "transform/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|name| Self { name })
    }
}

/// The key of a module's version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransformVersionKey {
    /// The module's name.
    pub name: String,
    /// The version's number.
    pub version: u32,
}

/// A module's version.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TransformVersionValue {
    /// The module's digest, which its bytes are stored under.
    #[prost(bytes = "bytes", tag = "1")]
    pub sha256: Bytes,
    /// The module's size.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub created_at_ms: i64,
}

impl Key for TransformVersionKey {
    type Value = TransformVersionValue;
    const FAMILY: &'static str = "transform-version/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.name.as_bytes());
        key.put_u8(b'/');
        key.put_u32(self.version);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        // The number has a fixed width, so the name is whatever stands before it.
        let (rest, version) = rest.split_last_chunk()?;
        let name = name(rest.strip_suffix(b"/")?)?;
        Some(Self { name, version: u32::from_be_bytes(*version) })
    }
}

/// The key of a part of a module's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransformPartKey {
    /// The digest of the whole module.
    pub sha256: Sha256,
    /// The part's number, from 0.
    pub part: u32,
}

/// A part of a module's bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TransformPartValue {
    /// At most [`PART_BYTES_MAX`].
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

impl Key for TransformPartKey {
    type Value = TransformPartValue;
    const FAMILY: &'static str = "transform-part/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(&self.sha256.0);
        key.put_u32(self.part);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (sha256, part) = rest.split_first_chunk()?;
        Some(Self { sha256: Sha256(*sha256), part: u32::from_be_bytes(part.try_into().ok()?) })
    }
}

/// The parts of a module, in order.
pub async fn scan_parts(
    store: &dyn MetaStore,
    sha256: Sha256,
) -> Result<Vec<(TransformPartKey, Stored<TransformPartValue>)>> {
    scan_prefix(store, &[TransformPartKey::FAMILY.as_bytes(), &sha256.0].concat()).await
}

/// The key of what an engine made of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransformCompiledKey {
    /// The digest of the module.
    pub sha256: Sha256,
    /// A number of the engine's version and settings.
    pub engine: u64,
}

/// What an engine made of a module.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TransformCompiledValue {
    /// The digest of the compiled code.
    #[prost(bytes = "bytes", tag = "1")]
    pub sha256: Bytes,
}

impl Key for TransformCompiledKey {
    type Value = TransformCompiledValue;
    const FAMILY: &'static str = "transform-compiled/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(&self.sha256.0);
        key.put_u64(self.engine);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (sha256, engine) = rest.split_first_chunk()?;
        Some(Self { sha256: Sha256(*sha256), engine: u64::from_be_bytes(engine.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::keys::{absent, get, put, scan};
    use crate::meta::memory::MemoryMeta;

    fn version(name: &str, version: u32) -> TransformVersionKey {
        TransformVersionKey { name: name.to_owned(), version }
    }

    async fn comes_back<K: Key>(key: K, value: K::Value)
    where
        K::Value: Clone + PartialEq + std::fmt::Debug,
    {
        let store = MemoryMeta::new();
        store.commit(vec![absent(&key)], vec![put(&key, &value)]).await.unwrap();
        let stored = get(&store, &key).await.unwrap().expect("it was put");
        assert_eq!(stored.value, value);
        assert_eq!(scan::<K>(&store).await.unwrap(), [(key, stored)]);
    }

    #[tokio::test]
    async fn values_come_back() {
        let sha256 = Sha256([7; 32]);
        let digest = Bytes::copy_from_slice(&sha256.0);
        let value =
            TransformValue { current: 2, newest: 3, canary: 3, canary_percent: 10, created_at_ms: 5, previous: 1 };
        comes_back(TransformKey { name: "enrich".to_owned() }, value).await;
        let value = TransformVersionValue { sha256: digest.clone(), bytes: 9, created_at_ms: 6 };
        comes_back(version("enrich", 2), value).await;
        let value = TransformPartValue { bytes: Bytes::from_static(b"\0asm") };
        comes_back(TransformPartKey { sha256, part: 1 }, value).await;
        comes_back(TransformCompiledKey { sha256, engine: 4 }, TransformCompiledValue { sha256: digest }).await;
    }

    #[tokio::test]
    async fn a_scan_of_parts_takes_one_module_only_in_order() {
        let store = MemoryMeta::new();
        let key = |first, part| TransformPartKey { sha256: Sha256([first; 32]), part };
        let keys = [key(1, 300), key(1, 2), key(2, 0)];
        store.commit(vec![], keys.iter().map(|key| put(key, &TransformPartValue::default())).collect()).await.unwrap();
        let found = scan_parts(&store, Sha256([1; 32])).await.unwrap();
        assert_eq!(found.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [key(1, 2), key(1, 300)]);
    }

    proptest! {
        #[test]
        fn keys_come_back(name in "[a-z/]{0,9}", number: u32, engine: u64, digest: [u8; 32]) {
            let sha256 = Sha256(digest);
            let key = TransformKey { name: name.clone() };
            prop_assert_eq!(TransformKey::decode(&key.encode()), Some(key));
            let key = version(&name, number);
            prop_assert_eq!(TransformVersionKey::decode(&key.encode()), Some(key));
            let key = TransformPartKey { sha256, part: number };
            prop_assert_eq!(TransformPartKey::decode(&key.encode()), Some(key));
            let key = TransformCompiledKey { sha256, engine };
            prop_assert_eq!(TransformCompiledKey::decode(&key.encode()), Some(key));
        }

        #[test]
        fn garbage_is_no_key_or_comes_back(bytes: Vec<u8>) {
            for family in [TransformVersionKey::FAMILY, TransformPartKey::FAMILY, TransformCompiledKey::FAMILY] {
                let key = [family.as_bytes(), &bytes].concat();
                if let Some(decoded) = TransformVersionKey::decode(&key) {
                    prop_assert_eq!(&decoded.encode()[..], &key[..]);
                }
                if let Some(decoded) = TransformPartKey::decode(&key) {
                    prop_assert_eq!(&decoded.encode()[..], &key[..]);
                }
                if let Some(decoded) = TransformCompiledKey::decode(&key) {
                    prop_assert_eq!(&decoded.encode()[..], &key[..]);
                }
            }
        }
    }

    #[test]
    fn a_digest_is_shown_in_hexadecimal() {
        assert!(Sha256([0xab; 32]).to_string().starts_with("abab"));
        assert!(Sha256::try_from(&[0; 31][..]).is_err());
    }
}
