//! A group: the appends and trims that one write and one sync make durable together. Forming it touches neither the disk
//! nor what readers see; publishing it must follow the sync.

use std::collections::HashMap;
use std::sync::Arc;

use rocksdb::WriteBatch;
use tokio::sync::oneshot;

use super::super::producers::{Changes, Producers};
use super::super::{Appended, Error, NewRecord, Offset, ProducerSequence, Result, ShardKey};
use super::block::Block;
use super::db::Db;
use super::format::{Draft, Sealed};
use super::index::IndexEntry;
use super::keys;
use super::marks::{self, Mark};
use super::queue::{Append, Body, Entry, Room};
use super::sequences;
use super::shards::{Shard, Shards};
use crate::encryption::DataKey;
use crate::failpoint;
use crate::time::Timestamp;

/// Bytes of a write batch beside its values, for each block.
const BATCH_BYTES_PER_BLOCK: usize = 96;

/// A group, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) shards: HashMap<ShardKey, Plan>,
    pub(super) tickets: Vec<Ticket>,
    pub(super) trims: Vec<Trim>,
    /// What is new about producers.
    pub(super) sequences: Changes,
    pub(super) producers_evicted: u64,
}

/// What the group does to one shard.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) state: Arc<Shard>,
    pub(super) next: Offset,
    pub(super) time: Timestamp,
    trim: Offset,
    pub(super) blocks: Vec<Sealed>,
    loose: Vec<NewRecord>,
    loose_bytes: usize,
    /// What encrypts the loose records.
    loose_key: Option<Arc<DataKey>>,
}

/// An append's answer, held back until the sync.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Or why nothing was stored; that too may rest on what the group stores.
    pub(super) outcome: Result<Appended>,
    pub(super) bytes: usize,
    pub(super) sender: oneshot::Sender<Result<Appended>>,
    pub(super) _room: Room,
}

/// A trim and its answer, held back until the sync.
#[derive(Debug)]
pub(super) struct Trim {
    pub(super) shard: ShardKey,
    /// Where the trim was and where it goes; the same where there is nothing to do.
    pub(super) from: Offset,
    pub(super) to: Offset,
    mark: Mark,
    pub(super) stored_bytes: u64,
    pub(super) done: oneshot::Sender<Result<()>>,
}

impl Plan {
    fn new(state: Arc<Shard>, now: Timestamp) -> Self {
        Self {
            next: state.next(),
            // A clock that was set back must not make arrival times fall.
            time: state.newest().max(now),
            trim: state.trim(),
            state,
            blocks: Vec::new(),
            loose: Vec::new(),
            loose_bytes: 0,
            loose_key: None,
        }
    }

    /// The offset after everything taken so far.
    fn end(&self) -> Offset {
        self.next + self.loose.len() as u64
    }

    /// When the shard's newest record arrived, those taken so far included.
    pub(super) fn newest(&self) -> Timestamp {
        if self.end() > self.state.next() { self.time } else { self.state.newest() }
    }

    fn append(&mut self, shard: ShardKey, body: Body, key: Option<Arc<DataKey>>, block_bytes_max: usize) {
        match body {
            Body::Loose(records) => {
                self.seal_loose_of_other_key(shard, key);
                for record in records {
                    if self.loose_bytes + record.bytes() > block_bytes_max {
                        self.seal_loose(shard);
                    }
                    self.loose_bytes += record.bytes();
                    self.loose.push(record);
                }
            }
            Body::Drafts(drafts) => {
                self.seal_loose(shard);
                for draft in drafts {
                    self.seal(shard, draft);
                }
            }
        }
    }

    fn seal_loose(&mut self, shard: ShardKey) {
        if !self.loose.is_empty() {
            let draft = Draft::new(&self.loose, self.loose_key.clone());
            self.loose.clear();
            self.loose_bytes = 0;
            self.seal(shard, draft);
        }
    }

    /// Records share a block only where they share its key.
    fn seal_loose_of_other_key(&mut self, shard: ShardKey, key: Option<Arc<DataKey>>) {
        if self.loose_key.as_ref().map(Arc::as_ptr) != key.as_ref().map(Arc::as_ptr) {
            self.seal_loose(shard);
            self.loose_key = key;
        }
    }

    fn seal(&mut self, shard: ShardKey, draft: Draft) {
        failpoint::hit("log.seal", "before");
        let count = u64::from(draft.count());
        self.blocks.push(draft.seal(shard, self.next, self.time));
        self.next = self.next + count;
        failpoint::hit("log.seal", "after");
    }

    pub(super) fn holds_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Takes the blocks for the cache.
    pub(super) fn take_blocks(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.blocks).into_iter().map(|sealed| sealed.block).collect()
    }
}

impl Group {
    /// Gives each entry its place. Deletions are no part of a group.
    pub(super) fn form(
        entries: impl Iterator<Item = Entry>,
        shards: &Shards,
        producers: &mut Producers,
        now: Timestamp,
        block_bytes_max: usize,
    ) -> Self {
        let mut group = Self::default();
        producers.set_now(now);
        for entry in entries {
            match entry {
                Entry::Append(append) => group.append(append, shards, producers, now, block_bytes_max),
                Entry::Trim { shard, before, stored_bytes, done } => {
                    let plan = plan(&mut group.shards, shards, shard, now);
                    let from = plan.trim;
                    let to = before.min(plan.end()).max(from);
                    plan.trim = to;
                    let mark = Mark { trim: to, newest: plan.newest() };
                    group.trims.push(Trim { shard, from, to, mark, stored_bytes, done });
                }
                Entry::Delete { .. } | Entry::Checkpoint { .. } => unreachable!("the queue hands it out alone"),
            }
        }
        for (shard, plan) in &mut group.shards {
            plan.seal_loose(*shard);
        }
        group.producers_evicted = producers.evict();
        group.sequences = producers.take_changes();
        group
    }

    fn append(
        &mut self,
        append: Append,
        shards: &Shards,
        producers: &mut Producers,
        now: Timestamp,
        block_bytes_max: usize,
    ) {
        let Append { shard, count, bytes, body, key, expected_next, producer, ticket, room } = append;
        let plan = plan(&mut self.shards, shards, shard, now);
        let start = plan.end();
        let outcome = match decide(producers, shard, start, count, expected_next, producer) {
            Ok(Some(stored)) => Ok(stored),
            Ok(None) => {
                plan.append(shard, body, key, block_bytes_max);
                if let Some(of) = producer {
                    producers.record(shard, of, start, count, plan.time);
                }
                Ok(Appended { offsets: start..start + count, arrival_time: plan.time, duplicate: false })
            }
            Err(error) => Err(error),
        };
        self.tickets.push(Ticket { outcome, bytes, sender: ticket, _room: room });
    }

    /// Comes by the failpoints of what the group does.
    pub(super) fn pass(&self, moment: &str) {
        if self.shards.values().any(Plan::holds_blocks) {
            failpoint::hit("log.append", moment);
        }
        if self.trims.iter().any(|trim| trim.to > trim.from) {
            failpoint::hit("log.trim", moment);
        }
    }

    /// The group as one atomic write; `None` where it changes nothing.
    pub(super) fn batch(&self, db: &Db) -> Option<WriteBatch> {
        // In the order of their keys, in which RocksDB goes on from one to the next: with many shards and short blocks, looking
        // for each one's place is most of the work.
        let mut plans: Vec<(&ShardKey, &Plan)> = self.shards.iter().collect();
        plans.sort_unstable_by_key(|(shard, _)| **shard);
        let blocks = || plans.iter().flat_map(|(_, plan)| &plan.blocks);
        let bytes: usize = blocks().map(|sealed| sealed.value.len() + BATCH_BYTES_PER_BLOCK).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        for Sealed { key, value, block, .. } in blocks() {
            let key = key.encode();
            let stored_bytes = u32::try_from(value.len()).expect("a block is below 2^31 bytes");
            let count = u32::try_from(block.count()).expect("a block's count is a u32");
            batch.put_cf(db.log(), key, value);
            batch.put_cf(db.time(), key, IndexEntry { count, time: block.time(), stored_bytes }.encode());
        }
        for trim in self.trims.iter().filter(|trim| trim.to > trim.from) {
            let gone = keys::of_offsets(trim.shard, trim.from..trim.to);
            batch.delete_range_cf(db.log(), gone.start, gone.end);
            batch.delete_range_cf(db.time(), gone.start, gone.end);
            batch.put_cf(db.meta(), marks::key(trim.shard), trim.mark.encode());
        }
        sequences::write(&self.sequences, db, &mut batch);
        (!batch.is_empty()).then_some(batch)
    }
}

/// Where an append was stored before; `None` where it is to be stored now, at `start`.
fn decide(
    producers: &mut Producers,
    shard: ShardKey,
    start: Offset,
    count: u64,
    expected_next: Option<Offset>,
    producer: Option<ProducerSequence>,
) -> Result<Option<Appended>> {
    if let Some(of) = producer
        && let Some(stored) = producers.find(shard, of, count)?
    {
        producers.touch((shard, of.producer));
        return Ok(Some(stored));
    }
    match expected_next {
        Some(expected) if expected != start => Err(Error::NextOffset { shard, expected, actual: start }),
        _ => Ok(None),
    }
}

fn plan<'a>(plans: &'a mut HashMap<ShardKey, Plan>, shards: &Shards, shard: ShardKey, now: Timestamp) -> &'a mut Plan {
    plans.entry(shard).or_insert_with(|| Plan::new(shards.get_or_new(shard), now))
}
