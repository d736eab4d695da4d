//! Access keys: an id that is no secret, and a secret of 240 random bits that is shown once.
//!
//! Signature V4 needs the secret itself on both sides, so that a hash of it would not do. It is stored wrapped by the master
//! key, as a data key is, and overwritten in memory when it is dropped.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_storage::encryption::{KEY_BYTES, KeyMaterial, MasterKey};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};

/// How every access key id of ours begins, so that scanners of source code can find leaked ones.
const PREFIX: &str = "AKMR";
const ID_CHARS: usize = 20;
/// 40 characters of base64.
const SECRET_BYTES: usize = 30;

/// The public half of an access key: 20 characters, `A-Z 2-7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    pub(super) fn random() -> Result<Self> {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut bytes = [0; ID_CHARS - PREFIX.len()];
        fill(&mut bytes)?;
        let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        Ok(Self(PREFIX.chars().chain(letters).collect()))
    }

    /// An id as it was stored.
    pub(super) const fn of_stored(id: String) -> Self {
        Self(id)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AccessKeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret half of an access key: 40 characters of base64. Overwritten when dropped, never shown by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn random() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        fill(&mut bytes[..])?;
        Ok(Self::of_bytes(&bytes))
    }

    fn of_bytes(bytes: &[u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(STANDARD.encode(bytes)))
    }

    /// The secret itself. Call it only where it is shown once, or used to verify.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a text is the secret, in a time that does not tell how much of it is right.
    pub(super) fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// Wraps it; what it is bound to opens it as nothing else.
    pub(super) async fn wrap(&self, master: &dyn MasterKey, id: &AccessKeyId, principal: &str) -> Result<Vec<u8>> {
        let decoded = Zeroizing::new(STANDARD.decode(self.0.as_bytes()).unwrap_or_default());
        let mut material: KeyMaterial = Zeroizing::new([0; KEY_BYTES]);
        // A master key wraps 32 bytes; the two after a secret's 30 are zero.
        material[..SECRET_BYTES].copy_from_slice(&decoded);
        Ok(master.wrap(&material, &bound_to(id, principal)).await?)
    }

    pub(super) async fn unwrap(
        master: &dyn MasterKey,
        wrapped: &[u8],
        id: &AccessKeyId,
        principal: &str,
    ) -> Result<Self> {
        let material = master.unwrap(wrapped, &bound_to(id, principal)).await?;
        let bytes = material.first_chunk::<SECRET_BYTES>().expect("a key has more bytes than a secret");
        Ok(Self::of_bytes(bytes))
    }

    #[cfg(test)]
    pub(super) fn of_test(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

/// A wrapped secret moved to another principal, or to another id, does not open.
fn bound_to(id: &AccessKeyId, principal: &str) -> Vec<u8> {
    [b"millrace principal secret 1 ", id.as_str().as_bytes(), b" ", principal.as_bytes()].concat()
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    let failed = |_| Error::new(Kind::Internal, "the system gives no random bytes");
    SystemRandom::new().fill(bytes).map_err(failed)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use millrace_storage::encryption::parse_local_keys;

    use super::*;

    #[test]
    fn keys_have_the_form_of_the_field_and_never_come_twice() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| AccessKeyId::random().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        for id in &ids {
            assert!(
                id.as_str().len() == 20 && id.as_str().bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            );
        }
        let secret = Secret::random().unwrap();
        assert_eq!(secret.reveal().len(), 40);
        assert!(secret.is(secret.reveal()) && !secret.is(&secret.reveal()[1..]) && !secret.is(""));
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        assert!(!Secret::random().unwrap().is(secret.reveal()));
    }

    #[tokio::test]
    async fn a_wrapped_secret_opens_for_its_own_key_only() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let master = parse_local_keys("the test", hex).unwrap().remove(0);
        let (id, other) = (AccessKeyId::random().unwrap(), AccessKeyId::random().unwrap());
        let secret = Secret::random().unwrap();
        let wrapped = secret.wrap(&*master, &id, "a").await.unwrap();
        assert!(Secret::unwrap(&*master, &wrapped, &id, "a").await.unwrap().is(secret.reveal()));
        assert!(Secret::unwrap(&*master, &wrapped, &other, "a").await.is_err());
        assert!(Secret::unwrap(&*master, &wrapped, &id, "b").await.is_err());
    }
}
