//! The harness of Millrace's tests: the real program as a process, an S3 server with faults, the flights data, and
//! readers of a table's files that know nothing of Millrace.
//!
//! It uses only what a user has: the program, the wire, the files. It must not reach into the server's or storage's code.

pub mod wait;
pub mod seed;
pub mod server;
pub mod certificate;
pub mod cli;
pub mod grpc;
pub mod s3;
pub mod flights;
pub mod listing;
pub mod python;
pub mod pipeline;
pub mod site;
pub mod templates;
