//! Who calls, and whether they may: the one seam between the protocol and principals.
//!
//! Every request passes [`Access::authenticate`] with its raw parts before its operation runs, and every operation passes
//! [`Access::authorize`] once it knows what it is about. Today both let everyone in.

use axum::http::request::Parts;
use bytes::Bytes;

use super::protocol::AwsError;

/// A request as it came, for a signature to be checked over.
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

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::aws) enum Caller {
    /// Nobody in particular: authentication is off.
    Anyone,
}

/// Knows callers and what they may do.
#[derive(Debug, Clone, Default)]
pub(in crate::api::aws) struct Access;

impl Access {
    /// Everyone may do everything.
    pub(in crate::api::aws) const fn open() -> Self {
        Self
    }

    /// Tells who sent a request.
    ///
    /// # Errors
    /// As AWS says that a signature is missing, wrong or old.
    pub(in crate::api::aws) async fn authenticate(&self, request: &Unverified<'_>) -> Result<Caller, AwsError> {
        tracing::trace!(service = request.service, operation = request.operation, uri = %request.parts.uri,
            bytes = request.body.len(), "a request");
        Ok(Caller::Anyone)
    }

    /// Whether a caller may do `action` (`kinesis:PutRecords`) to `resource`, an ARN or `*`.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub(in crate::api::aws) fn authorize(&self, caller: &Caller, action: &str, resource: &str) -> Result<(), AwsError> {
        match caller {
            Caller::Anyone => {
                tracing::trace!(action, resource, "allowed");
                Ok(())
            }
        }
    }
}
