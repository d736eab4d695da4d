//! How many partitions rows are in: each is a file once the batch is written.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::PartitionValue;
use crate::lake::prefix::Prefix;
use crate::time::Timestamp;

/// Partitions, known by a hash: two in 2^64 may count as one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionSet {
    hashes: HashSet<u64>,
}

impl PartitionSet {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: &Self) {
        self.hashes.extend(&other.hashes);
    }
}

/// Counts the partitions of rows, one after the other.
#[derive(Debug)]
pub struct PartitionCounter<'p> {
    prefix: &'p Prefix,
    partitions: PartitionSet,
    /// What partitions depend on, of rows that were seen.
    known: HashSet<u64>,
}

impl<'p> PartitionCounter<'p> {
    /// Nothing yet.
    #[must_use]
    pub fn new(prefix: &'p Prefix) -> Self {
        Self { prefix, partitions: PartitionSet::default(), known: HashSet::new() }
    }

    /// Adds a row by its time, its keys, and its partition value where that is to count besides the prefix.
    pub fn add(&mut self, time: Timestamp, keys: &[String], value: Option<&PartitionValue>) {
        let depends_on = (time.0.div_euclid(self.prefix.resolution_millis()), keys, value);
        if self.known.insert(hash(&depends_on)) {
            self.partitions.hashes.insert(hash(&(self.prefix.evaluate(time, keys), value)));
        }
    }

    /// What was counted.
    #[must_use]
    pub fn finish(self) -> PartitionSet {
        self.partitions
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_prefix_count_once() {
        let prefix: Prefix = "!{timestamp:HH}/!{partitionKeyFromQuery:k}/".parse().unwrap();
        let prefix = prefix.in_zone("Asia/Kathmandu").unwrap();
        let mut counter = PartitionCounter::new(&prefix);
        for second in 0..7_200 {
            counter.add(Timestamp(second * 1_000), &[format!("k{}", second % 3)], None);
        }
        // Its hours begin a quarter after ours.
        assert_eq!(counter.finish().len(), 3 * 3);
    }
}
