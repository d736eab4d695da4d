//! The one memory budget of all deliveries.
//!
//! It must never be overdrawn by waiting work and must never deadlock: who holds much is asked to cut its batch early, and
//! memory comes back when a batch is committed. Waiters are served in the order they came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The budget counts in pages, so that a semaphore's 32-bit counts are enough for terabytes.
const PAGE_BYTES: u64 = 4096;

/// The budget. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pages_max: u32,
    free: Arc<Semaphore>,
    /// Memory came back.
    released: Notify,
    accounts: Mutex<BTreeMap<u64, Arc<Account>>>,
    next_account: AtomicU64,
}

/// What one delivery could give back by cutting its batch.
#[derive(Debug, Default)]
pub(crate) struct Account {
    cuttable_bytes: AtomicU64,
    pressed: AtomicBool,
    wake: Notify,
}

/// A delivery's place in the budget; it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    budget: Budget,
    id: u64,
    account: Arc<Account>,
}

/// Memory held. It comes back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
}

impl Budget {
    /// With so many bytes in all.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let pages_max = pages(bytes_max).min(u32::MAX / 2);
        let shared = Shared {
            pages_max,
            free: Arc::new(Semaphore::new(pages_max as usize)),
            released: Notify::new(),
            accounts: Mutex::default(),
            next_account: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Adds a delivery.
    pub(crate) fn join(&self) -> Member {
        let id = self.shared.next_account.fetch_add(1, Ordering::Relaxed);
        let account = Arc::new(Account::default());
        self.shared.accounts.lock().insert(id, Arc::clone(&account));
        Member { budget: self.clone(), id, account }
    }

    /// Takes memory, or nothing when there is too little now.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let permit = Arc::clone(&self.shared.free).try_acquire_many_owned(self.clamp(bytes)).ok()?;
        Some(Reservation { permit: Some(permit), shared: Arc::clone(&self.shared) })
    }

    /// Takes memory at once: what is free of it, and the rest past the budget. Only for work that was within the budget
    /// before and must be done again.
    pub(crate) fn take(&self, bytes: u64) -> Reservation {
        let free = u32::try_from(self.shared.free.available_permits()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.shared.free).try_acquire_many_owned(self.clamp(bytes).min(free)).ok();
        Reservation { permit, shared: Arc::clone(&self.shared) }
    }

    /// Takes memory, waiting for it; meanwhile the delivery that holds most is asked to cut. More than the whole budget is
    /// served as the whole budget, so that one large record can always pass.
    pub(crate) async fn reserve(&self, bytes: u64) -> Reservation {
        if let Some(reservation) = self.try_reserve(bytes) {
            return reservation;
        }
        let acquired = Arc::clone(&self.shared.free).acquire_many_owned(self.clamp(bytes));
        tokio::pin!(acquired);
        loop {
            let released = self.shared.released.notified();
            self.press_largest();
            tokio::select! {
                permit = &mut acquired => {
                    // The semaphore is never closed.
                    return Reservation { permit: permit.ok(), shared: Arc::clone(&self.shared) };
                }
                () = released => {}
            }
        }
    }

    /// Bytes held now.
    pub(crate) fn used_bytes(&self) -> u64 {
        let free = u64::try_from(self.shared.free.available_permits()).unwrap_or(0);
        (u64::from(self.shared.pages_max).saturating_sub(free)) * PAGE_BYTES
    }

    /// The whole budget.
    pub(crate) fn bytes_max(&self) -> u64 {
        u64::from(self.shared.pages_max) * PAGE_BYTES
    }

    fn clamp(&self, bytes: u64) -> u32 {
        pages(bytes).min(self.shared.pages_max)
    }

    fn press_largest(&self) {
        let accounts = self.shared.accounts.lock();
        let cuttable = |account: &&Arc<Account>| account.cuttable_bytes.load(Ordering::Acquire);
        if let Some(largest) = accounts.values().max_by_key(cuttable)
            && cuttable(&largest) > 0
        {
            largest.pressed.store(true, Ordering::Release);
            largest.wake.notify_one();
        }
    }
}

impl Member {
    /// Says how many bytes a cut would give back once its batch is committed.
    pub(crate) fn set_cuttable(&self, bytes: u64) {
        self.account.cuttable_bytes.store(bytes, Ordering::Release);
        if bytes == 0 {
            self.account.pressed.store(false, Ordering::Release);
        }
    }

    /// Whether somebody waits for what this delivery holds.
    pub(crate) fn is_pressed(&self) -> bool {
        self.account.pressed.load(Ordering::Acquire)
    }

    /// Waits until somebody asks for a cut.
    pub(crate) async fn pressed(&self) {
        self.account.wake.notified().await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.budget.shared.accounts.lock().remove(&self.id);
    }
}

impl Reservation {
    /// Memory held now, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.permit.as_ref().map_or(0, |permit| permit.num_permits() as u64 * PAGE_BYTES)
    }

    /// Gives back what is more than `bytes`, or takes what is missing if it is free. What is not free is held nevertheless:
    /// it exists already, and is at most one chunk.
    pub(crate) fn resize(&mut self, bytes: u64) {
        let wanted = pages(bytes).min(self.shared.pages_max) as usize;
        let Some(permit) = &mut self.permit else { return };
        let held = permit.num_permits();
        if held > wanted {
            drop(permit.split(held - wanted));
            self.shared.released.notify_waiters();
        } else if let Ok(missing) = u32::try_from(wanted - held)
            && let Ok(more) = Arc::clone(&self.shared.free).try_acquire_many_owned(missing)
        {
            permit.merge(more);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.shared.released.notify_waiters();
    }
}

fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PAGE_BYTES).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn the_largest_holder_is_asked_and_its_memory_serves_the_waiter() {
        let budget = Budget::new(4 * MIB);
        let (small, large) = (budget.join(), budget.join());
        let held_small = budget.reserve(MIB).await;
        let held_large = budget.reserve(3 * MIB).await;
        small.set_cuttable(MIB);
        large.set_cuttable(3 * MIB);
        let mut waiting = Box::pin(budget.reserve(2 * MIB));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(large.is_pressed() && !small.is_pressed());
        large.pressed().await;
        large.set_cuttable(0);
        assert!(!large.is_pressed());
        drop(held_large);
        let served = waiting.await;
        assert_eq!(budget.used_bytes(), 3 * MIB);
        drop((served, held_small));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn the_next_largest_is_asked_when_a_release_was_not_enough() {
        let budget = Budget::new(4 * MIB);
        let (first, second) = (budget.join(), budget.join());
        let held_first = budget.reserve(2 * MIB).await;
        let held_second = budget.reserve(2 * MIB).await;
        first.set_cuttable(2 * MIB);
        second.set_cuttable(MIB);
        let mut waiting = Box::pin(budget.reserve(3 * MIB));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(first.is_pressed() && !second.is_pressed());
        first.set_cuttable(0);
        drop(held_first);
        assert!((&mut waiting).now_or_never().is_none());
        assert!(second.is_pressed());
        drop(held_second);
        drop(waiting.await);
    }

    #[tokio::test]
    async fn more_than_the_whole_budget_is_served_alone() {
        let budget = Budget::new(MIB);
        let held = budget.reserve(64 * MIB).await;
        assert!(budget.try_reserve(1).is_none());
        drop(held);
        assert!(budget.try_reserve(1).is_some());
    }

    #[tokio::test]
    async fn a_reservation_shrinks_to_what_is_used() {
        let budget = Budget::new(4 * MIB);
        let mut held = budget.reserve(3 * MIB).await;
        held.resize(MIB);
        assert_eq!(budget.used_bytes(), MIB);
        held.resize(2 * MIB);
        assert_eq!(budget.used_bytes(), 2 * MIB);
    }
}
