//! What a reshard makes of which shards. Pure: it changes nothing.
//!
//! A child has one parent (a split) or two whose hash keys meet (a merge), as Kinesis tells lineages. A plan of many steps
//! has children that are parents themselves: they come into being closed and empty, so the whole plan is one step for
//! readers and writers.

use std::num::NonZeroU32;

use millrace_storage::log::ShardId;

use crate::error::{Error, Kind, Result};
use crate::streams::hash_key::{self, HashKeyRange};
use crate::streams::topology::{ShardState, Topology};

/// The shards that come, in the order of their numbers. Those that they name as parents close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) children: Vec<Child>,
}

/// A shard that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) id: ShardId,
    pub(super) range: HashKeyRange,
    pub(super) parents: Box<[ShardId]>,
}

impl Plan {
    /// Splits a shard so that `at`, or else the middle, is the first hash key of the upper child.
    pub(super) fn split(topology: &Topology, shard: &ShardState, at: Option<u128>) -> Result<Self> {
        check_open(shard)?;
        let HashKeyRange { start, end } = shard.range();
        if start == end {
            let message = format!("shard {} has the one hash key {start}, and cannot be split", shard.id());
            return Err(Error::invalid(message).in_field("shard").about("shard", shard.id()));
        }
        let at = at.unwrap_or_else(|| start + (end - start).div_ceil(2));
        if at <= start || at > end {
            let id = shard.id();
            let message = format!(
                "hash key {at} cannot split shard {id}, which takes {start} to {end}: it must be past the first and not past the last"
            );
            return Err(Error::invalid(message).in_field("hash_key").about("shard", id));
        }
        let mut plan = Self::after(topology);
        plan.child(HashKeyRange { start, end: at - 1 }, &[shard.id()]);
        plan.child(HashKeyRange { start: at, end }, &[shard.id()]);
        Ok(plan.done())
    }

    /// Merges two shards whose hash keys meet, named in either order.
    pub(super) fn merge(topology: &Topology, one: &ShardState, other: &ShardState) -> Result<Self> {
        check_open(one)?;
        check_open(other)?;
        let (lower, upper) = if one.range().start <= other.range().start { (one, other) } else { (other, one) };
        if lower.range().end.checked_add(1) != Some(upper.range().start) {
            let message = format!(
                "shards {} and {} are not neighbours: one ends at hash key {}, and the other begins at {}",
                lower.id(),
                upper.id(),
                lower.range().end,
                upper.range().start
            );
            return Err(Error::invalid(message).in_field("adjacent_shard").about("shard", one.id()));
        }
        let mut plan = Self::after(topology);
        let range = HashKeyRange { start: lower.range().start, end: upper.range().end };
        plan.child(range, &[lower.id(), upper.id()]);
        Ok(plan.done())
    }

    /// Makes the open shards `count` equal ones: each is cut where the new ones begin, and the parts of a new one are
    /// merged by two. A shard that is as it must be stays.
    pub(super) fn evenly(topology: &Topology, count: NonZeroU32) -> Self {
        let targets = hash_key::split_evenly(count);
        let mut plan = Self::after(topology);
        let mut parts: Vec<(HashKeyRange, ShardId)> = Vec::new();
        for shard in topology.open() {
            let HashKeyRange { start, end } = shard.range();
            let first = targets.partition_point(|target| target.start <= start);
            let past = targets.partition_point(|target| target.start <= end);
            if first == past {
                parts.push((shard.range(), shard.id()));
                continue;
            }
            let starts = std::iter::once(start).chain(targets[first..past].iter().map(|target| target.start));
            let ends = targets[first..past].iter().map(|target| target.start - 1).chain([end]);
            for (start, end) in starts.zip(ends) {
                let range = HashKeyRange { start, end };
                parts.push((range, plan.child(range, &[shard.id()])));
            }
        }
        let mut parts = parts.into_iter().peekable();
        for target in targets {
            let mut level = Vec::new();
            while let Some(part) = parts.next_if(|(range, _)| range.end <= target.end) {
                level.push(part);
            }
            while level.len() > 1 {
                let pairs = level.chunks(2).map(|pair| match pair {
                    [(lower, low), (upper, high)] => {
                        let range = HashKeyRange { start: lower.start, end: upper.end };
                        (range, plan.child(range, &[*low, *high]))
                    }
                    pair => pair[0],
                });
                level = pairs.collect();
            }
        }
        plan.done()
    }

    fn after(topology: &Topology) -> Building {
        Building { next: topology.next_id(), children: Vec::new() }
    }
}

struct Building {
    next: u32,
    children: Vec<Child>,
}

impl Building {
    fn child(&mut self, range: HashKeyRange, parents: &[ShardId]) -> ShardId {
        let id = ShardId(self.next);
        self.next += 1;
        self.children.push(Child { id, range, parents: parents.into() });
        id
    }

    fn done(self) -> Plan {
        Plan { children: self.children }
    }
}

fn check_open(shard: &ShardState) -> Result<()> {
    let Some(closed) = shard.closed() else { return Ok(()) };
    let children: Vec<_> = closed.children.iter().map(ToString::to_string).collect();
    let message = format!("shard {} is closed; its children are {}", shard.id(), children.join(" and "));
    Err(Error::new(Kind::FailedPrecondition, message).in_field("shard").about("shard", shard.id()))
}
