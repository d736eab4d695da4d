//! What must hold for a put to be stored: that it was not stored before, and that it lies where its sender expects.
//!
//! The log decides both for an open shard. What a shard took that was closed since is looked up here, so that a put that is
//! sent again after a reshard is not routed to the children.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_storage::log::{Log, Offset, ProducerSequence, ShardId};

use super::put::{Placed, PutFailure, PutFailureKind, PutRecord, PutResult};
use super::topology::{ShardState, Topology};

/// A put: its records and their conditions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Put {
    /// The records, in order.
    pub records: Vec<PutRecord>,
    /// What must hold.
    pub conditions: PutConditions,
}

impl From<Vec<PutRecord>> for Put {
    /// Without conditions.
    fn from(records: Vec<PutRecord>) -> Self {
        Self { records, conditions: PutConditions::default() }
    }
}

/// Conditions of a put. With any, the records of each shard are taken together or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutConditions {
    /// Stored once under this name.
    pub producer: Option<ProducerSequence>,
    /// Stored only there.
    pub expect: Option<Expect>,
}

/// Where the records of a put must come to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// The shard of all of them.
    pub shard: ShardId,
    /// The offset of the first one.
    pub next_offset: Offset,
}

impl PutConditions {
    /// Whether a shard's records are taken together or not at all.
    pub(super) const fn is_whole(&self) -> bool {
        self.producer.is_some() || self.expect.is_some()
    }

    /// The name of a put that is sent again; the first time there is nothing to look up.
    fn sent_again(&self) -> Option<ProducerSequence> {
        self.producer.filter(|of| !of.age.is_zero())
    }
}

/// Settles the records that closed shards took when the put was first sent. `keys` has a hash key for each valid record.
pub(super) fn settle_from_closed(
    log: &dyn Log,
    topology: &Topology,
    conditions: &PutConditions,
    keys: &mut [Option<u128>],
    results: &mut [PutResult],
) {
    let Some(of) = conditions.sent_again() else { return };
    for shard in topology.shards().iter().filter(|shard| may_hold(shard, of.age)) {
        let range = shard.range();
        let inside = |key: &Option<u128>| key.is_some_and(|key| (range.start..=range.end).contains(&key));
        let indexes: Vec<usize> = (0..keys.len()).filter(|index| inside(&keys[*index])).collect();
        if indexes.is_empty() {
            continue;
        }
        match log.stored(shard.key(), of, indexes.len() as u64) {
            Ok(None) => continue,
            Ok(Some(stored)) => {
                for (place, index) in indexes.iter().enumerate() {
                    let offset = stored.offsets.start + place as u64;
                    results[*index] = Ok(Placed { shard: shard.id(), offset, duplicate: true });
                }
            }
            Err(error) => {
                let failure = failure(shard, Line::of(topology, shard, conditions), &error);
                for index in &indexes {
                    results[*index] = Err(failure.clone());
                }
            }
        }
        for index in indexes {
            keys[index] = None;
        }
    }
}

/// Clocks differ between the moment that a request's age was told and now.
const SLACK: Duration = Duration::from_secs(60);

/// Whether a shard was closed after a put of this age was first sent.
fn may_hold(shard: &ShardState, age: Duration) -> bool {
    shard.closed_within(age.saturating_add(SLACK))
}

/// Refuses records for which there is no quota or no room; `keys` are left to those that remain. Where the records of a
/// shard are taken together or not at all, those go along that are for the same shard by now: quota was asked for before the
/// routing, and a merge may have come in between.
pub(super) fn refuse(
    topology: &Topology,
    conditions: &PutConditions,
    refused: Vec<Option<PutFailure>>,
    keys: &mut [Option<u128>],
    results: &mut [PutResult],
) {
    let mut whole: BTreeMap<usize, PutFailure> = BTreeMap::new();
    for (index, failure) in refused.into_iter().enumerate() {
        // What is settled already is not refused.
        let (Some(key), Some(failure)) = (keys[index], failure) else { continue };
        if conditions.is_whole() {
            whole.entry(topology.route(key)).or_insert_with(|| failure.clone());
        }
        keys[index] = None;
        results[index] = Err(failure);
    }
    if whole.is_empty() {
        return;
    }
    for (key, result) in keys.iter_mut().zip(results) {
        if let Some(failure) = key.and_then(|key| whole.get(&topology.route(key))) {
            *result = Err(failure.clone());
            *key = None;
        }
    }
}

/// What is left of those who may know of a put that is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The shard's parents, if it had any, are there, and were asked.
    Kept,
    /// A parent is gone, and with it what it knew.
    ParentGone,
}

impl Line {
    pub(super) fn of(topology: &Topology, shard: &ShardState, conditions: &PutConditions) -> Self {
        let gone = || shard.parents().iter().any(|parent| topology.shard(*parent).is_none());
        if conditions.sent_again().is_some() && gone() { Self::ParentGone } else { Self::Kept }
    }
}

/// What an error of the log means for the records of one shard.
pub(super) fn failure(shard: &ShardState, line: Line, error: &millrace_storage::log::Error) -> PutFailure {
    use millrace_storage::log::Error as Log;
    let kind = match error {
        // The others of its records may lie in the parent: the sequence is not used again, only known in part.
        Log::SequenceReused { producer, sequence, stored, given, .. } if line == Line::ParentGone && stored < given => {
            let message = format!(
                "shard {} has {stored} of {given} records of sequence {sequence} of producer {producer:016x}; the others may lie in \
                 a parent that is past its retention and not known any more",
                shard.id()
            );
            return PutFailure { kind: PutFailureKind::SequenceTooOld, message, shard: Some(shard.id()) };
        }
        Log::TooLarge { .. } => PutFailureKind::Invalid,
        Log::NextOffset { actual, .. } => PutFailureKind::ExpectationFailed { next_offset: *actual },
        Log::SequenceTooOld { .. } => PutFailureKind::SequenceTooOld,
        Log::SequenceReused { .. } => PutFailureKind::SequenceReused,
        _ => PutFailureKind::Unavailable,
    };
    PutFailure { kind, message: error.to_string(), shard: Some(shard.id()) }
}
