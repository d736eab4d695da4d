//! The column family `meta`: the format of the folder, and for each trimmed shard the mark below which it holds nothing.

use std::ops::Range;

use super::super::{Offset, ShardId, ShardKey, StreamId};
use crate::time::Timestamp;

/// The key of the folder's format.
pub(super) const FORMAT_KEY: [u8; 1] = [0];
/// The folder's format, as written and as understood.
pub(super) const FORMAT: [u8; 1] = [1];

/// The first byte of a mark's key.
const MARK_FAMILY: u8 = 1;
/// The version of a mark that is written: its first byte.
const MARK_VERSION: u8 = 1;
const MARK_KEY_BYTES: usize = 1 + 4 + 4;
const MARK_BYTES: usize = 1 + 8 + 8;

/// How far a shard was trimmed. It keeps offsets and times from falling when no block is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The first readable offset, or the next one.
    pub(super) trim: Offset,
    /// When the newest record arrived that was there at the trim.
    pub(super) newest: Timestamp,
}

impl Mark {
    pub(super) fn encode(self) -> [u8; MARK_BYTES] {
        let mut value = [0; MARK_BYTES];
        value[0] = MARK_VERSION;
        value[1..9].copy_from_slice(&self.trim.0.to_le_bytes());
        value[9..].copy_from_slice(&self.newest.0.to_le_bytes());
        value
    }

    /// `None` where `value` is no mark.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let value: &[u8; MARK_BYTES] = value.try_into().ok()?;
        let mark = Self {
            trim: Offset(u64::from_le_bytes(value[1..9].try_into().ok()?)),
            newest: Timestamp(i64::from_le_bytes(value[9..].try_into().ok()?)),
        };
        (value[0] == MARK_VERSION).then_some(mark)
    }
}

/// The key of a shard's mark.
pub(super) fn key(shard: ShardKey) -> [u8; MARK_KEY_BYTES] {
    let mut key = [MARK_FAMILY; MARK_KEY_BYTES];
    key[1..5].copy_from_slice(&shard.stream.0.to_be_bytes());
    key[5..].copy_from_slice(&shard.shard.0.to_be_bytes());
    key
}

/// The shard of a mark's key; `None` where it is none.
pub(super) fn decode_key(key: &[u8]) -> Option<ShardKey> {
    let key: &[u8; MARK_KEY_BYTES] = key.try_into().ok()?;
    let shard = ShardKey {
        stream: StreamId(u32::from_be_bytes(key[1..5].try_into().ok()?)),
        shard: ShardId(u32::from_be_bytes(key[5..].try_into().ok()?)),
    };
    (key[0] == MARK_FAMILY).then_some(shard)
}

/// The keys of all marks.
pub(super) fn all() -> Range<[u8; 1]> {
    [MARK_FAMILY]..[MARK_FAMILY + 1]
}

/// The keys of a stream's marks, for a deletion; the very last shard number is left out, as no stream has it.
pub(super) fn of_stream(stream: StreamId) -> Range<[u8; MARK_KEY_BYTES]> {
    key(ShardKey { stream, shard: ShardId(0) })..key(ShardKey { stream, shard: ShardId(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_reads_back(stream: u32, shard: u32, trim: u64, newest: i64) {
            let shard = ShardKey { stream: StreamId(stream), shard: ShardId(shard) };
            let mark = Mark { trim: Offset(trim), newest: Timestamp(newest) };
            prop_assert_eq!(decode_key(&key(shard)), Some(shard));
            prop_assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        }

        #[test]
        fn garbage_is_no_mark(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Mark::decode(&bytes).is_some(), bytes.len() == MARK_BYTES && bytes[0] == MARK_VERSION);
            prop_assert_eq!(decode_key(&bytes).is_some(), bytes.len() == MARK_KEY_BYTES && bytes[0] == MARK_FAMILY);
        }
    }
}
