//! What the services' models demand of a request: tables that `tests/aws/model.py` writes from botocore's models, and the
//! checks over them.
//!
//! A table is data alone. Everything that a request's shape decides is decided here; nothing else repeats a length or pattern.

mod shape;
#[rustfmt::skip]
mod kinesis;
#[rustfmt::skip]
mod firehose;
mod types;
mod validate;

pub(in crate::api::aws) use firehose::FIREHOSE;
pub(in crate::api::aws) use kinesis::KINESIS;
pub(in crate::api::aws) use shape::{Member, Operation, Pattern, Service, Shape};
pub(in crate::api::aws) use types::conform;
pub(in crate::api::aws) use validate::validate;
