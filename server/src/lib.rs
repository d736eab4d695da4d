//! The Millrace server: one process that takes events in, keeps them, and turns them into tables that SQL answers over.
//!
//! The modules stand in the order of a record's way. Nothing here knows how bytes lie in RocksDB or in Parquet.

pub mod error;
mod complete;
mod retry;
mod halted;
pub mod metrics;
pub mod cloudwatch;
pub mod disk;
pub mod config;
pub mod api;
pub mod encryption;
pub mod auth;
pub mod streams;
pub mod groups;
pub mod transform;
pub mod delivery;
pub mod imports;
pub mod query;
pub mod maintenance;
pub mod serve;
pub mod cli;
