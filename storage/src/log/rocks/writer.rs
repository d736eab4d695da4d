//! The committer: one thread that makes groups durable, one write and one sync each. The next group gathers in the queue
//! while the disk works, so that groups grow with the load. Nothing is published or answered before its sync.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rocksdb::WriteBatch;
use tokio::sync::oneshot;

use super::super::stats::{Counters, GroupTime};
use super::super::{Error, Result, StreamId};
use super::Shared;
use super::db::Db;
use super::group::{Group, Plan};
use super::queue::Entry;
use super::reclaim::Reclaimer;
use super::{format, keys, marks, sequences};
use crate::failpoint;

/// After so long without an append the write-ahead log is sealed.
const QUIET: Duration = Duration::from_millis(100);

/// The committer's parts.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    db: Arc<Db>,
    reclaimer: Arc<Reclaimer>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, db: Arc<Db>, reclaimer: Arc<Reclaimer>) -> Self {
        Self { shared, db, reclaimer }
    }

    /// Runs until the queue is closed and empty, or the log is poisoned.
    pub(super) fn run(self) {
        let queue = &self.shared.queue;
        let mut entries = Vec::new();
        while queue.take(self.shared.settings.group_bytes_max, &mut entries) {
            match entries.pop() {
                Some(Entry::Delete { stream, stored_bytes, done }) => self.delete(stream, stored_bytes, done),
                // Between two groups, so that the copy of the write-ahead log holds no half of one.
                Some(Entry::Checkpoint { path, done }) => answer(done, self.db.checkpoint(&path)),
                last => self.commit(entries.drain(..).chain(last)),
            }
            if queue.stays_empty(QUIET) {
                self.seal();
            }
        }
    }

    /// Ends the write-ahead log with a record that holds nothing. Damage in the very last record cannot be told from a torn
    /// write ([`crate::wal`]); what was acknowledged is not the last any more.
    fn seal(&self) {
        if let Err(error) = self.db.write_sync(WriteBatch::default()) {
            self.shared.poison(error.into_string());
        }
    }

    fn commit(&self, entries: impl Iterator<Item = Entry>) {
        let Shared { shards, producers, clock, settings, counters, .. } = &*self.shared;
        let now = clock.now();
        let group = Group::form(entries, shards, &mut producers.lock(), now, settings.block_bytes_max);
        Counters::count(&counters.producers_evicted, group.producers_evicted);
        group.pass("before");
        self.hide(&group);
        match group.batch(&self.db).map_or(Ok(()), |batch| self.write(batch, group.tickets.len())) {
            Ok(()) => {
                group.pass("after");
                let appends = group.shards.values().any(Plan::holds_blocks);
                self.publish(group);
                if appends {
                    failpoint::hit("log.append", "shown");
                }
            }
            Err(error) => fail(group, &error),
        }
    }

    /// Hides what the write is about to remove, so that no reader looks for a block that is gone. Should the write fail, it
    /// is there again after the next open.
    fn hide(&self, group: &Group) {
        for trim in group.trims.iter().filter(|trim| trim.to > trim.from) {
            let state = self.shared.shards.get_or_new(trim.shard);
            state.set_trim(trim.to.min(state.next()));
        }
    }

    /// One write, one sync. A failure poisons the log: what is on disk is unknown until it is opened anew.
    fn write(&self, batch: WriteBatch, appends: usize) -> Result<()> {
        let bytes = batch.size_in_bytes() as u64;
        let took = self.write_timed(batch).map_err(|error| self.shared.poison(error.into_string()))?;
        self.shared.counters.group(took, bytes, appends as u64);
        Ok(())
    }

    fn write_timed(&self, batch: WriteBatch) -> std::result::Result<GroupTime, rocksdb::Error> {
        let start = Instant::now();
        self.db.write(batch)?;
        let write = start.elapsed();
        self.db.sync()?;
        Ok(GroupTime { write, sync: start.elapsed() - write })
    }

    /// Shows a durable group to readers, then answers its callers.
    fn publish(&self, group: Group) {
        let Shared { counters, tail, .. } = &*self.shared;
        for (shard, mut plan) in group.shards {
            let newest = plan.newest();
            self.count_blocks(shard.stream, &plan);
            for block in plan.take_blocks() {
                tail.push(shard, block);
            }
            if plan.next > plan.state.next() {
                plan.state.advance(plan.next, newest);
            }
        }
        for trim in group.trims {
            if trim.to > trim.from {
                self.shared.shards.get_or_new(trim.shard).set_trim(trim.to);
                tail.trim(trim.shard, trim.to);
                self.shared.recent.trim(trim.shard, trim.to);
                Counters::count(&counters.trimmed_records, trim.to.since(trim.from));
                self.shared.stored.remove(trim.shard.stream, trim.stored_bytes);
                self.reclaimer.add(keys::of_offsets(trim.shard, trim.from..trim.to), trim.stored_bytes);
            }
            answer(trim.done, Ok(()));
        }
        for ticket in group.tickets {
            match &ticket.outcome {
                Ok(appended) if appended.duplicate => Counters::count(&counters.duplicates, 1),
                Ok(appended) => {
                    Counters::count(&counters.appends, 1);
                    Counters::count(&counters.records, appended.offsets.end.since(appended.offsets.start));
                    Counters::count(&counters.bytes, ticket.bytes as u64);
                }
                Err(Error::NextOffset { .. }) => Counters::count(&counters.unexpected, 1),
                Err(_) => Counters::count(&counters.sequences_refused, 1),
            }
            answer(ticket.sender, ticket.outcome);
        }
    }

    fn count_blocks(&self, stream: StreamId, plan: &Plan) {
        let stored: usize = plan.blocks.iter().map(|sealed| sealed.value.len()).sum();
        let encrypted = plan.blocks.iter().filter(|sealed| format::is_encrypted(&sealed.value)).count();
        Counters::count(&self.shared.counters.blocks, plan.blocks.len() as u64);
        Counters::count(&self.shared.counters.encrypted_blocks, encrypted as u64);
        Counters::count(&self.shared.counters.stored_bytes, stored as u64);
        self.shared.stored.add(stream, stored as u64);
    }

    fn delete(&self, stream: StreamId, stored_bytes: u64, done: oneshot::Sender<Result<()>>) {
        let gone = keys::of_stream(stream);
        let marks = marks::of_stream(stream);
        let sequences = sequences::of_stream(stream);
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.db.log(), gone.start, gone.end);
        batch.delete_range_cf(self.db.time(), gone.start, gone.end);
        batch.delete_range_cf(self.db.meta(), marks.start, marks.end);
        batch.delete_range_cf(self.db.producer(), sequences.start, sequences.end);
        // As with trims: first hidden, then removed.
        self.shared.shards.remove_stream(stream);
        self.shared.producers.lock().remove_stream(stream);
        failpoint::hit("log.delete", "before");
        let written = self.write(batch, 0);
        failpoint::hit("log.delete", "after");
        if written.is_ok() {
            self.shared.stored.forget(stream);
            self.shared.tail.remove_stream(stream);
            self.shared.recent.remove_stream(stream);
            self.reclaimer.add(gone, stored_bytes);
        }
        answer(done, written);
    }
}

/// A committer that panics must not leave callers waiting.
impl Drop for Committer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.poison("the committer panicked".to_owned());
        }
    }
}

impl Shared {
    /// Stops all appends for good; the first cause stays.
    pub(super) fn poison(&self, cause: String) -> Error {
        let error = Error::Poisoned { cause };
        tracing::error!(%error, path = %self.settings.path.display(), "the log takes no more writes");
        self.poisoned.store(true, Relaxed);
        self.queue.fail(&error);
        error
    }
}

fn fail(group: Group, error: &Error) {
    for ticket in group.tickets {
        answer(ticket.sender, Err(error.clone()));
    }
    for trim in group.trims {
        answer(trim.done, Err(error.clone()));
    }
}

/// Who no longer waits for an answer needs none.
fn answer<T>(sender: oneshot::Sender<Result<T>>, answer: Result<T>) {
    drop(sender.send(answer));
}
