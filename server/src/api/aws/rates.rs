//! Calls a second, or a day, for each of many keys: as many at once as the whole time allows, then as time passes.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Keys that are kept before those whose calls are all there again, which are as good as none, are dropped.
const KEYS_MAX: usize = 4096;

/// So many calls within a time; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::aws) struct Rate {
    pub(in crate::api::aws) calls: u32,
    pub(in crate::api::aws) per: Duration,
}

impl Rate {
    pub(in crate::api::aws) const fn per_second(calls: u32) -> Self {
        Self { calls, per: Duration::from_secs(1) }
    }
}

/// How many calls each key has left.
#[derive(Debug)]
pub(in crate::api::aws) struct Rates<K> {
    /// When all calls of a key are there again.
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Rates<K> {
    pub(in crate::api::aws) fn new() -> Self {
        Self { full_at: Mutex::default() }
    }

    /// Takes one call; false where the time's calls are used up.
    pub(in crate::api::aws) fn take(&self, key: K, rate: Rate, now: Instant) -> bool {
        let Rate { calls, per } = rate;
        if calls == 0 {
            return true;
        }
        let mut all = self.full_at.lock();
        if all.len() >= KEYS_MAX && !all.contains_key(&key) {
            all.retain(|_, full_at| *full_at > now);
        }
        let full_at = all.entry(key).or_insert(now);
        let after = (*full_at).max(now) + per / calls;
        let is_taken = after.saturating_duration_since(now) <= per;
        if is_taken {
            *full_at = after;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Rate = Rate::per_second(5);

    #[test]
    fn the_call_past_the_second_is_refused_until_its_share_is_there() {
        let (rates, start) = (Rates::new(), Instant::now());
        for _ in 0..5 {
            assert!(rates.take(0, FIVE, start));
        }
        assert!(!rates.take(0, FIVE, start));
        assert!(rates.take(1, FIVE, start), "each key has its own");
        assert!(!rates.take(0, FIVE, start + Duration::from_millis(190)));
        assert!(rates.take(0, FIVE, start + Duration::from_millis(210)));
    }

    #[test]
    fn a_day_has_its_calls_too() {
        let (rates, start) = (Rates::new(), Instant::now());
        let daily = Rate { calls: 25, per: Duration::from_secs(24 * 3600) };
        assert!((0..25).all(|_| rates.take("s", daily, start)));
        assert!(!rates.take("s", daily, start + Duration::from_secs(3000)));
        assert!(rates.take("s", daily, start + Duration::from_secs(3500)));
    }

    #[test]
    fn zero_is_no_limit() {
        let (rates, now) = (Rates::new(), Instant::now());
        assert!((0..1000).all(|_| rates.take(0, Rate::per_second(0), now)));
    }

    #[test]
    fn idle_keys_are_dropped_when_there_are_many() {
        let (rates, start) = (Rates::new(), Instant::now());
        for number in 0..KEYS_MAX {
            assert!(rates.take(number, FIVE, start));
        }
        assert!(rates.take(usize::MAX, FIVE, start + Duration::from_secs(2)));
        assert_eq!(rates.full_at.lock().len(), 1);
    }
}
