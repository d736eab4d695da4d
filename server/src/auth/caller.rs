//! Who makes a request, as the authentication found, and what may be asked about it.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::action::{Action, Resource, ResourceKind};
use super::payer::Payer;
use super::principal::Principal;
use super::unauthenticated;
use crate::error::Result;

/// The caller of one request. Cheap to clone. It sees changes of its principal at once: who is disabled while a request runs
/// fails the next check.
#[derive(Debug, Clone)]
pub struct Caller(Who);

#[derive(Debug, Clone)]
enum Who {
    /// Anybody, while auth is off.
    Open,
    /// Somebody on this machine, while no principal exists.
    Bootstrap,
    Principal {
        principal: Arc<Principal>,
        lasts: CancellationToken,
    },
}

impl Caller {
    /// A caller that may do everything, for `auth = "off"`.
    #[must_use]
    pub const fn open() -> Self {
        Self(Who::Open)
    }

    /// A caller on this machine while no principal exists, who may make the first and do nothing else.
    pub(super) const fn bootstrap() -> Self {
        Self(Who::Bootstrap)
    }

    pub(super) fn of(principal: Arc<Principal>) -> Self {
        let lasts = principal.lasts();
        Self(Who::Principal { principal, lasts })
    }

    /// Whether the caller may do something to a resource.
    ///
    /// # Errors
    /// `PermissionDenied` where no grant allows it; `Unauthenticated` where the principal was disabled or deleted since.
    pub fn check(&self, action: Action, resource: &Resource) -> Result<()> {
        match &self.0 {
            Who::Open => Ok(()),
            Who::Bootstrap => check_bootstrap(action),
            Who::Principal { principal, .. } => principal.check(action, resource),
        }
    }

    /// Whether the caller may do something to any resource of a kind at all: to refuse early, before a name is known.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_some(&self, action: Action, kind: ResourceKind) -> Result<()> {
        match &self.0 {
            Who::Open => Ok(()),
            Who::Bootstrap => check_bootstrap(action),
            Who::Principal { principal, .. } => principal.check_some(action, kind),
        }
    }

    /// As [`Self::check`], for what is shown or left out of a list.
    #[must_use]
    pub fn may(&self, action: Action, resource: &Resource) -> bool {
        self.check(action, resource).is_ok()
    }

    /// Who pays for what the caller puts and reads; nobody while auth is off.
    #[must_use]
    pub fn payer(&self) -> Option<Arc<Payer>> {
        match &self.0 {
            Who::Open | Who::Bootstrap => None,
            Who::Principal { principal, .. } => Some(principal.payer()),
        }
    }

    /// Cancelled when the caller's principal loses a grant, a key, or all; open streams end then. `None` where that cannot be.
    #[must_use]
    pub const fn lasts(&self) -> Option<&CancellationToken> {
        match &self.0 {
            Who::Open | Who::Bootstrap => None,
            Who::Principal { lasts, .. } => Some(lasts),
        }
    }

    /// The principal's name, where there is one.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        match &self.0 {
            Who::Open | Who::Bootstrap => None,
            Who::Principal { principal, .. } => Some(principal.name().as_str()),
        }
    }

    pub(super) const fn is_bootstrap(&self) -> bool {
        matches!(self.0, Who::Bootstrap)
    }
}

fn check_bootstrap(action: Action) -> Result<()> {
    if action == Action::Admin {
        return Ok(());
    }
    Err(unauthenticated(
        "no principal exists yet, and until then nothing else is allowed: make the first by `millrace principal create`",
    ))
}

impl fmt::Display for Caller {
    /// For logs: a principal's name, or a word in brackets, which no principal can be called.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Who::Open => f.write_str("(anyone)"),
            Who::Bootstrap => f.write_str("(local)"),
            Who::Principal { principal, .. } => write!(f, "{}", principal.name()),
        }
    }
}
