//! What streams count. Labels are bounded: so many streams have their own, and so many shards; the others are summed up.
//! Deleting a stream, or a shard's end, removes its labels.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::name::StreamName;
use super::sampled::Sampled;
use super::settings::StreamSettings;
use crate::metrics::Metrics;

/// The label of the shards without one of their own.
const OTHER_SHARDS: &str = "other";
/// The label of the streams without one of their own. No stream can have this name.
const OTHER_STREAMS: &str = "(other)";

#[derive(Debug)]
pub(super) struct StreamMetrics {
    in_bytes: IntCounterVec,
    in_records: IntCounterVec,
    out_bytes: IntCounterVec,
    out_records: IntCounterVec,
    throttled_in: IntCounterVec,
    throttled_out: IntCounterVec,
    delayed_in: IntCounterVec,
    put_latency: HistogramVec,
    get_latency: HistogramVec,
    push_latency: HistogramVec,
    delays: HistogramVec,
    retention_trimmed: IntCounterVec,
    rejected: IntCounterVec,
    pub(super) retention_errors: IntCounter,
    pub(super) subscribers: prometheus::IntGauge,
    pub(super) sampled: Sampled,
    labels: Mutex<Labels>,
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
    pub(super) delayed_in: IntCounter,
}

/// The counts of one stream, looked up once.
#[derive(Debug, Clone)]
pub(super) struct StreamCounts {
    /// The stream's label.
    pub(super) label: String,
    pub(super) put_latency: Histogram,
    pub(super) get_latency: Histogram,
    pub(super) push_latency: Histogram,
    pub(super) delays: Histogram,
    pub(super) retention_trimmed: IntCounter,
}

/// Who has a label of their own.
#[derive(Debug)]
struct Labels {
    streams_max: usize,
    shards_max: usize,
    shards_total_max: usize,
    shards_total: usize,
    streams: BTreeMap<String, BTreeSet<u32>>,
}

impl Labels {
    fn of_stream(&mut self, stream: &str) -> String {
        if !self.streams.contains_key(stream) {
            if self.streams.len() >= self.streams_max {
                return OTHER_STREAMS.to_owned();
            }
            self.streams.insert(stream.to_owned(), BTreeSet::new());
        }
        stream.to_owned()
    }

    fn of_shard(&mut self, stream: &str, shard: u32) -> [String; 2] {
        let label = self.of_stream(stream);
        let Some(shards) = self.streams.get_mut(&label) else { return [label, OTHER_SHARDS.to_owned()] };
        if !shards.contains(&shard) {
            if shards.len() >= self.shards_max || self.shards_total >= self.shards_total_max {
                return [label, OTHER_SHARDS.to_owned()];
            }
            shards.insert(shard);
            self.shards_total += 1;
        }
        [label, shard.to_string()]
    }

    /// Takes a stream's labels away; gives those of its shards.
    fn take_stream(&mut self, stream: &str) -> Option<BTreeSet<u32>> {
        let shards = self.streams.remove(stream)?;
        self.shards_total -= shards.len();
        Some(shards)
    }

    /// Takes a shard's label away; says whether it had one.
    fn take_shard(&mut self, stream: &str, shard: u32) -> bool {
        let taken = self.streams.get_mut(stream).is_some_and(|shards| shards.remove(&shard));
        self.shards_total -= usize::from(taken);
        taken
    }
}

impl StreamMetrics {
    pub(super) fn new(metrics: &Metrics, settings: &StreamSettings) -> Self {
        let by_shard = |name: &str, help: &str| metrics.counters(name, help, &["stream", "shard"]);
        let latencies = |name: &str, help: &str| metrics.latencies(name, help, &["stream"]);
        Self {
            in_bytes: by_shard("millrace_streams_incoming_bytes_total", "Data and keys of acknowledged records"),
            in_records: by_shard("millrace_streams_incoming_records_total", "Acknowledged records"),
            out_bytes: by_shard("millrace_streams_outgoing_bytes_total", "Data and keys given to readers"),
            out_records: by_shard("millrace_streams_outgoing_records_total", "Records given to readers"),
            throttled_in: by_shard("millrace_streams_write_throttled_records_total", "Records denied by an in quota"),
            throttled_out: by_shard("millrace_streams_read_throttled_total", "Reads denied or delayed by an out quota"),
            delayed_in: by_shard("millrace_streams_write_delayed_records_total", "Records that waited for an in quota"),
            put_latency: latencies(
                "millrace_streams_put_latency_seconds",
                "From a put's arrival until all of it is durable",
            ),
            get_latency: latencies("millrace_streams_get_latency_seconds", "From a get's arrival to its answer"),
            push_latency: latencies(
                "millrace_streams_push_latency_seconds",
                "From the arrival of the newest record of a push to a subscriber at the tip until it is on its way",
            ),
            delays: latencies("millrace_streams_write_delay_seconds", "How long puts waited for an in quota"),
            retention_trimmed: metrics.counters(
                "millrace_streams_retention_trimmed_records_total",
                "Records trimmed because their retention ended",
                &["stream"],
            ),
            rejected: metrics.counters(
                "millrace_streams_rejected_total",
                "Requests and records that broke a limit, by its name",
                &["limit"],
            ),
            retention_errors: metrics.counter(
                "millrace_streams_retention_errors_total",
                "Passes over a stream that failed and are repeated",
            ),
            subscribers: metrics.gauge("millrace_streams_subscribers", "Open subscriptions"),
            sampled: metrics.register(Sampled::new()),
            labels: Mutex::new(Labels {
                streams_max: settings.metric_streams_max as usize,
                shards_max: settings.metric_shards_max as usize,
                shards_total_max: settings.metric_shards_total_max as usize,
                shards_total: 0,
                streams: BTreeMap::new(),
            }),
        }
    }

    /// Counts a request or record that broke a limit.
    pub(super) fn rejected(&self, limit: &'static str, count: u64) {
        self.rejected.with_label_values(&[limit]).inc_by(count);
    }

    pub(super) fn stream(&self, stream: &StreamName) -> StreamCounts {
        let label = self.labels.lock().of_stream(stream.as_str());
        let labels = [label.as_str()];
        StreamCounts {
            put_latency: self.put_latency.with_label_values(&labels),
            get_latency: self.get_latency.with_label_values(&labels),
            push_latency: self.push_latency.with_label_values(&labels),
            delays: self.delays.with_label_values(&labels),
            retention_trimmed: self.retention_trimmed.with_label_values(&labels),
            label,
        }
    }

    pub(super) fn shard(&self, stream: &StreamName, shard: u32) -> ShardMetrics {
        let [stream, shard] = self.labels.lock().of_shard(stream.as_str(), shard);
        let labels = [stream.as_str(), shard.as_str()];
        ShardMetrics {
            in_bytes: self.in_bytes.with_label_values(&labels),
            in_records: self.in_records.with_label_values(&labels),
            out_bytes: self.out_bytes.with_label_values(&labels),
            out_records: self.out_records.with_label_values(&labels),
            throttled_in: self.throttled_in.with_label_values(&labels),
            throttled_out: self.throttled_out.with_label_values(&labels),
            delayed_in: self.delayed_in.with_label_values(&labels),
        }
    }

    /// Forgets a deleted stream.
    pub(super) fn remove(&self, stream: &StreamName) {
        let Some(shards) = self.labels.lock().take_stream(stream.as_str()) else { return };
        for shard in shards.into_iter().map(|shard| shard.to_string()).chain([OTHER_SHARDS.to_owned()]) {
            self.remove_labels(stream, &shard);
        }
        let labels = [stream.as_str()];
        for latencies in [&self.put_latency, &self.get_latency, &self.push_latency, &self.delays] {
            forget(latencies, &labels);
        }
        forget(&self.retention_trimmed, &labels);
    }

    /// Forgets a shard whose records are gone.
    pub(super) fn remove_shard(&self, stream: &StreamName, shard: u32) {
        if self.labels.lock().take_shard(stream.as_str(), shard) {
            self.remove_labels(stream, &shard.to_string());
        }
    }

    fn remove_labels(&self, stream: &StreamName, shard: &str) {
        let by_shard = [
            &self.in_bytes,
            &self.in_records,
            &self.out_bytes,
            &self.out_records,
            &self.throttled_in,
            &self.throttled_out,
            &self.delayed_in,
        ];
        for counts in by_shard {
            forget(counts, &[stream.as_str(), shard]);
        }
    }
}

/// A label that was never used is not there to be removed.
fn forget<T: MetricVecBuilder>(counts: &MetricVec<T>, labels: &[&str]) {
    let _ = counts.remove_label_values(labels);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let wanted = format!("{name}{{");
        let text = metrics.text();
        text.lines().filter_map(|line| line.strip_prefix(&wanted)).map(str::to_owned).collect()
    }

    /// Two streams and three shards have labels of their own, and at most two shards a stream.
    fn small() -> (Metrics, StreamMetrics) {
        let settings = StreamSettings {
            metric_streams_max: 2,
            metric_shards_max: 2,
            metric_shards_total_max: 3,
            ..StreamSettings::default()
        };
        let metrics = Metrics::new();
        let streams = StreamMetrics::new(&metrics, &settings);
        (metrics, streams)
    }

    #[test]
    fn labels_are_bounded_and_the_rest_is_summed_up() {
        let (metrics, streams) = small();
        let name = |text: &str| text.parse::<StreamName>().unwrap();
        for (stream, shard) in [("a", 0), ("a", 1), ("a", 2), ("b", 7), ("b", 8), ("c", 0), ("d", 1)] {
            streams.shard(&name(stream), shard).in_records.inc();
        }
        let found = lines(&metrics, "millrace_streams_incoming_records_total");
        let wanted = [
            "shard=\"0\",stream=\"a\"} 1",
            "shard=\"1\",stream=\"a\"} 1",
            "shard=\"7\",stream=\"b\"} 1",
            "shard=\"other\",stream=\"(other)\"} 2",
            "shard=\"other\",stream=\"a\"} 1",
            "shard=\"other\",stream=\"b\"} 1",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_label_that_is_given_back_goes_to_the_next() {
        let (metrics, streams) = small();
        let name = |text: &str| text.parse::<StreamName>().unwrap();
        for stream in ["a", "b"] {
            streams.stream(&name(stream)).put_latency.observe(1.0);
            streams.shard(&name(stream), 0).in_records.inc();
        }
        streams.shard(&name("a"), 1).in_records.inc();
        streams.remove_shard(&name("a"), 0);
        streams.remove_shard(&name("a"), 5);
        streams.shard(&name("a"), 9).in_records.inc();
        streams.remove(&name("b"));
        streams.remove(&name("unknown"));
        streams.stream(&name("c")).put_latency.observe(1.0);
        let found = lines(&metrics, "millrace_streams_incoming_records_total");
        assert_eq!(found, ["shard=\"1\",stream=\"a\"} 1", "shard=\"9\",stream=\"a\"} 1"]);
        let found = lines(&metrics, "millrace_streams_put_latency_seconds_count");
        assert_eq!(found, ["stream=\"a\"} 1", "stream=\"c\"} 1"]);
    }
}
