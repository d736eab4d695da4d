//! The two formats of a body: JSON and CBOR, told by the content type. An answer has its request's format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ciborium::Value as Cbor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::AwsError;

/// CBOR's tag of a time since the epoch, which AWS' SDKs give in milliseconds.
const EPOCH_TAG: u64 = 1;

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

    /// Reads a body straight into a type; `None` where it is not of that type. Says nothing of why: [`Self::tree`] does.
    pub(in crate::api::aws) fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Option<T> {
        match self {
            Self::Json => serde_json::from_slice(body).ok(),
            Self::Cbor => ciborium::from_reader(body).ok(),
        }
    }

    /// Reads a body as a tree, in which bytes are base64 and times are seconds, as in JSON.
    ///
    /// # Errors
    /// `SerializationException`.
    pub(in crate::api::aws) fn tree(self, body: &[u8]) -> Result<Value, AwsError> {
        match self {
            Self::Json => serde_json::from_slice(body)
                .map_err(|error| AwsError::serialization(format!("the body is not JSON: {error}"))),
            Self::Cbor => {
                let tree = ciborium::from_reader(body)
                    .map_err(|error| AwsError::serialization(format!("the body is not CBOR: {error}")))?;
                json_of(tree)
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

/// A CBOR tree as the JSON that would say the same. It is as deep as the reader allows, which is not deep.
fn json_of(tree: Cbor) -> Result<Value, AwsError> {
    let wrong = |what: &str| AwsError::serialization(format!("the body has {what}"));
    match tree {
        Cbor::Null => Ok(Value::Null),
        Cbor::Bool(is) => Ok(Value::Bool(is)),
        Cbor::Text(text) => Ok(Value::String(text)),
        Cbor::Bytes(bytes) => Ok(Value::String(STANDARD.encode(bytes))),
        Cbor::Integer(number) => {
            let number = i128::from(number);
            let value = i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from));
            value.map_err(|_| wrong("a number of more than 64 bits"))
        }
        Cbor::Float(number) if number.is_finite() => Ok(Value::from(number)),
        Cbor::Float(_) => Err(wrong("a number that is not finite")),
        Cbor::Array(items) => Ok(Value::Array(items.into_iter().map(json_of).collect::<Result<_, _>>()?)),
        Cbor::Map(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let Cbor::Text(key) = key else { return Err(wrong("a key that is not text")) };
                object.insert(key, json_of(value)?);
            }
            Ok(Value::Object(object))
        }
        Cbor::Tag(EPOCH_TAG, time) => match *time {
            Cbor::Integer(millis) => Ok(Value::from(i128::from(millis) as f64 / 1000.0)),
            time => json_of(time),
        },
        Cbor::Tag(_, value) => json_of(*value),
        _ => Err(wrong("a value of an unknown kind")),
    }
}

#[cfg(test)]
mod tests;
