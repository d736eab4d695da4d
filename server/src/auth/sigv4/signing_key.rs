//! Signing keys: four HMACs from a secret, good for a day, a region and a service, and kept for the next request.

use std::collections::HashMap;

use parking_lot::RwLock;
use ring::hmac::{self, HMAC_SHA256, Key};
use zeroize::Zeroizing;

use super::claim::Scope;
use crate::auth::secret::Secret;

/// Signing keys that are kept. Past it all are forgotten: they are quick to make, and nobody can fill it who has no secret.
const KEYS_MAX: usize = 4096;

/// Keys that verified a signature. An access key's secret never changes, so that what is here is never stale.
#[derive(Debug, Default)]
pub(super) struct SigningKeys(RwLock<HashMap<String, Key>>);

impl SigningKeys {
    pub(super) fn get(&self, access_key_id: &str, scope: &Scope) -> Option<Key> {
        self.0.read().get(&name(access_key_id, scope)).cloned()
    }

    /// Keeps a key that verified a signature.
    pub(super) fn keep(&self, access_key_id: &str, scope: &Scope, key: Key) {
        let mut keys = self.0.write();
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(name(access_key_id, scope), key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.read().len()
    }
}

fn name(access_key_id: &str, scope: &Scope) -> String {
    format!("{access_key_id}/{}", scope.text())
}

/// `HMAC(HMAC(HMAC(HMAC("AWS4" + secret, day), region), service), "aws4_request")`.
pub(super) fn derive(secret: &Secret, scope: &Scope) -> Key {
    let first = Zeroizing::new(format!("AWS4{}", secret.reveal()));
    let mut key = Key::new(HMAC_SHA256, first.as_bytes());
    for part in [&scope.day, &scope.region, &scope.service, &scope.terminator] {
        key = Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}
