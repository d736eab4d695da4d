//! Named readers: each has an out quota of its own on every shard, so that no other reader slows it.
//!
//! A name is declared by reading under it. It must be forgotten only while nobody reads under it, so that nobody comes to a
//! fresh quota by asking again; it is forgotten when its place is wanted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use millrace_storage::log::ShardId;
use parking_lot::Mutex;

use super::quota::{Account, ShardQuota};
use super::state::StreamState;
use super::topology::ShardState;
use crate::error::{Error, Result};

/// The most characters of a name.
const NAME_CHARS_MAX: usize = 128;

/// A reader's name: 1 to 128 of the characters `a-z A-Z 0-9 _ . -`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerName(Arc<str>);

impl TryFrom<String> for ConsumerName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(allowed) {
            let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
            let message = format!(
                "the consumer name {shown:?} is not 1 to {NAME_CHARS_MAX} of the characters a-z, A-Z, 0-9, '_', '.' and '-'"
            );
            return Err(Error::invalid(message).in_field("consumer"));
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The named readers of one stream.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    by_name: Mutex<BTreeMap<ConsumerName, Arc<Accounts>>>,
}

/// The accounts of one named reader, by shard.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_shard: Mutex<HashMap<ShardId, (ShardQuota, Arc<Account>)>>,
}

/// Whose out quota a read takes.
#[derive(Debug, Clone)]
pub(super) enum Payer {
    /// That of all readers without a name.
    Shared,
    /// That of a named reader, who is at work for as long as this is held.
    Own(Arc<Accounts>),
}

impl Consumers {
    /// The payer for a name; `None` where as many names as may be are read under now.
    pub(super) fn payer(&self, name: Option<&ConsumerName>, names_max: usize) -> Option<Payer> {
        let Some(name) = name else { return Some(Payer::Shared) };
        let mut by_name = self.by_name.lock();
        if let Some(known) = by_name.get(name) {
            return Some(Payer::Own(Arc::clone(known)));
        }
        if by_name.len() >= names_max {
            by_name.retain(|_, accounts| Arc::strong_count(accounts) > 1);
        }
        if by_name.len() >= names_max {
            return None;
        }
        let accounts = Arc::<Accounts>::default();
        by_name.insert(name.clone(), Arc::clone(&accounts));
        Some(Payer::Own(accounts))
    }
}

impl Payer {
    /// The account that pays for reading a shard.
    pub(super) fn account(&self, stream: &StreamState, shard: &ShardState) -> Arc<Account> {
        match self {
            Self::Shared => shard.account(),
            Self::Own(accounts) => accounts.account(stream, shard),
        }
    }
}

impl Accounts {
    fn account(&self, stream: &StreamState, shard: &ShardState) -> Arc<Account> {
        let quota = stream.spec().quota;
        let mut by_shard = self.by_shard.lock();
        match by_shard.get(&shard.id()) {
            Some((of, account)) if *of == quota => return Arc::clone(account),
            // Shards that the stream has no more are let go of when another comes.
            None => {
                let topology = stream.topology();
                by_shard.retain(|shard, _| topology.shard(*shard).is_some());
            }
            Some(_) => {}
        }
        let account = Arc::new(Account::new(quota, 1, Instant::now()));
        by_shard.insert(shard.id(), (quota, Arc::clone(&account)));
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ConsumerName {
        ConsumerName::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn a_place_is_taken_only_from_who_does_not_read() {
        let consumers = Consumers::default();
        let a = consumers.payer(Some(&name("a")), 2);
        let b = consumers.payer(Some(&name("b")), 2);
        assert!(a.is_some() && b.is_some());
        assert!(consumers.payer(Some(&name("c")), 2).is_none());
        assert!(consumers.payer(Some(&name("a")), 2).is_some(), "who is there may read more");
        assert!(matches!(consumers.payer(None, 2), Some(Payer::Shared)));
        drop(a);
        assert!(consumers.payer(Some(&name("c")), 2).is_some());
    }

    #[test]
    fn names_hold_at_their_limit_and_not_one_past() {
        for (text, valid) in
            [("a".repeat(128), true), ("a".repeat(129), false), (String::new(), false), ("a/b".to_owned(), false)]
        {
            assert_eq!(ConsumerName::try_from(text.clone()).is_ok(), valid, "{text}");
        }
    }
}
