//! What the protocol counts. Labels are bounded: services, operations and codes come from tables and code.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGauge};

use crate::metrics::Metrics;

/// The label of requests that name no operation.
const UNKNOWN: &str = "(unknown)";

/// The metrics of the AWS protocols.
#[derive(Debug, Clone)]
pub(in crate::api::aws) struct AwsMetrics {
    requests: IntCounterVec,
    latency: HistogramVec,
    throttled: IntCounterVec,
    /// Open `SubscribeToShard` streams.
    pub(in crate::api::aws) subscriptions: IntGauge,
}

impl AwsMetrics {
    pub(in crate::api::aws) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters(
                "millrace_aws_requests_total",
                "AWS requests answered, by outcome: ok or the error's code",
                &["service", "operation", "outcome"],
            ),
            latency: metrics.latencies(
                "millrace_aws_request_latency_seconds",
                "From an AWS request's headers to its answer",
                &["service", "operation"],
            ),
            throttled: metrics.counters(
                "millrace_aws_throttled_total",
                "AWS requests refused by a limit of rate or number, by the limit's name",
                &["limit"],
            ),
            subscriptions: metrics.gauge("millrace_aws_subscriptions", "Open SubscribeToShard streams"),
        }
    }

    /// Counts an answer. An empty name is an unknown one.
    pub(in crate::api::aws) fn answered(&self, service: &str, operation: &str, outcome: &str, took: Duration) {
        let (service, operation) = (named(service), named(operation));
        self.requests.with_label_values(&[service, operation, outcome]).inc();
        self.latency.with_label_values(&[service, operation]).observe(took.as_secs_f64());
    }

    /// Counts a refusal by a limit.
    pub(in crate::api::aws) fn throttled(&self, limit: &'static str) {
        self.throttled.with_label_values(&[limit]).inc();
    }
}

const fn named(name: &str) -> &str {
    if name.is_empty() { UNKNOWN } else { name }
}
