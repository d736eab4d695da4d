//! The settings of deliveries.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// How much all deliveries of the process may use, and how they retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// The most memory that converted and not yet committed records of all deliveries together may take, in bytes.
    /// A delivery that needs more cuts its batch early, or waits. At least 16 MiB; default 256 MiB.
    pub memory_bytes_max: ByteSize,
    /// How many conversions run at once, over all deliveries; 0 is the number of cores. Default 0.
    pub conversions_max: usize,
    /// The longest pause between two attempts of a failing step. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub retry_delay_max: Duration,
    /// What becomes of records that the disk lost. Default: hold.
    pub corrupt_blocks: CorruptBlocks,
    /// How long files that a rebuild replaced are kept for readers of the old snapshot. Until they go, whoever lists the
    /// folder without the catalog sees both. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub replaced_files_kept: Duration,
    /// How long a shutdown waits for batches that are being written. Default 20 s.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

/// What a delivery does at a block of the log that cannot be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CorruptBlocks {
    /// It holds that shard, tells so, and tries again: a backup may bring the records back.
    #[default]
    Hold,
    /// It goes on behind the block, and counts the records as lost.
    Skip,
}

/// The least that `memory_bytes_max` may be.
pub const MEMORY_BYTES_MIN: ByteSize = ByteSize::mib(16);

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            memory_bytes_max: ByteSize::mib(256),
            conversions_max: 0,
            retry_delay_max: Duration::from_secs(30),
            corrupt_blocks: CorruptBlocks::Hold,
            replaced_files_kept: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl DeliverySettings {
    /// Checks the limits.
    pub fn validate(&self) -> crate::error::Result<()> {
        if self.memory_bytes_max < MEMORY_BYTES_MIN {
            return Err(crate::error::Error::invalid(format_args!(
                "delivery.memory_bytes_max of {} is less than {MEMORY_BYTES_MIN}",
                self.memory_bytes_max
            )));
        }
        Ok(())
    }

    /// How many conversions run at once.
    #[must_use]
    pub fn conversions(&self) -> usize {
        match self.conversions_max {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            most => most,
        }
    }
}
