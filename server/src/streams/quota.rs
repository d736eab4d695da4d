//! Quotas of a shard: what it takes and gives each second.
//!
//! A bucket of our own, where the field's crate (`governor`) does not fit: its cells last whole nanoseconds, which is 6 %
//! wrong at 100 MiB/s and nothing at all past 1 GB/s; bytes and records must be taken together or not at all; and a read
//! is charged after its size is known, so the bucket must be able to owe.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What one shard takes and gives each second; zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardQuota {
    /// Bytes in: data plus partition keys.
    pub in_bytes_per_second: u64,
    /// Records in.
    pub in_records_per_second: u64,
    /// Bytes out, to all readers together.
    pub out_bytes_per_second: u64,
    /// How much of each an idle shard saves up, as time at its rate.
    pub burst: Duration,
}

/// What becomes of a put that is over a shard's quota. The numbers are those on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum OverQuota {
    /// It is refused and told when to retry.
    #[default]
    Reject = 0,
    /// It waits for its turn, within `delay_time_max` and `delay_bytes_max`.
    Delay = 1,
}

impl OverQuota {
    /// From its number on disk.
    pub(crate) const fn from_stored(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Reject),
            1 => Some(Self::Delay),
            _ => None,
        }
    }
}

/// A level that rises with time up to `burst` and falls by what is taken. Below zero it owes.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
}

impl Bucket {
    /// A full bucket that holds `burst` of its rate, and at least `amount_min`; `None` where there is no limit.
    fn full(per_second: u64, burst: Duration, amount_min: u64) -> Option<Self> {
        let rate = per_second as f64;
        let burst = (rate * burst.as_secs_f64()).max(amount_min as f64);
        (per_second > 0).then_some(Self { rate, burst, level: burst })
    }

    fn refill(&mut self, passed: Duration) {
        self.level = self.rate.mul_add(passed.as_secs_f64(), self.level).min(self.burst);
    }

    /// How long until `amount` is there.
    fn wait(&self, amount: f64) -> Duration {
        let missing = amount.min(self.burst) - self.level;
        if missing <= 0.0 { Duration::ZERO } else { Duration::from_secs_f64((missing / self.rate).min(3600.0)) }
    }
}

#[derive(Debug)]
struct Buckets {
    in_bytes: Option<Bucket>,
    in_records: Option<Bucket>,
    out_bytes: Option<Bucket>,
    at: Instant,
}

impl Buckets {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        for bucket in [&mut self.in_bytes, &mut self.in_records, &mut self.out_bytes].into_iter().flatten() {
            bucket.refill(passed);
        }
    }
}

/// The running account of one shard.
#[derive(Debug)]
pub(crate) struct Account {
    buckets: Mutex<Buckets>,
}

impl Account {
    /// An account that begins with the burst of each quota, and never less than one record of the largest size.
    pub(crate) fn new(quota: ShardQuota, record_bytes_max: u64, now: Instant) -> Self {
        Self {
            buckets: Mutex::new(Buckets {
                in_bytes: Bucket::full(quota.in_bytes_per_second, quota.burst, record_bytes_max),
                in_records: Bucket::full(quota.in_records_per_second, quota.burst, 1),
                out_bytes: Bucket::full(quota.out_bytes_per_second, quota.burst, 1),
                at: now,
            }),
        }
    }

    /// Opens the account for one batch; records are taken from it one by one.
    pub(super) fn incoming(&self, now: Instant) -> Incoming<'_> {
        self.incoming_within(now, Duration::ZERO)
    }

    /// As [`Self::incoming`], for a batch that may wait so long. What it takes is its own at once, and the account may owe
    /// afterwards: who comes later waits longer.
    pub(crate) fn incoming_within(&self, now: Instant, wait_max: Duration) -> Incoming<'_> {
        let mut buckets = self.buckets.lock();
        buckets.refill(now);
        Incoming { buckets, wait_max, wait: Duration::ZERO, denied: None }
    }

    /// Whether a read may begin; else how long until it may.
    pub(super) fn outgoing(&self, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        buckets.refill(now);
        match &buckets.out_bytes {
            Some(bucket) if bucket.level <= 0.0 => Err(bucket.wait(1.0)),
            _ => Ok(()),
        }
    }

    /// Charges what a read gave; the account may owe afterwards, and the next read waits.
    pub(super) fn charge_outgoing(&self, bytes: u64) {
        if let Some(bucket) = &mut self.buckets.lock().out_bytes {
            bucket.level -= bytes as f64;
        }
    }
}

/// The account while one batch takes from it. Holds its lock: must not be kept across an await.
pub(crate) struct Incoming<'a> {
    buckets: parking_lot::MutexGuard<'a, Buckets>,
    wait_max: Duration,
    wait: Duration,
    denied: Option<Duration>,
}

impl Incoming<'_> {
    /// How long the batch must wait before what it took is there.
    pub(crate) const fn wait(&self) -> Duration {
        self.wait
    }

    /// How long until the first denied record may be taken; `None` where none was denied.
    pub(crate) const fn denied(&self) -> Option<Duration> {
        self.denied
    }

    /// Takes one record of so many bytes; else says how long until it may be. Once one is denied, all after it are, so that
    /// the records of a shard keep their order.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), Duration> {
        if let Some(wait) = self.denied {
            return Err(wait);
        }
        self.take_whole(bytes, 1)
    }

    /// Takes records together or not at all. More of them than the burst are taken when the account is full, which then
    /// owes.
    pub(crate) fn take_whole(&mut self, bytes: u64, records: u64) -> Result<(), Duration> {
        let (bytes, records) = (bytes as f64, records as f64);
        let buckets = &mut *self.buckets;
        let wait_of = |bucket: &Option<Bucket>, amount| bucket.as_ref().map_or(Duration::ZERO, |b| b.wait(amount));
        let wait = wait_of(&buckets.in_bytes, bytes).max(wait_of(&buckets.in_records, records));
        if wait > self.wait_max {
            let wait = wait - self.wait_max;
            self.denied = Some(wait);
            return Err(wait);
        }
        self.wait = self.wait.max(wait);
        for (bucket, amount) in [(&mut buckets.in_bytes, bytes), (&mut buckets.in_records, records)] {
            if let Some(bucket) = bucket {
                bucket.level -= amount;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn quota(in_bytes: u64, in_records: u64, out_bytes: u64) -> ShardQuota {
        ShardQuota {
            in_bytes_per_second: in_bytes,
            in_records_per_second: in_records,
            out_bytes_per_second: out_bytes,
            burst: SECOND,
        }
    }

    #[test]
    fn the_record_past_the_second_is_denied_until_it_fits() {
        let start = Instant::now();
        let account = Account::new(quota(0, 1000, 0), 1, start);
        let mut batch = account.incoming(start);
        for _ in 0..1000 {
            assert_eq!(batch.take(1 << 20), Ok(()));
        }
        assert_eq!(batch.take(1), Err(Duration::from_millis(1)));
        drop(batch);
        assert!(account.incoming(start + Duration::from_millis(1)).take(1).is_ok());
        assert!(account.incoming(start + Duration::from_millis(1)).take(1).is_err());
    }

    #[test]
    fn a_denied_record_takes_nothing_and_denies_those_after_it() {
        let start = Instant::now();
        let account = Account::new(quota(100, 10, 0), 1, start);
        let mut batch = account.incoming(start);
        assert_eq!(batch.take(60), Ok(()));
        assert_eq!(batch.take(60), Err(Duration::from_millis(200)));
        assert_eq!(batch.take(1), Err(Duration::from_millis(200)), "order is kept");
        drop(batch);
        let mut next = account.incoming(start);
        for _ in 0..9 {
            assert_eq!(next.take(1), Ok(()), "the denied record left its share of the record quota");
        }
        assert!(next.take(1).is_err());
    }

    #[test]
    fn a_record_larger_than_a_second_of_quota_still_fits() {
        let start = Instant::now();
        let account = Account::new(quota(1000, 0, 0), 5000, start);
        assert_eq!(account.incoming(start).take(5000), Ok(()));
        assert_eq!(account.incoming(start).take(5000), Err(5 * SECOND));
        assert_eq!(account.incoming(start + 5 * SECOND).take(5000), Ok(()));
    }

    #[test]
    fn an_idle_shard_saves_up_its_burst_and_no_more() {
        let start = Instant::now();
        for (burst, at_once) in [(SECOND / 10, 100), (SECOND, 1000), (10 * SECOND, 10_000)] {
            let account = Account::new(ShardQuota { burst, ..quota(0, 1000, 0) }, 1, start);
            let mut batch = account.incoming(start + 3600 * SECOND);
            assert!((0..at_once).all(|_| batch.take(1).is_ok()), "{burst:?}");
            assert!(batch.take(1).is_err(), "{burst:?}");
        }
    }

    #[test]
    fn who_may_wait_takes_in_turn_and_a_large_record_is_not_passed() {
        let start = Instant::now();
        let account = Account::new(quota(100, 0, 0), 1, start);
        let take = |bytes: u64, wait_max: Duration| {
            let mut batch = account.incoming_within(start, wait_max);
            batch.take(bytes).map(|()| batch.wait())
        };
        assert_eq!(take(100, 10 * SECOND), Ok(Duration::ZERO));
        assert_eq!(take(100, 10 * SECOND), Ok(SECOND));
        assert_eq!(take(1, 10 * SECOND), Ok(SECOND + SECOND / 100), "a small one waits behind the large one");
        assert_eq!(take(1, Duration::ZERO), Err(SECOND + SECOND / 50), "who does not wait does not overtake");
        // At the bound and one past it.
        assert_eq!(take(99, 2 * SECOND), Ok(2 * SECOND));
        assert_eq!(take(1, 2 * SECOND), Err(SECOND / 100), "until its wait is short enough");
    }

    #[test]
    fn rates_are_right_far_beyond_a_nanosecond_a_byte() {
        let start = Instant::now();
        let account = Account::new(quota(8_000_000_000, 0, 0), 1, start);
        assert_eq!(account.incoming(start).take(8_000_000_000), Ok(()));
        assert_eq!(account.incoming(start).take(4_000_000_000), Err(SECOND / 2));
    }

    #[test]
    fn a_read_may_owe_and_the_next_waits() {
        let start = Instant::now();
        let account = Account::new(quota(0, 0, 2 << 20), 1, start);
        assert_eq!(account.outgoing(start), Ok(()));
        account.charge_outgoing(10 << 20);
        let wait = account.outgoing(start).unwrap_err();
        assert!(wait > 4 * SECOND && wait < 5 * SECOND, "{wait:?}");
        assert_eq!(account.outgoing(start + 5 * SECOND), Ok(()));
    }

    #[test]
    fn zero_is_no_limit() {
        let start = Instant::now();
        let account = Account::new(ShardQuota::default(), 1, start);
        assert_eq!(account.incoming(start).take(u64::MAX), Ok(()));
        account.charge_outgoing(u64::MAX);
        assert_eq!(account.outgoing(start), Ok(()));
    }
}
