//! The few blocks that readers of old data decoded last, so that a reader in small steps does not decode a block for each.
//! It is apart from the tail cache and far smaller.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::super::{Offset, ShardKey, StreamId};
use super::block::Block;

const BLOCKS_MAX: usize = 32;
/// Memory for blocks. A larger block is not kept.
const BYTES_MAX: usize = 8 << 20;

/// Blocks, the last used at the back.
#[derive(Debug, Default)]
pub(super) struct RecentBlocks {
    blocks: Mutex<VecDeque<(ShardKey, Block)>>,
    /// Counts removals of streams.
    removals: AtomicU64,
}

/// The moment before a block was decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(u64);

impl RecentBlocks {
    /// The block that holds an offset.
    pub(super) fn get(&self, shard: ShardKey, offset: Offset) -> Option<Block> {
        let mut blocks = self.blocks.lock();
        let at = blocks
            .iter()
            .position(|(of, block)| *of == shard && (block.first_offset()..block.end_offset()).contains(&offset))?;
        let found = blocks.remove(at)?;
        let block = found.1.clone();
        blocks.push_back(found);
        Some(block)
    }

    /// To be asked for before a block is decoded that is to be inserted.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.removals.load(Ordering::SeqCst))
    }

    /// Keeps a block, unless a stream was removed since the moment: it may have been this one.
    pub(super) fn insert(&self, moment: Moment, shard: ShardKey, block: Block) {
        let mut blocks = self.blocks.lock();
        if self.removals.load(Ordering::SeqCst) != moment.0 {
            return;
        }
        blocks.push_back((shard, block));
        let mut bytes: usize = blocks.iter().map(|(_, block)| block.memory_bytes()).sum();
        while bytes > BYTES_MAX || blocks.len() > BLOCKS_MAX {
            let Some((_, block)) = blocks.pop_front() else { break };
            bytes -= block.memory_bytes();
        }
    }

    /// Drops a shard's blocks that end at or below an offset.
    pub(super) fn trim(&self, shard: ShardKey, before: Offset) {
        self.blocks.lock().retain(|(of, block)| *of != shard || block.end_offset() > before);
    }

    /// Drops a stream's blocks.
    pub(super) fn remove_stream(&self, stream: StreamId) {
        let mut blocks = self.blocks.lock();
        self.removals.fetch_add(1, Ordering::SeqCst);
        blocks.retain(|(of, _)| of.stream != stream);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::{NewRecord, ShardId};
    use super::super::format::Draft;
    use super::*;
    use crate::time::Timestamp;

    const SHARD: ShardKey = ShardKey { stream: StreamId(1), shard: ShardId(0) };

    fn block(first: u64, bytes: usize) -> Block {
        let record = NewRecord { partition_key: Bytes::new(), data: vec![b'd'; bytes].into() };
        Draft::new(&[record], None).seal(SHARD, Offset(first), Timestamp(0)).block
    }

    #[test]
    fn the_block_that_was_not_used_for_longest_goes_first() {
        let recent = RecentBlocks::default();
        for first in 0..BLOCKS_MAX as u64 {
            recent.insert(recent.moment(), SHARD, block(first, 10));
        }
        assert!(recent.get(SHARD, Offset(0)).is_some());
        recent.insert(recent.moment(), SHARD, block(100, 10));
        assert!(recent.get(SHARD, Offset(0)).is_some());
        assert!(recent.get(SHARD, Offset(1)).is_none());
        assert!(recent.get(ShardKey { shard: ShardId(1), ..SHARD }, Offset(0)).is_none());
        recent.trim(SHARD, Offset(100));
        assert!(recent.get(SHARD, Offset(99)).is_none());
        assert!(recent.get(SHARD, Offset(100)).is_some());
        recent.remove_stream(StreamId(1));
        assert!(recent.get(SHARD, Offset(100)).is_none());
    }

    /// A reader decoded it, and its stream went before the reader came to insert it.
    #[test]
    fn a_block_of_before_a_removal_is_not_kept() {
        let recent = RecentBlocks::default();
        let before = recent.moment();
        recent.remove_stream(StreamId(1));
        recent.insert(before, SHARD, block(0, 10));
        assert!(recent.get(SHARD, Offset(0)).is_none());
    }

    #[test]
    fn a_block_past_the_budget_is_not_kept() {
        let recent = RecentBlocks::default();
        recent.insert(recent.moment(), SHARD, block(0, BYTES_MAX));
        assert!(recent.get(SHARD, Offset(0)).is_none());
    }
}
