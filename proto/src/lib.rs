//! The wire of Millrace: messages and services generated from `millrace/v1/*.proto`.
//!
//! The shapes, units and errors are documented in the `.proto` files. What has behaviour here is the one format that lies
//! within records and that both sides of the wire read: [`aggregate`].

pub mod aggregate;

/// Version 1 of the API.
#[expect(missing_docs, clippy::allow_attributes, reason = "generated from the .proto files, which carry the docs")]
pub mod v1 {
    tonic::include_proto!("millrace.v1");
}

/// The WIT package that a transform module is written to.
pub const TRANSFORM_WIT: &str = include_str!("../wit/transform.wit");

/// The encoded `FileDescriptorSet` of [`v1`], for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/millrace.v1.bin"));
