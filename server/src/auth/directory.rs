//! The principals in memory, found by name and by access key. What the registry stored is what is here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millrace_storage::time::{Clock, Timestamp};
use parking_lot::RwLock;

use super::caller::Caller;
use super::metrics::AuthMetrics;
use super::name::PrincipalName;
use super::principal::Principal;
use super::secret::{AccessKeyId, Secret};
use super::unauthenticated;
use crate::error::{Error, Kind, Result};

/// The most bytes of a token that are looked at.
const TOKEN_BYTES_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Directory {
    maps: RwLock<Maps>,
    metrics: AuthMetrics,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Maps {
    principals: BTreeMap<PrincipalName, Arc<Principal>>,
    keys: HashMap<AccessKeyId, Key>,
}

#[derive(Debug)]
struct Key {
    principal: Arc<Principal>,
    /// `None` while the master key that wraps it is away.
    secret: Option<Arc<Secret>>,
    expires_at: Option<Timestamp>,
}

/// A key that is known and in force.
#[derive(Debug)]
pub(super) struct FoundKey {
    pub(super) principal: Arc<Principal>,
    pub(super) secret: Option<Arc<Secret>>,
}

impl Directory {
    pub(super) fn new(metrics: AuthMetrics, clock: Clock) -> Self {
        Self { maps: RwLock::default(), metrics, clock }
    }

    pub(super) const fn metrics(&self) -> &AuthMetrics {
        &self.metrics
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn is_empty(&self) -> bool {
        self.maps.read().principals.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.maps.read().principals.len()
    }

    pub(super) fn principal(&self, name: &PrincipalName) -> Option<Arc<Principal>> {
        self.maps.read().principals.get(name).map(Arc::clone)
    }

    /// The key of an id, unless it is unknown or past its end.
    pub(super) fn key(&self, id: &str) -> Option<FoundKey> {
        let maps = self.maps.read();
        let key = maps.keys.get(id)?;
        if key.expires_at.is_some_and(|end| end <= self.clock.now()) {
            return None;
        }
        Some(FoundKey { principal: Arc::clone(&key.principal), secret: key.secret.clone() })
    }

    /// Who a token belongs to.
    pub(super) fn bearer(&self, token: &str) -> Result<Caller> {
        let wrong = || unauthenticated("the token is not one of a principal's: want ACCESS_KEY_ID.SECRET");
        let (id, secret) = token.split_once('.').filter(|_| token.len() <= TOKEN_BYTES_MAX).ok_or_else(wrong)?;
        let key = self.key(id).ok_or_else(wrong)?;
        let own = key.secret.ok_or_else(|| is_locked(id))?;
        if !own.is(secret) {
            return Err(wrong());
        }
        key.principal.admit()?;
        Ok(Caller::of(key.principal))
    }

    /// The caller that a principal is, for what it declared and the server does in its name.
    pub(super) fn named(&self, name: &str) -> Result<Caller> {
        let found = name.parse::<PrincipalName>().ok().and_then(|name| self.principal(&name));
        let principal = found.ok_or_else(|| {
            Error::new(Kind::PermissionDenied, format_args!("principal {name} is gone, and with it what it may do"))
        })?;
        principal.admit()?;
        Ok(Caller::of(principal))
    }

    pub(super) fn add(&self, principal: Arc<Principal>) {
        let mut maps = self.maps.write();
        maps.principals.insert(principal.name().clone(), principal);
        self.metrics.principals.set(i64::try_from(maps.principals.len()).unwrap_or(i64::MAX));
    }

    /// Adds a key, or what was learned of it since.
    pub(super) fn add_key(
        &self,
        id: AccessKeyId,
        principal: &Arc<Principal>,
        secret: Option<Secret>,
        expires_at: Option<Timestamp>,
    ) {
        let key = Key { principal: Arc::clone(principal), secret: secret.map(Arc::new), expires_at };
        let mut maps = self.maps.write();
        maps.keys.insert(id, key);
        let locked = maps.keys.values().filter(|key| key.secret.is_none()).count();
        self.metrics.unusable_keys.set(i64::try_from(locked).unwrap_or(i64::MAX));
    }

    /// Sets when keys end; those that are not named are removed.
    pub(super) fn keep_keys(&self, principal: &Arc<Principal>, kept: &HashMap<AccessKeyId, Option<Timestamp>>) {
        let mut maps = self.maps.write();
        maps.keys.retain(|id, key| {
            if !Arc::ptr_eq(&key.principal, principal) {
                return true;
            }
            let Some(expires_at) = kept.get(id) else { return false };
            key.expires_at = *expires_at;
            true
        });
    }

    /// Ids of keys without their secret.
    pub(super) fn locked(&self) -> Vec<AccessKeyId> {
        let maps = self.maps.read();
        maps.keys.iter().filter(|(_, key)| key.secret.is_none()).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn remove(&self, name: &PrincipalName) {
        let mut maps = self.maps.write();
        let Some(principal) = maps.principals.remove(name) else { return };
        maps.keys.retain(|_, key| !Arc::ptr_eq(&key.principal, &principal));
        self.metrics.principals.set(i64::try_from(maps.principals.len()).unwrap_or(i64::MAX));
        self.metrics.remove(name.as_str());
        drop(maps);
        principal.delete();
    }
}

pub(super) fn is_locked(id: &str) -> Error {
    Error::unavailable(format_args!(
        "the secret of access key {id} cannot be unwrapped now: its master key is away; the server's log says why"
    ))
}
