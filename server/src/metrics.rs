//! The registry of the process's metrics. Each module registers its own beside its code; this file only gives the shapes.
//!
//! Names are `millrace_<module>_<what>_<unit>`, with labels from bounded sets (stream, shard, delivery, table).

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// The metrics of one process, handed to each module as it opens.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    registry: Registry,
    described: Arc<Mutex<Vec<Described>>>,
}

/// A metric as it was registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
}

/// From a tenth of a millisecond to about 13 s, each bound twice the one before.
const LATENCY_SECONDS: [f64; 18] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048, 0.4096, 0.8192,
    1.6384, 3.2768, 6.5536, 13.1072,
];

impl Metrics {
    /// No metrics yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a collector of a module's own.
    ///
    /// # Panics
    /// When its names are taken: that is a bug that every start of the process shows.
    pub fn register<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        let described = collector
            .desc()
            .into_iter()
            .map(|desc| Described { name: desc.fq_name.clone(), labels: desc.variable_labels.clone() });
        self.described.lock().extend(described);
        self.registry.register(Box::new(collector.clone())).expect("a metric's name is registered once");
        collector
    }

    /// A count that only grows.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help).expect("a metric's name is a literal"))
    }

    /// Counts that only grow, by label.
    #[must_use]
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels).expect("a metric's name is a literal"))
    }

    /// A number that moves both ways.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("a metric's name is a literal"))
    }

    /// Numbers that move both ways, by label.
    #[must_use]
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels).expect("a metric's name is a literal"))
    }

    /// Fractions that move both ways, by label.
    #[must_use]
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels).expect("a metric's name is a literal"))
    }

    /// Durations in seconds.
    #[must_use]
    pub fn latency(&self, name: &str, help: &str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_SECONDS.to_vec());
        self.register(Histogram::with_opts(options).expect("a metric's name is a literal"))
    }

    /// Durations in seconds, by label.
    #[must_use]
    pub fn latencies(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_SECONDS.to_vec());
        self.register(HistogramVec::new(options, labels).expect("a metric's name is a literal"))
    }

    /// Every metric that is registered, whether it has a value yet or not: its name and its labels.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        self.described.lock().clone()
    }

    /// All metrics as they are now.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.gather(), &mut text) {
            tracing::warn!(%error, "cannot encode the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
