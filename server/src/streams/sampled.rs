//! What streams show at the moment that their metrics are read: what they hold, what is held, and how old what readers wait
//! for is. It must not wait, neither for the disk nor for a lock that is held across a wait.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use millrace_storage::time::Timestamp;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGaugeVec, Opts};

use super::state::StreamState;

/// A stream at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) stream: Arc<StreamState>,
    pub(super) stored_bytes: u64,
}

/// Where samples come from.
pub(super) trait Samples: Send + Sync {
    fn samples(&self) -> Vec<Sample>;
}

/// How far one reader is behind. It is written by the reader and read with the metrics.
#[derive(Debug, Default)]
pub(super) struct ReaderAge {
    /// Since when something is there that it has not read, in milliseconds since the Unix epoch; 0 while it has all.
    behind_since_ms: AtomicI64,
}

impl ReaderAge {
    /// Something is there to read.
    pub(super) fn unread(&self) {
        let now = Timestamp::now().as_millis();
        // What it waits for may be older than this by the time of a wake-up, and is dated by the first read.
        let _ = self.behind_since_ms.compare_exchange(0, now, Relaxed, Relaxed);
    }

    /// It read, and the last record that it has arrived so long ago; 0 at the tip.
    pub(super) fn read(&self, millis_behind_latest: u64) {
        let behind = i64::try_from(millis_behind_latest).unwrap_or(i64::MAX);
        let since = if behind == 0 { 0 } else { Timestamp::now().as_millis().saturating_sub(behind).max(1) };
        self.behind_since_ms.store(since, Relaxed);
    }

    fn age_ms(&self, now: Timestamp) -> i64 {
        match self.behind_since_ms.load(Relaxed) {
            0 => 0,
            since => now.as_millis().saturating_sub(since).max(0),
        }
    }
}

/// The readers of a stream.
#[derive(Debug, Default)]
pub(super) struct Readers {
    subscribers: Mutex<Vec<Weak<ReaderAge>>>,
    /// That of the last `Get`.
    pub(super) get: ReaderAge,
}

impl Readers {
    /// Adds a subscriber, which is looked at for as long as it lives.
    pub(super) fn subscriber(&self) -> Arc<ReaderAge> {
        let age = Arc::<ReaderAge>::default();
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        subscribers.push(Arc::downgrade(&age));
        age
    }

    fn subscribers_age_ms(&self, now: Timestamp) -> Option<i64> {
        let subscribers = self.subscribers.lock();
        subscribers.iter().filter_map(Weak::upgrade).map(|age| age.age_ms(now)).max()
    }
}

/// Gauges that are set when they are read.
#[derive(Clone)]
pub(super) struct Sampled {
    source: Arc<Mutex<Option<Weak<dyn Samples>>>>,
    iterator_age: GaugeVec,
    stored: IntGaugeVec,
    stored_max: IntGaugeVec,
    in_flight: IntGaugeVec,
    held_records: IntGaugeVec,
    held_bytes: IntGaugeVec,
    held_since: GaugeVec,
    delivery_held_records: IntGaugeVec,
    delivery_held_bytes: IntGaugeVec,
}

impl Sampled {
    pub(super) fn new() -> Self {
        let expected = "a metric's name is a literal";
        let gauges =
            |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels).expect(expected);
        let seconds =
            |name: &str, help: &str, labels: &[&str]| GaugeVec::new(Opts::new(name, help), labels).expect(expected);
        Self {
            source: Arc::default(),
            iterator_age: seconds(
                "millrace_streams_iterator_age_seconds",
                "How far the slowest subscriber, or the last get, is behind the newest record; zero at the tip",
                &["stream", "reader"],
            ),
            stored: gauges("millrace_streams_stored_bytes", "Bytes that a stream holds as stored", &["stream"]),
            stored_max: gauges(
                "millrace_streams_stored_bytes_max",
                "Bytes that a stream may hold; absent where there is no limit",
                &["stream"],
            ),
            in_flight: gauges(
                "millrace_streams_in_flight_bytes",
                "Bytes of puts that are not yet durable",
                &["stream"],
            ),
            held_records: gauges(
                "millrace_streams_retention_held_records",
                "Records past their retention that are kept because a delivery has not committed them",
                &["stream"],
            ),
            held_bytes: gauges(
                "millrace_streams_retention_held_bytes",
                "Bytes as stored of the records past their retention that are kept",
                &["stream"],
            ),
            held_since: seconds(
                "millrace_streams_retention_held_since_timestamp_seconds",
                "When retention began to keep records for deliveries; absent while it keeps none",
                &["stream"],
            ),
            delivery_held_records: gauges(
                "millrace_delivery_held_records",
                "Records past their stream's retention that are kept for the delivery",
                &["delivery", "stream"],
            ),
            delivery_held_bytes: gauges(
                "millrace_delivery_held_bytes",
                "Bytes as stored of the records that are kept for the delivery",
                &["delivery", "stream"],
            ),
        }
    }

    /// Says where samples come from.
    pub(super) fn sample(&self, source: Weak<dyn Samples>) {
        *self.source.lock() = Some(source);
    }

    fn parts(&self) -> [&dyn Collector; 9] {
        [
            &self.iterator_age,
            &self.stored,
            &self.stored_max,
            &self.in_flight,
            &self.held_records,
            &self.held_bytes,
            &self.held_since,
            &self.delivery_held_records,
            &self.delivery_held_bytes,
        ]
    }

    fn refresh(&self, source: Option<Arc<dyn Samples>>) {
        let integers = [
            &self.stored,
            &self.stored_max,
            &self.in_flight,
            &self.held_records,
            &self.held_bytes,
            &self.delivery_held_records,
            &self.delivery_held_bytes,
        ];
        integers.into_iter().for_each(IntGaugeVec::reset);
        self.iterator_age.reset();
        self.held_since.reset();
        let now = Timestamp::now();
        for sample in source.map(|source| source.samples()).unwrap_or_default() {
            self.show(&sample, now);
        }
    }

    /// Adds a stream to its label, which several may share.
    fn show(&self, Sample { stream, stored_bytes }: &Sample, now: Timestamp) {
        let label = stream.metrics.label.as_str();
        let add = |gauges: &IntGaugeVec, value: u64| gauges.with_label_values(&[label]).add(signed(value));
        add(&self.stored, *stored_bytes);
        add(&self.in_flight, stream.in_flight_bytes.load(Relaxed));
        let max = stream.spec().stored_bytes_max;
        if max > 0 {
            add(&self.stored_max, max);
        }
        let oldest = |reader: &str, age_ms: i64| {
            let gauge = self.iterator_age.with_label_values(&[label, reader]);
            gauge.set(gauge.get().max(seconds(age_ms)));
        };
        oldest("get", stream.readers.get.age_ms(now));
        if let Some(age_ms) = stream.readers.subscribers_age_ms(now) {
            oldest("subscribe", age_ms);
        }
        let holding = stream.holding.read();
        add(&self.held_records, holding.records);
        add(&self.held_bytes, holding.bytes);
        if let Some(since) = holding.by.iter().map(|held| held.since).min() {
            let gauge = self.held_since.with_label_values(&[label]);
            let earlier = if gauge.get() > 0.0 { gauge.get() } else { f64::INFINITY };
            gauge.set(seconds(since.as_millis()).min(earlier));
        }
        for held in &holding.by {
            let labels = [held.delivery.as_str(), label];
            self.delivery_held_records.with_label_values(&labels).set(signed(held.records));
            self.delivery_held_bytes.with_label_values(&labels).set(signed(held.bytes));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are doubles")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Collector for Sampled {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held to the end: two scrapes at a time would add up.
        let source = self.source.lock();
        self.refresh(source.as_ref().and_then(Weak::upgrade));
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

impl std::fmt::Debug for Sampled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampled").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_as_old_as_what_it_waits_for() {
        let age = ReaderAge::default();
        let now = Timestamp::now();
        let later = |ms: i64| Timestamp(now.as_millis() + ms);
        assert_eq!(age.age_ms(later(5000)), 0, "one that has all does not age");
        age.unread();
        assert!((4000..=5000).contains(&age.age_ms(later(5000))), "a reader that is stuck ages");
        age.unread();
        assert!(age.age_ms(later(5000)) >= 4000, "more to read does not make it younger");
        age.read(60_000);
        assert!((59_000..=61_000).contains(&age.age_ms(now)), "an old record is as old as it is");
        age.read(0);
        assert_eq!(age.age_ms(later(5000)), 0);
    }

    #[test]
    fn a_subscriber_that_is_gone_no_longer_counts() {
        let readers = Readers::default();
        let now = Timestamp::now();
        assert_eq!(readers.subscribers_age_ms(now), None);
        let (slow, fast) = (readers.subscriber(), readers.subscriber());
        slow.read(9_000_000);
        fast.read(0);
        assert!(readers.subscribers_age_ms(now) >= Some(8_999_000));
        drop(slow);
        assert_eq!(readers.subscribers_age_ms(now), Some(0));
        drop(fast);
        assert_eq!(readers.subscribers_age_ms(now), None);
    }
}
