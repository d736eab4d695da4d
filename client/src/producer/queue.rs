//! Where senders leave records and the worker takes batches. Bounded by bytes: a sender waits for room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use super::batch::{Batch, Entry, cost};
use super::fate::{PutFuture, abandoned, fate};
use super::settings::ProducerSettings;
use crate::{Error, Kind, PutRecord, Result};

#[derive(Debug)]
pub(super) struct Queue {
    settings: ProducerSettings,
    /// The buffer's free bytes.
    room: Semaphore,
    state: Mutex<State>,
    /// Wakes the worker: a batch was begun or filled, a flush or a close asked for.
    pub(super) wake: Notify,
    /// All records with a lower sequence number are settled.
    settled: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    open: Batch,
    full: VecDeque<Batch>,
    next_seq: u64,
    /// Records with a lower sequence number do not wait for their batch to fill.
    flush_below: u64,
    closed: bool,
    failures: Failures,
}

/// What failed since the last flush.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    first: Option<Error>,
}

impl Queue {
    pub(super) fn new(settings: ProducerSettings) -> Self {
        Self {
            room: Semaphore::new(settings.buffer_bytes_max),
            state: Mutex::new(State {
                open: Batch::new(0, Instant::now()),
                full: VecDeque::new(),
                next_seq: 0,
                flush_below: 0,
                closed: false,
                failures: Failures::default(),
            }),
            wake: Notify::new(),
            settled: watch::Sender::new(0),
            settings,
        }
    }

    /// Takes a record in when there is room.
    pub(super) async fn push(&self, record: PutRecord) -> Result<PutFuture> {
        let cost = cost(&record);
        if cost > self.settings.buffer_bytes_max {
            let most = self.settings.buffer_bytes_max;
            return Err(Error::invalid(format!("a record that takes {cost} bytes is over buffer_bytes_max {most}")));
        }
        let permits = u32::try_from(cost).map_err(|_| Error::invalid(format!("record of {cost} bytes")))?;
        // The room is given back by hand when the record is settled.
        self.room.acquire_many(permits).await.map_err(|_| closed())?.forget();
        let pushed = self.insert(record);
        if pushed.is_err() {
            self.room.add_permits(cost);
        }
        pushed
    }

    fn insert(&self, record: PutRecord) -> Result<PutFuture> {
        let size = record.size_bytes();
        let (ticket, future) = fate();
        let entry = Entry::new(record, ticket);
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        if !state.open.is_empty() && state.open.bytes() + size > self.settings.batch_bytes_max {
            state.seal();
        }
        if state.open.is_empty() {
            state.open = Batch::new(state.next_seq, Instant::now());
        }
        state.open.push(entry);
        state.next_seq += 1;
        let begun = state.open.len() == 1;
        let filled = state.open.len() >= self.settings.gathered_records_max()
            || state.open.bytes() >= self.settings.batch_bytes_max;
        if filled {
            state.seal();
        }
        drop(state);
        // Between a batch's first record and its last the worker has nothing to learn.
        if begun || filled {
            self.wake.notify_one();
        }
        Ok(future)
    }

    /// The next full batch; or the open one, when `idle`, its linger is over, or somebody waits for it.
    pub(super) fn pop(&self, idle: bool, now: Instant) -> Option<Batch> {
        let mut state = self.lock();
        if let Some(batch) = state.full.pop_front() {
            return Some(batch);
        }
        let due = idle
            || state.closed
            || state.flush_below > state.open.first_seq()
            || now >= state.open.begun() + self.settings.linger;
        if state.open.is_empty() || !due {
            return None;
        }
        let after = Batch::new(state.next_seq, now);
        Some(std::mem::replace(&mut state.open, after))
    }

    /// When the open batch has lingered long enough, if there is one.
    pub(super) fn linger_ends(&self) -> Option<Instant> {
        let state = self.lock();
        (!state.open.is_empty()).then(|| state.open.begun() + self.settings.linger)
    }

    /// Gives back the room of settled records.
    pub(super) fn release(&self, cost: usize) {
        self.room.add_permits(cost);
    }

    /// Remembers failures for the next flush to report.
    pub(super) fn note_failures(&self, count: u64, error: &Error) {
        let mut state = self.lock();
        state.failures.count += count;
        state.failures.first.get_or_insert_with(|| error.clone());
    }

    /// Publishes that all records below are settled: the lowest that the worker holds, or that waits here.
    pub(super) fn publish_settled(&self, lowest_held: Option<u64>) {
        let state = self.lock();
        let waiting = state.full.front().unwrap_or(&state.open);
        let waiting = if waiting.is_empty() { state.next_seq } else { waiting.first_seq() };
        let below = lowest_held.map_or(waiting, |held| held.min(waiting));
        drop(state);
        self.settled.send_if_modified(|settled| {
            let moved = below > *settled;
            *settled = below.max(*settled);
            moved
        });
    }

    /// Waits until all that was pushed before is settled; reports the failures since the last flush.
    pub(super) async fn flush(&self) -> Result<()> {
        let below = {
            let mut state = self.lock();
            state.flush_below = state.next_seq;
            state.next_seq
        };
        self.wake.notify_one();
        let mut settled = self.settled.subscribe();
        // The sender lives in `self`: waiting cannot fail.
        let _ = settled.wait_for(|settled| *settled >= below).await;
        std::mem::take(&mut self.lock().failures).into_result()
    }

    /// Takes no more records; what is here is still sent.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    /// Whether it is closed and all batches were taken.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.lock();
        state.closed && state.full.is_empty() && state.open.is_empty()
    }

    /// The worker is gone: nothing will be settled any more.
    pub(super) fn abandon(&self) {
        self.close();
        let mut state = self.lock();
        let next_seq = state.next_seq;
        let open = std::mem::replace(&mut state.open, Batch::new(next_seq, Instant::now()));
        let left: Vec<Batch> = state.full.drain(..).chain([open]).filter(|batch| !batch.is_empty()).collect();
        drop(state);
        let error = abandoned().with_unknown_outcome(false);
        for batch in left {
            self.note_failures(batch.len() as u64, &error);
            batch.fail(&error);
        }
        self.settled.send_replace(next_seq);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn seal(&mut self) {
        let after = Batch::new(self.next_seq, self.open.begun());
        self.full.push_back(std::mem::replace(&mut self.open, after));
    }
}

impl Failures {
    fn into_result(self) -> Result<()> {
        match self.first {
            None => Ok(()),
            Some(error) if self.count == 1 => Err(error),
            Some(error) => Err(error.in_context(&format!("{} records failed, the first so", self.count))),
        }
    }
}

fn closed() -> Error {
    Error::new(Kind::Closed, "the producer is closed")
}
