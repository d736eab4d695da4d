//! How the server's errors become gRPC statuses: a code, words, and `google.rpc` details that programs can read.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{Error, Kind};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "millrace";

/// When to try again where the error does not know better.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, reason) = code_of(error.kind());
        let message = error.to_string();
        let about = error.objects().iter().map(|(noun, name)| ((*noun).to_owned(), name.clone()));
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, about.collect::<HashMap<_, _>>());
        match error.kind() {
            Kind::Throttled { retry_after } | Kind::Exhausted { retry_after, .. } => {
                details.set_retry_info(Some(*retry_after));
            }
            Kind::Unavailable | Kind::Conflict => drop(details.set_retry_info(Some(RETRY_AFTER))),
            _ => {}
        }
        if let Some(field) = error.field() {
            details.add_bad_request_violation(field, &message);
        }
        if matches!(error.kind(), Kind::Internal | Kind::DataLoss) {
            tracing::error!(%error, "a call failed");
        }
        Self::with_error_details(code, message, details)
    }
}

/// The code, and the reason in `ErrorInfo`.
const fn code_of(kind: &Kind) -> (Code, &'static str) {
    match kind {
        Kind::Invalid => (Code::InvalidArgument, "INVALID"),
        Kind::Unauthenticated => (Code::Unauthenticated, "UNAUTHENTICATED"),
        Kind::PermissionDenied => (Code::PermissionDenied, "PERMISSION_DENIED"),
        Kind::NotFound => (Code::NotFound, "NOT_FOUND"),
        Kind::AlreadyExists => (Code::AlreadyExists, "ALREADY_EXISTS"),
        Kind::FailedPrecondition => (Code::FailedPrecondition, "FAILED_PRECONDITION"),
        Kind::StaleLease => (Code::FailedPrecondition, "STALE_LEASE"),
        Kind::Throttled { .. } => (Code::ResourceExhausted, "THROTTLED"),
        Kind::Exhausted { reason, .. } => (Code::ResourceExhausted, *reason),
        Kind::Conflict => (Code::Aborted, "CONFLICT"),
        Kind::Unavailable => (Code::Unavailable, "UNAVAILABLE"),
        Kind::DataLoss => (Code::DataLoss, "DATA_LOSS"),
        Kind::Internal => (Code::Internal, "INTERNAL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_programs_what_it_tells_people() {
        let retry_after = Duration::from_millis(250);
        let error = Error::new(Kind::Throttled { retry_after }, "shard 3 is over its quota").about("shard", 3);
        let status = Status::from(error);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "shard 3 is over its quota");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("THROTTLED", "millrace"));
        assert_eq!(info.metadata["shard"], "3");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(retry_after));
    }

    #[test]
    fn a_broken_rule_names_its_field() {
        let status = Status::from(Error::invalid("a name is empty").in_field("name"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!((violation.field.as_str(), violation.description.as_str()), ("name", "a name is empty"));
        assert!(details.retry_info().is_none());
    }

    #[test]
    fn what_may_be_retried_says_when() {
        for kind in [Kind::Unavailable, Kind::Conflict] {
            let status = Status::from(Error::new(kind, "busy"));
            assert!(status.get_error_details().retry_info().is_some(), "{status:?}");
        }
    }
}
