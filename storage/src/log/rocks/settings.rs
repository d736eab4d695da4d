//! What an operator may set about the log, with the defaults. Nothing here reads the environment.

use std::path::PathBuf;

use super::super::{AppendLimits, ProducerLimits};

/// Settings of a [`RocksLog`](super::RocksLog). Memory that it holds under load is about
/// `tail_cache_bytes_max + 2 * queue_bytes_max + 3 * write_buffer_bytes` and 30 MiB; an idle one holds a few MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The log's own folder; made when absent.
    pub path: PathBuf,
    /// What one append may hold.
    pub limits: AppendLimits,
    /// What is remembered of producers.
    pub producers: ProducerLimits,
    /// Memory for the newest blocks, which readers of the tail are served from. Default 64 MiB; 0 keeps none.
    pub tail_cache_bytes_max: usize,
    /// Data plus partition keys of appends that are not yet durable; past it `append` waits. Default 32 MiB.
    pub queue_bytes_max: usize,
    /// Appends that are not yet durable; past it `append` waits. Default 8,192.
    pub queue_appends_max: usize,
    /// Data plus partition keys that one write and sync takes; it takes one append whatever its size. Default 8 MiB.
    pub group_bytes_max: usize,
    /// Data plus partition keys of one block; a larger record is a block of its own. Default 1 MiB, at most 64 MiB.
    pub block_bytes_max: usize,
    /// Blocks gathered in memory before they leave the write-ahead log for their own file. Default 32 MiB. The write-ahead
    /// log takes about six times this on disk, and a restart replays at most four times this.
    pub write_buffer_bytes: usize,
}

impl LogSettings {
    /// The defaults, for a folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: AppendLimits::default(),
            producers: ProducerLimits::default(),
            tail_cache_bytes_max: 64 << 20,
            queue_bytes_max: 32 << 20,
            queue_appends_max: 8192,
            group_bytes_max: 8 << 20,
            block_bytes_max: 1 << 20,
            write_buffer_bytes: 32 << 20,
        }
    }

    /// Cuts what the block format cannot hold.
    pub(super) fn bounded(mut self) -> Self {
        self.limits.bytes_max = self.limits.bytes_max.min(1 << 30);
        self.limits.records_max = self.limits.records_max.min(1 << 24);
        self.block_bytes_max = self.block_bytes_max.clamp(1, 64 << 20);
        self.queue_bytes_max = self.queue_bytes_max.clamp(1, 1 << 31);
        self.queue_appends_max = self.queue_appends_max.clamp(1, 1 << 24);
        self
    }
}
