//! AWS' JSON protocol, for every service that speaks it: `POST /`, the operation in `X-Amz-Target`, JSON 1.1 or CBOR 1.1.
//!
//! A request goes one way: [`front`] reads it, asks [`super::auth`] who calls, and hands a [`Call`] to its [`Service`], which
//! decodes and validates it by the model and answers with a [`Reply`] or one [`AwsError`]. Nothing here knows an operation.

mod error;
mod request_id;
mod timestamp;
mod blob;
mod format;
mod body;
mod call;
mod front;

pub(in crate::api::aws) use blob::Blob;
pub(in crate::api::aws) use call::{Call, Checked, Reply, Service};
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::api::aws) use call::{read_by_model, read_quickly};
pub(in crate::api::aws) use error::{AwsError, kms_code};
pub(in crate::api::aws) use format::{Format, json_tree};
pub(in crate::api::aws) use front::{Front, router};
pub(in crate::api::aws) use timestamp::Time;
