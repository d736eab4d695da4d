//! What one record's result means: settled, or to be tried again.

use std::time::Duration;

use millrace_proto::v1::{PutError, PutResult, put_error, put_result};

use crate::{Error, Kind, Placed, Result};

/// Decides over the results of one batch, and keeps count.
#[derive(Debug)]
pub(super) struct Verdicts {
    may_retry: bool,
    retry_unknown: bool,
    placed: bool,
    failed: u64,
    first_failure: Option<Error>,
    retry_after: Option<Duration>,
}

impl Verdicts {
    /// `may_retry` is whether there is time for another try at all, `retry_unknown` whether to risk storing twice.
    pub(super) fn new(may_retry: bool, retry_unknown: bool) -> Self {
        Self { may_retry, retry_unknown, placed: false, failed: 0, first_failure: None, retry_after: None }
    }

    /// The record's fate, or `None` where it is to be tried again.
    pub(super) fn decide(&mut self, result: PutResult) -> Option<Result<Placed>> {
        let error = match result.result {
            Some(put_result::Result::Placed(placed)) => {
                self.placed = true;
                return Some(Ok(placed));
            }
            Some(put_result::Result::Error(error)) => error_of(error),
            None => Error::malformed("a record's result"),
        };
        let certain = error.is_retryable() && !error.may_have_applied();
        if self.may_retry && (certain || (self.retry_unknown && error.is_retryable())) {
            self.retry_after = self.retry_after.max(error.retry_after());
            return None;
        }
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| error.clone());
        Some(Err(error))
    }

    /// Whether any record was stored.
    pub(super) fn placed(&self) -> bool {
        self.placed
    }

    /// How many failed for good, and the first of them.
    pub(super) fn failures(&self) -> Option<(u64, &Error)> {
        self.first_failure.as_ref().map(|error| (self.failed, error))
    }

    /// The longest that a shard asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

fn error_of(error: PutError) -> Error {
    match error.kind() {
        put_error::Kind::Invalid => Error::invalid(error.message),
        put_error::Kind::Throttled | put_error::Kind::DiskFull | put_error::Kind::StreamFull => {
            Error::new(Kind::Throttled, error.message).with_retry_after(Duration::from_millis(error.retry_after_ms))
        }
        put_error::Kind::Unavailable => Error::new(Kind::Unavailable, error.message).with_unknown_outcome(true),
        put_error::Kind::SequenceTooOld => {
            Error::new(Kind::FailedPrecondition, error.message).with_unknown_outcome(true)
        }
        put_error::Kind::SequenceReused => Error::invalid(error.message),
        put_error::Kind::ExpectationFailed => Error::new(Kind::FailedPrecondition, error.message),
        put_error::Kind::Unspecified => Error::new(Kind::Internal, error.message).with_unknown_outcome(true),
    }
}
