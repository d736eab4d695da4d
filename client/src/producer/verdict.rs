//! What one record's result means: settled, or to be tried again.

use std::time::Duration;

use millrace_proto::v1::{PutError, PutResult, put_error, put_result};

use super::batch::Verdict;
use crate::{Error, Kind};

/// Decides over the results of one batch, and keeps count.
#[derive(Debug)]
pub(super) struct Verdicts {
    may_retry: bool,
    unknown: Unknown,
    /// Whether an earlier try may have stored the records.
    tried: bool,
    placed: bool,
    failed: u64,
    first_failure: Option<Error>,
    retry_after: Option<Duration>,
}

/// What becomes of a record whose fate is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It fails.
    Fails,
    /// It is sent again, and may be stored twice.
    MayDouble,
    /// Its batch is sent again under its name, and stored once.
    SameAgain,
}

impl Verdicts {
    /// `may_retry` is whether there is time for another try at all, `tried` whether an earlier one may have stored the
    /// records.
    pub(super) fn new(may_retry: bool, unknown: Unknown, tried: bool) -> Self {
        Self { may_retry, unknown, tried, placed: false, failed: 0, first_failure: None, retry_after: None }
    }

    /// What a record's result means.
    pub(super) fn decide(&mut self, result: PutResult) -> Verdict {
        let error = match result.result {
            Some(put_result::Result::Placed(placed)) => {
                self.placed = true;
                return Verdict::Settled(Ok(placed));
            }
            Some(put_result::Result::Error(error)) => error_of(error),
            None => Error::malformed("a record's result"),
        };
        // A server that takes no record now says nothing of an earlier try.
        let uncertain = error.may_have_applied() || (self.tried && error.is_retryable());
        let again = match (uncertain, self.unknown) {
            (false, _) | (true, Unknown::MayDouble) => Some(Verdict::Again),
            (true, Unknown::SameAgain) => Some(Verdict::SameAgain),
            (true, Unknown::Fails) => None,
        };
        if self.may_retry
            && error.is_retryable()
            && let Some(again) = again
        {
            self.retry_after = self.retry_after.max(error.retry_after());
            return again;
        }
        let error = error.with_unknown_outcome(uncertain);
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| error.clone());
        Verdict::Settled(Err(error))
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

/// What a record's refusal means.
pub(crate) fn error_of(error: PutError) -> Error {
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
        put_error::Kind::ExpectationFailed => expectation_failed(error),
        put_error::Kind::Unspecified => Error::new(Kind::Internal, error.message).with_unknown_outcome(true),
    }
}

fn expectation_failed(error: PutError) -> Error {
    let next_offset = error.next_offset;
    Error::new(Kind::FailedPrecondition, error.message).with_next_offset(next_offset)
}
