//! The shards of a subscription in the order of their lineage: a shard waits until its parents are read.
//!
//! It only keeps the order; it reads nothing.

use std::collections::{BTreeMap, BTreeSet};

use millrace_proto::v1::{ChildShard, Shard};

use super::Position;

/// What is read and what waits.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    running: BTreeSet<u32>,
    waiting: BTreeMap<u32, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    position: Position,
    /// Parents that are not yet read.
    parents: BTreeSet<u32>,
}

impl Lineage {
    /// Begins with a stream's shards; gives those to read at once, with where each begins.
    pub(super) fn begin(shards: &[Shard], position: Position) -> (Self, Vec<(u32, Position)>) {
        let latest = position == Position::Latest;
        // What closed shards hold was there before.
        let read: Vec<&Shard> = shards.iter().filter(|shard| !(latest && shard.closed)).collect();
        let ours: BTreeSet<u32> = read.iter().map(|shard| shard.shard).collect();
        let waiting = read.iter().map(|shard| {
            // "Latest" is fixed now: after a broken connection it would mean a later place, and leave records out.
            let position = if latest { Position::Offset(shard.next_offset) } else { position };
            // A parent that is not there any more has no record left.
            let parents = shard.parents.iter().copied().filter(|parent| ours.contains(parent)).collect();
            (shard.shard, Waiting { position, parents })
        });
        let mut lineage = Self { running: BTreeSet::new(), waiting: waiting.collect() };
        let ready = lineage.ready();
        (lineage, ready)
    }

    /// A shard is read to its end; gives those to read now. A child waits for its other parents, also for one that only a
    /// parent of its own will name.
    pub(super) fn ended(&mut self, shard: u32, children: &[ChildShard]) -> Vec<(u32, Position)> {
        self.running.remove(&shard);
        for child in children.iter().filter(|child| !self.running.contains(&child.shard)) {
            let first =
                || Waiting { position: Position::TrimHorizon, parents: child.parents.iter().copied().collect() };
            self.waiting.entry(child.shard).or_insert_with(first);
        }
        for waiting in self.waiting.values_mut() {
            waiting.parents.remove(&shard);
        }
        self.ready()
    }

    /// How many are read at present.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    fn ready(&mut self) -> Vec<(u32, Position)> {
        let ready = self.waiting.extract_if(.., |_, waiting| waiting.parents.is_empty());
        let ready: Vec<_> = ready.map(|(shard, waiting)| (shard, waiting.position)).collect();
        self.running.extend(ready.iter().map(|(shard, _)| *shard));
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(shard: u32, parents: &[u32], closed: bool) -> Shard {
        Shard { shard, parents: parents.to_vec(), closed, next_offset: 7, ..Shard::default() }
    }

    fn child(shard: u32, parents: &[u32]) -> ChildShard {
        ChildShard { shard, parents: parents.to_vec(), ..ChildShard::default() }
    }

    fn numbers(ready: Vec<(u32, Position)>) -> Vec<u32> {
        ready.into_iter().map(|(shard, _)| shard).collect()
    }

    #[test]
    fn a_shard_waits_for_its_parents_and_latest_leaves_closed_ones_out() {
        let shards = [shard(0, &[], true), shard(1, &[], false), shard(2, &[0], false), shard(3, &[0], false)];
        let (mut lineage, ready) = Lineage::begin(&shards, Position::TrimHorizon);
        assert_eq!(numbers(ready), [0, 1]);
        let ready = lineage.ended(0, &[child(2, &[0]), child(3, &[0])]);
        assert_eq!(ready, [(2, Position::TrimHorizon), (3, Position::TrimHorizon)]);
        assert_eq!(lineage.running(), 3);
        let (_, ready) = Lineage::begin(&shards, Position::Latest);
        assert_eq!(ready, [1, 2, 3].map(|shard| (shard, Position::Offset(7))));
        let (_, ready) = Lineage::begin(&[shard(5, &[1, 2], false)], Position::TrimHorizon);
        assert_eq!(numbers(ready), [5], "parents that are gone are not waited for");
    }

    /// Shard 0 is cut into 2 and 3, shard 1 into 4 and 5, and 3 and 4 become 6. Of 1's children nobody knows when 3 ends.
    #[test]
    fn a_child_waits_for_a_parent_that_nobody_has_named_yet() {
        let (mut lineage, _) = Lineage::begin(&[shard(0, &[], false), shard(1, &[], false)], Position::Latest);
        assert_eq!(numbers(lineage.ended(0, &[child(2, &[0]), child(3, &[0])])), [2, 3]);
        assert!(lineage.ended(3, &[child(6, &[3, 4])]).is_empty());
        assert_eq!(numbers(lineage.ended(1, &[child(4, &[1]), child(5, &[1])])), [4, 5]);
        assert_eq!(lineage.ended(4, &[child(6, &[3, 4])]), [(6, Position::TrimHorizon)]);
        assert!(lineage.ended(2, &[]).is_empty());
    }
}
