//! One request for an operation, and what a service answers.

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AwsError, Format};
use crate::api::aws::auth::Caller;
use crate::api::aws::model::{self, Operation, conform, validate};

/// A service of the protocol. An implementation answers each operation that its model has.
#[async_trait]
pub(in crate::api::aws) trait Service: Send + Sync + 'static {
    /// Its operations.
    fn model(&self) -> &'static model::Service;

    /// Answers one request. It runs to its end also when the client goes away.
    async fn call(&self, call: Call) -> Result<Reply, AwsError>;
}

/// A request for an operation, from a known caller.
#[derive(Debug, Clone)]
pub(in crate::api::aws) struct Call {
    pub(in crate::api::aws) operation: &'static Operation,
    pub(in crate::api::aws) format: Format,
    pub(in crate::api::aws) body: Bytes,
    pub(in crate::api::aws) caller: Caller,
}

/// An answer of status 200.
#[derive(Debug)]
pub(in crate::api::aws) enum Reply {
    /// Nothing: the operation has no output.
    Empty,
    /// A body in the request's format.
    Body(Bytes),
    /// An event stream.
    Events(Body),
}

/// A request that is read straight into a type, for operations where a tree would cost too much.
pub(in crate::api::aws) trait Checked: DeserializeOwned {
    /// Whether it keeps every constraint of its model. Where it says no, the tree tells what is broken.
    fn is_valid(&self) -> bool;
}

impl Call {
    /// Reads and validates the request by its model.
    ///
    /// # Errors
    /// `SerializationException` or `ValidationException`.
    pub(in crate::api::aws) fn input<T: DeserializeOwned>(&self) -> Result<T, AwsError> {
        read_by_model(self.operation, self.format, &self.body)
    }

    /// As [`Self::input`], without a tree where the request is valid.
    ///
    /// # Errors
    /// As there.
    pub(in crate::api::aws) fn checked<T: Checked>(&self) -> Result<T, AwsError> {
        match read_quickly(self.format, &self.body) {
            Some(input) => Ok(input),
            None => self.input(),
        }
    }

    /// An answer in the request's format.
    ///
    /// # Errors
    /// Where it cannot be written: a bug.
    pub(in crate::api::aws) fn reply<T: Serialize + ?Sized>(&self, output: &T) -> Result<Reply, AwsError> {
        self.format.encode(output).map(Reply::Body)
    }

    /// As [`Self::reply`], with an answer that has about so many bytes.
    ///
    /// # Errors
    /// As there.
    pub(in crate::api::aws) fn reply_of<T: Serialize + ?Sized>(
        &self,
        output: &T,
        bytes: usize,
    ) -> Result<Reply, AwsError> {
        self.format.encode_of(output, bytes).map(Reply::Body)
    }
}

/// A request as its model has it.
pub(in crate::api::aws) fn read_by_model<T: DeserializeOwned>(
    operation: &Operation,
    format: Format,
    body: &[u8],
) -> Result<T, AwsError> {
    let mut tree = format.tree(body)?;
    if tree.is_null() {
        return Err(AwsError::serialization("the body is null"));
    }
    conform(&mut tree, operation.input)?;
    validate(&tree, operation.input)?;
    serde_json::from_value(tree).map_err(|error| AwsError::serialization(error.to_string()))
}

/// The same without a tree; `None` where it may be otherwise, or be told better, by the model.
pub(in crate::api::aws) fn read_quickly<T: Checked>(format: Format, body: &[u8]) -> Option<T> {
    format.decode::<T>(body).filter(T::is_valid)
}
