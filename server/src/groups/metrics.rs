//! What groups count. Labels are bounded by the limits on streams, groups and told-apart shards; deleting a group removes
//! its own.

use millrace_storage::log::ShardId;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::name::GroupName;
use crate::metrics::Metrics;
use crate::streams::StreamName;

/// The label of the shards past those that metrics tell apart.
const OTHER: &str = "other";

#[derive(Debug)]
pub(super) struct GroupsMetrics {
    members: IntGaugeVec,
    leases: IntGaugeVec,
    rebalances: IntCounterVec,
    asked_back: IntCounterVec,
    taken_away: IntCounterVec,
    expired: IntCounterVec,
    checkpoints: IntCounterVec,
    refused: IntCounterVec,
    lag: IntGaugeVec,
    rejected: IntCounterVec,
    shards_max: u32,
}

/// The counts of one group, looked up once.
#[derive(Debug)]
pub(super) struct GroupMetrics {
    pub(super) members: IntGauge,
    pub(super) leases: IntGauge,
    pub(super) rebalances: IntCounter,
    pub(super) asked_back: IntCounter,
    pub(super) taken_away: IntCounter,
    pub(super) expired: IntCounter,
    pub(super) checkpoints: IntCounter,
    pub(super) refused: IntCounter,
}

impl GroupsMetrics {
    pub(super) fn new(metrics: &Metrics, shards_max: u32) -> Self {
        const LABELS: [&str; 2] = ["stream", "group"];
        let counts = |name: &str, help: &str| metrics.counters(name, help, &LABELS);
        Self {
            members: metrics.gauges("millrace_groups_members", "Members of a consumer group", &LABELS),
            leases: metrics.gauges("millrace_groups_leases", "Shards that a member of a group holds", &LABELS),
            rebalances: counts("millrace_groups_rebalances_total", "Changes of who holds which shard"),
            asked_back: counts(
                "millrace_groups_leases_asked_back_total",
                "Leases whose owner was asked to finish and hand over",
            ),
            taken_away: counts(
                "millrace_groups_leases_taken_away_total",
                "Leases whose owner did not hand over within the time",
            ),
            expired: counts("millrace_groups_members_expired_total", "Members that were silent beyond the lease time"),
            checkpoints: counts("millrace_groups_checkpoints_total", "Checkpoints that were stored"),
            refused: counts(
                "millrace_groups_checkpoints_refused_total",
                "Checkpoints refused because the lease was lost",
            ),
            lag: metrics.gauges(
                "millrace_groups_lag_records",
                "Records that are kept and that a group has not yet processed",
                &["stream", "group", "shard"],
            ),
            rejected: metrics.counters(
                "millrace_groups_rejected_total",
                "Calls that broke a limit of groups, by its name",
                &["limit"],
            ),
            shards_max,
        }
    }

    pub(super) fn group(&self, stream: &StreamName, group: &GroupName) -> GroupMetrics {
        let labels = [stream.as_str(), group.as_str()];
        GroupMetrics {
            members: self.members.with_label_values(&labels),
            leases: self.leases.with_label_values(&labels),
            rebalances: self.rebalances.with_label_values(&labels),
            asked_back: self.asked_back.with_label_values(&labels),
            taken_away: self.taken_away.with_label_values(&labels),
            expired: self.expired.with_label_values(&labels),
            checkpoints: self.checkpoints.with_label_values(&labels),
            refused: self.refused.with_label_values(&labels),
        }
    }

    /// Counts a call that broke a limit.
    pub(super) fn rejected(&self, limit: &'static str) {
        self.rejected.with_label_values(&[limit]).inc();
    }

    /// Sets a group's lag by shard.
    pub(super) fn set_lag(&self, stream: &StreamName, group: &GroupName, lags: impl Iterator<Item = (ShardId, u64)>) {
        let mut others = None;
        for (shard, lag) in lags {
            if shard.0 < self.shards_max {
                self.set_shard_lag(stream, group, &shard.0.to_string(), lag);
            } else {
                *others.get_or_insert(0) += lag;
            }
        }
        if let Some(lag) = others {
            self.set_shard_lag(stream, group, OTHER, lag);
        }
    }

    fn set_shard_lag(&self, stream: &StreamName, group: &GroupName, shard: &str, lag: u64) {
        let lag = i64::try_from(lag).unwrap_or(i64::MAX);
        self.lag.with_label_values(&[stream.as_str(), group.as_str(), shard]).set(lag);
    }

    /// Forgets a shard that the stream no longer has.
    pub(super) fn remove_shard(&self, stream: &StreamName, group: &GroupName, shard: ShardId) {
        // A label that was never used is not there.
        let _ = self.lag.remove_label_values(&[stream.as_str(), group.as_str(), &shard.0.to_string()]);
    }

    /// Forgets a group.
    pub(super) fn remove(&self, stream: &StreamName, group: &GroupName) {
        let labels = [stream.as_str(), group.as_str()];
        for gauges in [&self.members, &self.leases] {
            let _ = gauges.remove_label_values(&labels);
        }
        let counts =
            [&self.rebalances, &self.asked_back, &self.taken_away, &self.expired, &self.checkpoints, &self.refused];
        for counts in counts {
            let _ = counts.remove_label_values(&labels);
        }
        for shard in (0..self.shards_max).map(|shard| shard.to_string()).chain([OTHER.to_owned()]) {
            let _ = self.lag.remove_label_values(&[stream.as_str(), group.as_str(), &shard]);
        }
    }
}
