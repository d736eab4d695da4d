//! Who sends a request of the AWS protocols, and what that caller may do: Signature V4 in front of every operation, and one
//! question for each resource that an operation names. Denials, and changes as they end, are told in the audit log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use bytes::Bytes;
use millrace_storage::log::Record;
use parking_lot::Mutex;

use super::protocol::AwsError;
use crate::api::access::outcome_of;
use crate::auth::{self, Action, Auth, AwsAction, Entry, Outcome, Payer, Resource};

/// Names that one request's entry in the audit log tells.
const NAMES_MAX: usize = 16;

/// A request as it came, for its signature to be checked over.
#[derive(Debug)]
pub(in crate::api::aws) struct Unverified<'a> {
    /// Method, path and headers.
    pub(in crate::api::aws) parts: &'a Parts,
    /// The body's bytes.
    pub(in crate::api::aws) body: &'a Bytes,
    /// The service, as scopes name it: `kinesis`.
    pub(in crate::api::aws) service: &'static str,
    /// The operation: `PutRecords`.
    pub(in crate::api::aws) operation: &'static str,
}

/// Who sent one request, and what it asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::api::aws) struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    auth: Auth,
    who: auth::Caller,
    action: AwsAction,
    peer: Option<SocketAddr>,
    named: Mutex<Vec<String>>,
    denied: AtomicBool,
}

#[cfg(test)]
impl Caller {
    /// Whoever calls a Firehose operation while auth is off.
    pub(in crate::api::aws) async fn anyone(operation: &'static str) -> Self {
        use millrace_storage::encryption::MasterKeys;
        use millrace_storage::meta::memory::MemoryMeta;
        use millrace_storage::time::Clock;

        let (meta, masters, clock) = (Arc::new(MemoryMeta::new()), MasterKeys::default(), Clock::system());
        let options = auth::AuthOptions::default();
        let opened = Auth::open(meta, masters, options, clock, &crate::metrics::Metrics::new()).await;
        let (parts, ()) = axum::http::Request::new(()).into_parts();
        let request = Unverified { parts: &parts, body: &Bytes::new(), service: "firehose", operation };
        Self::of(&opened.expect("auth that is off opens"), &request).expect("auth is off")
    }
}

impl Caller {
    /// Tells who signed a request.
    ///
    /// # Errors
    /// As AWS says that a signature is missing, wrong or old.
    pub(in crate::api::aws) fn of(auth: &Auth, request: &Unverified<'_>) -> Result<Self, AwsError> {
        let Unverified { parts, body, service, operation } = *request;
        let who = auth.sigv4(parts, body, service).map_err(|error| {
            AwsError::new(error.name(), error.message().to_owned()).with_status(error.status().as_u16())
        })?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
        let (named, denied) = (Mutex::default(), AtomicBool::default());
        let action = AwsAction::new(service, operation);
        Ok(Self(Arc::new(Inner { auth: auth.clone(), who, action, peer, named, denied })))
    }

    /// Whether the caller may do the operation to a resource, an ARN or `*` for any.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub(in crate::api::aws) fn authorize(&self, arn: &str) -> Result<(), AwsError> {
        let Inner { auth, who, action, named, denied, .. } = &*self.0;
        if action.is_change() {
            let mut named = named.lock();
            if named.len() < NAMES_MAX {
                named.push(arn.to_owned());
            }
        }
        who.check_aws(*action, arn).map_err(|error| {
            denied.store(true, Relaxed);
            auth.count_denied(action.needs());
            self.tell(outcome_of(&error), &[arn.to_owned()], &error.to_string());
            let message = format!(
                "User: {who} is not authorized to perform: {action} on resource: {arn} because no grant of the principal allows it"
            );
            AwsError::new("AccessDeniedException", message)
        })
    }

    /// Asks for an action of our own on what the operation touches besides.
    ///
    /// # Errors
    /// `PermissionDenied`; it is told in the audit log.
    pub(in crate::api::aws) fn allow(&self, action: Action, resource: &Resource) -> crate::error::Result<()> {
        let Inner { auth, who, denied, .. } = &*self.0;
        who.check(action, resource).inspect_err(|error| {
            denied.store(true, Relaxed);
            auth.count_denied(action);
            self.tell(outcome_of(error), &[resource.to_string()], &error.to_string());
        })
    }

    /// Whether the caller may do the operation to a resource: for lists, which leave the others out.
    pub(in crate::api::aws) fn may(&self, arn: &str) -> bool {
        self.0.who.may_aws(self.0.action, arn)
    }

    /// The principal that signed, where auth is on.
    pub(in crate::api::aws) fn principal(&self) -> Option<&str> {
        self.0.who.principal()
    }

    /// Who pays for what the caller puts.
    pub(in crate::api::aws) fn payer(&self) -> Option<Arc<Payer>> {
        self.0.who.payer()
    }

    /// Counts what the caller read.
    pub(in crate::api::aws) fn read(&self, records: &[Record]) {
        if let Some(payer) = self.payer() {
            payer.read(records.len() as u64, records.iter().map(|record| record.bytes() as u64).sum());
        }
    }

    /// Ends where the caller's principal loses something while an event stream of its own is open; never without principals.
    pub(in crate::api::aws) async fn lost(&self) {
        match self.0.who.lasts() {
            Some(lasts) => lasts.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Tells of a change that was made, or failed.
    pub(in crate::api::aws) fn ended<T>(&self, answer: &Result<T, AwsError>) {
        if !self.0.action.is_change() || self.0.denied.load(Relaxed) {
            return;
        }
        let named = std::mem::take(&mut *self.0.named.lock());
        match answer {
            Ok(_) => self.tell(Outcome::Ok, &named, ""),
            Err(error) => self.tell(Outcome::Failed, &named, error.message()),
        }
    }

    fn tell(&self, outcome: Outcome, resources: &[String], reason: &str) {
        let Inner { auth, who, action, peer, .. } = &*self.0;
        let (caller, call) = (who.to_string(), action.to_string());
        auth.audit().tell(&Entry { caller: &caller, peer: *peer, call: &call, resources, outcome, reason });
    }
}
