//! Metrics under CloudWatch's names, as Prometheus' exporter of CloudWatch writes them, so that dashboards made for that find
//! them here: `aws_kinesis_incoming_bytes_sum{stream_name="clicks"}`. Each value is of the last whole period, as there.
//!
//! Everything is taken from the metrics that are there anyway, with their bounded labels; nothing is counted twice.

mod table;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use prometheus::GaugeVec;
use prometheus::proto::{Metric, MetricFamily};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::table::{How, ROWS, Row};
use crate::metrics::Metrics;

/// What one of our metrics has counted for a label so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Point {
    sum: f64,
    count: u64,
}

/// Writes the metrics under CloudWatch's names.
#[derive(Debug)]
pub struct CloudWatch {
    metrics: Metrics,
    rows: Vec<Shown>,
}

/// A row with what it shows.
#[derive(Debug)]
struct Shown {
    row: &'static Row,
    gauge: GaugeVec,
    /// By label, at the end of the last period.
    before: BTreeMap<String, Point>,
}

impl CloudWatch {
    /// Registers the metrics. They have no value before the first period is over.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let shown = |row: &'static Row| Shown {
            row,
            gauge: metrics.float_gauges(row.name, row.help, &[row.label]),
            before: BTreeMap::new(),
        };
        Self { metrics: metrics.clone(), rows: ROWS.iter().map(shown).collect() }
    }

    /// Ends a period each `period`, until the server stops. A period of 0 is none.
    pub async fn run(mut self, period: Duration, stop: CancellationToken) {
        let mut ends = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        ends.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ends.tick()).await.is_some() {
            self.end_period();
        }
    }

    /// Shows what came since the last period's end.
    fn end_period(&mut self) {
        let families = self.metrics.gather();
        let by_name: HashMap<&str, &MetricFamily> = families.iter().map(|family| (family.name(), family)).collect();
        for shown in &mut self.rows {
            let family = by_name.get(shown.row.of);
            shown.show(family.map(|family| family.get_metric()).unwrap_or_default());
        }
    }
}

impl Shown {
    fn show(&mut self, metrics: &[Metric]) {
        let mut now = BTreeMap::<String, Point>::new();
        for metric in metrics {
            let label = metric.get_label().iter().find(|label| label.name() == self.row.by);
            let Some(shown) = label.and_then(|label| self.row.shown(label.value())) else { continue };
            add(now.entry(shown.to_owned()).or_default(), metric, self.row.how);
        }
        for gone in self.before.keys().filter(|label| !now.contains_key(*label)) {
            // One that had no value yet is not there to be removed.
            let _ = self.gauge.remove_label_values(&[gone]);
        }
        for (label, point) in &now {
            let before = self.before.get(label).copied().unwrap_or_default();
            if let Some(value) = value(*point, before, self.row.how) {
                self.gauge.with_label_values(&[label]).set(value);
            }
        }
        self.before = now;
    }
}

fn add(point: &mut Point, metric: &Metric, how: How) {
    match how {
        How::Sum => point.sum += metric.get_counter().get_value(),
        How::Maximum { .. } => point.sum = point.sum.max(metric.get_gauge().get_value()),
        How::Average { .. } => {
            let histogram = metric.get_histogram();
            point.sum += histogram.get_sample_sum();
            point.count += histogram.get_sample_count();
        }
    }
}

/// A period's value; `None` where nothing was measured in it.
fn value(now: Point, before: Point, how: How) -> Option<f64> {
    // What counts less than before began anew.
    let before = if now.sum < before.sum || now.count < before.count { Point::default() } else { before };
    match how {
        How::Sum => Some(now.sum - before.sum),
        How::Maximum { times } => Some(now.sum * times),
        How::Average { times } => {
            let count = u32::try_from(now.count - before.count).unwrap_or(u32::MAX);
            (count > 0).then(|| (now.sum - before.sum) / f64::from(count) * times)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../deploy/metrics.md");

    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        metrics.text().lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    #[test]
    fn a_sum_is_of_its_period_and_over_all_shards() {
        let metrics = Metrics::new();
        let bytes = metrics.counters("millrace_streams_incoming_bytes_total", "bytes", &["stream", "shard"]);
        let mut cloudwatch = CloudWatch::new(&metrics);
        bytes.with_label_values(&["clicks", "0"]).inc_by(5);
        bytes.with_label_values(&["clicks", "1"]).inc_by(7);
        bytes.with_label_values(&["$firehose.raw", "0"]).inc_by(3);
        let sum = "aws_kinesis_incoming_bytes_sum";
        assert!(lines(&metrics, sum).is_empty(), "no period is over");
        cloudwatch.end_period();
        assert_eq!(lines(&metrics, sum), ["aws_kinesis_incoming_bytes_sum{stream_name=\"clicks\"} 12"]);
        let direct = "aws_firehose_incoming_bytes_sum";
        assert_eq!(lines(&metrics, direct), ["aws_firehose_incoming_bytes_sum{delivery_stream_name=\"raw\"} 3"]);
        bytes.with_label_values(&["clicks", "1"]).inc_by(1);
        cloudwatch.end_period();
        assert_eq!(lines(&metrics, sum), ["aws_kinesis_incoming_bytes_sum{stream_name=\"clicks\"} 1"]);
        for shard in ["0", "1"] {
            bytes.remove_label_values(&["clicks", shard]).unwrap();
        }
        cloudwatch.end_period();
        assert!(lines(&metrics, sum).is_empty(), "a stream that goes takes its series along");
    }

    #[test]
    fn an_average_is_of_what_was_measured_and_a_maximum_of_all_readers() {
        let metrics = Metrics::new();
        let latency = metrics.latencies("millrace_streams_put_latency_seconds", "seconds", &["stream"]);
        let age = metrics.float_gauges("millrace_streams_iterator_age_seconds", "seconds", &["stream", "reader"]);
        let mut cloudwatch = CloudWatch::new(&metrics);
        latency.with_label_values(&["s"]).observe(0.25);
        latency.with_label_values(&["s"]).observe(0.75);
        age.with_label_values(&["s", "get"]).set(2.0);
        age.with_label_values(&["s", "subscribe"]).set(3.5);
        cloudwatch.end_period();
        latency.with_label_values(&["s"]).observe(1.0);
        cloudwatch.end_period();
        let average = lines(&metrics, "aws_kinesis_put_records_latency_average");
        assert_eq!(average, ["aws_kinesis_put_records_latency_average{stream_name=\"s\"} 1000"]);
        let oldest = lines(&metrics, "aws_kinesis_get_records_iterator_age_milliseconds_maximum");
        assert_eq!(oldest, ["aws_kinesis_get_records_iterator_age_milliseconds_maximum{stream_name=\"s\"} 3500"]);
    }

    #[test]
    fn what_begins_anew_counts_from_zero() {
        let (five, two) = (Point { sum: 5.0, count: 5 }, Point { sum: 2.0, count: 2 });
        assert_eq!(value(two, five, How::Sum), Some(2.0));
        assert_eq!(value(five, two, How::Sum), Some(3.0));
        assert_eq!(value(five, five, How::Average { times: 1.0 }), None);
    }

    #[test]
    fn the_page_has_every_name_with_what_it_is_made_of() {
        for Row { name, of, .. } in ROWS {
            assert!(name.starts_with("aws_"), "{name}");
            let row = format!("| `{name}` | `{of}` |");
            assert!(PAGE.contains(&row), "deploy/metrics.md lacks {row}");
        }
    }
}
