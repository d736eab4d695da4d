//! `SubscribeToShard`: a shard's records pushed to a registered consumer as an event stream.
//!
//! The records come from a subscription of the streams, on the consumer's own out quota, through its bounded queue: a client
//! that does not read holds back its own reading. A stream of events lives for so long, and another of the same consumer and
//! shard takes it over once it is old enough.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use millrace_storage::log::{Log, Offset, ShardKey};
use millrace_storage::time::Timestamp;
use parking_lot::Mutex;
use prometheus::IntGauge;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Kinesis;
use super::event_stream::{event, exception, initial_response};
use super::iterator::check_dry_run;
use super::sequence_number::SequenceNumber;
use super::wire::{Child, GivenRecord};
use crate::api::aws::auth::Caller;
use crate::api::aws::protocol::{AwsError, Call, Format, Reply, Time};
use crate::streams::{ConsumerName, Position, ShardRecords, StreamState, Subscription};

/// Closed subscriptions that are remembered before old ones are dropped.
const REMEMBERED_MAX: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(rename = "ConsumerARN")]
    consumer_arn: String,
    shard_id: String,
    starting_position: StartingPosition,
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartingPosition {
    r#type: String,
    sequence_number: Option<String>,
    timestamp: Option<Time>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    records: Vec<GivenRecord<'a>>,
    /// Absent at the end of a closed shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_sequence_number: Option<SequenceNumber>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<Child>>,
}

impl Kinesis {
    pub(super) async fn subscribe_to_shard(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let (stream, consumer) = self.consumer(call, &input.consumer_arn).await?;
        let shard = self.shard(&stream, &input.shard_id)?;
        let StartingPosition { r#type: kind, sequence_number, timestamp } = &input.starting_position;
        let position = self.position(call, &stream, &shard, kind, sequence_number.as_deref(), *timestamp)?;
        let next = self.streams.resolve(&stream, &shard, position).await?;
        check_dry_run(input.dry_run)?;
        let slot = self.subscriptions.begin(shard.key(), &consumer.name, Instant::now()).ok_or_else(|| {
            self.metrics.throttled("takeover_after");
            AwsError::in_use(format!(
                "Another active subscription exists for this consumer: {}:{}:{}:{}",
                self.arns.account_id(),
                stream.name(),
                input.shard_id,
                consumer.name
            ))
        })?;
        let reader = ConsumerName::try_from(consumer.name)?;
        let position = Position::Offset(next);
        let records = self.streams.subscribe_as(stream.name(), Some(shard.id()), position, Some(&reader)).await?;
        let feed = Feed {
            format: call.format,
            caller: call.caller.clone(),
            shard: shard.key(),
            stream,
            log: Arc::clone(self.streams.log()),
            next,
            last_arrival: None,
            lasts: self.settings.subscription_time_max,
            heartbeat: self.settings.heartbeat_interval,
        };
        let open = Open::new(&self.metrics.subscriptions);
        Ok(Reply::Events(Body::from_stream(feed.events(records, slot, open))))
    }
}

/// One stream of events.
struct Feed {
    format: Format,
    caller: Caller,
    shard: ShardKey,
    stream: Arc<StreamState>,
    log: Arc<dyn Log>,
    /// The offset of the next record.
    next: Offset,
    /// Of the last record given.
    last_arrival: Option<Timestamp>,
    lasts: Duration,
    heartbeat: Duration,
}

impl Feed {
    fn events(
        mut self,
        mut records: Subscription,
        slot: Slot,
        open: Open,
    ) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
        async_stream::stream! {
            let _open = open;
            let end = tokio::time::sleep(self.lasts);
            tokio::pin!(end);
            yield Ok(initial_response(self.format));
            loop {
                let (message, is_last) = tokio::select! {
                    biased;
                    () = slot.ended.cancelled() => (Some(self.taken_over()), true),
                    () = self.caller.lost() => (Some(self.denied()), true),
                    () = &mut end => (None, true),
                    read = records.next() => match read {
                        Some(Ok(read)) => self.pushed(read),
                        Some(Err(error)) => (Some(exception(&error.into(), self.format)), true),
                        None => (None, true),
                    },
                    () = tokio::time::sleep(self.heartbeat) => self.told(self.alive()),
                };
                if let Some(message) = message {
                    yield Ok(message);
                }
                if is_last {
                    break;
                }
            }
        }
    }

    fn denied(&self) -> Bytes {
        let error = AwsError::new("AccessDeniedException", "the principal lost a key or a grant; subscribe again");
        exception(&error, self.format)
    }

    fn taken_over(&self) -> Bytes {
        let error = AwsError::in_use(
            "the subscription was taken over by another of the same consumer, or the consumer is gone",
        );
        exception(&error, self.format)
    }

    /// The event for what was read, and whether it is the shard's last.
    fn pushed(&mut self, read: ShardRecords) -> (Option<Bytes>, bool) {
        let ShardRecords { records, next_offset, millis_behind_latest, end, .. } = read;
        self.next = next_offset;
        self.caller.read(&records);
        self.last_arrival = records.last().map(|record| record.arrival_time).or(self.last_arrival);
        let is_last = end.is_some();
        let encoded = self.format.encode(&Event {
            records: GivenRecord::all(&self.stream, self.shard, &records),
            continuation_sequence_number: (!is_last).then(|| SequenceNumber::before(self.shard, self.next)),
            millis_behind_latest,
            child_shards: end.map(Child::all),
        });
        let (message, failed) = self.told(encoded);
        (message, failed || is_last)
    }

    /// An event without records: the client learns that the stream is alive, and where it stands.
    fn alive(&self) -> Result<Bytes, AwsError> {
        // What is there and not given waits for the consumer's quota.
        let is_behind = self.next < self.log.offsets(self.shard).end;
        let since = |last: Timestamp| u64::try_from(Timestamp::now().as_millis() - last.as_millis()).unwrap_or(0);
        self.format.encode(&Event {
            records: Vec::new(),
            continuation_sequence_number: Some(SequenceNumber::before(self.shard, self.next)),
            millis_behind_latest: if is_behind { self.last_arrival.map_or(0, since).max(1) } else { 0 },
            child_shards: None,
        })
    }

    /// An encoded event as a message, or the exception that ends the stream.
    fn told(&self, encoded: Result<Bytes, AwsError>) -> (Option<Bytes>, bool) {
        match encoded {
            Ok(payload) => (Some(event("SubscribeToShardEvent", self.format, &payload)), false),
            Err(error) => (Some(exception(&error, self.format)), true),
        }
    }
}

/// Counts an open stream of events.
#[derive(Debug)]
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

type Key = (ShardKey, String);

/// Which consumer is subscribed to which shard.
#[derive(Debug, Clone)]
pub(super) struct Subscriptions {
    takeover_after: Duration,
    by_consumer: Arc<Mutex<HashMap<Key, Held>>>,
}

#[derive(Debug)]
struct Held {
    began: Instant,
    ended: CancellationToken,
    is_open: bool,
}

/// A subscription's place, for as long as it lives.
#[derive(Debug)]
struct Slot {
    key: Key,
    /// Cancelled when another takes over, or the consumer goes.
    ended: CancellationToken,
    all: Subscriptions,
}

impl Subscriptions {
    pub(super) fn new(takeover_after: Duration) -> Self {
        Self { takeover_after, by_consumer: Arc::default() }
    }

    /// Begins a subscription, and ends the one before; `None` where that began too short a time ago, closed or not.
    fn begin(&self, shard: ShardKey, consumer: &str, now: Instant) -> Option<Slot> {
        let key = (shard, consumer.to_owned());
        let is_young = |held: &Held| now.saturating_duration_since(held.began) < self.takeover_after;
        let mut all = self.by_consumer.lock();
        if all.len() >= REMEMBERED_MAX {
            all.retain(|_, held| held.is_open || is_young(held));
        }
        if let Some(held) = all.get(&key) {
            if is_young(held) {
                return None;
            }
            held.ended.cancel();
        }
        let ended = CancellationToken::new();
        all.insert(key.clone(), Held { began: now, ended: ended.clone(), is_open: true });
        Some(Slot { key, ended, all: self.clone() })
    }

    /// Ends all subscriptions of a consumer that goes.
    pub(super) fn end(&self, stream: &StreamState, consumer: &str) {
        self.by_consumer.lock().retain(|(shard, name), held| {
            let is_of = shard.stream == stream.id() && name == consumer;
            if is_of {
                held.ended.cancel();
            }
            !is_of
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.ended.is_cancelled() {
            return;
        }
        if let Some(held) = self.all.by_consumer.lock().get_mut(&self.key) {
            held.is_open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_storage::log::{ShardId, StreamId};

    use super::*;

    const SHARD: ShardKey = ShardKey { stream: StreamId(1), shard: ShardId(0) };

    #[test]
    fn a_subscription_is_taken_over_once_it_is_old_enough() {
        let (all, start) = (Subscriptions::new(Duration::from_secs(5)), Instant::now());
        let first = all.begin(SHARD, "app", start).unwrap();
        assert!(all.begin(SHARD, "app", start + Duration::from_millis(4999)).is_none());
        assert!(all.begin(SHARD, "other", start).is_some(), "another consumer has its own");
        assert!(!first.ended.is_cancelled());
        let second = all.begin(SHARD, "app", start + Duration::from_secs(5)).unwrap();
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
        drop(first);
        assert!(all.begin(SHARD, "app", start + Duration::from_secs(6)).is_none(), "the second one is remembered");
    }

    #[test]
    fn one_that_closed_early_holds_its_time_too() {
        let (all, start) = (Subscriptions::new(Duration::from_secs(5)), Instant::now());
        drop(all.begin(SHARD, "app", start));
        assert!(all.begin(SHARD, "app", start + Duration::from_secs(1)).is_none());
        assert!(all.begin(SHARD, "app", start + Duration::from_secs(5)).is_some());
    }

    #[test]
    fn closed_ones_are_forgotten_when_there_are_many() {
        let (all, start) = (Subscriptions::new(Duration::from_secs(5)), Instant::now());
        for number in 0..REMEMBERED_MAX {
            drop(all.begin(SHARD, &number.to_string(), start));
        }
        let _open = all.begin(SHARD, "app", start + Duration::from_secs(5)).unwrap();
        assert_eq!(all.by_consumer.lock().len(), 1);
    }
}
