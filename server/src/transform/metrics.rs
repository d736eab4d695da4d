//! The metrics of transforms. Labels are a delivery, a step of its chain, a module and a few words: bounded sets.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::Outcome;
use crate::metrics::Metrics;

/// The metrics of all chains. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct TransformMetrics {
    records: IntCounterVec,
    step_seconds: HistogramVec,
    faults: IntCounterVec,
    pub(super) calls: IntGauge,
    pub(super) call_wait_seconds: Histogram,
    pub(super) compile_seconds: Histogram,
    pub(super) loads: IntCounterVec,
}

/// The metrics of one step of a chain.
#[derive(Debug, Clone)]
pub(super) struct StepMetrics {
    ok: IntCounter,
    dropped: IntCounter,
    failed: IntCounter,
    pub(super) seconds: Histogram,
}

/// The metrics of one module.
#[derive(Debug, Clone)]
pub(super) struct ModuleMetrics {
    faults: IntCounterVec,
    module: String,
}

impl TransformMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            records: metrics.counters(
                "millrace_transform_records_total",
                "Records, or parts of them, that a step transformed. Those that were read again count again.",
                &["delivery", "step", "outcome"],
            ),
            step_seconds: metrics.latencies(
                "millrace_transform_step_seconds",
                "Running one step over the records of one chunk.",
                &["type"],
            ),
            faults: metrics.counters(
                "millrace_transform_wasm_faults_total",
                "Calls of a module that failed as a whole; its records were tried again in smaller calls.",
                &["module", "fault"],
            ),
            calls: metrics.gauge("millrace_transform_wasm_calls", "Calls of modules that run."),
            call_wait_seconds: metrics
                .latency("millrace_transform_wasm_wait_seconds", "Waiting for one of the places for calls of modules."),
            compile_seconds: metrics.latency("millrace_transform_wasm_compile_seconds", "Compiling a module."),
            loads: metrics.counters(
                "millrace_transform_wasm_loads_total",
                "Modules that were made ready, by whether their compiled code was kept.",
                &["from"],
            ),
        }
    }

    /// The metrics of a delivery's step, by its number and type.
    pub(super) fn step(&self, delivery: &str, number: usize, kind: &str) -> StepMetrics {
        let step = format!("{number}.{kind}");
        let of = |outcome: &str| self.records.with_label_values(&[delivery, step.as_str(), outcome]);
        StepMetrics {
            ok: of("ok"),
            dropped: of("dropped"),
            failed: of("failed"),
            seconds: self.step_seconds.with_label_values(&[kind]),
        }
    }

    /// The metrics of a module.
    pub(super) fn module(&self, module: &str) -> ModuleMetrics {
        ModuleMetrics { faults: self.faults.clone(), module: module.to_owned() }
    }

    /// Forgets a deleted delivery.
    pub(super) fn forget_delivery(&self, delivery: &str) {
        forget(&self.records, "delivery", delivery, &["delivery", "step", "outcome"]);
    }

    /// Forgets a deleted module.
    pub(super) fn forget_module(&self, module: &str) {
        forget(&self.faults, "module", module, &["module", "fault"]);
    }
}

/// Removes the series with a value of a label.
fn forget(counters: &IntCounterVec, label: &str, value: &str, labels: &[&str]) {
    for family in counters.collect() {
        for metric in family.get_metric() {
            let of = |name: &str| {
                let pair = metric.get_label().iter().find(|pair| pair.name() == name);
                pair.map_or("", |pair| pair.value()).to_owned()
            };
            if of(label) == value {
                let values: Vec<String> = labels.iter().map(|name| of(name)).collect();
                // It may be gone already.
                let _ = counters.remove_label_values(&values);
            }
        }
    }
}

impl StepMetrics {
    /// Counts what a step made.
    pub(super) fn count(&self, outcomes: &[Outcome]) {
        let (mut dropped, mut failed) = (0, 0);
        for outcome in outcomes {
            match outcome {
                Outcome::One(_) | Outcome::Many(_) => {}
                Outcome::Dropped => dropped += 1,
                Outcome::Failed(_) => failed += 1,
            }
        }
        self.ok.inc_by(outcomes.len() as u64 - dropped - failed);
        self.dropped.inc_by(dropped);
        self.failed.inc_by(failed);
    }
}

impl ModuleMetrics {
    /// Counts a call that failed.
    pub(super) fn fault(&self, fault: &str) {
        self.faults.with_label_values(&[self.module.as_str(), fault]).inc();
    }

    /// How many calls failed so.
    #[cfg(test)]
    pub(super) fn faults(&self, fault: &str) -> u64 {
        self.faults.with_label_values(&[self.module.as_str(), fault]).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_takes_its_series_along() {
        let metrics = Metrics::new();
        let transforms = TransformMetrics::new(&metrics);
        for name in ["gone", "kept"] {
            let step = transforms.step(name, 1, "split");
            step.count(&[Outcome::Dropped, Outcome::Failed("x".to_owned().into()), Outcome::Dropped]);
            transforms.module(name).fault("trap");
        }
        transforms.forget_delivery("gone");
        transforms.forget_module("gone");
        let text = metrics.text();
        assert!(!text.contains("gone"), "{text}");
        let dropped = "millrace_transform_records_total{delivery=\"kept\",outcome=\"dropped\",step=\"1.split\"} 2";
        assert!(text.contains(dropped), "{text}");
        assert!(text.contains("millrace_transform_wasm_faults_total{fault=\"trap\",module=\"kept\"} 1"), "{text}");
    }
}
