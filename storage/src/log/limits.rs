//! What one append may hold, which every engine checks before anything is queued, and what is remembered of producers.

use std::time::Duration;

use super::{Error, NewRecord, Result};

/// The most that one append may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendLimits {
    /// Records. Default 100,000.
    pub records_max: usize,
    /// Data plus partition keys of all records, in bytes. Default 32 MiB.
    pub bytes_max: usize,
    /// Partition key of each record, in bytes. Default 1,024; blocks can hold no more than 65,535.
    pub partition_key_bytes_max: u16,
}

impl Default for AppendLimits {
    fn default() -> Self {
        Self { records_max: 100_000, bytes_max: 32 << 20, partition_key_bytes_max: 1024 }
    }
}

/// How much a log remembers of producers. Memory and disk take at most about 350 bytes a producer and shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerLimits {
    /// Producers, counted once for each shard that they put into. Default 100,000.
    pub producers_max: usize,
    /// Sequences of each. A producer may have so many appends to a shard in flight. Default 32.
    pub sequences_max: usize,
    /// How long a producer is remembered that puts nothing. Default 24 h.
    pub idle_max: Duration,
}

impl Default for ProducerLimits {
    fn default() -> Self {
        Self { producers_max: 100_000, sequences_max: 32, idle_max: Duration::from_secs(24 * 3600) }
    }
}

impl AppendLimits {
    /// Checks an append and returns its bytes: data plus partition keys.
    pub(crate) fn check(&self, records: &[NewRecord]) -> Result<usize> {
        within(records.len(), self.records_max, "records")?;
        let mut bytes = 0;
        for record in records {
            within(record.partition_key.len(), self.partition_key_bytes_max.into(), "bytes of partition key")?;
            bytes += record.bytes();
        }
        within(bytes, self.bytes_max, "bytes")?;
        Ok(bytes)
    }
}

fn within(actual: usize, limit: usize, unit: &'static str) -> Result<()> {
    if actual > limit {
        return Err(Error::TooLarge { actual: actual as u64, limit: limit as u64, unit });
    }
    Ok(())
}
