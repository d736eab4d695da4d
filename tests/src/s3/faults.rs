//! What goes wrong on the store's wire, drawn from a seeded generator and counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A way in which a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Refused with a server error; nothing is done.
    Error,
    /// Never answered; nothing is done.
    TimeOut,
    /// The connection breaks in the middle of an upload; nothing is stored.
    Torn,
    /// Done, but reported as failed.
    LostSuccess,
}

#[derive(Debug)]
struct Plan {
    generator: StdRng,
    percent: u32,
    kinds: Vec<Fault>,
    time_outs_left: u32,
}

/// The faults of one server.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Option<Plan>>,
    injected: Mutex<BTreeMap<Fault, u32>>,
    read_only: AtomicBool,
    puts: Mutex<Vec<BTreeMap<String, String>>>,
}

impl Faults {
    /// From now on, `percent` of the requests fail in one of these ways, at most `time_outs_max` of them by a time-out
    /// (each costs the client's whole patience).
    pub fn inject(&self, generator: StdRng, percent: u32, kinds: &[Fault], time_outs_max: u32) {
        *self.plan.lock() = Some(Plan { generator, percent, kinds: kinds.to_vec(), time_outs_left: time_outs_max });
    }

    /// From now on, all requests are answered.
    pub fn heal(&self) {
        *self.plan.lock() = None;
    }

    /// From now on, writes are denied, or allowed again.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::SeqCst);
    }

    /// How often each fault happened.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<Fault, u32> {
        self.injected.lock().clone()
    }

    /// The headers of every object that was put, faults or not.
    #[must_use]
    pub fn puts(&self) -> Vec<BTreeMap<String, String>> {
        self.puts.lock().clone()
    }

    pub(super) fn note_put(&self, headers: BTreeMap<String, String>) {
        self.puts.lock().push(headers);
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::SeqCst)
    }

    /// The fault of the next request, if it has one. Only writes can be torn or succeed in secret.
    pub(super) fn draw(&self, writes: bool) -> Option<Fault> {
        let mut plan = self.plan.lock();
        let plan = plan.as_mut()?;
        if plan.generator.random_range(0..100) >= plan.percent {
            return None;
        }
        let mut fault = *plan.kinds.choose(&mut plan.generator)?;
        if fault == Fault::TimeOut {
            match plan.time_outs_left.checked_sub(1) {
                Some(left) => plan.time_outs_left = left,
                None => fault = Fault::Error,
            }
        }
        if !writes && matches!(fault, Fault::Torn | Fault::LostSuccess) {
            fault = Fault::Error;
        }
        *self.injected.lock().entry(fault).or_default() += 1;
        Some(fault)
    }
}
