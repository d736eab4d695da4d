//! The bounded queue between appends and the committer. Room is taken before an append is encoded and given back when its
//! ticket resolves, so that all memory of appends in flight is within the bound.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::super::{Appended, Error, NewRecord, Offset, ProducerSequence, Result, ShardKey, StreamId};
use super::format::Draft;
use crate::encryption::DataKey;

/// What waits for the committer.
#[derive(Debug)]
pub(super) enum Entry {
    Append(Append),
    Trim { shard: ShardKey, before: Offset, stored_bytes: u64, done: oneshot::Sender<Result<()>> },
    Delete { stream: StreamId, stored_bytes: u64, done: oneshot::Sender<Result<()>> },
    Checkpoint { path: PathBuf, done: oneshot::Sender<Result<()>> },
}

/// An append that waits.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) shard: ShardKey,
    pub(super) count: u64,
    pub(super) bytes: usize,
    pub(super) body: Body,
    /// What encrypts loose records; drafts have it.
    pub(super) key: Option<Arc<DataKey>>,
    pub(super) expected_next: Option<Offset>,
    pub(super) producer: Option<ProducerSequence>,
    pub(super) ticket: oneshot::Sender<Result<Appended>>,
    pub(super) room: Room,
}

/// An append's records.
#[derive(Debug)]
pub(super) enum Body {
    /// Few bytes: they share a block with the group's other appends to the shard.
    Loose(Vec<NewRecord>),
    /// Blocks of their own, which the caller encoded.
    Drafts(Vec<Draft>),
}

/// A place in the queue; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Room {
    _append: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.bytes,
            Self::Trim { .. } | Self::Delete { .. } | Self::Checkpoint { .. } => 0,
        }
    }

    /// Tells the caller that it failed.
    pub(super) fn fail(self, error: &Error) {
        // Who no longer waits for an answer needs none.
        match self {
            Self::Append(append) => drop(append.ticket.send(Err(error.clone()))),
            Self::Trim { done, .. } | Self::Delete { done, .. } | Self::Checkpoint { done, .. } => {
                drop(done.send(Err(error.clone())))
            }
        }
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: usize,
    appends_max: usize,
    bytes: Arc<Semaphore>,
    appends: Arc<Semaphore>,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Why nothing more is taken.
    refusal: Option<Error>,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, appends_max: usize) -> Self {
        Self {
            bytes_max,
            appends_max,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            appends: Arc::new(Semaphore::new(appends_max)),
            state: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Whether an append of `bytes` would have to wait.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        self.appends.available_permits() == 0 || self.bytes.available_permits() < bytes.min(self.bytes_max)
    }

    /// Waits for room. An append larger than the whole queue takes all of it.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room> {
        let bytes = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        let append = Arc::clone(&self.appends).acquire_owned().await;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        match (append, bytes) {
            (Ok(append), Ok(bytes)) => Ok(Room { _append: append, _bytes: bytes }),
            _ => Err(self.refusal().unwrap_or(Error::Closed)),
        }
    }

    /// Puts an entry behind all others.
    pub(super) fn push(&self, entry: Entry) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        state.entries.push_back(entry);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for entries and takes the next group: as many as come to `bytes_max`, at least one. A deletion or a checkpoint is a
    /// group of its own. False once the queue is closed and empty.
    pub(super) fn take(&self, bytes_max: usize, group: &mut Vec<Entry>) -> bool {
        let mut state = self.state.lock();
        while state.entries.is_empty() {
            if state.refusal.is_some() {
                return false;
            }
            self.arrived.wait(&mut state);
        }
        let mut bytes = 0;
        while let Some(entry) = state.entries.front() {
            bytes += entry.bytes();
            let alone = matches!(entry, Entry::Delete { .. } | Entry::Checkpoint { .. });
            if !group.is_empty() && (bytes > bytes_max || alone) {
                break;
            }
            group.extend(state.entries.pop_front());
            if alone {
                break;
            }
        }
        true
    }

    /// Waits for a while; whether nothing came and the queue is open.
    pub(super) fn stays_empty(&self, quiet: Duration) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + quiet;
        while state.entries.is_empty() && state.refusal.is_none() {
            if self.arrived.wait_until(&mut state, until).timed_out() {
                return state.entries.is_empty() && state.refusal.is_none();
            }
        }
        false
    }

    /// Takes nothing more; what waits is still served.
    pub(super) fn close(&self) {
        self.refuse(Error::Closed);
    }

    /// Takes nothing more and fails what waits.
    pub(super) fn fail(&self, error: &Error) {
        self.refuse(error.clone());
        let waiting = std::mem::take(&mut self.state.lock().entries);
        for entry in waiting {
            entry.fail(error);
        }
    }

    fn refuse(&self, error: Error) {
        self.state.lock().refusal.get_or_insert(error);
        self.appends.close();
        self.bytes.close();
        self.arrived.notify_all();
    }

    fn refusal(&self) -> Option<Error> {
        self.state.lock().refusal.clone()
    }

    /// Appends and bytes in flight now.
    pub(super) fn load(&self) -> (usize, usize) {
        let used = |max: usize, semaphore: &Semaphore| max.saturating_sub(semaphore.available_permits());
        (used(self.appends_max, &self.appends), used(self.bytes_max, &self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;
    use futures::future::poll_immediate;

    use super::*;
    use crate::log::ShardId;

    const SHARD: ShardKey = ShardKey { stream: StreamId(1), shard: ShardId(0) };

    fn append(room: Room, bytes: usize) -> (Entry, oneshot::Receiver<Result<Appended>>) {
        let (ticket, answer) = oneshot::channel();
        let (body, key, expected_next, producer) = (Body::Loose(vec![]), None, None, None);
        (
            Entry::Append(Append { shard: SHARD, count: 1, bytes, body, key, expected_next, producer, ticket, room }),
            answer,
        )
    }

    fn delete() -> (Entry, oneshot::Receiver<Result<()>>) {
        let (done, answer) = oneshot::channel();
        (Entry::Delete { stream: StreamId(1), stored_bytes: 0, done }, answer)
    }

    async fn push(queue: &Queue, bytes: usize) -> oneshot::Receiver<Result<Appended>> {
        let (entry, answer) = append(queue.room(bytes).await.expect("room"), bytes);
        queue.push(entry).expect("push");
        answer
    }

    #[tokio::test]
    async fn one_byte_past_the_bound_waits_until_there_is_room() {
        let queue = Queue::new(100, 10);
        let first = queue.room(60).await.expect("room");
        let second = queue.room(40).await.expect("room");
        assert!(queue.is_full(1));
        assert_eq!(queue.load(), (2, 100));
        let mut third = pin!(queue.room(1));
        assert!(poll_immediate(&mut third).await.is_none());
        drop(second);
        third.await.expect("room");
        drop(first);
        assert_eq!(queue.load(), (0, 0));
    }

    #[tokio::test]
    async fn one_append_past_the_bound_waits_until_there_is_room() {
        let queue = Queue::new(100, 2);
        let (first, _second) = (queue.room(0).await.expect("room"), queue.room(0).await.expect("room"));
        assert!(queue.room(0).now_or_never().is_none());
        drop(first);
        queue.room(0).await.expect("room");
    }

    #[tokio::test]
    async fn an_append_larger_than_the_queue_takes_all_of_it() {
        let queue = Queue::new(100, 10);
        let large = queue.room(1000).await.expect("room");
        assert!(queue.room(1).now_or_never().is_none());
        drop(large);
        queue.room(1).await.expect("room");
    }

    #[tokio::test]
    async fn a_group_ends_at_its_bytes_and_around_a_deletion() {
        let queue = Queue::new(1000, 100);
        for bytes in [60, 40, 1, 500, 10] {
            drop(push(&queue, bytes).await);
        }
        queue.push(delete().0).expect("push");
        drop(push(&queue, 1).await);
        queue.close();
        let mut groups = Vec::new();
        let mut group = Vec::new();
        while queue.take(100, &mut group) {
            groups.push(group.drain(..).map(|entry| entry.bytes()).collect::<Vec<_>>());
        }
        assert_eq!(groups, [vec![60, 40], vec![1], vec![500], vec![10], vec![0], vec![1]]);
    }

    #[tokio::test]
    async fn a_failed_queue_answers_who_waits_and_who_comes() {
        let queue = Queue::new(100, 10);
        let waiting = push(&queue, 100).await;
        let (entry, deletion) = delete();
        queue.push(entry).expect("push");
        let mut late = pin!(queue.room(1));
        assert!(poll_immediate(&mut late).await.is_none());
        queue.fail(&Error::Poisoned { cause: "no space".to_owned() });
        assert!(matches!(waiting.await.expect("an answer"), Err(Error::Poisoned { .. })));
        assert!(matches!(deletion.await.expect("an answer"), Err(Error::Poisoned { .. })));
        assert!(matches!(late.await, Err(Error::Poisoned { .. })));
        assert!(matches!(queue.push(delete().0), Err(Error::Poisoned { .. })));
        queue.close();
        assert!(matches!(queue.room(1).await, Err(Error::Poisoned { .. })), "the first cause stays");
        assert!(!queue.take(1, &mut Vec::new()));
    }
}
