//! What queries did, in numbers.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::Metrics;

/// The metrics of queries.
#[derive(Debug, Clone)]
pub(super) struct QueryMetrics {
    /// Queries that ended, by outcome: ok, error, timeout, cancelled.
    pub(super) queries: IntCounterVec,
    /// From the statement's arrival to its end.
    pub(super) seconds: Histogram,
    /// Queries that run.
    pub(super) active: IntGauge,
    /// Queries that wait for their turn.
    pub(super) waiting: IntGauge,
    /// Queries refused because their turn did not come in time.
    pub(super) refused: IntCounter,
    /// Rows sent to clients.
    pub(super) rows: IntCounter,
    /// Bytes read from Parquet files.
    pub(super) scanned_bytes: IntCounter,
    /// Bytes spilled to disk.
    pub(super) spilled_bytes: IntCounter,
    /// Data files that scans looked at in metadata.
    pub(super) files_considered: IntCounter,
    /// Data files that scans left out by their statistics or partitions.
    pub(super) files_pruned: IntCounter,
    /// Rows that came from log tails.
    pub(super) tail_rows: IntCounter,
    /// Times a table was read again because its tail had moved on.
    pub(super) reloads: IntCounter,
}

impl QueryMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            queries: metrics.counters("millrace_query_queries_total", "Queries that ended, by outcome.", &["outcome"]),
            seconds: metrics.latency("millrace_query_seconds", "From a statement's arrival to its end."),
            active: metrics.gauge("millrace_query_active", "Queries that run."),
            waiting: metrics.gauge("millrace_query_waiting", "Queries that wait for their turn."),
            refused: metrics.counter("millrace_query_refused_total", "Queries whose turn did not come in time."),
            rows: metrics.counter("millrace_query_rows_total", "Rows sent to clients."),
            scanned_bytes: metrics.counter("millrace_query_scanned_bytes_total", "Bytes read from Parquet files."),
            spilled_bytes: metrics.counter("millrace_query_spilled_bytes_total", "Bytes spilled to disk."),
            files_considered: metrics
                .counter("millrace_query_files_considered_total", "Data files that scans looked at in metadata."),
            files_pruned: metrics.counter(
                "millrace_query_files_pruned_total",
                "Data files that scans left out by their statistics or partitions.",
            ),
            tail_rows: metrics.counter("millrace_query_tail_rows_total", "Rows that scans took from log tails."),
            reloads: metrics
                .counter("millrace_query_reloads_total", "Tables read again because their log tail had moved on."),
        }
    }
}
