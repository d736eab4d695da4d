//! The index: a small entry for each block, under the block's own key, in the column family `time`.
//!
//! As arrival times never fall within a shard, entries are ordered by offset and by time at once. They answer where an
//! offset or a time lies, and what recovery asks, without touching a block.

use super::super::Offset;
use super::keys::BlockKey;
use crate::time::Timestamp;

/// The version that is written: its first byte.
const VERSION: u8 = 1;
/// Bytes of an encoded [`IndexEntry`]: version, count, time, stored bytes; little-endian.
const ENTRY_BYTES: usize = 1 + 4 + 8 + 4;

/// What is known of a block without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Its records; at least one.
    pub(super) count: u32,
    /// When they arrived.
    pub(super) time: Timestamp,
    /// Its bytes as stored.
    pub(super) stored_bytes: u32,
}

impl IndexEntry {
    pub(super) fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut value = [0; ENTRY_BYTES];
        value[0] = VERSION;
        value[1..5].copy_from_slice(&self.count.to_le_bytes());
        value[5..13].copy_from_slice(&self.time.0.to_le_bytes());
        value[13..].copy_from_slice(&self.stored_bytes.to_le_bytes());
        value
    }

    /// `None` where `value` is no entry.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let value: &[u8; ENTRY_BYTES] = value.try_into().ok()?;
        let entry = Self {
            count: u32::from_le_bytes(value[1..5].try_into().ok()?),
            time: Timestamp(i64::from_le_bytes(value[5..13].try_into().ok()?)),
            stored_bytes: u32::from_le_bytes(value[13..].try_into().ok()?),
        };
        (value[0] == VERSION && entry.count > 0).then_some(entry)
    }
}

/// An entry with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) key: BlockKey,
    pub(super) entry: IndexEntry,
}

impl Indexed {
    /// `None` where either is not what was written.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let indexed = Self { key: BlockKey::decode(key)?, entry: IndexEntry::decode(value)? };
        (indexed.key.last_offset.0 >= u64::from(indexed.entry.count) - 1).then_some(indexed)
    }

    pub(super) fn first_offset(&self) -> Offset {
        Offset(self.key.last_offset.0 + 1 - u64::from(self.entry.count))
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.key.last_offset + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_reads_back(count in 1u32.., time: i64, stored_bytes: u32) {
            let entry = IndexEntry { count, time: Timestamp(time), stored_bytes };
            prop_assert_eq!(IndexEntry::decode(&entry.encode()), Some(entry));
        }

        #[test]
        fn garbage_is_no_entry(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let is_entry = value.len() == ENTRY_BYTES && value[0] == VERSION && value[1..5] != [0; 4];
            prop_assert_eq!(IndexEntry::decode(&value).is_some(), is_entry);
        }
    }
}
