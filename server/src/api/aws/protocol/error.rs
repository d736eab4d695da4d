//! The one type of errors that clients get: a code, words, a status, and what the code's shape has besides.

use std::borrow::Cow;

use millrace_storage::encryption::KeyFault;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::api::aws::model::Operation;
use crate::error::{Error, Kind};

/// A failure of the server, where the operation declares it.
const INTERNAL: &str = "InternalFailureException";

/// An error as AWS says it. Its code is bounded: it comes from code or from a model, never from a request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::api::aws) struct AwsError {
    code: &'static str,
    message: Cow<'static, str>,
    status: u16,
    fields: Vec<(&'static str, Value)>,
}

impl AwsError {
    /// An error of status 400.
    pub(in crate::api::aws) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), status: 400, fields: Vec::new() }
    }

    /// The same with another status.
    #[must_use]
    pub(in crate::api::aws) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with a member that the code's shape has besides the message.
    #[must_use]
    pub(in crate::api::aws) fn with_field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The request cannot be read.
    pub(in crate::api::aws) fn serialization(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("SerializationException", message)
    }

    /// The request breaks its model.
    pub(in crate::api::aws) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ValidationException", message)
    }

    /// A parameter means nothing here.
    pub(in crate::api::aws) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    /// What is named does not exist.
    pub(in crate::api::aws) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    /// What is named is not in a state for it.
    pub(in crate::api::aws) fn in_use(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ResourceInUseException", message)
    }

    /// A limit is reached.
    pub(in crate::api::aws) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("LimitExceededException", message)
    }

    /// A rate is used up.
    pub(in crate::api::aws) fn throughput(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ProvisionedThroughputExceededException", message)
    }

    /// A part of the server fails.
    pub(in crate::api::aws) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(INTERNAL, message).with_status(500)
    }

    /// The server takes no more for now.
    pub(in crate::api::aws) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ServiceUnavailableException", message).with_status(503)
    }

    /// The same as an operation's client knows it: a failure that the operation does not declare is one that all have.
    #[must_use]
    pub(in crate::api::aws) fn of_operation(mut self, operation: &Operation) -> Self {
        if self.code == INTERNAL && !operation.declares(INTERNAL) {
            self.code = "InternalFailure";
        }
        self
    }

    /// The code, such as `ValidationException`.
    pub(in crate::api::aws) const fn code(&self) -> &'static str {
        self.code
    }

    /// The words.
    pub(in crate::api::aws) fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status.
    pub(in crate::api::aws) const fn status(&self) -> u16 {
        self.status
    }
}

impl Serialize for AwsError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2 + self.fields.len()))?;
        map.serialize_entry("__type", self.code)?;
        map.serialize_entry("message", &self.message)?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A key that cannot be used, as KMS says it. Clients try again where it may come back by itself.
pub(in crate::api::aws) const fn kms_code(fault: KeyFault) -> &'static str {
    match fault {
        KeyFault::Missing | KeyFault::Destroyed => "KMSNotFoundException",
        KeyFault::Refused => "KMSAccessDeniedException",
        KeyFault::Away => "KMSThrottlingException",
        KeyFault::Invalid => "KMSInvalidStateException",
    }
}

impl From<Error> for AwsError {
    /// What a service says, in the codes that the streams' operations declare.
    fn from(error: Error) -> Self {
        let message = error.to_string();
        if let Some(fault) = error.key_fault() {
            return Self::new(kms_code(fault), message);
        }
        match error.kind() {
            Kind::Invalid => Self::invalid(message),
            Kind::NotFound => Self::not_found(message),
            Kind::AlreadyExists | Kind::FailedPrecondition | Kind::StaleLease | Kind::Conflict => Self::in_use(message),
            Kind::Unauthenticated => Self::new("UnrecognizedClientException", message),
            Kind::PermissionDenied => Self::new("AccessDeniedException", message),
            Kind::Throttled { .. } => Self::throughput(message),
            Kind::Exhausted { .. } | Kind::Unavailable => Self::internal(message),
            Kind::DataLoss | Kind::Internal => {
                tracing::error!(%error, "a call failed");
                Self::internal(message)
            }
        }
    }
}

impl From<millrace_storage::meta::Error> for AwsError {
    fn from(error: millrace_storage::meta::Error) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::aws::model::KINESIS;

    #[test]
    fn what_a_service_says_has_its_code_and_status() {
        let retry_after = Duration::from_secs(1);
        for (kind, code, status) in [
            (Kind::Invalid, "InvalidArgumentException", 400),
            (Kind::NotFound, "ResourceNotFoundException", 400),
            (Kind::AlreadyExists, "ResourceInUseException", 400),
            (Kind::Conflict, "ResourceInUseException", 400),
            (Kind::Throttled { retry_after }, "ProvisionedThroughputExceededException", 400),
            (Kind::Exhausted { reason: "DISK_FULL", retry_after }, "InternalFailureException", 500),
            (Kind::Unavailable, "InternalFailureException", 500),
            (Kind::DataLoss, "InternalFailureException", 500),
        ] {
            let error = AwsError::from(Error::new(kind.clone(), "words"));
            assert_eq!((error.code(), error.message(), error.status()), (code, "words", status), "{kind:?}");
        }
    }

    #[test]
    fn a_data_key_that_cannot_be_used_is_an_error_of_kms() {
        for (fault, code) in [
            (KeyFault::Missing, "KMSNotFoundException"),
            (KeyFault::Destroyed, "KMSNotFoundException"),
            (KeyFault::Refused, "KMSAccessDeniedException"),
            (KeyFault::Away, "KMSThrottlingException"),
            (KeyFault::Invalid, "KMSInvalidStateException"),
        ] {
            let locked = Error::unavailable("locked").about("data_key", 1).of_key(Some(fault));
            let error = AwsError::from(locked);
            assert_eq!((error.code(), error.status()), (code, 400), "{fault:?}");
        }
    }

    #[test]
    fn a_failure_is_named_as_the_operation_declares_it() {
        for (operation, code) in [("PutRecord", "InternalFailureException"), ("CreateStream", "InternalFailure")] {
            let error = AwsError::internal("words").of_operation(KINESIS.operation(operation).unwrap());
            assert_eq!((error.code(), error.status()), (code, 500), "{operation}");
        }
    }
}
