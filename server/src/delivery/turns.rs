//! What deliveries share and wait for, memory and conversions: the more urgent delivery is served first, and those of one
//! priority in the order they came.
//!
//! Nothing that was given is taken back: a delivery of low priority waits as long as a more urgent one does, and no longer.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How urgent a delivery is, where deliveries wait for memory or processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// It waits while any other one waits, and is asked first to give memory back: a backfill.
    Low,
    /// As most are.
    #[default]
    Normal,
    /// It is served before all others.
    High,
}

/// A place among those that wait: by priority, then by when it was taken.
type Place = (Reverse<Priority>, u64);

/// Permits that are handed out by priority.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Only the first of those that wait asks it.
    free: Arc<Semaphore>,
    waiting: Mutex<BTreeSet<Place>>,
    next_place: AtomicU64,
    /// Somebody began to wait, or ended it.
    changed: Notify,
}

impl Turns {
    /// With so many permits.
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(permits)),
            waiting: Mutex::default(),
            next_place: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Permits that nobody has.
    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Takes permits, or nothing where there are too few now.
    pub(crate) fn try_acquire(&self, permits: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(permits).ok()
    }

    /// Takes permits, waiting for them.
    pub(crate) async fn acquire(&self, permits: u32, priority: Priority) -> OwnedSemaphorePermit {
        let waiting = Waiting::begin(self, priority);
        loop {
            // It is told of each change from here on.
            let mut changed = pin!(self.changed.notified());
            if !waiting.is_first() {
                changed.await;
                continue;
            }
            let mut acquired = pin!(Arc::clone(&self.free).acquire_many_owned(permits));
            // What is gathered already is given up for somebody more urgent alone.
            while waiting.is_first() {
                tokio::select! {
                    biased;
                    () = changed.as_mut() => {}
                    permit = &mut acquired => return permit.expect("nobody closes the semaphore"),
                }
                changed.set(self.changed.notified());
            }
        }
    }
}

/// Somebody waits; until it is dropped.
struct Waiting<'a> {
    turns: &'a Turns,
    place: Place,
}

impl<'a> Waiting<'a> {
    fn begin(turns: &'a Turns, priority: Priority) -> Self {
        let place = (Reverse(priority), turns.next_place.fetch_add(1, Ordering::Relaxed));
        turns.waiting.lock().insert(place);
        turns.changed.notify_waiters();
        Self { turns, place }
    }

    fn is_first(&self) -> bool {
        self.turns.waiting.lock().first() == Some(&self.place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turns.waiting.lock().remove(&self.place);
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Waits as a task of its own, and notes its name once it was served.
    fn wait(
        turns: &Arc<Turns>,
        served: &Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
        permits: u32,
    ) -> JoinHandle<()> {
        let priority = match name {
            "low" => Priority::Low,
            "high" => Priority::High,
            _ => Priority::Normal,
        };
        let (turns, served) = (Arc::clone(turns), Arc::clone(served));
        tokio::spawn(async move {
            let _permit = turns.acquire(permits, priority).await;
            served.lock().push(name);
            yield_now().await;
        })
    }

    /// Lets these wait, one after the other, and gives the order in which they were served.
    async fn order(permits: usize, waiting: &[(&'static str, u32)]) -> Vec<&'static str> {
        let (turns, served) = (Arc::new(Turns::new(permits)), Arc::default());
        let held = turns.acquire(u32::try_from(permits).unwrap(), Priority::Low).await;
        let mut tasks = Vec::new();
        for (name, wanted) in waiting {
            tasks.push(wait(&turns, &served, name, *wanted));
            yield_now().await;
        }
        assert_eq!(*served.lock(), Vec::<&str>::new());
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(turns.free(), permits);
        served.lock().clone()
    }

    #[tokio::test]
    async fn the_more_urgent_is_served_first_and_equals_in_their_order() {
        let waiting = [("low", 2), ("first", 2), ("second", 1), ("high", 2)];
        assert_eq!(order(2, &waiting).await, ["high", "first", "second", "low"]);
        let waiting = [("high", 1), ("first", 1), ("low", 1), ("second", 1)];
        assert_eq!(order(1, &waiting).await, ["high", "first", "second", "low"]);
    }

    #[tokio::test]
    async fn a_place_in_the_queue_is_kept_for_one_who_wants_much() {
        let turns = Arc::new(Turns::new(4));
        let served = Arc::default();
        let held = turns.acquire(3, Priority::Normal).await;
        let large = wait(&turns, &served, "large", 4);
        yield_now().await;
        // It would fit now, but the large one came first.
        let small = wait(&turns, &served, "small", 1);
        yield_now().await;
        assert_eq!(*served.lock(), Vec::<&str>::new());
        drop(held);
        large.await.unwrap();
        small.await.unwrap();
        assert_eq!(*served.lock(), ["large", "small"]);
    }

    #[tokio::test]
    async fn who_gives_up_holds_nobody_back() {
        let turns = Arc::new(Turns::new(1));
        let served = Arc::default();
        let held = turns.acquire(1, Priority::Normal).await;
        let low = wait(&turns, &served, "low", 1);
        let high = wait(&turns, &served, "high", 1);
        yield_now().await;
        high.abort();
        assert!(high.await.is_err_and(|error| error.is_cancelled()));
        drop(held);
        low.await.unwrap();
        assert_eq!(*served.lock(), ["low"]);
    }
}
