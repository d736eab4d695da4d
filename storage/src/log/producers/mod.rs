//! What the log remembers of producers, so that a batch sent again is stored once: for each shard and producer a [`Window`]
//! of its last sequences. Engines keep it beside their blocks; it must hold no bytes of records.
//!
//! It is bounded: past a number of producers, or of time, the one that was not used for longest is forgotten, and the moment
//! of its last use is kept. A sequence that is not known and was first sent before such a moment may have been stored; it is
//! refused. One that was first sent later cannot have been forgotten, so it is new.

mod window;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::{Appended, Error, Offset, ProducerLimits, ProducerSequence, Result, ShardKey, StreamId};
use crate::time::Timestamp;
pub(crate) use window::{Sequence, Window};

/// A request's age is told when it is sent; it is older when it is read, and less than this older.
const TRANSIT_MAX: Duration = Duration::from_secs(60);

/// A producer in one shard.
pub(crate) type ProducerKey = (ShardKey, u64);

/// What an engine has to write, together with the blocks of the same group.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Windows as they are now.
    pub(crate) windows: Vec<(ProducerKey, Vec<u8>)>,
    /// Producers that were forgotten.
    pub(crate) gone: Vec<ProducerKey>,
    /// Until when producers that are forgotten were used, where that changed.
    pub(crate) forgotten_until: Option<Timestamp>,
}

/// All producers.
#[derive(Debug)]
pub(crate) struct Producers {
    limits: ProducerLimits,
    states: HashMap<ProducerKey, State>,
    /// By the number of their last use.
    by_use: BTreeMap<u64, ProducerKey>,
    uses: u64,
    /// No forgotten producer was used later.
    forgotten_until: Option<Timestamp>,
    /// The clock, never falling.
    now: Timestamp,
    changed: HashSet<ProducerKey>,
    gone: Vec<ProducerKey>,
    forgotten_changed: bool,
}

/// One producer in one shard.
#[derive(Debug)]
struct State {
    window: Window,
    last_use: u64,
    used_at: Timestamp,
}

impl Producers {
    pub(crate) fn new(limits: ProducerLimits) -> Self {
        Self {
            limits,
            states: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            forgotten_until: None,
            now: Timestamp(0),
            changed: HashSet::new(),
            gone: Vec::new(),
            forgotten_changed: false,
        }
    }

    /// Takes over what an engine found at open. A window that could not be read is one that was forgotten just now.
    pub(crate) fn recover(
        &mut self,
        mut windows: Vec<(ProducerKey, Window)>,
        forgotten_until: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.forgotten_until = forgotten_until;
        windows.sort_by_cached_key(|(_, window)| window.newest());
        self.now = windows.last().map_or(now, |(_, window)| window.newest().max(now));
        for (key, window) in windows {
            let (used_at, last_use) = (window.newest(), self.next_use());
            self.by_use.insert(last_use, key);
            self.states.insert(key, State { window, last_use, used_at });
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// Moves the clock on.
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Where an append was stored under the same sequence; `None` where it is new.
    pub(crate) fn find(&self, shard: ShardKey, of: ProducerSequence, count: u64) -> Result<Option<Appended>> {
        let ProducerSequence { producer, sequence, .. } = of;
        let known = self.states.get(&(shard, producer)).map(|state| state.window.parts());
        if let Some(found) = known.as_ref().and_then(|known| known.find(sequence)) {
            if found.count != count {
                return Err(Error::SequenceReused { shard, producer, sequence, stored: found.count, given: count });
            }
            let offsets = found.first_offset..found.first_offset + found.count;
            return Ok(Some(Appended { offsets, arrival_time: found.time, duplicate: true }));
        }
        let (floor, known_since) = known.map_or((0, self.forgotten_until), |known| (known.floor, known.known_since));
        let may_be_forgotten =
            !of.age.is_zero() && known_since.is_some_and(|until| self.now.before(of.age + TRANSIT_MAX) <= until);
        if sequence < floor || may_be_forgotten {
            return Err(Error::SequenceTooOld { shard, producer, sequence });
        }
        Ok(None)
    }

    /// Remembers what was stored under a sequence that [`Self::find`] did not know.
    pub(crate) fn record(
        &mut self,
        shard: ShardKey,
        of: ProducerSequence,
        first_offset: Offset,
        count: u64,
        at: Timestamp,
    ) {
        let key = (shard, of.producer);
        let (known_since, sequences_max) = (self.forgotten_until, self.limits.sequences_max);
        self.states
            .entry(key)
            .or_insert_with(|| State { window: Window::new(known_since), last_use: u64::MAX, used_at: Timestamp(0) })
            .window
            .push(Sequence { sequence: of.sequence, first_offset, count, time: at }, sequences_max);
        self.changed.insert(key);
        self.touch(key);
    }

    /// Notes that a producer is alive.
    pub(crate) fn touch(&mut self, key: ProducerKey) {
        let (next, now) = (self.next_use(), self.now);
        let Some(state) = self.states.get_mut(&key) else { return };
        self.by_use.remove(&state.last_use);
        (state.last_use, state.used_at) = (next, now);
        self.by_use.insert(next, key);
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// Forgets who is past the limits.
    pub(crate) fn evict(&mut self) -> u64 {
        let mut evicted = 0;
        while let Some(oldest) = self.by_use.first_entry() {
            let key = *oldest.get();
            let used_at = self.states.get(&key).map_or(self.now, |state| state.used_at);
            let idle = used_at < self.now.before(self.limits.idle_max);
            if self.states.len() <= self.limits.producers_max && !idle {
                break;
            }
            oldest.remove();
            self.states.remove(&key);
            self.changed.remove(&key);
            self.gone.push(key);
            self.forgotten_until = self.forgotten_until.max(Some(used_at));
            self.forgotten_changed = true;
            evicted += 1;
        }
        evicted
    }

    /// What changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let states = &self.states;
        let window = |key: ProducerKey| states.get(&key).map(|state| (key, state.window.encoded().to_vec()));
        Changes {
            windows: self.changed.drain().filter_map(window).collect(),
            gone: std::mem::take(&mut self.gone),
            forgotten_until: self.forgotten_until.filter(|_| std::mem::take(&mut self.forgotten_changed)),
        }
    }

    /// Forgets a stream's producers for good: its id is never used again.
    pub(crate) fn remove_stream(&mut self, stream: StreamId) {
        self.states.retain(|(shard, _), _| shard.stream != stream);
        self.by_use.retain(|_, (shard, _)| shard.stream != stream);
        self.changed.retain(|(shard, _)| shard.stream != stream);
    }
}

#[cfg(test)]
mod tests;
