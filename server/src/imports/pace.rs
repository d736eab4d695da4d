//! A cap on the rate of an import: what was put is paid for by waiting before the next put.

use std::time::Duration;

use tokio::time::Instant;

/// How much is saved up while nothing is put, as time at the rate.
const BURST: Duration = Duration::from_secs(1);

/// The caps of one import, and what it owes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    records: Option<Account>,
    bytes: Option<Account>,
}

#[derive(Debug)]
struct Account {
    per_second: f64,
    /// When all that was put is paid for.
    paid_at: Instant,
}

impl Account {
    fn take(&mut self, amount: u64, now: Instant) -> Duration {
        let from = self.paid_at.max(now.checked_sub(BURST).unwrap_or(now));
        // Who owes waits first; what is taken then is owed.
        let wait = from.saturating_duration_since(now);
        self.paid_at = from + Duration::from_secs_f64((amount as f64 / self.per_second).min(86_400.0));
        wait
    }
}

impl Pace {
    /// Caps on records and bytes each second; one that is the same as before keeps what is owed.
    pub(super) fn set(&mut self, records: Option<u64>, bytes: Option<u64>, now: Instant) {
        let set = |account: &mut Option<Account>, rate: Option<u64>| {
            let per_second = rate.map(|rate| rate as f64);
            if account.as_ref().map(|account| account.per_second) != per_second {
                *account = per_second.map(|per_second| Account { per_second, paid_at: now });
            }
        };
        set(&mut self.records, records);
        set(&mut self.bytes, bytes);
    }

    /// Takes room for a put; it must wait so long before.
    pub(super) fn take(&mut self, records: u64, bytes: u64, now: Instant) -> Duration {
        let wait = |account: &mut Option<Account>, amount| account.as_mut().map(|account| account.take(amount, now));
        let (records, bytes) = (wait(&mut self.records, records), wait(&mut self.bytes, bytes));
        records.unwrap_or_default().max(bytes.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_passes_than_the_cap() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.set(Some(100), None, start);
        let mut now = start;
        for _ in 0..50 {
            now += pace.take(40, 1_000_000, now);
        }
        // 49 puts are paid for before the last begins.
        assert!(now - start >= Duration::from_millis(49 * 400), "{:?}", now - start);
        assert!(now - start < Duration::from_millis(50 * 400 + 1));
    }

    #[test]
    fn the_stricter_cap_counts_and_no_cap_waits_for_nothing() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.take(u64::MAX, u64::MAX, start), Duration::ZERO);
        pace.set(Some(1000), Some(100), start);
        assert_eq!(pace.take(1, 500, start), Duration::ZERO);
        pace.set(Some(1000), Some(100), start);
        let wait = pace.take(1, 500, start);
        assert!(wait > Duration::from_secs(4) && wait <= Duration::from_secs(5), "{wait:?}");
        pace.set(None, None, start);
        assert_eq!(pace.take(1, 500, start), Duration::ZERO);
    }
}
