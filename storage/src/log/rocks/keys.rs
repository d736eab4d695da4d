//! The key of a block and of its index entry: `stream u32 | shard u32 | last offset u64`, big-endian, so that keys sort as
//! offsets do and a seek for an offset lands on the block that holds it.

use std::ops::Range;

use super::super::{Offset, ShardId, ShardKey, StreamId};

/// Bytes of an encoded [`BlockKey`].
pub(super) const KEY_BYTES: usize = 16;

/// Names a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockKey {
    pub(super) shard: ShardKey,
    /// The offset of its last record. The highest `u64` is never one.
    pub(super) last_offset: Offset,
}

impl BlockKey {
    pub(super) const fn new(shard: ShardKey, last_offset: Offset) -> Self {
        Self { shard, last_offset }
    }

    pub(super) fn encode(self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..4].copy_from_slice(&self.shard.stream.0.to_be_bytes());
        key[4..8].copy_from_slice(&self.shard.shard.0.to_be_bytes());
        key[8..].copy_from_slice(&self.last_offset.0.to_be_bytes());
        key
    }

    /// `None` where `key` has another length.
    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let (stream, rest) = key.split_first_chunk()?;
        let (shard, offset) = rest.split_first_chunk()?;
        let shard =
            ShardKey { stream: StreamId(u32::from_be_bytes(*stream)), shard: ShardId(u32::from_be_bytes(*shard)) };
        Some(Self { shard, last_offset: Offset(u64::from_be_bytes(offset.try_into().ok()?)) })
    }
}

/// The keys of a shard's blocks that end in `offsets`.
pub(super) fn of_offsets(shard: ShardKey, offsets: Range<Offset>) -> Range<[u8; KEY_BYTES]> {
    BlockKey::new(shard, offsets.start).encode()..BlockKey::new(shard, offsets.end).encode()
}

/// The keys of all blocks of a shard.
pub(super) fn of_shard(shard: ShardKey) -> Range<[u8; KEY_BYTES]> {
    of_offsets(shard, Offset::ZERO..Offset(u64::MAX))
}

/// The keys of all blocks of a stream.
pub(super) fn of_stream(stream: StreamId) -> Range<[u8; KEY_BYTES]> {
    let first = ShardKey { stream, shard: ShardId(0) };
    let last = ShardKey { stream, shard: ShardId(u32::MAX) };
    of_shard(first).start..of_shard(last).end
}

/// The keys of all blocks. The highest stream and shard with the highest offset is no block.
pub(super) const fn all() -> Range<[u8; KEY_BYTES]> {
    [0; KEY_BYTES]..[u8::MAX; KEY_BYTES]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key((stream, shard, offset): (u32, u32, u64)) -> BlockKey {
        BlockKey::new(ShardKey { stream: StreamId(stream), shard: ShardId(shard) }, Offset(offset))
    }

    #[test]
    fn a_key_lies_as_documented() {
        let encoded = key((1, 2, 0x0304)).encode();
        assert_eq!(encoded, [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 4]);
    }

    proptest! {
        #[test]
        fn a_key_reads_back(parts: (u32, u32, u64)) {
            prop_assert_eq!(BlockKey::decode(&key(parts).encode()), Some(key(parts)));
        }

        #[test]
        fn keys_sort_as_their_parts(a: (u32, u32, u64), b: (u32, u32, u64)) {
            prop_assert_eq!(key(a).encode().cmp(&key(b).encode()), a.cmp(&b));
        }

        #[test]
        fn another_length_is_no_key(bytes: Vec<u8>) {
            prop_assert_eq!(BlockKey::decode(&bytes).is_some(), bytes.len() == KEY_BYTES);
        }

        #[test]
        fn a_range_holds_its_own_and_nothing_else(stream: u32, shard: u32, other: (u32, u32, u64)) {
            prop_assume!(other.2 < u64::MAX);
            let encoded = key(other).encode();
            let of_shard = of_shard(key((stream, shard, 0)).shard);
            prop_assert_eq!(of_shard.contains(&encoded), (other.0, other.1) == (stream, shard));
            prop_assert!(of_shard.contains(&key((stream, shard, other.2)).encode()));
            prop_assert_eq!(of_stream(StreamId(stream)).contains(&encoded), other.0 == stream);
            prop_assert!(of_stream(StreamId(stream)).contains(&key((stream, other.1, other.2)).encode()));
        }
    }
}
