//! What streams count. The shard label has a bounded number of values; deleting a stream removes its labels.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGaugeVec};

use super::name::StreamName;
use crate::metrics::Metrics;

/// The label of the shards past `metric_shards_max`.
const OTHER: &str = "other";

#[derive(Debug)]
pub(super) struct StreamMetrics {
    in_bytes: IntCounterVec,
    in_records: IntCounterVec,
    out_bytes: IntCounterVec,
    out_records: IntCounterVec,
    throttled_in: IntCounterVec,
    throttled_out: IntCounterVec,
    rejected: IntCounterVec,
    /// Records past their retention that a delivery has not yet committed.
    pub(super) retention_held: IntGaugeVec,
    pub(super) retention_trimmed: IntCounterVec,
    pub(super) retention_errors: IntCounter,
    pub(super) put_latency: Histogram,
    pub(super) subscribers: prometheus::IntGauge,
    shards_max: u32,
}

/// The counts of one shard, looked up once.
#[derive(Debug)]
pub(super) struct ShardMetrics {
    pub(super) in_bytes: IntCounter,
    pub(super) in_records: IntCounter,
    pub(super) out_bytes: IntCounter,
    pub(super) out_records: IntCounter,
    pub(super) throttled_in: IntCounter,
    pub(super) throttled_out: IntCounter,
}

impl StreamMetrics {
    pub(super) fn new(metrics: &Metrics, shards_max: u32) -> Self {
        let by_shard = |name: &str, help: &str| metrics.counters(name, help, &["stream", "shard"]);
        Self {
            in_bytes: by_shard("millrace_streams_incoming_bytes_total", "Data and keys of acknowledged records"),
            in_records: by_shard("millrace_streams_incoming_records_total", "Acknowledged records"),
            out_bytes: by_shard("millrace_streams_outgoing_bytes_total", "Data and keys given to readers"),
            out_records: by_shard("millrace_streams_outgoing_records_total", "Records given to readers"),
            throttled_in: by_shard("millrace_streams_throttled_records_total", "Records denied by an in quota"),
            throttled_out: by_shard(
                "millrace_streams_throttled_reads_total",
                "Reads denied or delayed by an out quota",
            ),
            rejected: metrics.counters(
                "millrace_streams_rejected_total",
                "Requests and records that broke a limit, by its name",
                &["limit"],
            ),
            retention_held: metrics.gauges(
                "millrace_streams_retention_held_records",
                "Records past their retention that are kept because a delivery has not committed them",
                &["stream"],
            ),
            retention_trimmed: metrics.counters(
                "millrace_streams_retention_trimmed_records_total",
                "Records trimmed because their retention ended",
                &["stream"],
            ),
            retention_errors: metrics.counter(
                "millrace_streams_retention_errors_total",
                "Passes over a stream that failed and are repeated",
            ),
            put_latency: metrics
                .latency("millrace_streams_put_latency_seconds", "From a put's arrival until all of it is durable"),
            subscribers: metrics.gauge("millrace_streams_subscribers", "Open subscriptions"),
            shards_max,
        }
    }

    /// Counts a request or record that broke a limit.
    pub(super) fn rejected(&self, limit: &'static str, count: u64) {
        self.rejected.with_label_values(&[limit]).inc_by(count);
    }

    pub(super) fn shard(&self, stream: &StreamName, shard: u32) -> ShardMetrics {
        let shard = if shard < self.shards_max { shard.to_string() } else { OTHER.to_owned() };
        let labels = [stream.as_str(), shard.as_str()];
        ShardMetrics {
            in_bytes: self.in_bytes.with_label_values(&labels),
            in_records: self.in_records.with_label_values(&labels),
            out_bytes: self.out_bytes.with_label_values(&labels),
            out_records: self.out_records.with_label_values(&labels),
            throttled_in: self.throttled_in.with_label_values(&labels),
            throttled_out: self.throttled_out.with_label_values(&labels),
        }
    }

    /// Forgets a deleted stream.
    pub(super) fn remove(&self, stream: &StreamName, shard_count: u32) {
        let names = (0..shard_count.min(self.shards_max)).map(|shard| shard.to_string());
        for shard in names.chain([OTHER.to_owned()]) {
            let labels = [stream.as_str(), shard.as_str()];
            let by_shard = [
                &self.in_bytes,
                &self.in_records,
                &self.out_bytes,
                &self.out_records,
                &self.throttled_in,
                &self.throttled_out,
            ];
            for counts in by_shard {
                // A label that was never used is not there.
                let _ = counts.remove_label_values(&labels);
            }
        }
        let _ = self.retention_held.remove_label_values(&[stream.as_str()]);
        let _ = self.retention_trimmed.remove_label_values(&[stream.as_str()]);
    }
}
