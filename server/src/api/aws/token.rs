//! Opaque texts that clients bring back: shard iterators and pages' tokens. Authenticated, so that only this server's are
//! taken, and dated, so that they expire.
//!
//! `version u8 | kind u8 | issued at i64, ms | payload | HMAC-SHA-256, 16 bytes`, in URL-safe base64. The key lies in the meta
//! store, so that a restart keeps them good. A token is not secret from who holds it, and grants nothing by itself.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace_storage::time::{Clock, Timestamp};
use ring::hmac;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 10;
const TAG_BYTES: usize = 16;
/// A client's clock does not matter, ours may be set back by a little.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// What a token is for. The numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::api::aws) enum TokenKind {
    ShardIterator = 1,
    Shards = 2,
    Streams = 3,
    Consumers = 4,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::aws) enum BadToken {
    /// It was not made here, or was changed, or is for something else.
    Forged,
    /// It was good once.
    Expired {
        /// When it was made.
        issued_at: Timestamp,
        /// When it was shown.
        now: Timestamp,
    },
}

/// Makes and checks tokens.
#[derive(Clone)]
pub(in crate::api::aws) struct Tokens {
    key: hmac::Key,
    lifetime: Duration,
    clock: Clock,
}

impl Tokens {
    pub(in crate::api::aws) fn new(key: &[u8], lifetime: Duration, clock: Clock) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), lifetime, clock }
    }

    /// How long a token is good.
    pub(in crate::api::aws) const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A token that carries `payload`.
    pub(in crate::api::aws) fn seal(&self, kind: TokenKind, payload: &[u8]) -> String {
        let mut token = Vec::with_capacity(HEADER_BYTES + payload.len() + TAG_BYTES);
        token.extend_from_slice(&[VERSION, kind as u8]);
        token.extend_from_slice(&self.clock.now().as_millis().to_be_bytes());
        token.extend_from_slice(payload);
        let tag = hmac::sign(&self.key, &token);
        token.extend_from_slice(&tag.as_ref()[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What a token carries.
    ///
    /// # Errors
    /// [`BadToken`].
    pub(in crate::api::aws) fn open(&self, kind: TokenKind, token: &str) -> Result<Vec<u8>, BadToken> {
        let mut token = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken::Forged)?;
        let signed = token.len().checked_sub(TAG_BYTES).filter(|signed| *signed >= HEADER_BYTES);
        let (signed, tag) = token.split_at(signed.ok_or(BadToken::Forged)?);
        let expected = hmac::sign(&self.key, signed);
        let is_ours = constant_time_eq(&expected.as_ref()[..TAG_BYTES], tag);
        if !is_ours || signed[..2] != [VERSION, kind as u8] {
            return Err(BadToken::Forged);
        }
        let issued_at: [u8; 8] = signed[2..HEADER_BYTES].try_into().expect("the slice has 8 bytes");
        let (issued_at, now) = (Timestamp(i64::from_be_bytes(issued_at)), self.clock.now());
        if issued_at < now.before(self.lifetime) || issued_at.before(AHEAD_MAX) > now {
            return Err(BadToken::Expired { issued_at, now });
        }
        let length = signed.len();
        token.truncate(length);
        token.drain(..HEADER_BYTES);
        Ok(token)
    }
}

/// Whether two slices of the same length are equal, in a time that does not tell where they differ.
fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

impl fmt::Debug for Tokens {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use proptest::prelude::*;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(300);

    fn tokens(key: u8) -> Tokens {
        Tokens::new(&[key; 32], LIFETIME, Clock::system())
    }

    #[test]
    fn a_token_expires_one_moment_past_its_lifetime() {
        let now = Arc::new(AtomicI64::new(1_000_000));
        let clock = Clock::new({
            let now = Arc::clone(&now);
            move || Timestamp(now.load(Ordering::Relaxed))
        });
        let tokens = Tokens::new(&[7; 32], LIFETIME, clock);
        let token = tokens.seal(TokenKind::ShardIterator, b"x");
        now.store(1_300_000, Ordering::Relaxed);
        assert_eq!(tokens.open(TokenKind::ShardIterator, &token).unwrap(), b"x");
        now.store(1_300_001, Ordering::Relaxed);
        let expired = BadToken::Expired { issued_at: Timestamp(1_000_000), now: Timestamp(1_300_001) };
        assert_eq!(tokens.open(TokenKind::ShardIterator, &token), Err(expired));
    }

    #[test]
    fn a_token_is_good_for_its_kind_and_server_only() {
        let token = tokens(1).seal(TokenKind::ShardIterator, b"x");
        assert_eq!(tokens(1).open(TokenKind::Shards, &token), Err(BadToken::Forged));
        assert_eq!(tokens(2).open(TokenKind::ShardIterator, &token), Err(BadToken::Forged));
        for garbage in ["", "AAAA", "not base64!", &"A".repeat(512)] {
            assert_eq!(tokens(1).open(TokenKind::ShardIterator, garbage), Err(BadToken::Forged));
        }
    }

    proptest! {
        #[test]
        fn tokens_come_back_and_no_byte_can_be_changed(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let tokens = tokens(3);
            let token = tokens.seal(TokenKind::Shards, &payload);
            prop_assert_eq!(tokens.open(TokenKind::Shards, &token).unwrap(), payload);
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(tokens.open(TokenKind::Shards, &URL_SAFE_NO_PAD.encode(bytes)), Err(BadToken::Forged));
        }

        /// Shorter, longer, or made of nothing.
        #[test]
        fn what_was_not_made_here_is_forged(
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            cut in any::<prop::sample::Index>(),
            more in proptest::collection::vec(any::<u8>(), 1..40),
            text in "\\PC{0,80}",
        ) {
            let tokens = tokens(3);
            let token = URL_SAFE_NO_PAD.decode(tokens.seal(TokenKind::ShardIterator, &payload)).unwrap();
            let longer = [&token[..], &more].concat();
            for bytes in [&token[..cut.index(token.len())], &longer, &more] {
                let forged = URL_SAFE_NO_PAD.encode(bytes);
                prop_assert_eq!(tokens.open(TokenKind::ShardIterator, &forged), Err(BadToken::Forged));
            }
            prop_assert_eq!(tokens.open(TokenKind::ShardIterator, &text), Err(BadToken::Forged));
        }
    }
}
