//! The newest blocks, within a budget of memory. Blocks leave it oldest first and enter it only when they are written, so
//! that a reader of old data cannot push the tail out.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::super::{Offset, ReadLimit, ShardKey, StreamId};
use super::block::{Block, Gathered};

/// A cache of blocks, each shard's without a gap up to its next offset.
#[derive(Debug)]
pub(super) struct TailCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    blocks: usize,
    shards: HashMap<ShardKey, VecDeque<Block>>,
    /// Every block in the order of writing, perhaps with some that a trim took before their turn.
    order: VecDeque<(ShardKey, Offset)>,
}

impl State {
    /// Removes the shard's oldest block.
    fn pop(&mut self, shard: ShardKey) {
        let Some(blocks) = self.shards.get_mut(&shard) else { return };
        if let Some(block) = blocks.pop_front() {
            self.bytes -= block.memory_bytes();
            self.blocks -= 1;
        }
        if blocks.is_empty() {
            self.shards.remove(&shard);
        }
    }

    fn oldest(&self, shard: ShardKey) -> Option<&Block> {
        self.shards.get(&shard)?.front()
    }

    /// Forgets trimmed blocks' turns once they are many.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.blocks + 1024 {
            let shards = &self.shards;
            self.order.retain(|(shard, first)| {
                shards.get(shard).and_then(|blocks| blocks.front()).is_some_and(|block| block.first_offset() <= *first)
            });
        }
    }
}

impl TailCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Adds a shard's newest block.
    pub(super) fn push(&self, shard: ShardKey, block: Block) {
        if self.bytes_max == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.bytes += block.memory_bytes();
        state.blocks += 1;
        state.order.push_back((shard, block.first_offset()));
        state.shards.entry(shard).or_default().push_back(block);
        while state.bytes > self.bytes_max {
            let Some((shard, first)) = state.order.pop_front() else { break };
            if state.oldest(shard).is_some_and(|block| block.first_offset() == first) {
                state.pop(shard);
            }
        }
        state.tidy();
    }

    /// The records from an offset on; `None` where the block that holds it is not here.
    pub(super) fn read(&self, shard: ShardKey, from: Offset, limit: ReadLimit) -> Option<Gathered> {
        let blocks = self.blocks(shard, from, limit)?;
        let mut gathered = Gathered::new(limit);
        for block in &blocks {
            if !gathered.is_full() {
                gathered.take(block, from);
            }
        }
        Some(gathered)
    }

    /// Enough blocks for a read; the records are made without the lock.
    fn blocks(&self, shard: ShardKey, from: Offset, limit: ReadLimit) -> Option<Vec<Block>> {
        let state = self.state.lock();
        let blocks = state.shards.get(&shard)?;
        if blocks.front()?.first_offset() > from {
            return None;
        }
        let start = blocks.partition_point(|block| block.end_offset() <= from);
        let mut found = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        for block in blocks.range(start..) {
            // The first block may be entered in its middle, so it counts nothing.
            if !found.is_empty() {
                bytes += block.payload_bytes();
                records += block.count();
            }
            found.push(block.clone());
            if bytes >= limit.bytes_max || records >= limit.records_max {
                break;
            }
        }
        Some(found)
    }

    /// The block that holds an offset.
    pub(super) fn block(&self, shard: ShardKey, offset: Offset) -> Option<Block> {
        let state = self.state.lock();
        let blocks = state.shards.get(&shard)?;
        let at = blocks.partition_point(|block| block.end_offset() <= offset);
        blocks.get(at).filter(|block| block.first_offset() <= offset).cloned()
    }

    /// Drops a shard's blocks that end below an offset.
    pub(super) fn trim(&self, shard: ShardKey, before: Offset) {
        let mut state = self.state.lock();
        while state.oldest(shard).is_some_and(|block| block.end_offset() <= before) {
            state.pop(shard);
        }
        state.tidy();
    }

    /// Drops a stream's blocks.
    pub(super) fn remove_stream(&self, stream: StreamId) {
        let mut state = self.state.lock();
        let shards: Vec<ShardKey> = state.shards.keys().filter(|shard| shard.stream == stream).copied().collect();
        for shard in shards {
            while state.oldest(shard).is_some() {
                state.pop(shard);
            }
        }
        state.order.retain(|(shard, _)| shard.stream != stream);
    }

    /// Memory held now.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::format::Draft;
    use super::*;
    use crate::log::{NewRecord, ShardId};
    use crate::time::Timestamp;

    const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

    fn shard(number: u32) -> ShardKey {
        ShardKey { stream: StreamId(1), shard: ShardId(number) }
    }

    /// A block of two records of 500 bytes.
    fn block(first: u64) -> Block {
        let record = NewRecord { partition_key: Bytes::new(), data: vec![b'd'; 500].into() };
        Draft::new(&[record.clone(), record], None).seal(shard(0), Offset(first), Timestamp(0)).block
    }

    fn offsets(cache: &TailCache, shard: ShardKey, from: u64, limit: ReadLimit) -> Option<Vec<u64>> {
        let gathered = cache.read(shard, Offset(from), limit)?;
        Some(gathered.records.iter().map(|record| record.offset.0).collect())
    }

    #[test]
    fn the_oldest_block_of_all_shards_goes_first() {
        let cache = TailCache::new(4 * block(0).memory_bytes());
        for first in [0, 2, 4] {
            cache.push(shard(0), block(first));
            cache.push(shard(1), block(first));
        }
        assert_eq!(cache.bytes(), 4 * block(0).memory_bytes());
        for number in [0, 1] {
            assert_eq!(offsets(&cache, shard(number), 1, ALL), None);
            assert_eq!(offsets(&cache, shard(number), 2, ALL), Some(vec![2, 3, 4, 5]));
            assert_eq!(cache.block(shard(number), Offset(1)), None);
            assert_eq!(cache.block(shard(number), Offset(3)), Some(block(2)));
            assert_eq!(cache.block(shard(number), Offset(6)), None);
        }
    }

    #[test]
    fn a_read_keeps_its_limit_across_blocks() {
        let cache = TailCache::new(1 << 20);
        for first in [0, 2, 4, 6] {
            cache.push(shard(0), block(first));
        }
        let limit = |records_max, bytes_max| ReadLimit { records_max, bytes_max };
        assert_eq!(offsets(&cache, shard(0), 1, limit(4, usize::MAX)), Some(vec![1, 2, 3, 4]));
        assert_eq!(offsets(&cache, shard(0), 1, limit(usize::MAX, 2000)), Some(vec![1, 2, 3, 4]));
        assert_eq!(offsets(&cache, shard(0), 1, limit(usize::MAX, 1999)), Some(vec![1, 2, 3]));
        assert_eq!(offsets(&cache, shard(0), 5, limit(0, 0)), Some(vec![5]));
    }

    #[test]
    fn trims_and_deletions_give_memory_back() {
        let cache = TailCache::new(1 << 20);
        for round in 0..10_000 {
            cache.push(shard(0), block(round * 2));
            cache.trim(shard(0), Offset(round * 2 + 2));
        }
        assert_eq!(cache.bytes(), 0);
        assert!(cache.state.lock().order.len() < 2048);
        cache.push(shard(0), block(20_000));
        cache.trim(shard(0), Offset(20_001));
        assert_eq!(offsets(&cache, shard(0), 20_001, ALL), Some(vec![20_001]));
        cache.remove_stream(StreamId(1));
        assert_eq!(cache.bytes(), 0);
        assert_eq!(cache.block(shard(0), Offset(20_001)), None);
    }

    #[test]
    fn without_a_budget_nothing_stays() {
        let cache = TailCache::new(0);
        cache.push(shard(0), block(0));
        assert_eq!(cache.bytes(), 0);
        let cache = TailCache::new(10);
        cache.push(shard(0), block(0));
        assert_eq!(cache.bytes(), 0);
    }
}
