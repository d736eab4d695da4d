//! Calls a second for each shard: a bucket of one second's calls.

use std::collections::HashMap;
use std::time::Instant;

use millrace_storage::log::ShardKey;
use parking_lot::Mutex;

/// Buckets that are kept before full ones, which are as good as none, are dropped.
const BUCKETS_MAX: usize = 4096;

/// The rate of one kind of call.
#[derive(Debug)]
pub(in crate::api::aws) struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<ShardKey, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Rates {
    /// So many calls a second; 0 is no limit.
    pub(in crate::api::aws) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Takes one call; false where the second's calls are used up.
    pub(in crate::api::aws) fn take(&self, shard: ShardKey, now: Instant) -> bool {
        let most = self.per_second;
        if most == 0.0 {
            return true;
        }
        let refilled = |bucket: &Bucket| {
            let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
            most.mul_add(passed, bucket.level).min(most)
        };
        let mut buckets = self.buckets.lock();
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&shard) {
            buckets.retain(|_, bucket| refilled(bucket) < most);
        }
        let bucket = buckets.entry(shard).or_insert(Bucket { level: most, at: now });
        bucket.level = refilled(bucket);
        bucket.at = now;
        let taken = bucket.level >= 1.0;
        if taken {
            bucket.level -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_storage::log::{ShardId, StreamId};

    use super::*;

    fn shard(number: u32) -> ShardKey {
        ShardKey { stream: StreamId(1), shard: ShardId(number) }
    }

    #[test]
    fn the_call_past_the_second_is_refused_until_its_share_is_there() {
        let (rates, start) = (Rates::new(5), Instant::now());
        for _ in 0..5 {
            assert!(rates.take(shard(0), start));
        }
        assert!(!rates.take(shard(0), start));
        assert!(rates.take(shard(1), start), "each shard has its own");
        assert!(!rates.take(shard(0), start + Duration::from_millis(190)));
        assert!(rates.take(shard(0), start + Duration::from_millis(210)));
    }

    #[test]
    fn zero_is_no_limit() {
        let (rates, now) = (Rates::new(0), Instant::now());
        assert!((0..1000).all(|_| rates.take(shard(0), now)));
    }

    #[test]
    fn idle_buckets_are_dropped_when_there_are_many() {
        let (rates, start) = (Rates::new(5), Instant::now());
        for number in 0..u32::try_from(BUCKETS_MAX).unwrap() {
            assert!(rates.take(shard(number), start));
        }
        assert!(rates.take(shard(u32::MAX), start + Duration::from_secs(2)));
        assert_eq!(rates.buckets.lock().len(), 1);
    }
}
