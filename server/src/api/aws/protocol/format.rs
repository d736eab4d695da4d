//! The two formats of a body: JSON and CBOR, told by the content type. An answer has its request's format.

mod quick;
mod tree;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::quick::Quick;
use self::tree::cbor_tree;
use super::AwsError;

pub(in crate::api::aws) use self::tree::json_tree;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::aws) enum Format {
    Json,
    Cbor,
}

impl Format {
    /// The format that a content type names; its parameters do not matter.
    pub(in crate::api::aws) fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/x-amz-json-1.1" | "application/x-amz-json-1.0" | "application/json" => Some(Self::Json),
            "application/x-amz-cbor-1.1" => Some(Self::Cbor),
            _ => None,
        }
    }

    /// The content type of an answer.
    pub(in crate::api::aws) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Reads a body straight into a type; `None` where it is not plainly of that type, a member that is not known among it.
    /// Says nothing of why: [`Self::tree`] does.
    pub(in crate::api::aws) fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Option<T> {
        let read: Option<Quick<T>> = match self {
            Self::Json => serde_json::from_slice(body).ok(),
            Self::Cbor => ciborium::from_reader(body).ok(),
        };
        read.map(|Quick(value)| value)
    }

    /// Reads a body as a tree, the same whichever format it has.
    ///
    /// # Errors
    /// `SerializationException`.
    pub(in crate::api::aws) fn tree(self, body: &[u8]) -> Result<Value, AwsError> {
        match self {
            Self::Json => {
                json_tree(body).map_err(|error| AwsError::serialization(format!("the body is not JSON: {error}")))
            }
            Self::Cbor => {
                cbor_tree(body).map_err(|error| AwsError::serialization(format!("the body is not CBOR: {error}")))
            }
        }
    }

    /// Writes an answer.
    pub(in crate::api::aws) fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, AwsError> {
        self.encode_of(value, 512)
    }

    /// As [`Self::encode`], of an answer that has about so many bytes.
    pub(in crate::api::aws) fn encode_of<T: Serialize + ?Sized>(
        self,
        value: &T,
        bytes: usize,
    ) -> Result<Bytes, AwsError> {
        let mut body = Vec::with_capacity(bytes);
        let written = match self {
            Self::Json => serde_json::to_writer(&mut body, value).map_err(|error| error.to_string()),
            Self::Cbor => ciborium::into_writer(value, &mut body).map_err(|error| error.to_string()),
        };
        written.map_err(|error| AwsError::internal(format!("an answer cannot be written: {error}")))?;
        Ok(body.into())
    }
}

#[cfg(test)]
mod tests;
