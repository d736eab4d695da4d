//! A worker: one task that carries one delivery from the log to committed batches.
//!
//! A session begins at the committed position, finishes an open intent, then reads, cuts and commits until the declaration
//! changes, the delivery is paused or the position turns out to be another's. While a batch is in flight the next one is
//! read; there is never more than one in flight, so batches commit in order.
//! It must never acknowledge, trim or skip anything: what is not committed is read again.

mod progress;
mod retry;
mod chunk;
mod reader;
mod shard;
mod position;
mod flight;
mod sink;
mod replay;

pub(crate) use chunk::{Chunk, Content, Held};
pub(crate) use position::{is_fresh, open_converting};
pub(crate) use progress::{Offsets, Progress, Wanted, raise, reached};
pub(crate) use reader::{CHUNK_BYTES_MAX, Converting, Memory, Reader};
pub(crate) use replay::read_object;
pub(crate) use retry::Retry;
pub(crate) use sink::Output;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::{Bound, Range};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use millrace_storage::lake::partition::PartitionSet;
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{Offset, ShardId, ShardKey};
use millrace_storage::meta::keys::Totals;
use millrace_storage::meta::keys::intent::IntentValue;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::flight::{Batch, Landed};
use self::position::Position;
use self::reader::ReadDone;
use self::shard::Shard;
use super::Parts;
use super::budget::Member;
use super::declared::Declared;
use crate::error::Result;
use crate::streams::Topology;
use crate::transform::{Chain, Pins, wasm_specs};

/// A worker before it runs.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) parts: Arc<Parts>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) retry: Retry,
    pub(crate) held: Arc<Held>,
    pub(crate) stop: CancellationToken,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The worker was stopped.
    Stopped,
    /// Something that the session began with has changed.
    Changed,
}

/// How a session begins.
enum Begun {
    Session(Box<Session>),
    /// The delivery is to do nothing.
    Paused,
    /// The position must be looked at again.
    Again,
}

/// How long a new session waits after one that ended by an error, so that a fault that lasts does not spin.
const SESSION_DELAY: Duration = Duration::from_secs(1);

impl Worker {
    /// Runs until it is stopped.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            // A stop drops what is under way before the session: an intent stays open and is finished at the next start.
            let session = tokio::select! {
                () = stop.cancelled() => break,
                session = self.begin(&wanted) => session,
            };
            let end = match session {
                Begun::Session(mut session) => session.run(&mut self.wanted, &stop).await,
                Begun::Paused => self.rest().await,
                Begun::Again => End::Changed,
            };
            if end == End::Stopped {
                break;
            }
        }
        self.retry.progress.send_modify(|progress| progress.ended = true);
    }

    async fn begin(&self, wanted: &Wanted) -> Begun {
        match self.recover(&wanted.declared).await {
            Some(_) if !wanted.running => Begun::Paused,
            Some(position) if wants_replay(wanted, &self.retry) => {
                self.replay(&wanted.declared, position, wanted.replay).await
            }
            Some(position) => match Session::begin(self, &wanted.declared, position).await {
                Some(session) => Begun::Session(Box::new(session)),
                None => Begun::Again,
            },
            None => {
                tokio::time::sleep(SESSION_DELAY).await;
                Begun::Again
            }
        }
    }

    /// The committed position, with no intent open: what a crash left is finished first. `None` where that failed for a
    /// reason that only a new look at the store can settle.
    async fn recover(&self, declared: &Arc<Declared>) -> Option<Position> {
        let position = Position::load(&self.parts, &self.retry).await;
        self.publish(&position);
        if position.intent.is_none() {
            return Some(position);
        }
        let position = self.finish_intent(declared, position).await?;
        self.publish(&position);
        Some(position)
    }

    fn publish(&self, position: &Position) {
        self.held.reset(position.committed(), is_fresh(&position.checkpoint.value));
        self.retry.progress.send_modify(|progress| {
            progress.recovered = true;
            progress.converted = position.committed();
            progress.buffered_bytes = 0;
            progress.open_partitions = 0;
            progress.oldest_at = None;
            position.show(progress);
        });
    }

    /// Writes the batch of an open intent again: the same ranges, the same names, the same declaration.
    async fn finish_intent(&self, declared: &Arc<Declared>, mut position: Position) -> Option<Position> {
        let intent = position.intent.clone()?;
        let (batch, delivery) = (intent.value.batch, &self.retry.delivery);
        tracing::info!(delivery, batch, "finishing a batch that was begun before");
        let mut streak = self.retry.streak("finish a batch");
        let declared = match declared.of_intent(&intent.value) {
            Ok(declared) => Arc::new(declared),
            Err(error) => {
                tokio::time::sleep(streak.failed(&error)).await;
                return None;
            }
        };
        if !intent.value.replayed.is_empty() {
            drop(streak);
            return self.finish_replay(&declared, position).await;
        }
        position.intent = None;
        let chain = match self.chain_of_intent(&declared, &intent.value).await {
            Ok(chain) => chain,
            Err(error) => {
                tokio::time::sleep(streak.failed(&error)).await;
                return None;
            }
        };
        let reader = Arc::new(self.parts.reader(&declared, chain, self.retry.metrics.clone()));
        let mut converting = position::converting(&self.parts, &self.retry, &declared).await;
        let mut chunks = Vec::new();
        for (shard, range) in millrace_storage::meta::keys::load_ranges(&intent.value.ranges) {
            let mut from = range.start;
            while from < range.end {
                let key = ShardKey { stream: declared.stream.id(), shard };
                let read =
                    Arc::clone(&reader).read(converting, key, from..range.end, reader::CHUNK_BYTES_MAX, Memory::Take);
                let done = read.await;
                converting = match done.converting {
                    Some(converting) => converting,
                    None => position::converting(&self.parts, &self.retry, &declared).await,
                };
                match done.chunk {
                    Ok(chunk) => {
                        from = chunk.offsets.end;
                        let chunk = Arc::new(chunk);
                        self.held.push(Arc::clone(&chunk), converting.schema());
                        chunks.push(chunk);
                    }
                    Err(error) => tokio::time::sleep(streak.failed(&error)).await,
                }
            }
        }
        drop(streak);
        let schema = converting.schema();
        let batch = Batch::again(&declared, position, intent, chunks, schema);
        let landed = flight::fly(Arc::clone(&self.parts), self.retry.clone(), batch).await?;
        self.held.release(landed.chunks, landed.position.committed());
        Some(landed.position)
    }

    /// Does nothing until something else is wanted.
    async fn rest(&mut self) -> End {
        self.retry.progress.send_modify(|progress| progress.paused = true);
        let changed = self.wanted.changed();
        let end = tokio::select! {
            () = self.stop.cancelled() => End::Stopped,
            changed = changed => if changed.is_ok() { End::Changed } else { End::Stopped },
        };
        if end == End::Changed && self.wanted.borrow().running {
            self.retry.progress.send_modify(|progress| progress.paused = false);
        }
        end
    }

    /// The chain that a batch was begun with.
    async fn chain_of_intent(&self, declared: &Declared, intent: &IntentValue) -> Result<Chain> {
        let pins = Pins::load(&intent.modules)?;
        self.parts.transforms.chain(&self.retry.delivery, &declared.spec.transforms, &pins).await
    }
}

/// Reading and committing from one position on, by one declaration.
struct Session {
    parts: Arc<Parts>,
    retry: Retry,
    held: Arc<Held>,
    declared: Arc<Declared>,
    reader: Arc<Reader>,
    /// The versions of transform modules that the session reads by.
    pins: Pins,
    modules: watch::Receiver<u64>,
    member: Member,
    topology: watch::Receiver<Arc<Topology>>,
    /// The topology that `shards` are of.
    followed: Option<Arc<Topology>>,
    /// By number. There may be thousands, so that what is done at each event looks at those alone that `waiting` names.
    shards: Vec<Shard>,
    /// The shards with records that are not read.
    waiting: BTreeSet<ShardId>,
    /// Watches the others, each until it has one.
    idle: FuturesUnordered<BoxFuture<'static, ShardId>>,
    /// `None` while it reads.
    converting: Option<Converting>,
    reading: Option<BoxFuture<'static, ReadDone>>,
    /// `None` while a batch is in flight.
    position: Option<Position>,
    flight: Option<BoxFuture<'static, Option<Landed>>>,
    /// The number of the batch that is read for.
    filling: u64,
    buffer: Buffer,
    /// The shard that was read last; the others come first.
    turn: ShardId,
}

impl Drop for Session {
    /// What is being read is for nobody any more.
    fn drop(&mut self) {
        self.reader.chain.stop();
    }
}

/// The chunks of the next batch.
#[derive(Debug, Default)]
struct Buffer {
    chunks: Vec<Arc<Chunk>>,
    bytes_in: u64,
    /// The memory that they take.
    memory_bytes: u64,
    /// What its files will be.
    partitions: PartitionSet,
    /// When the first of its records was seen.
    since: Option<Instant>,
    /// The schema after its last chunk.
    schema: Option<TableSchema>,
}

/// What a session waits for.
enum Event {
    Stopped,
    WantedChanged,
    Landed(Option<Landed>),
    Read(ReadDone),
    /// A shard has a record that is not read.
    Appended(ShardId),
    /// A reason to look again.
    Look,
}

/// Whether a replay is asked for.
fn wants_replay(wanted: &Wanted, retry: &Retry) -> bool {
    wanted.replay.request > retry.progress.borrow().replay_answered
}

impl Session {
    /// `None` where the declaration changed before all that it names was there.
    async fn begin(worker: &Worker, declared: &Arc<Declared>, position: Position) -> Option<Self> {
        let parts = Arc::clone(&worker.parts);
        let converting = position::converting(&parts, &worker.retry, declared).await;
        let modules = parts.transforms.watch();
        let (filling, specs) = (position.checkpoint.value.next_batch, &declared.spec.transforms);
        let load = worker.retry.forever("load the transforms", || async {
            let pins = parts.transforms.pins(specs, filling)?;
            let chain = parts.transforms.chain(&worker.retry.delivery, specs, &pins).await?;
            Ok::<_, crate::error::Error>((pins, chain))
        });
        let mut wanted = worker.wanted.clone();
        let (pins, chain) = tokio::select! {
            loaded = load => loaded,
            _ = wanted.wait_for(|wanted| !wanted.running || *wanted.declared != **declared) => return None,
        };
        let topology = declared.stream.watch_topology();
        worker.retry.progress.send_modify(|progress| progress.paused = false);
        Some(Self {
            reader: Arc::new(parts.reader(declared, chain, worker.retry.metrics.clone())),
            pins,
            modules,
            member: parts.budget.join(declared.spec.priority),
            retry: worker.retry.clone(),
            held: Arc::clone(&worker.held),
            declared: Arc::clone(declared),
            topology,
            followed: None,
            shards: Vec::new(),
            waiting: BTreeSet::new(),
            idle: FuturesUnordered::new(),
            converting: Some(converting),
            reading: None,
            position: Some(position),
            flight: None,
            filling,
            buffer: Buffer::default(),
            turn: ShardId(0),
            parts,
        })
    }

    async fn run(&mut self, wanted: &mut watch::Receiver<Wanted>, stop: &CancellationToken) -> End {
        let mut leaving = false;
        loop {
            let now = Instant::now();
            self.follow_topology(now);
            let aims = wanted.borrow().clone();
            leaving = leaving || self.is_outdated();
            if !leaving {
                self.cut_when_due(now, &aims);
                self.read_when_due(now, &aims);
            } else if self.flight.is_none() {
                return End::Changed;
            }
            match self.event(now, wanted, stop, &aims, leaving).await {
                Event::Stopped => return self.drain().await,
                Event::WantedChanged => {
                    let aims = wanted.borrow_and_update();
                    let replays = wants_replay(&aims, &self.retry);
                    leaving = leaving || replays || !aims.running || *aims.declared != *self.declared;
                }
                Event::Landed(Some(landed)) => self.landed(landed),
                Event::Landed(None) => return End::Changed,
                Event::Read(done) => {
                    if !self.read(done) {
                        return End::Changed;
                    }
                }
                Event::Appended(shard) => self.watch(shard, Instant::now()),
                Event::Look => {}
            }
        }
    }

    /// Whether the batch that is read for is to be made by other versions of transform modules. What was read for it is read
    /// again by those, so that a batch is made by one version.
    fn is_outdated(&self) -> bool {
        let specs = &self.declared.spec.transforms;
        // Where a module is gone, what was begun with it goes on.
        wasm_specs(specs).next().is_some()
            && self.parts.transforms.pins(specs, self.filling).is_ok_and(|pins| pins != self.pins)
    }

    /// Notes whether a shard has records to be read, and else watches it.
    fn watch(&mut self, shard: ShardId, now: Instant) {
        let Some(index) = self.index_of(shard) else { return };
        let watched = &mut self.shards[index];
        if watched.notice(now) {
            self.waiting.insert(shard);
            return;
        }
        self.waiting.remove(&shard);
        if !watched.is_read_out() {
            self.idle.push(watched.appended().boxed());
        }
    }

    fn index_of(&self, shard: ShardId) -> Option<usize> {
        self.shards.binary_search_by_key(&shard, |shard| shard.key.shard).ok()
    }

    /// Takes in the shards that came and lets go of those that went. A new one is read from its first record on, or from
    /// where it was committed.
    fn follow_topology(&mut self, now: Instant) {
        let topology = Arc::clone(&self.topology.borrow_and_update());
        if self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &topology)) {
            return;
        }
        self.shards.retain(|shard| topology.shard(shard.key.shard).is_some());
        // Numbers only grow, so that what is new stands last.
        let known = self.shards.last().map(|shard| shard.key.shard);
        for state in topology.shards().iter().filter(|shard| known.is_none_or(|known| shard.id() > known)) {
            let from = match &self.position {
                Some(position) => position.committed_in(state.id()),
                // Its position cannot have moved: it was never read.
                None => Offset::ZERO,
            };
            let tail = self.parts.log.tail(state.key());
            self.shards.push(Shard::new(Arc::clone(state), from, tail));
        }
        self.followed = Some(topology);
        self.waiting.clear();
        self.idle.clear();
        for index in 0..self.shards.len() {
            self.watch(self.shards[index].key.shard, now);
        }
    }

    /// Whether a shard's turn has not come: its parents are not read to their end.
    fn is_held_back(&self, shard: &Shard) -> bool {
        shard
            .parents()
            .iter()
            .any(|parent| self.index_of(*parent).is_some_and(|index| !self.shards[index].is_read_out()))
    }

    async fn event(
        &mut self,
        now: Instant,
        wanted: &mut watch::Receiver<Wanted>,
        stop: &CancellationToken,
        aims: &Wanted,
        leaving: bool,
    ) -> Event {
        let look_at = self.next_look(now, aims);
        let Self { idle, flight, reading, member, topology, modules, .. } = self;
        tokio::select! {
            biased;
            () = stop.cancelled() => Event::Stopped,
            changed = wanted.changed() => if changed.is_ok() { Event::WantedChanged } else { Event::Stopped },
            landed = ready(flight) => { *flight = None; Event::Landed(landed) }
            done = ready(reading), if !leaving => { *reading = None; Event::Read(done) }
            () = member.pressed() => Event::Look,
            Ok(()) = topology.changed() => Event::Look,
            Ok(()) = modules.changed() => Event::Look,
            Some(shard) = idle.next(), if !leaving => Event::Appended(shard),
            () = sleep_until(look_at), if !leaving => Event::Look,
        }
    }

    /// Whether more may be read for the next batch.
    fn has_room(&self) -> bool {
        let is_full = self.buffer.bytes_in >= self.declared.spec.buffer_size.as_u64();
        !is_full && !self.has_many_partitions() && !self.has_much_memory()
    }

    /// Whether the next batch holds what the delivery may, with as much left for the one that is written.
    fn has_much_memory(&self) -> bool {
        let share = self.declared.spec.memory_max.map(|memory| memory.as_u64() / 2);
        share.is_some_and(|share| self.buffer.memory_bytes >= share)
    }

    /// Whether the next batch would be too many files with more records.
    fn has_many_partitions(&self) -> bool {
        self.buffer.partitions.len() >= self.declared.spec.partitions_max() as usize
    }

    /// When time alone changes what is to be done.
    fn next_look(&self, now: Instant, aims: &Wanted) -> Option<Instant> {
        let read_at =
            if self.reading.is_none() && self.has_room() { self.next_read(now, aims).map(|(at, _)| at) } else { None };
        let cut_at = if self.flight.is_none() && !self.buffer.chunks.is_empty() {
            self.buffer.since.map(|since| since + self.declared.spec.buffer_interval)
        } else {
            None
        };
        [read_at, cut_at].into_iter().flatten().min()
    }

    /// The shard to read next, and when.
    fn next_read(&self, now: Instant, aims: &Wanted) -> Option<(Instant, usize)> {
        let interval = self.declared.spec.buffer_interval;
        let aged = self.buffer.since.is_some_and(|since| now >= since + interval);
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let order = self.waiting.range(after).chain(self.waiting.range(..=self.turn));
        let due = order.filter_map(|shard| {
            let index = self.index_of(*shard)?;
            let shard = &self.shards[index];
            if self.is_held_back(shard) {
                return None;
            }
            let aim = |aims: &Offsets| aims.get(&shard.key.shard).copied().unwrap_or_default();
            let upto = if aged { shard.next() } else { aim(&aims.flush).max(aim(&aims.convert)) };
            Some((shard.due_at(now, interval, upto)?, index))
        });
        due.min_by_key(|(at, _)| *at)
    }

    fn read_when_due(&mut self, now: Instant, aims: &Wanted) {
        if self.reading.is_some() || !self.has_room() {
            return;
        }
        let Some((_, index)) = self.next_read(now, aims).filter(|(at, _)| *at <= now) else { return };
        let Some(converting) = self.converting.take() else { return };
        let shard = &self.shards[index];
        self.turn = shard.key.shard;
        if self.buffer.since.is_none() {
            self.buffer.since = shard.waiting_since;
        }
        let room = self.declared.spec.buffer_size.as_u64() - self.buffer.bytes_in;
        let bytes_max = shard.read_bytes().min(usize::try_from(room).unwrap_or(usize::MAX));
        let offsets = shard.read_to..shard.next();
        let reader = Arc::clone(&self.reader);
        self.reading = Some(reader.read(converting, shard.key, offsets, bytes_max, Memory::Wait).boxed());
    }

    /// Takes in what was read. Says whether the session can go on.
    fn read(&mut self, done: ReadDone) -> bool {
        let Some(index) = self.index_of(done.shard) else { return false };
        let shard = &mut self.shards[index];
        self.converting = done.converting;
        let chunk = match done.chunk {
            Ok(chunk) => Arc::new(chunk),
            Err(error) => {
                let retry = &self.retry;
                shard.failed(|| retry.streak(format!("read shard {}", done.shard)), &error);
                return self.converting.is_some();
            }
        };
        shard.done(&chunk);
        self.watch(done.shard, Instant::now());
        self.buffer.bytes_in += chunk.totals.bytes_in;
        self.buffer.memory_bytes += chunk.reservation.bytes();
        self.buffer.partitions.extend(&chunk.partitions);
        self.buffer.chunks.push(Arc::clone(&chunk));
        self.buffer.schema = self.converting.as_ref().and_then(Converting::schema);
        self.held.push(Arc::clone(&chunk), self.buffer.schema.clone());
        self.member.set_cuttable(self.buffer.bytes_in.max(1));
        let (shard, end, buffered) = (chunk.shard, chunk.offsets.end, self.buffer.bytes_in);
        let partitions = self.buffer.partitions.len();
        self.retry.progress.send_modify(|progress| {
            progress.open_partitions = partitions;
            progress.converted.insert(shard, end);
            progress.buffered_bytes = buffered;
            progress.oldest_at = progress.oldest_at.or(chunk.oldest_at);
        });
        true
    }

    fn cut_when_due(&mut self, now: Instant, aims: &Wanted) {
        if self.flight.is_some() || self.buffer.chunks.is_empty() || !self.is_due(now, aims) {
            return;
        }
        let Some(position) = self.position.take() else { return };
        if self.has_many_partitions() {
            self.retry.metrics.partition_cuts.inc();
        }
        let buffer = std::mem::take(&mut self.buffer);
        let waiting = self.waiting.iter().filter_map(|shard| self.index_of(*shard));
        self.buffer.since = waiting.filter_map(|index| self.shards[index].waiting_since).min();
        self.member.set_cuttable(0);
        let batch = Batch::cut(&self.declared, position, buffer.chunks, buffer.schema, self.pins.clone());
        self.filling = batch.number + 1;
        self.flight = Some(flight::fly(Arc::clone(&self.parts), self.retry.clone(), batch).boxed());
    }

    /// Whether the next batch is to be cut now.
    fn is_due(&self, now: Instant, aims: &Wanted) -> bool {
        let spec = &self.declared.spec;
        let aged = self.buffer.since.is_some_and(|since| now >= since + spec.buffer_interval);
        let full = self.buffer.bytes_in >= spec.buffer_size.as_u64();
        full || aged
            || self.has_many_partitions()
            || self.has_much_memory()
            || self.member.is_pressed()
            || self.is_to_be_flushed(&aims.flush)
    }

    /// Whether the next batch is the last one that a flush waits for.
    fn is_to_be_flushed(&self, flush: &Offsets) -> bool {
        if flush.is_empty() {
            return false;
        }
        let topology = self.topology.borrow();
        let read_to: Offsets = self.shards.iter().map(|shard| (shard.key.shard, shard.read_to)).collect();
        let committed = self.position.as_ref().map(Position::committed).unwrap_or_default();
        !reached(&topology, &committed, flush) && reached(&topology, &read_to, flush)
    }

    fn landed(&mut self, landed: Landed) {
        let committed = landed.position.committed();
        self.held.release(landed.chunks, committed);
        let oldest_at = self.buffer.chunks.first().and_then(|chunk| chunk.oldest_at);
        let position = landed.position;
        self.retry.progress.send_modify(|progress| {
            progress.oldest_at = oldest_at;
            progress.buffered_bytes = self.buffer.bytes_in;
            progress.open_partitions = self.buffer.partitions.len();
            position.show(progress);
        });
        self.position = Some(position);
    }

    /// Waits some time for the batch in flight; what is not cut stays in the log.
    async fn drain(&mut self) -> End {
        if let Some(flight) = self.flight.take()
            && tokio::time::timeout(self.parts.settings.drain_timeout, flight).await.is_err()
        {
            tracing::warn!(
                delivery = self.retry.delivery,
                "a batch was not committed in time; it is finished at the next start"
            );
        }
        End::Stopped
    }
}

/// Waits for a future that may not be there.
async fn ready<T>(slot: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match slot {
        Some(future) => future.await,
        None => future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => future::pending().await,
    }
}

/// The ranges of a batch: from the committed position to the end of its chunks, for every shard.
fn ranges(committed: &Offsets, chunks: &[Arc<Chunk>]) -> BTreeMap<ShardId, Range<Offset>> {
    let mut ranges: BTreeMap<_, _> = committed.iter().map(|(shard, offset)| (*shard, *offset..*offset)).collect();
    for chunk in chunks {
        let range = ranges.entry(chunk.shard).or_insert_with(|| chunk.offsets.clone());
        range.end = range.end.max(chunk.offsets.end);
    }
    ranges
}

fn sum(chunks: &[Arc<Chunk>]) -> Totals {
    chunks.iter().fold(Totals::default(), |mut totals, chunk| {
        totals += chunk.totals;
        totals
    })
}
