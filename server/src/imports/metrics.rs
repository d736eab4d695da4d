//! The metrics of imports. The label is the import: as many as there may be imports.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::Metrics;

/// The metrics of all imports. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ImportMetrics {
    state: IntGaugeVec,
    runs: IntCounterVec,
    objects: IntCounterVec,
    records: IntCounterVec,
    bytes: IntCounterVec,
    set_aside: IntCounterVec,
    replayed: IntCounterVec,
    known: IntCounterVec,
    waits: IntCounterVec,
    retries: IntCounterVec,
}

/// The metrics of one import.
#[derive(Debug, Clone)]
pub(super) struct WorkerMetrics {
    /// 0 paused, 1 idle, 2 running, 3 retrying.
    pub(super) state: IntGauge,
    pub(super) records: IntCounter,
    pub(super) bytes: IntCounter,
    pub(super) replayed: IntCounter,
    /// Records that were in the stream already when a chunk was put again.
    pub(super) known: IntCounter,
    pub(super) waits: IntCounter,
    pub(super) retries: IntCounter,
    runs: IntCounterVec,
    objects: IntCounterVec,
    set_aside: IntCounterVec,
    import: String,
}

impl ImportMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counters = |name: &str, help: &str| metrics.counters(name, help, &["import"]);
        Self {
            state: metrics.gauges("millrace_import_state", "0 paused, 1 idle, 2 running, 3 retrying.", &["import"]),
            runs: metrics.counters(
                "millrace_import_runs_total",
                "Runs that ended, by what came of them: ok, or an error that ended them early.",
                &["import", "outcome"],
            ),
            objects: metrics.counters(
                "millrace_import_objects_total",
                "Objects that were done with: imported, failed, or changed while they were read.",
                &["import", "outcome"],
            ),
            records: counters("millrace_import_records_total", "Records that were put."),
            bytes: counters("millrace_import_bytes_total", "Bytes of the records that were put."),
            set_aside: metrics.counters(
                "millrace_import_set_aside_total",
                "Rows that could not become records, by cause.",
                &["import", "cause"],
            ),
            replayed: counters(
                "millrace_import_replayed_total",
                "Rows that had been set aside and were taken up again: each is a record, or set aside once more.",
            ),
            known: counters(
                "millrace_import_known_records_total",
                "Records that were in the stream already when they were put again, after a crash or a failure.",
            ),
            waits: counters("millrace_import_rate_waits_total", "Puts that waited for the import's cap on its rate."),
            retries: counters("millrace_import_retries_total", "Failed attempts of a step that is tried again."),
        }
    }

    pub(super) fn worker(&self, import: &str) -> WorkerMetrics {
        let labels = &[import];
        WorkerMetrics {
            state: self.state.with_label_values(labels),
            records: self.records.with_label_values(labels),
            bytes: self.bytes.with_label_values(labels),
            replayed: self.replayed.with_label_values(labels),
            known: self.known.with_label_values(labels),
            waits: self.waits.with_label_values(labels),
            retries: self.retries.with_label_values(labels),
            runs: self.runs.clone(),
            objects: self.objects.clone(),
            set_aside: self.set_aside.clone(),
            import: import.to_owned(),
        }
    }

    /// Removes an import's series.
    pub(super) fn remove(&self, import: &str) {
        let labels = &[import];
        // A series that was never there needs no removal.
        let _ = self.state.remove_label_values(labels);
        for counters in [&self.records, &self.bytes, &self.replayed, &self.known, &self.waits, &self.retries] {
            let _ = counters.remove_label_values(labels);
        }
        let by = |counters: &IntCounterVec, words: &[&str]| {
            for word in words {
                let _ = counters.remove_label_values(&[import, word]);
            }
        };
        by(&self.runs, &["ok", "error"]);
        by(&self.objects, &["imported", "failed", "changed"]);
        by(&self.set_aside, &["invalid_json", "invalid_csv", "invalid_backup", "too_large", "partition_key"]);
    }
}

impl WorkerMetrics {
    pub(super) fn run_ended(&self, failed: bool) {
        self.runs.with_label_values(&[&*self.import, if failed { "error" } else { "ok" }]).inc();
    }

    pub(super) fn object_ended(&self, outcome: &str) {
        self.objects.with_label_values(&[&*self.import, outcome]).inc();
    }

    pub(super) fn set_aside(&self, cause: &str) {
        self.set_aside.with_label_values(&[&*self.import, cause]).inc();
    }
}
