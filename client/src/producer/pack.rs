//! Packing: many small records become few, as the Kinesis Producer Library does it, each of records for one shard.
//!
//! The records of a shard keep their order, packed or not. A packed record is never past the stream's limit on records, and
//! one record alone stays as it is.

use std::collections::HashMap;

use millrace_proto::aggregate::{Aggregate, KEY_BYTES_MAX, USER_RECORDS_MAX};
use millrace_proto::v1;
use tokio::time::Instant;

use super::batch::{Batch, Entry};
use super::settings::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use super::shard_map::{ShardMap, hash_key_of};

/// Packs a batch that was never sent, into batches that a server takes.
pub(super) fn pack(batch: Batch, shards: &ShardMap, aggregate_bytes_max: usize) -> Vec<Batch> {
    let (first_seq, begun) = (batch.first_seq(), batch.begun());
    let mut packer = Packer {
        bytes_max: aggregate_bytes_max.min(shards.record_bytes_max),
        open: HashMap::new(),
        packed: Vec::with_capacity(batch.len()),
    };
    for entry in batch.into_entries() {
        packer.add(entry, shards);
    }
    batches_of(packer.finish().into_iter(), first_seq, begun)
}

/// Splits a batch, gathered to be packed, into batches that a server takes.
pub(super) fn split(batch: Batch) -> Vec<Batch> {
    let (first_seq, begun) = (batch.first_seq(), batch.begun());
    batches_of(batch.into_entries(), first_seq, begun)
}

fn batches_of(entries: impl Iterator<Item = Entry>, first_seq: u64, begun: Instant) -> Vec<Batch> {
    let mut batches = vec![Batch::new(first_seq, begun)];
    for entry in entries {
        let full = |last: &Batch| {
            last.len() >= BATCH_RECORDS_MAX || (!last.is_empty() && last.bytes() + entry.bytes() > BATCH_BYTES_MAX)
        };
        if batches.last().is_none_or(full) {
            batches.push(Batch::new(first_seq, begun));
        }
        if let Some(last) = batches.last_mut() {
            last.push(entry);
        }
    }
    batches
}

struct Packer {
    bytes_max: usize,
    /// By shard, what is packed together next.
    open: HashMap<u32, Pack>,
    packed: Vec<Entry>,
}

/// Records for one shard.
struct Pack {
    hash_key: u128,
    aggregate: Aggregate,
    entries: Vec<Entry>,
}

impl Packer {
    fn add(&mut self, entry: Entry, shards: &ShardMap) {
        // A record that the server will refuse is refused alone.
        let Some(hash_key) = hash_key_of(&entry.record) else { return self.packed.push(entry) };
        let (shard, key) = (shards.shard(hash_key), &entry.record.partition_key);
        let fits_alone = !key.is_empty()
            && key.len() <= KEY_BYTES_MAX
            && bytes_with(&Aggregate::new(), &entry.record, &entry.record) <= self.bytes_max;
        let fits = |pack: &Pack| {
            let first = pack.entries.first().map_or(&entry.record, |first| &first.record);
            pack.entries.len() < USER_RECORDS_MAX && bytes_with(&pack.aggregate, first, &entry.record) <= self.bytes_max
        };
        if self.open.get(&shard).is_some_and(|pack| !fits_alone || !fits(pack)) {
            self.close(shard);
        }
        if !fits_alone {
            return self.packed.push(entry);
        }
        let none = || Pack { hash_key, aggregate: Aggregate::new(), entries: Vec::new() };
        let pack = self.open.entry(shard).or_insert_with(none);
        let v1::PutRecord { partition_key, explicit_hash_key, data } = &entry.record;
        pack.aggregate.push(partition_key, explicit_hash_key.as_deref(), data);
        pack.entries.push(entry);
    }

    fn close(&mut self, shard: u32) {
        if let Some(pack) = self.open.remove(&shard) {
            self.packed.extend(pack.close());
        }
    }

    fn finish(mut self) -> Vec<Entry> {
        let mut left: Vec<u32> = self.open.keys().copied().collect();
        left.sort_unstable();
        left.into_iter().for_each(|shard| self.close(shard));
        self.packed
    }
}

impl Pack {
    fn close(mut self) -> Option<Entry> {
        if self.entries.len() == 1 {
            return self.entries.pop();
        }
        let partition_key = self.entries.first()?.record.partition_key.clone();
        let record = v1::PutRecord {
            partition_key,
            explicit_hash_key: Some(self.hash_key.to_string()),
            data: self.aggregate.finish(),
        };
        Some(Entry::together(record, self.entries))
    }
}

/// What a packed record counts at most with one more record: its data, and its key, which is that of its first.
fn bytes_with(aggregate: &Aggregate, first: &v1::PutRecord, more: &v1::PutRecord) -> usize {
    let v1::PutRecord { partition_key, explicit_hash_key, data } = more;
    aggregate.bytes_with(partition_key, explicit_hash_key.as_deref(), data) + first.partition_key.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use millrace_proto::aggregate::unpack;

    use super::super::fate::fate;
    use super::*;
    use crate::PutRecord;

    const SHARDS: u32 = 3;

    fn shards(record_bytes_max: usize) -> ShardMap {
        let shard = |shard: u32| v1::Shard {
            shard,
            hash_key_start: (u128::MAX / u128::from(SHARDS) * u128::from(shard)).to_string(),
            ..v1::Shard::default()
        };
        let closed = v1::Shard { shard: 9, hash_key_start: "7".to_owned(), closed: true, ..v1::Shard::default() };
        let all: Vec<_> = (0..SHARDS).map(shard).chain([closed]).collect();
        ShardMap::of(&all, record_bytes_max).unwrap()
    }

    fn batch(records: Vec<PutRecord>) -> Batch {
        let mut batch = Batch::new(0, Instant::now());
        for record in records {
            batch.push(Entry::new(record, fate().0));
        }
        batch
    }

    /// The records of a request, taken apart, with the bytes that each counts.
    fn unpacked(batches: &[Batch]) -> Vec<(u128, Vec<Bytes>, usize)> {
        let records = batches.iter().flat_map(|batch| batch.request("s").records);
        let parts = records.map(|record| {
            let bytes = record.data.len() + record.partition_key.len();
            let hash_key = hash_key_of(&record).unwrap_or(0);
            let parts = unpack(&record.data).map(|parts| parts.into_iter().map(|part| part.data).collect());
            (hash_key, parts.unwrap_or_else(|| vec![record.data.clone()]), bytes)
        });
        parts.collect()
    }

    #[test]
    fn each_shard_gets_its_records_in_order_and_few() {
        let records = (0..400_u32).map(|number| PutRecord::new(format!("k{}", number % 50), number.to_string()));
        let records: Vec<_> = records.collect();
        let map = shards(1 << 20);
        let mut expected = BTreeMap::<u32, Vec<Bytes>>::new();
        for record in &records {
            let shard = map.shard(millrace_proto::aggregate::hash_key(&record.partition_key));
            expected.entry(shard).or_default().push(record.data.clone());
        }
        let batches = pack(batch(records), &map, 51_200);
        assert_eq!((batches.len(), batches[0].len()), (1, SHARDS as usize));
        let seen: BTreeMap<u32, Vec<Bytes>> =
            unpacked(&batches).into_iter().map(|(hash_key, parts, _)| (map.shard(hash_key), parts)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn no_packed_record_is_past_the_limit_and_large_ones_stay_in_their_place() {
        for limit in [300, 1_000, 51_200] {
            let map = shards(limit);
            let size = |number: usize| if number.is_multiple_of(7) { limit - 1 } else { number % 120 };
            let records: Vec<_> = (0..200)
                .map(|number| PutRecord::new("k", format!("{number:04}{}", "x".repeat(size(number).saturating_sub(5)))))
                .collect();
            let expected: Vec<Bytes> = records.iter().map(|record| record.data.clone()).collect();
            let batches = pack(batch(records), &map, usize::MAX);
            let seen = unpacked(&batches);
            assert!(seen.iter().all(|(_, parts, bytes)| parts.len() == 1 || *bytes <= limit), "limit {limit}");
            assert_eq!(seen.into_iter().flat_map(|(_, parts, _)| parts).collect::<Vec<_>>(), expected, "limit {limit}");
        }
    }

    #[test]
    fn what_a_record_takes_of_the_buffer_stays_the_same() {
        let records: Vec<_> = (0..100).map(|number| PutRecord::new("k", number.to_string())).collect();
        let before = batch(records.clone()).cost();
        let after: usize = pack(batch(records), &shards(1 << 20), 51_200).iter().map(Batch::cost).sum();
        assert_eq!(before, after);
    }

    #[tokio::test]
    async fn every_record_learns_where_the_packed_one_lies() {
        let (tickets, fates): (Vec<_>, Vec<_>) = (0..3).map(|_| fate()).unzip();
        let mut batch = Batch::new(0, Instant::now());
        for ticket in tickets {
            batch.push(Entry::new(PutRecord::new("k", "x"), ticket));
        }
        let packed = pack(batch, &shards(1 << 20), 51_200).remove(0);
        assert_eq!((packed.len(), packed.open()), (1, 3));
        packed.fail(&crate::Error::invalid("no"));
        for fate in fates {
            assert_eq!(fate.await.unwrap_err().message(), "no");
        }
    }
}
