//! A data key: AES-256-GCM for the blocks of one stream, from one rotation to the next.
//!
//! # Nonces
//! Two blocks sealed with one key and one nonce would give both away, so a nonce must never come back. A block's position
//! is no nonce: a block that was written and not acknowledged before a crash may lie in an old write-ahead log, and the
//! block that takes its offset after the crash holds other bytes. A counter kept on disk is none either: a restored backup,
//! or a copied folder, would count on from where the original counted on too. So a nonce is 64 random bits, drawn anew each
//! time that a key is loaded, and a count of 32 bits; before the count ends, new bits are drawn. Blocks of one run cannot
//! meet, and two of `n` runs meet with a probability below `n² / 2^65`: one in 2^33 after 65,536 restarts, or after 2^48
//! blocks. That is the bound that NIST SP 800-38D (8.3) asks for, with room for every rotation anyone lives to see.

use std::fmt;

use parking_lot::Mutex;
use rand::RngCore;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a data key and of a master key.
pub const KEY_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

/// The number of a stream's data key: 1, and one more at each rotation. Zero is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(pub u32);

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A data key that can be used.
pub struct DataKey {
    version: KeyVersion,
    key: LessSafeKey,
    nonces: Nonces,
}

impl DataKey {
    /// A key of its bytes.
    #[must_use]
    pub fn new(version: KeyVersion, key: &[u8; KEY_BYTES]) -> Self {
        Self { version, key: aes(key), nonces: Nonces::default() }
    }

    /// Its number within the stream.
    #[must_use]
    pub const fn version(&self) -> KeyVersion {
        self.version
    }

    /// Encrypts `bytes` where they are, bound to `bound_to`.
    pub(crate) fn seal(&self, bound_to: &[u8], bytes: &mut [u8]) -> ([u8; NONCE_BYTES], [u8; TAG_BYTES]) {
        let nonce = self.nonces.next();
        (nonce, seal(&self.key, nonce, bound_to, bytes))
    }

    /// Decrypts `bytes`, a tag at their end, where they are. `None` where they are not what was sealed, or were bound to
    /// something else.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_BYTES],
        bound_to: &[u8],
        bytes: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        open(&self.key, nonce, bound_to, bytes)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("version", &self.version.0).finish_non_exhaustive()
    }
}

pub(super) fn aes(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the length is right"))
}

pub(super) fn seal(key: &LessSafeKey, nonce: [u8; NONCE_BYTES], bound_to: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), bytes);
    let tag = tag.expect("a block is far below the 64 GiB that one nonce may seal");
    tag.as_ref().try_into().expect("a tag has 16 bytes")
}

pub(super) fn open<'a>(
    key: &LessSafeKey,
    nonce: [u8; NONCE_BYTES],
    bound_to: &[u8],
    bytes: &'a mut [u8],
) -> Option<&'a mut [u8]> {
    key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), bytes).ok()
}

/// Nonces that do not come back; see the module's page.
#[derive(Debug, Default)]
struct Nonces(Mutex<Option<Run>>);

#[derive(Debug)]
struct Run {
    prefix: [u8; 8],
    next: u32,
}

impl Nonces {
    fn next(&self) -> [u8; NONCE_BYTES] {
        let mut run = self.0.lock();
        let Run { prefix, next } = run.get_or_insert_with(Run::new);
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(prefix);
        nonce[8..].copy_from_slice(&next.to_be_bytes());
        match next.checked_add(1) {
            Some(after) => *next = after,
            None => *run = None,
        }
        nonce
    }
}

impl Run {
    fn new() -> Self {
        let mut prefix = [0; 8];
        // A generator for secrets, seeded by the system and again as it is used.
        rand::rng().fill_bytes(&mut prefix);
        Self { prefix, next: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_was_sealed_opens_only_with_all_that_it_was_sealed_with() {
        let key = DataKey::new(KeyVersion(1), &[7; KEY_BYTES]);
        let mut bytes = b"a plain text".to_vec();
        let (nonce, tag) = key.seal(b"here", &mut bytes);
        assert_ne!(bytes, b"a plain text");
        bytes.extend_from_slice(&tag);
        let open = |key: &DataKey, nonce, bound_to: &[u8]| {
            key.open(nonce, bound_to, &mut bytes.clone()).map(|opened| opened.to_vec())
        };
        assert_eq!(open(&key, nonce, b"here"), Some(b"a plain text".to_vec()));
        assert_eq!(open(&key, nonce, b"there"), None);
        assert_eq!(open(&key, [0; NONCE_BYTES], b"here"), None);
        assert_eq!(open(&DataKey::new(KeyVersion(1), &[8; KEY_BYTES]), nonce, b"here"), None);
    }

    #[test]
    fn nonces_differ_within_a_run_and_between_runs() {
        let (one, two) = (Nonces::default(), Nonces::default());
        let drawn: HashSet<_> = (0..1000).flat_map(|_| [one.next(), two.next()]).collect();
        assert_eq!(drawn.len(), 2000);
    }

    #[test]
    fn a_run_that_has_counted_to_its_end_is_followed_by_another() {
        let nonces = Nonces::default();
        let first = nonces.next();
        nonces.0.lock().as_mut().expect("a run").next = u32::MAX;
        let last = nonces.next();
        assert_eq!((&last[..8], &last[8..]), (&first[..8], &[0xff; 4][..]));
        let after = nonces.next();
        assert_ne!(after[..8], first[..8]);
        assert_eq!(after[8..], [0; 4]);
    }

    #[test]
    fn a_key_does_not_show_its_bytes() {
        let shown = format!("{:?}", DataKey::new(KeyVersion(3), &[0x5a; KEY_BYTES]));
        assert_eq!(shown, "DataKey { version: 3, .. }");
    }
}
