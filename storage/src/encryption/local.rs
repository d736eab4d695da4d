//! Master keys that this process holds itself, from a file or the environment.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::LessSafeKey;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::data_key::{self, KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use super::{Error, KeyMaterial, MasterKey, Result};

/// The first byte of what a local key wrapped; then nonce, encrypted key and tag.
const FORMAT: u8 = 1;
const WRAPPED_BYTES: usize = 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES;

/// A 256-bit master key in this process's memory.
pub struct LocalKey {
    id: String,
    key: LessSafeKey,
}

impl LocalKey {
    /// A master key of its bytes. Its id is a digest that tells nothing of a random key.
    #[must_use]
    pub fn new(key: &KeyMaterial) -> Self {
        let digest = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key[..]), b"millrace master key id");
        let id = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { id: format!("local:{id}"), key: data_key::aes(key) }
    }
}

/// Reads master keys of a text: 32 bytes in base64 or 64 hexadecimal digits each, apart by white space or commas; the first
/// wraps, the others only unwrap. `what` names the text in errors, which never show it.
pub fn parse_local_keys(what: &str, text: &str) -> Result<Vec<Arc<dyn MasterKey>>> {
    let bad = |reason: String| Error::BadMaster { what: what.to_owned(), reason };
    let words = text.split(|letter: char| letter.is_whitespace() || letter == ',').filter(|word| !word.is_empty());
    let keys = words.enumerate().map(|(at, word)| match parse(word) {
        Ok(key) => Ok(Arc::new(LocalKey::new(&key)) as Arc<dyn MasterKey>),
        Err(reason) => Err(bad(format!("key {} {reason}", at + 1))),
    });
    let keys: Vec<_> = keys.collect::<Result<_>>()?;
    if keys.is_empty() { Err(bad("it is empty".to_owned())) } else { Ok(keys) }
}

fn parse(word: &str) -> Result<KeyMaterial, String> {
    let bytes = Zeroizing::new(match word.len() {
        64 => (0..64).step_by(2).map_while(|at| u8::from_str_radix(word.get(at..at + 2)?, 16).ok()).collect(),
        _ => STANDARD.decode(word).unwrap_or_default(),
    });
    let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| {
        "is neither 32 bytes in base64 nor 64 hexadecimal digits; `openssl rand -base64 32` makes one".to_owned()
    })?;
    if key.iter().all(|byte| *byte == key[0]) {
        return Err("is one byte again and again, not a random key".to_owned());
    }
    Ok(Zeroizing::new(key))
}

/// Fills a key with the system's random bytes.
pub(super) fn random_key() -> Result<KeyMaterial> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new().fill(&mut key[..]).map_err(|_| Error::NoRandom)?;
    Ok(key)
}

#[async_trait]
impl MasterKey for LocalKey {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, key: &KeyMaterial, bound_to: &[u8]) -> Result<Vec<u8>> {
        // Few keys are ever wrapped, so random nonces do not meet.
        let mut nonce = [0; NONCE_BYTES];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::NoRandom)?;
        let mut bytes = Zeroizing::new(**key);
        let tag = data_key::seal(&self.key, nonce, bound_to, &mut bytes[..]);
        Ok([&[FORMAT][..], &nonce, &bytes[..], &tag].concat())
    }

    async fn unwrap(&self, wrapped: &[u8], bound_to: &[u8]) -> Result<KeyMaterial> {
        let unauthentic = || Error::Unauthentic { master: self.id.clone() };
        if wrapped.len() != WRAPPED_BYTES || wrapped[0] != FORMAT {
            return Err(unauthentic());
        }
        let (nonce, sealed) = wrapped[1..].split_first_chunk::<NONCE_BYTES>().ok_or_else(unauthentic)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let key = data_key::open(&self.key, *nonce, bound_to, &mut sealed).ok_or_else(unauthentic)?;
        Ok(Zeroizing::new((&*key).try_into().map_err(|_| unauthentic())?))
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_key_is_base64_or_hexadecimal_and_has_the_same_id_in_both() {
        let base64 = STANDARD.encode((0..32).collect::<Vec<u8>>());
        let ids = |text: &str| -> Vec<String> {
            parse_local_keys("it", text).expect("keys").iter().map(|key| key.id().to_owned()).collect()
        };
        let other = STANDARD.encode([[1; 16], [2; 16]].concat());
        let found = ids(&format!("{HEX}\n{base64},{other}\n"));
        assert_eq!((found.len(), &found[0]), (3, &found[1]));
        assert_ne!(found[0], found[2]);
        assert!(found[0].starts_with("local:") && found[0].len() == 22, "{found:?}");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for (text, word) in [
            ("", "empty"),
            (" \n", "empty"),
            ("hunter2", "key 1 is neither"),
            (&HEX[1..], "key 1 is neither"),
            (&format!("{HEX} {}x", &HEX[1..]), "key 2 is neither"),
            (&"00".repeat(32), "again and again"),
        ] {
            let error = parse_local_keys("the file", text).expect_err("no key").to_string();
            assert!(error.starts_with("the file is not a master key: ") && error.contains(word), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("0d0e0f"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_wrapped_key_opens_only_as_it_was_bound() {
        let masters = parse_local_keys("it", &format!("{HEX} {}", "0123456789abcdef".repeat(4))).expect("keys");
        let key = random_key().expect("random");
        let wrapped = masters[0].wrap(&key, b"stream 1").await.expect("wrapped");
        assert!(!wrapped.windows(8).any(|window| key.windows(8).any(|part| part == window)));
        assert_eq!(masters[0].unwrap(&wrapped, b"stream 1").await.expect("opened"), key);
        for (master, bytes, bound_to) in [
            (0, wrapped.clone(), &b"stream 2"[..]),
            (1, wrapped.clone(), b"stream 1"),
            (0, wrapped[..wrapped.len() - 1].to_vec(), b"stream 1"),
            (0, Vec::new(), b"stream 1"),
        ] {
            let error = masters[master].unwrap(&bytes, bound_to).await.expect_err("it must not open");
            assert!(matches!(error, Error::Unauthentic { .. }) && !error.is_retryable(), "{error}");
        }
    }
}
