//! The lake: rows in files on an object store.
//!
//! The modules stand in the order of a row's way: where objects live, what a row is, how rows become columns, and how both
//! become files. Nothing here knows which snapshot a file belongs to; that is the catalog's.

mod error;
pub mod store;
pub mod row;
pub mod event_time;
pub mod partition;
pub mod prefix;
pub mod schema;
pub mod input;
mod json;
pub mod convert;
mod names;
mod upload;
pub mod parquet;
pub mod json_lines;
pub mod raw;
pub mod set_aside;
pub mod source_backup;
pub mod import;

pub use error::{Error, Result};
pub use names::FileNames;
