//! `account/settings`: what holds for all streams together; `token-key/current`: the key that clients' tokens are signed by.

use bytes::{BufMut, BytesMut};

use super::Key;

/// The key of the account's settings. It is the only one of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountKey;

/// The account's settings.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AccountValue {
    /// Whether a minimum throughput is committed to.
    #[prost(bool, tag = "1")]
    pub commitment: bool,
    /// When that last began: milliseconds since the Unix epoch; zero is never.
    #[prost(int64, tag = "2")]
    pub commitment_started_at_ms: i64,
    /// When that last ended, as well.
    #[prost(int64, tag = "3")]
    pub commitment_ended_at_ms: i64,
}

impl Key for AccountKey {
    type Value = AccountValue;
    const FAMILY: &'static str = "account/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(b"settings");
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        (rest == b"settings").then_some(Self)
    }
}

/// The key of the key that tokens are signed by. It is the only one of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenKeyKey;

/// The key that tokens are signed by. Whoever has it can make tokens, which grant nothing by themselves.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct TokenKeyValue {
    /// 32 random bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

impl std::fmt::Debug for TokenKeyValue {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeyValue").finish_non_exhaustive()
    }
}

impl Key for TokenKeyKey {
    type Value = TokenKeyValue;
    const FAMILY: &'static str = "token-key/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(b"current");
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        (rest == b"current").then_some(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::MetaStore;
    use crate::meta::keys::{get, put};
    use crate::meta::memory::MemoryMeta;

    #[tokio::test]
    async fn settings_and_key_come_back() {
        let store = MemoryMeta::new();
        let account = AccountValue { commitment: true, commitment_started_at_ms: 5, commitment_ended_at_ms: 6 };
        let key = TokenKeyValue { key: vec![7; 32] };
        store.commit(vec![], vec![put(&AccountKey, &account), put(&TokenKeyKey, &key)]).await.unwrap();
        assert_eq!(get(&store, &AccountKey).await.unwrap().unwrap().value, account);
        assert_eq!(get(&store, &TokenKeyKey).await.unwrap().unwrap().value, key);
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn other_keys_are_none() {
        for garbage in ["account/", "account/settingsx", "token-key/", "token-key/older", ""] {
            assert_eq!(AccountKey::decode(garbage.as_bytes()), None);
            assert_eq!(TokenKeyKey::decode(garbage.as_bytes()), None);
        }
        assert_eq!(AccountKey::decode(&AccountKey.encode()), Some(AccountKey));
        assert_eq!(TokenKeyKey::decode(&TokenKeyKey.encode()), Some(TokenKeyKey));
    }
}
