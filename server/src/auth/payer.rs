//! Who pays: what a principal may put, over all streams, and what it put and read.
//!
//! The quota is taken record by record before a stream's own, so that one principal cannot use up what others share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::{AuthMetrics, PayerCounts};
use crate::streams::{Account, OverQuota, ShardQuota};

/// What a principal may put each second; zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayerQuota {
    /// Data plus partition keys.
    pub in_bytes_per_second: u64,
    /// Records.
    pub in_records_per_second: u64,
    /// How much of each is saved up, as time at its rate.
    pub burst: Duration,
    /// What becomes of a put over it.
    pub over_quota: OverQuota,
}

impl Default for PayerQuota {
    fn default() -> Self {
        Self {
            in_bytes_per_second: 0,
            in_records_per_second: 0,
            burst: Duration::from_secs(1),
            over_quota: OverQuota::Reject,
        }
    }
}

impl PayerQuota {
    const fn is_unlimited(&self) -> bool {
        self.in_bytes_per_second == 0 && self.in_records_per_second == 0
    }
}

/// The running account of a principal.
#[derive(Debug)]
pub struct Payer {
    name: String,
    /// `None` without a limit: then nothing is locked and nothing counted but what was stored.
    account: Option<(Account, OverQuota)>,
    counts: PayerCounts,
}

/// What a payer let through of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    /// So many of its records, the first ones.
    pub(crate) records: usize,
    /// What those must wait for.
    pub(crate) wait: Duration,
    /// When to try the others again.
    pub(crate) retry_after: Option<Duration>,
}

impl Payer {
    pub(super) fn new(name: &str, quota: PayerQuota, record_bytes_max: u64, metrics: &AuthMetrics) -> Arc<Self> {
        let rates = ShardQuota {
            in_bytes_per_second: quota.in_bytes_per_second,
            in_records_per_second: quota.in_records_per_second,
            out_bytes_per_second: 0,
            burst: quota.burst,
        };
        let account = || (Account::new(rates, record_bytes_max, Instant::now()), quota.over_quota);
        Arc::new(Self {
            name: name.to_owned(),
            account: (!quota.is_unlimited()).then(account),
            counts: metrics.payer(name),
        })
    }

    /// The principal's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether puts over the quota wait at all.
    pub(crate) const fn delays(&self) -> bool {
        matches!(self.account, Some((_, OverQuota::Delay)))
    }

    /// Takes quota for records of these sizes, in order, or for all of them or none. What is over it waits so long at most,
    /// where the principal's puts wait at all.
    pub(crate) fn take(
        &self,
        sizes: impl Iterator<Item = u64> + Clone,
        whole: bool,
        now: Instant,
        wait_max: Duration,
    ) -> Granted {
        let count = sizes.clone().count();
        let Some((account, over_quota)) = &self.account else {
            return Granted { records: count, wait: Duration::ZERO, retry_after: None };
        };
        let wait_max = if *over_quota == OverQuota::Delay { wait_max } else { Duration::ZERO };
        let mut incoming = account.incoming_within(now, wait_max);
        let records = if whole {
            let taken = incoming.take_whole(sizes.sum(), count as u64);
            if taken.is_ok() { count } else { 0 }
        } else {
            sizes.take_while(|bytes| incoming.take(*bytes).is_ok()).count()
        };
        let granted = Granted { records, wait: incoming.wait(), retry_after: incoming.denied() };
        drop(incoming);
        if records < count {
            self.counts.throttled_in.inc_by((count - records) as u64);
        }
        if !granted.wait.is_zero() {
            self.counts.delayed_in.inc_by(records as u64);
        }
        granted
    }

    /// Counts records that are durable.
    pub(crate) fn stored(&self, records: u64, bytes: u64) {
        self.counts.in_records.inc_by(records);
        self.counts.in_bytes.inc_by(bytes);
    }

    /// Counts records that were given to the principal.
    pub fn read(&self, records: u64, bytes: u64) {
        self.counts.out_records.inc_by(records);
        self.counts.out_bytes.inc_by(bytes);
    }
}
