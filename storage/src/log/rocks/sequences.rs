//! The column family `producer`: under `stream u32 | shard u32 | producer u64`, big-endian, the window of a producer's last
//! sequences; under one zero byte, until when producers that are forgotten were used.

use std::ops::Range;

use rocksdb::WriteBatch;

use super::super::producers::{Changes, ProducerKey, Window};
use super::super::{ShardId, ShardKey, StreamId};
use super::db::Db;
use crate::time::Timestamp;

const KEY_BYTES: usize = 4 + 4 + 8;
const FORGOTTEN_KEY: [u8; 1] = [0];
/// The version of the forgotten mark: its first byte.
const FORGOTTEN_VERSION: u8 = 1;

/// An entry of the family.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Window(ProducerKey, Window),
    ForgottenUntil(Timestamp),
}

fn key((shard, producer): ProducerKey) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&shard.stream.0.to_be_bytes());
    key[4..8].copy_from_slice(&shard.shard.0.to_be_bytes());
    key[8..].copy_from_slice(&producer.to_be_bytes());
    key
}

fn forgotten(until: Timestamp) -> [u8; 9] {
    let mut value = [FORGOTTEN_VERSION; 9];
    value[1..].copy_from_slice(&until.0.to_le_bytes());
    value
}

/// `None` where the entry is not what was written.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Found> {
    if key == FORGOTTEN_KEY {
        let (version, until) = value.split_first()?;
        let until = Timestamp(i64::from_le_bytes(until.try_into().ok()?));
        return (*version == FORGOTTEN_VERSION).then_some(Found::ForgottenUntil(until));
    }
    let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
    let shard = ShardKey {
        stream: StreamId(u32::from_be_bytes(key[..4].try_into().ok()?)),
        shard: ShardId(u32::from_be_bytes(key[4..8].try_into().ok()?)),
    };
    let producer = u64::from_be_bytes(key[8..].try_into().ok()?);
    Some(Found::Window((shard, producer), Window::decode(value)?))
}

/// Adds what changed to the write that holds the blocks.
pub(super) fn write(changes: &Changes, db: &Db, batch: &mut WriteBatch) {
    for gone in &changes.gone {
        batch.delete_cf(db.producer(), key(*gone));
    }
    // A producer that was forgotten and came back within the group is written after it was removed.
    for (of, window) in &changes.windows {
        batch.put_cf(db.producer(), key(*of), window);
    }
    if let Some(until) = changes.forgotten_until {
        batch.put_cf(db.producer(), FORGOTTEN_KEY, forgotten(until));
    }
}

/// Forgets all producers: what each stored until now is not known any more.
pub(super) fn forget_all(db: &Db, until: Timestamp, batch: &mut WriteBatch) {
    batch.delete_range_cf(db.producer(), &[0][..], &[u8::MAX; KEY_BYTES + 1][..]);
    batch.put_cf(db.producer(), FORGOTTEN_KEY, forgotten(until));
}

/// The keys of a stream's producers, for a deletion; those of the very last shard number are left out, as no stream has it.
pub(super) fn of_stream(stream: StreamId) -> Range<[u8; KEY_BYTES]> {
    let at = |shard| key((ShardKey { stream, shard: ShardId(shard) }, 0));
    at(0)..at(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Offset;
    use super::super::super::producers::Sequence;
    use super::*;

    proptest! {
        #[test]
        fn an_entry_reads_back(stream: u32, shard: u32, producer: u64, number: u64, until: i64) {
            let of = (ShardKey { stream: StreamId(stream), shard: ShardId(shard) }, producer);
            let mut window = Window::new(None);
            window.push(Sequence { sequence: number, first_offset: Offset(7), count: 3, time: Timestamp(until) }, 4);
            prop_assert_eq!(decode(&key(of), window.encoded()), Some(Found::Window(of, window.clone())));
            prop_assert_eq!(of_stream(StreamId(stream)).contains(&key(of)), shard < u32::MAX);
            let mark = decode(&FORGOTTEN_KEY, &forgotten(Timestamp(until)));
            prop_assert_eq!(mark, Some(Found::ForgottenUntil(Timestamp(until))));
            prop_assert!(FORGOTTEN_KEY.as_slice() < of_stream(StreamId(0)).start.as_slice());
        }

        #[test]
        fn garbage_is_no_entry(key: Vec<u8>, value: Vec<u8>) {
            prop_assert_eq!(decode(&key, &value).is_some() && key.len() != 16, key == [0] && value.len() == 9 && value[0] == 1);
        }
    }
}
