//! The client's errors: coarse kinds that tell the caller what to do, with the server's own words.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of the service's `ErrorInfo` details.
const DOMAIN: &str = "millrace";

/// A result of the client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request breaks a rule; the same request can never succeed.
    Invalid,
    /// The named object does not exist.
    NotFound,
    /// An object has the name already.
    AlreadyExists,
    /// The object's state forbids it; change that first.
    FailedPrecondition,
    /// The caller may not do this.
    Denied,
    /// A quota or a budget is used up; the same request may succeed later.
    Throttled,
    /// Another writer was faster; read again and retry.
    Conflict,
    /// The server cannot be reached, closes, or lacks a part it needs; retry with back-off.
    Unavailable,
    /// The server lost bytes, or found others than it wrote.
    DataLoss,
    /// The server does not know the call; it is older than this client, or not Millrace.
    Unsupported,
    /// This handle was closed or dropped.
    Closed,
    /// A bug, here or in the server.
    Internal,
}

/// An error of the client. Cheap to clone: one failed batch fails each of its records.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.message())]
pub struct Error(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: Kind,
    message: String,
    reason: Option<String>,
    retry_after: Option<Duration>,
    may_have_applied: bool,
    from_service: bool,
    next_offset: Option<u64>,
}

impl Error {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened, in words: names the object, the value and the limit.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The server's name for the cause, where it gave one; stable, for programs.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, Kind::Throttled | Kind::Conflict | Kind::Unavailable)
    }

    /// How long the server asks to wait before a retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The shard's next offset, where a put expected another one; where a reader may go on, past a block that the disk lost.
    #[must_use]
    pub fn next_offset(&self) -> Option<u64> {
        self.0.next_offset
    }

    /// Whether the call may have taken effect all the same: its outcome is unknown, and a retry may do it twice.
    #[must_use]
    pub fn may_have_applied(&self) -> bool {
        self.0.may_have_applied
    }

    /// Whether the service itself said so, and not the connection to it or something between.
    pub(crate) fn is_from_service(&self) -> bool {
        self.0.from_service
    }

    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            reason: None,
            retry_after: None,
            may_have_applied: false,
            from_service: false,
            next_offset: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The server's answer lacks what the wire promises.
    pub(crate) fn malformed(what: &str) -> Self {
        Self::new(Kind::Internal, format!("the server's answer lacks {what}")).with_unknown_outcome(true)
    }

    pub(crate) fn with_unknown_outcome(mut self, unknown: bool) -> Self {
        Arc::make_mut(&mut self.0).may_have_applied = unknown;
        self
    }

    pub(crate) fn with_next_offset(mut self, next_offset: Option<u64>) -> Self {
        Arc::make_mut(&mut self.0).next_offset = next_offset;
        self
    }

    pub(crate) fn with_retry_after(mut self, after: Duration) -> Self {
        Arc::make_mut(&mut self.0).retry_after = Some(after);
        self
    }

    /// The same error with words before its message.
    pub(crate) fn in_context(mut self, context: &str) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.message = format!("{context}: {}", inner.message);
        self
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let unconnected = is_connect_error(&status);
        let kind = if unconnected { Kind::Unavailable } else { kind_of(&status) };
        let details = status.get_error_details();
        Self(Arc::new(Inner {
            kind,
            message: message_of(&status, unconnected),
            reason: details.error_info().map(|info| info.reason.clone()),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            may_have_applied: !unconnected && outcome_is_unknown(kind),
            from_service: details.error_info().is_some_and(|info| info.domain == DOMAIN),
            next_offset: details.error_info().and_then(|info| info.metadata.get("next_offset")?.parse().ok()),
        }))
    }
}

fn kind_of(status: &Status) -> Kind {
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => Kind::Invalid,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::FailedPrecondition => Kind::FailedPrecondition,
        Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
        Code::ResourceExhausted => Kind::Throttled,
        Code::Aborted => Kind::Conflict,
        // The server never answers Unknown: the connection was not ready.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Kind::Unavailable,
        Code::DataLoss => Kind::DataLoss,
        Code::Unimplemented => Kind::Unsupported,
        // A broken connection reaches us without a code of the server's own.
        Code::Ok | Code::Internal if status.source().is_some() => Kind::Unavailable,
        Code::Ok | Code::Internal => Kind::Internal,
    }
}

const fn outcome_is_unknown(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Internal | Kind::DataLoss)
}

fn is_connect_error(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<tonic::ConnectError>())
}

/// The status's message; for transport faults the deepest cause, which is what an operator can act on.
fn message_of(status: &Status, unconnected: bool) -> String {
    let deepest = causes(status).last().map(ToString::to_string);
    match (deepest, status.message()) {
        (Some(cause), _) if unconnected => format!("no connection to the server: {cause}"),
        (Some(cause), message) if !cause.is_empty() && cause != message => format!("{message}: {cause}"),
        (_, "") => format!("the server answered {}", status.code()),
        (_, message) => message.to_owned(),
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |&cause| cause.source())
}
