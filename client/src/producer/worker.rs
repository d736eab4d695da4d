//! The task behind a producer: keeps batches under way, and settles or retries their records.
//!
//! It never holds more than the queue's bytes, never settles a record twice, and never tries a record again that may
//! have been stored unless the server knows its batch again by a name, or it was told to.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::Channel;
use backon::ExponentialBackoff;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::stream_service_client::StreamServiceClient;
use millrace_proto::v1::{PutResponse, put_result};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use super::batch::{Batch, Name};
use super::fate::abandoned;
use super::link::Link;
use super::pack::{pack, split};
use super::queue::Queue;
use super::settings::ProducerSettings;
use super::shard_map::ShardMap;
use super::verdict::{Unknown, Verdicts};
use crate::{Error, Kind, Result};

/// How long a batch may go without an answer on a connection that is alive.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// How long the first batch waits for what packing needs to know.
const SHARDS_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) struct Worker {
    records: RecordServiceClient<Channel>,
    streams: StreamServiceClient<Channel>,
    stream: Arc<str>,
    settings: ProducerSettings,
    queue: Arc<Queue>,
    /// For packing; without it records stay as they are.
    shards: Option<ShardMap>,
    /// Asks for the shards.
    asked: JoinSet<Result<ShardMap>>,
    link: Option<Link>,
    /// The producer's random number, under which its batches have names; `None` where it is not idempotent.
    producer_id: Option<u64>,
    next_sequence: u64,
    /// Sent and not answered, in the order sent.
    in_flight: VecDeque<Sent>,
    /// To be sent before anything new.
    again: VecDeque<Batch>,
    /// Nothing is sent before.
    hold_until: Option<Instant>,
    /// When a record was last stored.
    placed_at: Option<Instant>,
    /// The waits after failures in a row.
    delays: Option<ExponentialBackoff>,
}

struct Sent {
    batch: Batch,
    at: Instant,
}

impl Worker {
    pub(super) fn new(
        records: RecordServiceClient<Channel>,
        streams: StreamServiceClient<Channel>,
        stream: Arc<str>,
        settings: ProducerSettings,
        queue: Arc<Queue>,
    ) -> Self {
        Self {
            records,
            streams,
            shards: None,
            asked: JoinSet::new(),
            stream,
            producer_id: settings.idempotent.then(|| rand::random_range(1..=u64::MAX)),
            next_sequence: 0,
            settings,
            queue,
            link: None,
            in_flight: VecDeque::new(),
            again: VecDeque::new(),
            hold_until: None,
            placed_at: None,
            delays: None,
        }
    }

    /// Works until the queue is closed and everything in it is settled.
    pub(super) async fn run(mut self) {
        if self.settings.aggregate_bytes_max.is_some() {
            self.ask_shards();
            // Where the server is away, records wait for it in any case.
            if let Ok(Some(told)) = timeout(SHARDS_TIME_MAX, self.asked.join_next()).await {
                self.note_shards(told);
            }
        }
        loop {
            self.fill(Instant::now());
            self.queue.publish_settled(self.lowest_held());
            if self.queue.is_drained() && self.again.is_empty() && self.in_flight.is_empty() {
                return;
            }
            let alarm = self.alarm();
            tokio::select! {
                answer = next_answer(&mut self.link) => self.on_answer(answer),
                Some(told) = self.asked.join_next() => self.note_shards(told),
                () = self.queue.wake.notified() => {}
                () = ring(alarm) => self.check_timeout(),
            }
        }
    }

    /// Sends what may be sent now.
    fn fill(&mut self, now: Instant) {
        if self.hold_until.is_some_and(|until| now < until) {
            return;
        }
        self.hold_until = None;
        while self.in_flight.len() < self.settings.in_flight_max {
            let idle = self.in_flight.is_empty();
            let Some(mut batch) = self.again.pop_front().or_else(|| self.pop_new(idle, now)) else { break };
            batch.name(|| self.next_name(now));
            let request = batch.request(&self.stream);
            self.link.get_or_insert_with(|| Link::open(self.records.clone())).send(request);
            self.in_flight.push_back(Sent { batch, at: now });
        }
    }

    /// The next new batch, packed where that is wanted. More than one that it becomes wait to be sent before anything new.
    fn pop_new(&mut self, idle: bool, now: Instant) -> Option<Batch> {
        let batch = self.queue.pop(idle, now)?;
        let Some(most) = self.settings.aggregate_bytes_max else { return Some(batch) };
        let packed = match &self.shards {
            Some(shards) => pack(batch, shards, most),
            None => split(batch),
        };
        self.again.extend(packed);
        self.again.pop_front()
    }

    fn ask_shards(&mut self) {
        if self.asked.is_empty() {
            let (streams, stream) = (self.streams.clone(), Arc::clone(&self.stream));
            self.asked.spawn(async move { ShardMap::fetch(streams, &stream).await });
        }
    }

    fn note_shards(&mut self, told: std::result::Result<Result<ShardMap>, JoinError>) {
        match told {
            Ok(Ok(shards)) => self.shards = Some(shards),
            Ok(Err(error)) => {
                tracing::debug!(stream = %self.stream, %error, "the shards are not known; nothing is packed")
            }
            Err(error) => tracing::debug!(stream = %self.stream, %error, "asking for the shards ended"),
        }
    }

    /// A place that is in no shard known tells of a reshard.
    fn check_places(&mut self, response: &PutResponse) {
        let places = response.results.iter().filter_map(|result| match &result.result {
            Some(put_result::Result::Placed(placed)) => Some(placed.shard),
            _ => None,
        });
        let packs = self.settings.aggregate_bytes_max.is_some();
        let known = |shard| self.shards.as_ref().is_some_and(|shards| shards.has(shard));
        if packs && !places.into_iter().all(known) {
            self.ask_shards();
        }
    }

    /// The name of the next new batch. A batch that goes in several parts has a name for each.
    fn next_name(&mut self, now: Instant) -> Option<Name> {
        let producer = self.producer_id?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Some(Name { producer, sequence, first_sent: now })
    }

    /// What becomes of records whose fate is not known.
    const fn unknown(&self) -> Unknown {
        match (self.producer_id, self.settings.retry.unknown) {
            (Some(_), _) => Unknown::SameAgain,
            (None, true) => Unknown::MayDouble,
            (None, false) => Unknown::Fails,
        }
    }

    fn lowest_held(&self) -> Option<u64> {
        let sent = self.in_flight.iter().map(|sent| sent.batch.first_seq());
        sent.chain(self.again.iter().map(Batch::first_seq)).min()
    }

    /// When there is something to do though nothing happens.
    fn alarm(&self) -> Option<Instant> {
        let room = self.in_flight.len() < self.settings.in_flight_max;
        let send = self.hold_until.or_else(|| if room { self.queue.linger_ends() } else { None });
        let timeout = self.in_flight.front().map(|sent| sent.at + ANSWER_TIME_MAX);
        send.into_iter().chain(timeout).min()
    }

    fn check_timeout(&mut self) {
        if self.in_flight.front().is_some_and(|sent| sent.at.elapsed() >= ANSWER_TIME_MAX) {
            let message = format!("the server gave no answer for {ANSWER_TIME_MAX:?}");
            self.on_broken(Error::new(Kind::Unavailable, message).with_unknown_outcome(true), false);
        }
    }

    fn on_answer(&mut self, answer: Option<Result<PutResponse, Status>>) {
        match answer {
            Some(Ok(response)) => self.on_response(response),
            // The service takes puts in order, and none after the one that made it end the call.
            Some(Err(status)) => {
                let error = Error::from(status);
                let in_good_order = error.is_from_service();
                self.on_broken(error, in_good_order);
            }
            None => self.on_broken(Error::new(Kind::Unavailable, "the server ended the call"), true),
        }
    }

    fn on_response(&mut self, response: PutResponse) {
        let Some(Sent { batch, .. }) = self.in_flight.pop_front() else {
            return self.on_broken(Error::malformed("a request to its answer"), false);
        };
        if response.results.len() != batch.len() {
            let error = Error::malformed("a result for each record");
            self.fail(batch, &error);
            return self.on_broken(error, false);
        }
        self.check_places(&response);
        let may_retry = self.may_retry(&batch);
        let mut verdicts = Verdicts::new(may_retry, self.unknown(), batch.is_unknown());
        let (freed, retry) = batch.settle(response.results, |result| verdicts.decide(result));
        self.queue.release(freed);
        if verdicts.placed() {
            self.placed_at = Some(Instant::now());
        }
        if let Some((count, error)) = verdicts.failures() {
            self.queue.note_failures(count, error);
        }
        if retry.is_empty() {
            self.delays = None;
        } else {
            self.hold(verdicts.retry_after());
            let mut retry = retry;
            if self.unknown() == Unknown::MayDouble {
                retry.set_unknown();
            }
            self.retry(retry);
        }
    }

    /// The call is over: sorts what was under way into failed and to be tried again. In good order means that the server
    /// took nothing that it did not answer.
    fn on_broken(&mut self, error: Error, in_good_order: bool) {
        let unsent = self.link.take().map_or(0, Link::close);
        let left = if in_good_order { 0 } else { self.in_flight.len().saturating_sub(unsent) };
        if self.in_flight.is_empty() {
            return;
        }
        tracing::debug!(stream = %self.stream, %error, left, unsent, "put call broke");
        for (index, Sent { mut batch, .. }) in std::mem::take(&mut self.in_flight).into_iter().enumerate() {
            // The server's refusal is about the oldest request that it had not answered.
            let refused = index == 0 && !error.may_have_applied();
            let unstored = index >= left || refused;
            let retry = if unstored {
                error.is_retryable() || (index >= left && left > 0)
            } else {
                batch.set_unknown();
                error.is_retryable() && self.unknown() != Unknown::Fails
            };
            if retry && self.may_retry(&batch) {
                self.retry(batch);
            } else {
                // That this try stored nothing says nothing of an earlier one.
                let unknown = batch.is_unknown();
                self.fail(batch, &error.clone().with_unknown_outcome(unknown));
            }
        }
        self.hold(error.retry_after());
    }

    fn may_retry(&self, batch: &Batch) -> bool {
        let since = self.placed_at.map_or(batch.begun(), |placed| placed.max(batch.begun()));
        since.elapsed() < self.settings.retry.time_max
    }

    fn fail(&self, batch: Batch, error: &Error) {
        self.queue.note_failures(batch.open() as u64, error);
        self.queue.release(batch.fail(error));
    }

    /// Puts records in line for another try, in one batch with those before where they fit. A batch with a name stays as it
    /// is.
    fn retry(&mut self, batch: Batch) {
        match self.again.back_mut() {
            Some(last)
                if !(last.is_named() || batch.is_named())
                    && last.len() + batch.len() <= self.settings.batch_records_max
                    && last.bytes() + batch.bytes() <= self.settings.batch_bytes_max =>
            {
                last.append(batch);
            }
            _ => self.again.push_back(batch),
        }
    }

    /// Sends nothing for as long as the server asks, or else for the next wait of the back-off.
    fn hold(&mut self, asked: Option<Duration>) {
        let delay = asked.filter(|asked| !asked.is_zero()).unwrap_or_else(|| {
            let delays = self.delays.get_or_insert_with(|| self.settings.retry.delays());
            delays.next().unwrap_or(self.settings.retry.delay_max)
        });
        let until = Instant::now() + delay;
        self.hold_until = Some(self.hold_until.map_or(until, |before| before.max(until)));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Something is left only when the runtime ends under it; senders that wait must learn of it.
        for sent in std::mem::take(&mut self.in_flight) {
            self.fail(sent.batch, &abandoned());
        }
        for batch in std::mem::take(&mut self.again) {
            let unknown = batch.is_unknown();
            self.fail(batch, &abandoned().with_unknown_outcome(unknown));
        }
        self.queue.abandon();
    }
}

async fn next_answer(link: &mut Option<Link>) -> Option<Result<PutResponse, Status>> {
    match link {
        Some(link) => link.answer().await,
        None => pending().await,
    }
}

async fn ring(alarm: Option<Instant>) {
    match alarm {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
