//! The one memory budget of all deliveries.
//!
//! It must never be overdrawn by waiting work and must never deadlock: who holds much is asked to cut its batch early, and
//! memory comes back when a batch is committed. Waiters are served by their deliveries' priority, and then in the order they
//! came.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::turns::{Priority, Turns};

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
    free: Turns,
    /// Memory came back.
    released: Notify,
    accounts: Mutex<BTreeMap<u64, Arc<Account>>>,
    next_account: AtomicU64,
}

/// What one delivery could give back by cutting its batch.
#[derive(Debug, Default)]
pub(crate) struct Account {
    priority: Priority,
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
            free: Turns::new(pages_max as usize),
            released: Notify::new(),
            accounts: Mutex::default(),
            next_account: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Adds a delivery.
    pub(crate) fn join(&self, priority: Priority) -> Member {
        let id = self.shared.next_account.fetch_add(1, Ordering::Relaxed);
        let account = Arc::new(Account { priority, ..Account::default() });
        self.shared.accounts.lock().insert(id, Arc::clone(&account));
        Member { budget: self.clone(), id, account }
    }

    /// Takes memory, or nothing when there is too little now.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let permit = self.shared.free.try_acquire(self.clamp(bytes))?;
        Some(Reservation { permit: Some(permit), shared: Arc::clone(&self.shared) })
    }

    /// Takes memory at once: what is free of it, and the rest past the budget. Only for work that was within the budget
    /// before and must be done again.
    pub(crate) fn take(&self, bytes: u64) -> Reservation {
        let free = u32::try_from(self.shared.free.free()).unwrap_or(u32::MAX);
        let permit = self.shared.free.try_acquire(self.clamp(bytes).min(free));
        Reservation { permit, shared: Arc::clone(&self.shared) }
    }

    /// Takes memory, waiting for it; meanwhile a delivery is asked to cut: of those of the lowest priority the one that holds
    /// most. More than the whole budget is served as the whole budget, so that one large record can always pass.
    pub(crate) async fn reserve(&self, bytes: u64, priority: Priority) -> Reservation {
        if let Some(reservation) = self.try_reserve(bytes) {
            return reservation;
        }
        let acquired = self.shared.free.acquire(self.clamp(bytes), priority);
        tokio::pin!(acquired);
        loop {
            let released = self.shared.released.notified();
            self.press();
            tokio::select! {
                permit = &mut acquired => return Reservation { permit: Some(permit), shared: Arc::clone(&self.shared) },
                () = released => {}
            }
        }
    }

    /// Bytes held now.
    pub(crate) fn used_bytes(&self) -> u64 {
        let free = u64::try_from(self.shared.free.free()).unwrap_or(0);
        (u64::from(self.shared.pages_max).saturating_sub(free)) * PAGE_BYTES
    }

    /// The whole budget.
    pub(crate) fn bytes_max(&self) -> u64 {
        u64::from(self.shared.pages_max) * PAGE_BYTES
    }

    fn clamp(&self, bytes: u64) -> u32 {
        pages(bytes).min(self.shared.pages_max)
    }

    /// Asks one that has something to give.
    fn press(&self) {
        let accounts = self.shared.accounts.lock();
        let cuttable = |account: &Account| account.cuttable_bytes.load(Ordering::Acquire);
        let holders = accounts.values().filter(|account| cuttable(account) > 0);
        if let Some(asked) = holders.max_by_key(|account| (Reverse(account.priority), cuttable(account))) {
            asked.pressed.store(true, Ordering::Release);
            asked.wake.notify_one();
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
            && let Some(more) = self.shared.free.try_acquire(missing)
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
        let (small, large) = (budget.join(Priority::Normal), budget.join(Priority::Normal));
        let held_small = budget.reserve(MIB, Priority::Normal).await;
        let held_large = budget.reserve(3 * MIB, Priority::Normal).await;
        small.set_cuttable(MIB);
        large.set_cuttable(3 * MIB);
        let mut waiting = Box::pin(budget.reserve(2 * MIB, Priority::Normal));
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
    async fn the_less_urgent_gives_first_and_gets_last() {
        let budget = Budget::new(4 * MIB);
        let (low, high) = (budget.join(Priority::Low), budget.join(Priority::High));
        let held_low = budget.reserve(MIB, Priority::Low).await;
        let held_high = budget.reserve(3 * MIB, Priority::High).await;
        low.set_cuttable(MIB);
        high.set_cuttable(3 * MIB);
        let wait = |priority| {
            let budget = budget.clone();
            tokio::spawn(async move { budget.reserve(MIB, priority).await })
        };
        let (waiting_low, waiting_high) = (wait(Priority::Low), wait(Priority::High));
        low.pressed().await;
        assert!(low.is_pressed() && !high.is_pressed());
        low.set_cuttable(0);
        drop(held_low);
        let served = waiting_high.await.unwrap();
        // Nobody less urgent has anything left to give.
        high.pressed().await;
        assert!(!waiting_low.is_finished());
        drop(held_high);
        drop((waiting_low.await.unwrap(), served));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn the_next_largest_is_asked_when_a_release_was_not_enough() {
        let budget = Budget::new(4 * MIB);
        let (first, second) = (budget.join(Priority::Normal), budget.join(Priority::Normal));
        let held_first = budget.reserve(2 * MIB, Priority::Normal).await;
        let held_second = budget.reserve(2 * MIB, Priority::Normal).await;
        first.set_cuttable(2 * MIB);
        second.set_cuttable(MIB);
        let mut waiting = Box::pin(budget.reserve(3 * MIB, Priority::Normal));
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
        let held = budget.reserve(64 * MIB, Priority::Normal).await;
        assert!(budget.try_reserve(1).is_none());
        drop(held);
        assert!(budget.try_reserve(1).is_some());
    }

    #[tokio::test]
    async fn a_reservation_shrinks_to_what_is_used() {
        let budget = Budget::new(4 * MIB);
        let mut held = budget.reserve(3 * MIB, Priority::Normal).await;
        held.resize(MIB);
        assert_eq!(budget.used_bytes(), MIB);
        held.resize(2 * MIB);
        assert_eq!(budget.used_bytes(), 2 * MIB);
    }
}
