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
    /// Read to their ends, or not to be read; those that the stream had when it was last described, and later ones.
    done: BTreeSet<u32>,
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
        let done = shards.iter().map(|shard| shard.shard).filter(|shard| !ours.contains(shard)).collect();
        let mut lineage = Self { running: BTreeSet::new(), waiting: waiting.collect(), done };
        let ready = lineage.ready();
        (lineage, ready)
    }

    /// A shard is read to its end; gives those to read now. A child waits for its other parents, also for one that only a
    /// parent of its own will name.
    pub(super) fn ended(&mut self, shard: u32, children: &[ChildShard]) -> Vec<(u32, Position)> {
        self.running.remove(&shard);
        self.done.insert(shard);
        for child in children {
            self.wait_for(child.shard, &child.parents);
        }
        for waiting in self.waiting.values_mut() {
            waiting.parents.remove(&shard);
        }
        self.ready()
    }

    /// The stream has a shard no more, and these in its place; gives those to read now. Others may have gone with it that
    /// nobody had named yet: all that is new is read, and none waits for what is not there.
    pub(super) fn gone(&mut self, shard: u32, shards: &[Shard]) -> Vec<(u32, Position)> {
        self.running.remove(&shard);
        let there: BTreeSet<u32> = shards.iter().map(|shard| shard.shard).collect();
        self.done.retain(|done| there.contains(done));
        for new in shards {
            self.wait_for(new.shard, &new.parents);
        }
        // One that is read at present and gone as well will be found to be so.
        let known: BTreeSet<u32> = self.running.iter().chain(self.waiting.keys()).copied().collect();
        for waiting in self.waiting.values_mut() {
            waiting.parents.retain(|parent| known.contains(parent));
        }
        self.ready()
    }

    /// Has a shard read from its first record on once its parents are, unless it is known already.
    fn wait_for(&mut self, shard: u32, parents: &[u32]) {
        if self.running.contains(&shard) || self.done.contains(&shard) {
            return;
        }
        let parents = parents.iter().copied().filter(|parent| !self.done.contains(parent)).collect();
        self.waiting.entry(shard).or_insert(Waiting { position: Position::TrimHorizon, parents });
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

    /// While a reader was away, shard 0 became 2 and 3, 3 became 4 and 5, and 0 and 3 are past their retention. Shard 1 was
    /// split too, into 6 and 7, and its end has not come yet.
    #[test]
    fn a_shard_that_is_gone_gives_way_to_what_is_left_of_its_line() {
        let (mut lineage, _) = Lineage::begin(&[shard(0, &[], false), shard(1, &[], false)], Position::TrimHorizon);
        let left = [
            shard(1, &[], true),
            shard(2, &[0], false),
            shard(4, &[3], false),
            shard(5, &[3], true),
            shard(6, &[1], false),
            shard(7, &[1], false),
            shard(8, &[5], false),
        ];
        let ready = lineage.gone(0, &left);
        assert_eq!(ready, [2, 4, 5].map(|shard| (shard, Position::TrimHorizon)));
        assert_eq!(numbers(lineage.ended(1, &[child(6, &[1]), child(7, &[1])])), [6, 7]);
        // Gone as well, before it was read.
        assert_eq!(numbers(lineage.gone(5, &[left[1].clone(), left[6].clone()])), [8]);
        assert_eq!(lineage.running(), 5);
    }

    /// What was left out at first stays left out.
    #[test]
    fn closed_shards_that_latest_leaves_out_do_not_come_back_with_one_that_is_gone() {
        let shards = [shard(0, &[], true), shard(1, &[], false), shard(2, &[0], false), shard(3, &[0], false)];
        let (mut lineage, ready) = Lineage::begin(&shards, Position::Latest);
        assert_eq!(numbers(ready), [1, 2, 3]);
        let now = [shard(0, &[], true), shard(2, &[0], false), shard(3, &[0], false), shard(4, &[1], false)];
        assert_eq!(lineage.gone(1, &now), [(4, Position::TrimHorizon)]);
    }

    /// A child of two was named by one parent; the other was never read, and is gone.
    #[test]
    fn a_child_does_not_wait_for_a_parent_that_is_gone() {
        let (mut lineage, _) = Lineage::begin(&[shard(0, &[], false), shard(1, &[], false)], Position::TrimHorizon);
        assert_eq!(numbers(lineage.ended(0, &[child(2, &[0])])), [2]);
        assert!(lineage.ended(2, &[child(5, &[2, 4])]).is_empty());
        assert_eq!(numbers(lineage.gone(1, &[shard(5, &[2, 4], false)])), [5]);
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
