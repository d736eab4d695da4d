//! The metrics of deliveries. Labels are the delivery, the shard and the cause: bounded sets.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::metrics::Metrics;

/// The most shards of a delivery whose lag is told apart; that of the others is summed up.
const LAG_SHARDS_MAX: usize = 64;

/// The metrics of all deliveries. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryMetrics {
    records: IntCounterVec,
    bytes_in: IntCounterVec,
    outputs: IntCounterVec,
    rows: IntCounterVec,
    set_aside: IntCounterVec,
    dropped: IntCounterVec,
    lost: IntCounterVec,
    replayed: IntCounterVec,
    unbalanced: IntCounterVec,
    batches: IntCounterVec,
    files: IntCounterVec,
    bytes_out: IntCounterVec,
    retries: IntCounterVec,
    partition_cuts: IntCounterVec,
    pub(crate) commit_seconds: Histogram,
    pub(crate) convert_seconds: Histogram,
    sampled: Sampled,
}

/// The counters of one delivery.
#[derive(Debug, Clone)]
pub(crate) struct WorkerMetrics {
    pub(crate) records: IntCounter,
    pub(crate) bytes_in: IntCounter,
    pub(crate) outputs: IntCounter,
    pub(crate) rows: IntCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) lost: IntCounter,
    pub(crate) replayed: IntCounter,
    pub(crate) unbalanced: IntCounter,
    pub(crate) batches: IntCounter,
    pub(crate) files: IntCounter,
    pub(crate) bytes_out: IntCounter,
    pub(crate) retries: IntCounter,
    pub(crate) partition_cuts: IntCounter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) convert_seconds: Histogram,
    set_aside: IntCounterVec,
    delivery: String,
}

/// What a delivery shows when the metrics are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) delivery: String,
    /// 0 paused, 1 running, 2 retrying.
    pub(crate) state: i64,
    /// The age of the oldest record that is not committed; zero where all are.
    pub(crate) freshness_seconds: f64,
    pub(crate) buffered_bytes: i64,
    pub(crate) open_partitions: i64,
    /// By shard, how many records are not committed.
    pub(crate) lag: Vec<(u32, i64)>,
}

/// Where samples come from.
pub(crate) trait Samples: Send + Sync {
    /// One sample for each delivery, and the bytes that all of them hold.
    fn samples(&self) -> (Vec<Sample>, i64);
}

/// Gauges that are set when they are read, so that they also move while a worker waits.
#[derive(Clone)]
struct Sampled {
    source: Arc<Mutex<Option<Weak<dyn Samples>>>>,
    state: IntGaugeVec,
    freshness: GaugeVec,
    buffered: IntGaugeVec,
    partitions: IntGaugeVec,
    lag: IntGaugeVec,
    memory: IntGauge,
}

impl std::fmt::Debug for Sampled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampled").finish_non_exhaustive()
    }
}

impl DeliveryMetrics {
    /// Registers the metrics.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let by_delivery = |name: &str, help: &str| metrics.counters(name, help, &["delivery"]);
        Self {
            records: by_delivery("millrace_delivery_records_total", "Records that were committed."),
            bytes_in: by_delivery("millrace_delivery_in_bytes_total", "Bytes of the records that were committed."),
            outputs: by_delivery(
                "millrace_delivery_outputs_total",
                "Outputs of the transform chain that were committed.",
            ),
            rows: by_delivery("millrace_delivery_rows_total", "Rows or lines that were committed."),
            set_aside: metrics.counters(
                "millrace_delivery_set_aside_total",
                "Outputs that were set aside under the error prefix.",
                &["delivery", "cause"],
            ),
            dropped: by_delivery(
                "millrace_delivery_dropped_total",
                "Outputs that a transform dropped on purpose, and header rows that the input skips.",
            ),
            lost: by_delivery(
                "millrace_delivery_lost_records_total",
                "Records that were trimmed from the log before the delivery had read them.",
            ),
            replayed: by_delivery(
                "millrace_delivery_replayed_total",
                "Outputs that were set aside before and taken up again.",
            ),
            unbalanced: by_delivery(
                "millrace_delivery_unbalanced_total",
                "Records and outputs by which committed batches do not add up.",
            ),
            batches: by_delivery("millrace_delivery_batches_total", "Batches that were committed."),
            files: by_delivery("millrace_delivery_files_total", "Data files that were committed."),
            bytes_out: by_delivery("millrace_delivery_out_bytes_total", "Bytes of the data files that were committed."),
            retries: by_delivery("millrace_delivery_retries_total", "Failed attempts of a step that is tried again."),
            partition_cuts: by_delivery(
                "millrace_delivery_partition_cuts_total",
                "Batches that were cut early because their records were in `partitions_max` partitions.",
            ),
            commit_seconds: metrics
                .latency("millrace_delivery_commit_seconds", "From the cut of a batch to its commit."),
            convert_seconds: metrics
                .latency("millrace_delivery_convert_seconds", "Transforming and converting one chunk of records."),
            sampled: metrics.register(Sampled::new()),
        }
    }

    /// Says where samples come from.
    pub(crate) fn sample(&self, source: Weak<dyn Samples>) {
        *self.sampled.source.lock() = Some(source);
    }

    /// Forgets a deleted delivery.
    pub(crate) fn remove(&self, delivery: &str) {
        let by_delivery = [
            &self.records,
            &self.bytes_in,
            &self.outputs,
            &self.rows,
            &self.dropped,
            &self.lost,
            &self.replayed,
            &self.unbalanced,
            &self.batches,
            &self.files,
            &self.bytes_out,
            &self.retries,
            &self.partition_cuts,
        ];
        for counters in by_delivery {
            // A label that was never used is not there to be removed.
            let _ = counters.remove_label_values(&[delivery]);
        }
        for family in self.set_aside.collect() {
            for metric in family.get_metric() {
                let label = |name: &str| metric.get_label().iter().find(|label| label.name() == name);
                let (Some(of), Some(cause)) = (label("delivery"), label("cause")) else { continue };
                if of.value() == delivery {
                    let _ = self.set_aside.remove_label_values(&[delivery, cause.value()]);
                }
            }
        }
    }

    /// The counters of one delivery.
    pub(crate) fn worker(&self, delivery: &str) -> WorkerMetrics {
        let of = |counters: &IntCounterVec| counters.with_label_values(&[delivery]);
        WorkerMetrics {
            records: of(&self.records),
            bytes_in: of(&self.bytes_in),
            outputs: of(&self.outputs),
            rows: of(&self.rows),
            dropped: of(&self.dropped),
            lost: of(&self.lost),
            replayed: of(&self.replayed),
            unbalanced: of(&self.unbalanced),
            batches: of(&self.batches),
            files: of(&self.files),
            bytes_out: of(&self.bytes_out),
            retries: of(&self.retries),
            partition_cuts: of(&self.partition_cuts),
            commit_seconds: self.commit_seconds.clone(),
            convert_seconds: self.convert_seconds.clone(),
            set_aside: self.set_aside.clone(),
            delivery: delivery.to_owned(),
        }
    }
}

impl WorkerMetrics {
    /// Counts what was set aside for one cause.
    pub(crate) fn set_aside(&self, cause: &str, count: u64) {
        self.set_aside.with_label_values(&[self.delivery.as_str(), cause]).inc_by(count);
    }
}

impl Sampled {
    fn new() -> Self {
        let expected = "a metric's name is a literal";
        let gauges =
            |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels).expect(expected);
        let freshness = Opts::new(
            "millrace_delivery_freshness_seconds",
            "The age of the oldest record that is not committed; zero where all are.",
        );
        Self {
            source: Arc::default(),
            state: gauges("millrace_delivery_state", "0 paused, 1 running, 2 retrying.", &["delivery"]),
            freshness: GaugeVec::new(freshness, &["delivery"]).expect(expected),
            buffered: gauges(
                "millrace_delivery_buffered_bytes",
                "Bytes of records that are held for the next batches.",
                &["delivery"],
            ),
            partitions: gauges(
                "millrace_delivery_open_partitions",
                "Partitions of the records that are held for the next batch: the files that it will be.",
                &["delivery"],
            ),
            lag: gauges("millrace_delivery_lag_records", "Records that are not committed.", &["delivery", "shard"]),
            memory: IntGauge::new("millrace_delivery_memory_bytes", "Memory that all deliveries hold of their budget.")
                .expect(expected),
        }
    }

    fn parts(&self) -> [&dyn Collector; 6] {
        [&self.state, &self.freshness, &self.buffered, &self.partitions, &self.lag, &self.memory]
    }

    fn refresh(&self) {
        let source = self.source.lock().as_ref().and_then(Weak::upgrade);
        self.state.reset();
        self.freshness.reset();
        self.buffered.reset();
        self.partitions.reset();
        self.lag.reset();
        let (samples, memory) = source.map(|source| source.samples()).unwrap_or_default();
        self.memory.set(memory);
        for sample in samples {
            let delivery = sample.delivery.as_str();
            self.state.with_label_values(&[delivery]).set(sample.state);
            self.freshness.with_label_values(&[delivery]).set(sample.freshness_seconds);
            self.buffered.with_label_values(&[delivery]).set(sample.buffered_bytes);
            self.partitions.with_label_values(&[delivery]).set(sample.open_partitions);
            for (index, (shard, lag)) in sample.lag.into_iter().enumerate() {
                let shard = if index < LAG_SHARDS_MAX { shard.to_string() } else { "other".to_owned() };
                self.lag.with_label_values(&[delivery, &shard]).add(lag);
            }
        }
    }
}

impl Collector for Sampled {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_delivery_takes_its_series_along() {
        let metrics = Metrics::new();
        let deliveries = DeliveryMetrics::new(&metrics);
        for delivery in ["gone", "kept"] {
            let worker = deliveries.worker(delivery);
            worker.rows.inc();
            worker.set_aside("not_json", 1);
            worker.set_aside("too_large", 1);
        }
        deliveries.remove("gone");
        deliveries.remove("unknown");
        let text = metrics.text();
        assert!(!text.contains("gone"), "{text}");
        assert_eq!(text.matches("millrace_delivery_set_aside_total{cause=").count(), 2);
    }

    #[derive(Debug)]
    struct Wide;

    impl Samples for Wide {
        fn samples(&self) -> (Vec<Sample>, i64) {
            let lag = (0..100).map(|shard| (shard, 1)).collect();
            (vec![Sample { delivery: "d".to_owned(), lag, ..Sample::default() }], 0)
        }
    }

    #[test]
    fn the_lag_of_many_shards_is_summed_up() {
        let metrics = Metrics::new();
        let deliveries = DeliveryMetrics::new(&metrics);
        let source: Arc<dyn Samples> = Arc::new(Wide);
        deliveries.sample(Arc::downgrade(&source));
        let text = metrics.text();
        assert_eq!(text.matches("millrace_delivery_lag_records{").count(), LAG_SHARDS_MAX + 1);
        assert!(text.contains("millrace_delivery_lag_records{delivery=\"d\",shard=\"other\"} 36"), "{text}");
    }
}
