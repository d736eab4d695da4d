//! A session: reading, cutting and committing from one position on, by one declaration.
//!
//! While a batch is in flight the next one is read; there is never more than one in flight, so batches commit in order.

mod shards;
mod reading;
mod cutting;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::{self, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use millrace_storage::log::ShardId;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::cutting::Buffer;
use super::flight::Landed;
use super::position::{self, Position};
use super::progress::Wanted;
use super::reader::{Converting, ReadDone, Reader};
use super::shard::Shard;
use super::{End, Held, Retry, Worker, wants_replay};
use crate::delivery::Parts;
use crate::delivery::budget::Member;
use crate::delivery::declared::Declared;
use crate::streams::Topology;
use crate::transform::{Pins, wasm_specs};

/// What a session holds.
pub(super) struct Session {
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

impl Session {
    /// `None` where the declaration changed before all that it names was there.
    pub(super) async fn begin(worker: &Worker, declared: &Arc<Declared>, position: Position) -> Option<Self> {
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

    pub(super) async fn run(&mut self, wanted: &mut watch::Receiver<Wanted>, stop: &CancellationToken) -> End {
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
