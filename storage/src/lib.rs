//! Data at rest: what Millrace keeps, and how it lies on disks and object stores.
//!
//! The modules stand in the order of a record's way. Nothing here knows gRPC, HTTP, SQL or transforms.

pub mod time;
pub mod failpoint;
mod wal;
pub mod encryption;
pub mod log;
pub mod meta;
pub mod lake;
pub mod catalog;
pub mod backup;
