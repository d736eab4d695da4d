//! The counts of the log and of the process itself, read when they are asked for.

use std::sync::Arc;

use millrace_storage::log::rocks::RocksLog;
use millrace_storage::log::{Distribution, LogStats};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, Metric, MetricFamily, MetricType};

const MICROS_PER_SECOND: f64 = 1e6;

/// Reads a log's counts at each scrape.
#[derive(Debug, Clone)]
pub(super) struct LogCollector {
    log: Arc<RocksLog>,
    /// Of every family that it gives.
    descs: Arc<[Desc]>,
}

impl LogCollector {
    pub(super) fn new(log: Arc<RocksLog>) -> Self {
        let families = of_log(&LogStats::default()).into_iter().chain([of_process(0)]);
        let descs = families.map(|family| {
            let (name, help) = (family.name().to_owned(), family.help().to_owned());
            Desc::new(name, help, Vec::new(), std::collections::HashMap::new()).expect("the name is a literal")
        });
        Self { log, descs: descs.collect() }
    }
}

impl Collector for LogCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = of_log(&self.log.stats());
        if let Some(bytes) = resident_bytes() {
            families.push(of_process(bytes));
        }
        families
    }
}

fn of_process(resident_bytes: u64) -> MetricFamily {
    gauge("process_resident_memory_bytes", "Resident memory of the process", resident_bytes)
}

fn of_log(stats: &LogStats) -> Vec<MetricFamily> {
    vec![
        counter("millrace_log_appends_total", "Durable appends", stats.appends),
        counter("millrace_log_records_total", "Durable records", stats.records),
        counter("millrace_log_bytes_total", "Data and keys of durable records", stats.bytes),
        counter("millrace_log_blocks_total", "Blocks written", stats.blocks),
        counter("millrace_log_encrypted_blocks_total", "Blocks written encrypted", stats.encrypted_blocks),
        counter("millrace_log_decrypted_blocks_total", "Blocks that reads decrypted", stats.decrypted_blocks),
        counter(
            "millrace_log_key_failures_total",
            "Appends and reads that failed because a data key could not be used",
            stats.key_failures,
        ),
        gauge("millrace_log_locked_keys", "Data keys that cannot be used now", stats.locked_keys),
        counter("millrace_log_stored_bytes_total", "Bytes of blocks after compression", stats.stored_bytes),
        counter("millrace_log_queue_full_total", "Appends that waited for room in the queue", stats.queue_full),
        counter("millrace_log_refused_total", "Appends refused for a limit", stats.refused),
        counter(
            "millrace_log_duplicates_total",
            "Appends that were stored before, by producer and sequence",
            stats.duplicates,
        ),
        counter("millrace_log_unexpected_total", "Appends that expected another next offset", stats.unexpected),
        counter("millrace_log_sequences_refused_total", "Sequences too old or used twice", stats.sequences_refused),
        counter("millrace_log_producers_evicted_total", "Producers forgotten for a limit", stats.producers_evicted),
        gauge("millrace_log_producers", "Producers remembered, once for each shard", stats.producers),
        counter("millrace_log_cache_hits_total", "Reads served from memory alone", stats.cache_hits),
        counter("millrace_log_cache_misses_total", "Reads that went to disk", stats.cache_misses),
        counter("millrace_log_corrupt_blocks_total", "Corrupt blocks that reads found", stats.corrupt_blocks),
        counter("millrace_log_trimmed_records_total", "Records trimmed", stats.trimmed_records),
        gauge("millrace_log_queued_appends", "Appends that wait to be durable", stats.queued_appends),
        gauge("millrace_log_queued_bytes", "Bytes that wait to be durable", stats.queued_bytes),
        gauge("millrace_log_cache_bytes", "Bytes in the tail cache", stats.cache_bytes),
        gauge("millrace_log_disk_bytes", "Bytes of the log's files", stats.disk_bytes),
        gauge("millrace_log_poisoned", "1 after a failed sync stopped appends", stats.poisoned.into()),
        distribution(
            "millrace_log_write_seconds",
            "Time of each group's write",
            &stats.write_micros,
            MICROS_PER_SECOND,
        ),
        distribution("millrace_log_sync_seconds", "Time of the sync after it", &stats.sync_micros, MICROS_PER_SECOND),
        distribution("millrace_log_group_bytes", "Bytes that each group wrote with one sync", &stats.group_bytes, 1.0),
        distribution("millrace_log_group_appends", "Appends that each group made durable", &stats.group_appends, 1.0),
    ]
}

/// A histogram of `values`, of which `per_unit` are one of the unit that the name says.
#[expect(clippy::cast_precision_loss, reason = "metrics are doubles")]
fn distribution(name: &str, help: &str, values: &Distribution, per_unit: f64) -> MetricFamily {
    let mut cumulative = 0;
    let buckets = values.buckets.iter().map(|(upper, count)| {
        cumulative += count;
        let mut metric = Bucket::default();
        metric.set_cumulative_count(cumulative);
        metric.set_upper_bound(*upper as f64 / per_unit);
        metric
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(values.count);
    histogram.set_sample_sum(values.sum as f64 / per_unit);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, metric)
}

#[expect(clippy::cast_precision_loss, reason = "metrics are doubles")]
fn counter(name: &str, help: &str, count: u64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    family(name, help, MetricType::COUNTER, metric)
}

#[expect(clippy::cast_precision_loss, reason = "metrics are doubles")]
fn gauge(name: &str, help: &str, value: u64) -> MetricFamily {
    let mut gauge = Gauge::default();
    gauge.set_value(value as f64);
    let mut metric = Metric::default();
    metric.set_gauge(gauge);
    family(name, help, MetricType::GAUGE, metric)
}

fn family(name: &str, help: &str, kind: MetricType, metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

/// `VmRSS` of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
