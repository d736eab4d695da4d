//! Who calls, and what they may do: principals with access keys and grants, Signature V4 for the AWS protocols, bearer tokens
//! for gRPC, quotas by principal, and the audit log.
//!
//! A protocol does three things. It authenticates, once a request: [`Auth::sigv4`] or [`Auth::bearer`] give a [`Caller`]. It
//! asks [`Caller::check`] with the action and each resource that the request names. It puts with [`Caller::payer`], so that
//! quotas and costs find who pays. With `auth = "off"` every caller may do everything, and no signature is looked at.
//!
//! A secret must never be shown but once, when it is made; never be logged; and never be stored unwrapped.

mod settings;
mod action;
mod grant;
mod name;
mod secret;
mod principal;
mod caller;
mod payer;
mod sigv4;
mod aws;
mod registry;
mod directory;
mod audit;
mod metrics;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use millrace_storage::encryption::MasterKeys;
use millrace_storage::meta::MetaStore;
use millrace_storage::time::Clock;
use tokio_util::sync::CancellationToken;

pub use action::{Action, Resource, ResourceKind};
pub use audit::{Audit, AuditSettings, Entry, Outcome};
pub use aws::AwsAction;
pub use caller::Caller;
pub use grant::Grant;
pub use name::PrincipalName;
pub use payer::{Payer, PayerQuota};
pub use principal::{KeyView, PrincipalView};
pub use registry::{Changes, Created};
pub use secret::{AccessKeyId, Secret};
pub use settings::{AuthMode, PrincipalSettings, SigV4Settings};
#[cfg(feature = "fuzzing")]
pub use sigv4::fuzz;
pub use sigv4::{SigV4Code, SigV4Error};

use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use directory::Directory;
use metrics::AuthMetrics;
use registry::Registry;
use sigv4::Verifier;

/// Between two attempts to reach a master key.
const UNLOCK_INTERVAL: Duration = Duration::from_secs(2);

/// How authentication opens.
#[derive(Debug, Clone, Default)]
pub struct AuthOptions {
    /// Whether callers are authenticated.
    pub mode: AuthMode,
    /// Limits on principals.
    pub principals: PrincipalSettings,
    /// What signatures must keep to.
    pub sigv4: SigV4Settings,
    /// The audit log.
    pub audit: AuditSettings,
    /// The most that a record may hold, so that each fits a principal's quota.
    pub record_bytes_max: u64,
}

/// The one handle of a process to its principals. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mode: AuthMode,
    directory: Arc<Directory>,
    registry: Registry,
    verifier: Verifier,
    audit: Audit,
}

impl Auth {
    /// Reads the principals. A secret that cannot be unwrapped is told in the log and keeps nobody else out.
    ///
    /// # Errors
    /// Where the meta store cannot be read, or the audit log's file cannot be written.
    pub async fn open(
        meta: Arc<dyn MetaStore>,
        masters: MasterKeys,
        options: AuthOptions,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Self> {
        let AuthOptions { mode, principals, sigv4, audit, record_bytes_max } = options;
        let audit = Audit::open(&audit, clock.clone(), metrics)?;
        let counts = AuthMetrics::new(metrics, principals.metric_principals_max);
        let directory = Arc::new(Directory::new(counts, clock));
        let registry = Registry::new(meta, masters, Arc::clone(&directory), principals, record_bytes_max);
        registry.load().await?;
        Ok(Self(Arc::new(Inner { mode, directory, registry, verifier: Verifier::new(sigv4), audit })))
    }

    /// Tries secrets whose master key was away at the start again and again, until the server stops.
    pub async fn keep_unlocked(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(UNLOCK_INTERVAL) => {}
            }
            match self.0.registry.unlock().await {
                Ok(0) => {}
                Ok(locked) => {
                    tracing::warn!(locked, "secrets of principals are still locked: their master key is away")
                }
                Err(error) => tracing::warn!(%error, "locked secrets of principals cannot be tried again"),
            }
        }
    }

    /// Verifies Signature V4 of a request that came over HTTP, in its header form or as a presigned URL, and gives who
    /// signed it. `service` is what the credential scope must name, such as `kinesis`; `body` is the whole body as it came.
    ///
    /// The URI must be as the client sent it, before any router rewrote it; over HTTP/2 its authority stands for `host`.
    /// With `auth = "off"` nothing is looked at, so that clients with made-up credentials work.
    ///
    /// # Errors
    /// With AWS's code and words; the HTTP status is [`SigV4Error::status`].
    pub fn sigv4(&self, parts: &Parts, body: &[u8], service: &str) -> Result<Caller, SigV4Error> {
        if self.mode() == AuthMode::Off {
            return Ok(Caller::open());
        }
        let verified = self.0.verifier.verify(parts, body, service, &self.0.directory);
        self.0.directory.metrics().authenticated("sigv4", verified.as_ref().err().map(SigV4Error::name));
        if let Err(error) = &verified {
            self.0.audit.refused("sigv4", service, &error.to_string());
        }
        verified
    }

    /// Gives who a bearer token belongs to: `<access key id>.<secret>`, verified against the same secret as signatures.
    ///
    /// # Errors
    /// `Unauthenticated`, which does not tell an unknown key from a wrong secret.
    pub fn bearer(&self, token: &str) -> Result<Caller> {
        if self.mode() == AuthMode::Off {
            return Ok(Caller::open());
        }
        let found = self.0.directory.bearer(token);
        self.0.directory.metrics().authenticated("bearer", found.as_ref().err().map(|_| "Unauthenticated"));
        found
    }

    /// Gives the caller of a request without credentials. With auth off it may do everything. With auth on it may do
    /// nothing, but for one case: while no principal exists, a caller on the loopback interface may make the first one.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub fn anonymous(&self, peer: Option<SocketAddr>) -> Result<Caller> {
        if self.mode() == AuthMode::Off {
            return Ok(Caller::open());
        }
        let is_loopback = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        if !self.0.directory.is_empty() {
            return Err(unauthenticated(
                "no credentials: give a principal's token as `authorization: Bearer`, or set MILLRACE_TOKEN",
            ));
        }
        if is_loopback {
            return Ok(Caller::bootstrap());
        }
        Err(unauthenticated(
            "no principal exists yet: make the first on the server's own machine, by `millrace principal create`",
        ))
    }

    /// The caller that a principal is, for what it declared and the server does in its name. With auth off it may do
    /// everything.
    ///
    /// # Errors
    /// `PermissionDenied` where the principal is gone; `Unauthenticated` where it is disabled.
    pub fn caller_named(&self, name: &str) -> Result<Caller> {
        match self.mode() {
            AuthMode::Off => Ok(Caller::open()),
            AuthMode::On => self.0.directory.named(name),
        }
    }

    /// Whether callers are authenticated.
    #[must_use]
    pub fn mode(&self) -> AuthMode {
        self.0.mode
    }

    /// The principals, to change and to show.
    #[must_use]
    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Counts a call that no grant allows.
    pub(crate) fn count_denied(&self, action: Action) {
        self.0.directory.metrics().denied(action.as_str());
    }

    /// Where control-plane calls and denials are told.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }
}

pub(crate) fn unauthenticated(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Unauthenticated, message)
}
