//! What authentication counts. Labels are bounded: so many principals have their own, the others are summed up.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::metrics::Metrics;

/// The label of principals without one of their own. None can be called so.
const OTHER: &str = "(other)";

#[derive(Debug)]
pub(super) struct AuthMetrics {
    requests: IntCounterVec,
    denied: IntCounterVec,
    pub(super) principals: IntGauge,
    pub(super) unusable_keys: IntGauge,
    in_bytes: IntCounterVec,
    in_records: IntCounterVec,
    out_bytes: IntCounterVec,
    out_records: IntCounterVec,
    throttled_in: IntCounterVec,
    delayed_in: IntCounterVec,
    principals_max: usize,
    labels: Mutex<BTreeSet<String>>,
}

/// The counts of one principal, looked up once.
#[derive(Debug)]
pub(super) struct PayerCounts {
    pub(super) in_bytes: IntCounter,
    pub(super) in_records: IntCounter,
    pub(super) out_bytes: IntCounter,
    pub(super) out_records: IntCounter,
    pub(super) throttled_in: IntCounter,
    pub(super) delayed_in: IntCounter,
}

impl AuthMetrics {
    pub(super) fn new(metrics: &Metrics, principals_max: u32) -> Self {
        let by_principal = |name: &str, help: &str| metrics.counters(name, help, &["principal"]);
        Self {
            requests: metrics.counters(
                "millrace_auth_requests_total",
                "Requests whose credentials were looked at, by how and with what outcome",
                &["scheme", "outcome"],
            ),
            denied: metrics.counters(
                "millrace_auth_denied_total",
                "Calls that no grant allows, by action",
                &["action"],
            ),
            principals: metrics.gauge("millrace_principals", "Principals"),
            unusable_keys: metrics
                .gauge("millrace_principals_unusable_keys", "Access keys whose secret cannot be unwrapped"),
            in_bytes: by_principal(
                "millrace_principals_incoming_bytes_total",
                "Data and keys of acknowledged records, by who put them",
            ),
            in_records: by_principal(
                "millrace_principals_incoming_records_total",
                "Acknowledged records, by who put them",
            ),
            out_bytes: by_principal(
                "millrace_principals_outgoing_bytes_total",
                "Data and keys given, by who read them",
            ),
            out_records: by_principal("millrace_principals_outgoing_records_total", "Records given, by who read them"),
            throttled_in: by_principal(
                "millrace_principals_write_throttled_records_total",
                "Records denied by a principal's quota",
            ),
            delayed_in: by_principal(
                "millrace_principals_write_delayed_records_total",
                "Records that waited for a principal's quota",
            ),
            principals_max: principals_max as usize,
            labels: Mutex::default(),
        }
    }

    /// Counts an authentication; a failed one by its kind.
    pub(super) fn authenticated(&self, scheme: &str, failed: Option<&'static str>) {
        self.requests.with_label_values(&[scheme, failed.unwrap_or("ok")]).inc();
    }

    pub(super) fn denied(&self, action: &str) {
        self.denied.with_label_values(&[action]).inc();
    }

    pub(super) fn payer(&self, name: &str) -> PayerCounts {
        let mut labels = self.labels.lock();
        let has_room = labels.len() < self.principals_max;
        let label = if labels.contains(name) || has_room && labels.insert(name.to_owned()) { name } else { OTHER };
        let labels = [label];
        PayerCounts {
            in_bytes: self.in_bytes.with_label_values(&labels),
            in_records: self.in_records.with_label_values(&labels),
            out_bytes: self.out_bytes.with_label_values(&labels),
            out_records: self.out_records.with_label_values(&labels),
            throttled_in: self.throttled_in.with_label_values(&labels),
            delayed_in: self.delayed_in.with_label_values(&labels),
        }
    }

    /// Forgets a deleted principal.
    pub(super) fn remove(&self, name: &str) {
        if !self.labels.lock().remove(name) {
            return;
        }
        for counts in
            [&self.in_bytes, &self.in_records, &self.out_bytes, &self.out_records, &self.throttled_in, &self.delayed_in]
        {
            // A label that was never used is not there to be removed.
            let _ = counts.remove_label_values(&[name]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_principals_are_bounded_and_given_back() {
        let metrics = Metrics::new();
        let auth = AuthMetrics::new(&metrics, 2);
        for name in ["a", "b", "c", "d", "a"] {
            auth.payer(name).in_records.inc();
        }
        auth.remove("a");
        auth.payer("e").in_records.inc();
        let text = metrics.text();
        let found: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("millrace_principals_incoming_records_total")).collect();
        assert_eq!(found, ["{principal=\"(other)\"} 2", "{principal=\"b\"} 1", "{principal=\"e\"} 1"]);
    }
}
