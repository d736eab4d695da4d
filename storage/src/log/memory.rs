//! The reference engine: a log in memory, as plain as the contract allows. It must keep every rule of [`Log`] but
//! durability; tests of other modules run on it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::producers::Producers;
use super::{
    Append, AppendLimits, AppendTicket, Appended, Error, Log, NewRecord, Offset, ProducerLimits, ProducerSequence,
    ReadLimit, Record, Result, ShardKey, StreamId,
};
use crate::time::{Clock, Timestamp};

/// A log that is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryLog {
    limits: AppendLimits,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    closed: bool,
    shards: HashMap<ShardKey, Shard>,
    producers: Producers,
}

impl Default for State {
    fn default() -> Self {
        Self { closed: false, shards: HashMap::new(), producers: Producers::new(ProducerLimits::default()) }
    }
}

impl State {
    /// Appends, unless it was done before or the offset is not the expected one.
    fn append(&mut self, shard: ShardKey, append: Append, now: Timestamp) -> Result<Appended> {
        let Append { records, expected_next, producer } = append;
        let count = records.len() as u64;
        let producer = producer.filter(|_| count > 0);
        self.producers.set_now(now);
        if let Some(of) = producer
            && let Some(stored) = self.producers.find(shard, of, count)?
        {
            self.producers.touch((shard, of.producer));
            return Ok(stored);
        }
        let state = self.shards.entry(shard).or_default();
        if let Some(expected) = expected_next.filter(|expected| *expected != state.next()) {
            return Err(Error::NextOffset { shard, expected, actual: state.next() });
        }
        let appended = state.append(records, now);
        if let Some(of) = producer {
            self.producers.record(shard, of, appended.offsets.start, count, appended.arrival_time);
            self.producers.evict();
        }
        // There is no disk to keep them on.
        drop(self.producers.take_changes());
        Ok(appended)
    }
}

#[derive(Debug)]
struct Shard {
    trim: Offset,
    next: watch::Sender<Offset>,
    newest: Timestamp,
    records: VecDeque<Record>,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            trim: Offset::ZERO,
            next: watch::Sender::new(Offset::ZERO),
            newest: Timestamp(0),
            records: VecDeque::new(),
        }
    }
}

impl Shard {
    fn next(&self) -> Offset {
        *self.next.borrow()
    }

    fn append(&mut self, records: Vec<NewRecord>, now: Timestamp) -> Appended {
        let start = self.next();
        let end = start + records.len() as u64;
        if !records.is_empty() {
            self.newest = self.newest.max(now);
        }
        let arrival_time = self.newest;
        for (index, NewRecord { partition_key, data }) in records.into_iter().enumerate() {
            self.records.push_back(Record { offset: start + index as u64, arrival_time, partition_key, data });
        }
        if end > start {
            self.next.send_replace(end);
        }
        Appended { offsets: start..end, arrival_time, duplicate: false }
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> Vec<Record> {
        let skip = usize::try_from(from.since(self.trim)).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut bytes = 0;
        for record in self.records.iter().skip(skip) {
            bytes += record.bytes();
            if !found.is_empty() && (found.len() >= limit.records_max || bytes > limit.bytes_max) {
                break;
            }
            found.push(record.clone());
        }
        found
    }

    fn trim(&mut self, before: Offset) {
        let before = before.min(self.next());
        while self.records.front().is_some_and(|record| record.offset < before) {
            self.records.pop_front();
        }
        self.trim = self.trim.max(before);
    }
}

impl MemoryLog {
    /// An empty log with default limits on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty log.
    #[must_use]
    pub fn with(limits: AppendLimits, clock: Clock) -> Self {
        Self { limits, clock, state: Mutex::default() }
    }

    fn with_shard<T>(&self, shard: ShardKey, f: impl FnOnce(&Shard) -> T) -> Option<T> {
        self.state.lock().shards.get(&shard).map(f)
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, shard: ShardKey, append: Append) -> Result<AppendTicket> {
        self.limits.check(&append.records)?;
        let (sender, ticket) = AppendTicket::new();
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        let appended = state.append(shard, append, self.clock.now());
        // The ticket is held right here, so the send cannot fail.
        let _ = sender.send(appended);
        Ok(ticket)
    }

    fn stored(&self, shard: ShardKey, producer: ProducerSequence, count: u64) -> Result<Option<Appended>> {
        self.state.lock().producers.find(shard, producer, count)
    }

    async fn read(&self, shard: ShardKey, from: Offset, limit: ReadLimit) -> Result<Vec<Record>> {
        let state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        Ok(state.shards.get(&shard).map(|shard| shard.read(from, limit)).unwrap_or_default())
    }

    fn offsets(&self, shard: ShardKey) -> Range<Offset> {
        self.with_shard(shard, |shard| shard.trim..shard.next()).unwrap_or_default()
    }

    async fn offset_at(&self, shard: ShardKey, time: Timestamp) -> Result<Offset> {
        let found = self.with_shard(shard, |shard| {
            let earlier = shard.records.partition_point(|record| record.arrival_time < time);
            shard.trim + earlier as u64
        });
        Ok(found.unwrap_or_default())
    }

    fn newest_arrival(&self, shard: ShardKey) -> Option<Timestamp> {
        self.with_shard(shard, |shard| shard.records.back().map(|record| record.arrival_time)).flatten()
    }

    fn tail(&self, shard: ShardKey) -> watch::Receiver<Offset> {
        self.state.lock().shards.entry(shard).or_default().next.subscribe()
    }

    fn stored_bytes(&self, stream: StreamId) -> u64 {
        let state = self.state.lock();
        let shards = state.shards.iter().filter(|(shard, _)| shard.stream == stream);
        shards.flat_map(|(_, shard)| &shard.records).map(|record| record.bytes() as u64).sum()
    }

    async fn stored_bytes_in(&self, shard: ShardKey, offsets: Range<Offset>) -> Result<u64> {
        let bytes = self.with_shard(shard, |shard| {
            let within = shard.records.iter().filter(|record| offsets.contains(&record.offset));
            within.map(|record| record.bytes() as u64).sum()
        });
        Ok(bytes.unwrap_or_default())
    }

    async fn trim(&self, shard: ShardKey, before: Offset) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if let Some(shard) = state.shards.get_mut(&shard) {
            shard.trim(before);
        }
        Ok(())
    }

    async fn delete_stream(&self, stream: StreamId) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.shards.retain(|shard, _| shard.stream != stream);
        state.producers.remove_stream(stream);
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.state.lock().closed = true;
        Ok(())
    }
}
