//! Why a signature is refused, in AWS's codes and words, so that SDKs treat it as they treat AWS.

use axum::http::StatusCode;

/// AWS's code of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigV4Code {
    /// There are no credentials at all.
    MissingAuthenticationToken,
    /// A part of the credentials is missing or malformed.
    IncompleteSignature,
    /// The signature does not match, is too old, or its scope is wrong.
    InvalidSignature,
    /// The access key is unknown, disabled or deleted, or comes with a session token.
    UnrecognizedClient,
    /// The credentials are past their end.
    ExpiredToken,
    /// A presigned URL is past its end.
    RequestExpired,
    /// The secret cannot be read now, because its master key is away.
    ServiceUnavailable,
}

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SigV4Error {
    code: SigV4Code,
    message: String,
}

impl SigV4Error {
    pub(super) fn new(code: SigV4Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn incomplete(message: impl Into<String>) -> Self {
        Self::new(SigV4Code::IncompleteSignature, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(SigV4Code::InvalidSignature, message)
    }

    pub(super) fn missing() -> Self {
        Self::new(SigV4Code::MissingAuthenticationToken, "Missing Authentication Token")
    }

    pub(super) fn unrecognized() -> Self {
        Self::new(SigV4Code::UnrecognizedClient, "The security token included in the request is invalid.")
    }

    pub(super) fn mismatch() -> Self {
        Self::invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
             and signing method. Consult the service documentation for details.",
        )
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> SigV4Code {
        self.code
    }

    /// The exception's name as the JSON and CBOR protocols write it, such as `InvalidSignatureException`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.code {
            SigV4Code::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            SigV4Code::IncompleteSignature => "IncompleteSignatureException",
            SigV4Code::InvalidSignature => "InvalidSignatureException",
            SigV4Code::UnrecognizedClient => "UnrecognizedClientException",
            SigV4Code::ExpiredToken => "ExpiredTokenException",
            SigV4Code::RequestExpired => "RequestExpired",
            SigV4Code::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The message; the same as `Display`.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status that goes with it in the JSON protocols.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.code {
            SigV4Code::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
