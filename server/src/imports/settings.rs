//! The settings of imports.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// What all imports of the process may use and read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportSettings {
    /// The folders that imports may read, as URLs with commas between them. Not set: while auth is off the tables' own store,
    /// with auth on nothing.
    pub sources: Option<String>,
    /// The most imports. Default 100.
    pub count_max: usize,
    /// Runs at a time, over all imports; the others wait. Default 4.
    pub concurrent_max: usize,
    /// The most objects below the prefix of one import. Default 100,000.
    pub objects_max: usize,
    /// Rows of one put. Default 500.
    pub chunk_rows_max: u32,
    /// Bytes of the records of one put; one row is always let in. Default 1 MiB.
    pub chunk_bytes_max: ByteSize,
    /// Runs that the history of an import keeps. Default 100.
    pub runs_kept: usize,
    /// How long it is known that an object was imported which is not there any more. Default 7 days.
    #[serde(with = "humantime_serde")]
    pub gone_objects_kept: Duration,
    /// The longest pause between two attempts of a failing step. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub retry_delay_max: Duration,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self {
            sources: None,
            count_max: 100,
            concurrent_max: 4,
            objects_max: 100_000,
            chunk_rows_max: 500,
            chunk_bytes_max: ByteSize::mib(1),
            runs_kept: 100,
            gone_objects_kept: Duration::from_secs(7 * 24 * 3600),
            retry_delay_max: Duration::from_secs(30),
        }
    }
}
