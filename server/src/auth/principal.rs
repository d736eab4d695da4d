//! A principal that is in use: its grants as they are now, and what ends its open calls.

use std::sync::Arc;

use millrace_storage::time::Timestamp;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::action::{Action, Resource, ResourceKind};
use super::grant::Grant;
use super::name::PrincipalName;
use super::payer::{Payer, PayerQuota};
use super::secret::AccessKeyId;
use super::unauthenticated;
use crate::error::{Error, Kind, Result};

/// A principal in memory. Callers hold it for as long as their request lasts, and see each change at once.
#[derive(Debug)]
pub(super) struct Principal {
    name: PrincipalName,
    state: RwLock<State>,
}

#[derive(Debug, Clone)]
struct State {
    /// Deleted, or disabled.
    barred: Option<&'static str>,
    grants: Arc<[Grant]>,
    payer: Arc<Payer>,
    /// Cancelled when something was taken away, and replaced.
    lasts: CancellationToken,
}

impl Principal {
    pub(super) fn new(name: PrincipalName, grants: Vec<Grant>, payer: Arc<Payer>, disabled: bool) -> Self {
        let barred = disabled.then_some("is disabled");
        Self {
            name,
            state: RwLock::new(State { barred, grants: grants.into(), payer, lasts: CancellationToken::new() }),
        }
    }

    pub(super) const fn name(&self) -> &PrincipalName {
        &self.name
    }

    /// Whether it may call at all.
    pub(super) fn admit(&self) -> Result<()> {
        match self.state.read().barred {
            None => Ok(()),
            Some(why) => {
                Err(unauthenticated(format_args!("principal {} {why}", self.name)).about("principal", &self.name))
            }
        }
    }

    pub(super) fn check(&self, action: Action, resource: &Resource) -> Result<()> {
        self.admit()?;
        let grants = Arc::clone(&self.state.read().grants);
        if grants.iter().any(|grant| grant.allows(action, resource)) {
            return Ok(());
        }
        Err(denied(&self.name, action, &resource.to_string()))
    }

    pub(super) fn check_some(&self, action: Action, kind: ResourceKind) -> Result<()> {
        self.admit()?;
        let grants = Arc::clone(&self.state.read().grants);
        if grants.iter().any(|grant| grant.allows_some(action, kind)) {
            return Ok(());
        }
        Err(denied(&self.name, action, &format!("any {}", kind.as_str())))
    }

    pub(super) fn payer(&self) -> Arc<Payer> {
        Arc::clone(&self.state.read().payer)
    }

    /// Cancelled when the principal loses something. Open calls end then, and the next tells what it may still do.
    pub(super) fn lasts(&self) -> CancellationToken {
        self.state.read().lasts.clone()
    }

    pub(super) fn set_grants(&self, grants: Vec<Grant>) {
        let mut state = self.state.write();
        let narrows = state.grants.iter().any(|grant| !grants.contains(grant));
        state.grants = grants.into();
        if narrows {
            state.end_calls();
        }
    }

    pub(super) fn set_payer(&self, payer: Arc<Payer>) {
        self.state.write().payer = payer;
    }

    pub(super) fn set_disabled(&self, disabled: bool) {
        let mut state = self.state.write();
        state.barred = disabled.then_some("is disabled");
        if disabled {
            state.end_calls();
        }
    }

    /// Its key was taken away, or all of it.
    pub(super) fn end_calls(&self) {
        self.state.write().end_calls();
    }

    pub(super) fn delete(&self) {
        let mut state = self.state.write();
        state.barred = Some("was deleted");
        state.grants = Arc::default();
        state.end_calls();
    }
}

impl State {
    fn end_calls(&mut self) {
        std::mem::take(&mut self.lasts).cancel();
    }
}

fn denied(name: &PrincipalName, action: Action, resource: &str) -> Error {
    let message = format!("principal {name} may not {action} on {resource}: no grant allows it");
    let error = Error::new(Kind::PermissionDenied, message);
    error.about("principal", name).about("action", action).about("resource", resource)
}

/// A principal as it is shown: everything but secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalView {
    /// Its name.
    pub name: PrincipalName,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is refused.
    pub disabled: bool,
    /// Its access keys, oldest first.
    pub keys: Vec<KeyView>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// What it may put.
    pub quota: PayerQuota,
}

/// An access key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: AccessKeyId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, where it was rotated with some time of overlap.
    pub expires_at: Option<Timestamp>,
    /// The id of the master key that wraps its secret.
    pub master_key_id: String,
    /// Why its secret cannot be used; `None` where it can.
    pub unusable: Option<String>,
}
