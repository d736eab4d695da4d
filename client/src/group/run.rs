//! The member's life: join, follow the leases that each heartbeat names, leave; and join again when it was taken for dead.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use millrace_proto::v1::{HeartbeatResponse, Lease};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::GroupConsumer;
use super::batch::GroupBatch;
use super::connections::Connections;
use super::membership::{LeaseId, Membership};
use super::settings::GroupSettings;
use super::worker::{Order, Worker, is_stale};
use crate::{Error, Kind, Result};

pub(super) async fn run<H, F, E>(consumer: GroupConsumer, shutdown: impl Future<Output = ()>, handler: H) -> Result<()>
where
    H: Fn(GroupBatch) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let GroupConsumer { stream, group, settings, connector } = consumer;
    // Heartbeats have a connection of their own: they must not wait behind records.
    let groups = connector.groups();
    let (settings, handler) = (Arc::new(settings), Arc::new(handler));
    let mut shutdown = pin!(shutdown);
    let mut delays = settings.delays();
    loop {
        let joined = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            joined = Membership::join(groups.clone(), &stream, &group, &settings) => joined,
        };
        let lost = match joined {
            Ok(membership) => {
                delays = settings.delays();
                let connections = Connections::new(connector.clone());
                let member = Member::start(membership, connections, Arc::clone(&settings), Arc::clone(&handler));
                match member.live(shutdown.as_mut()).await? {
                    Left::Shutdown => return Ok(()),
                    Left::Lost(error) => error,
                }
            }
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        let delay = lost.retry_after().or_else(|| delays.next()).unwrap_or(settings.retry_delay_max);
        tracing::warn!(stream, group, error = %lost, ?delay, "not a member of the group; joining again");
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = sleep(delay) => {}
        }
    }
}

/// Why a member is one no more.
enum Left {
    Shutdown,
    /// Its leases are lost; it may join again.
    Lost(Error),
}

/// A member with its workers.
struct Member<H> {
    membership: Arc<Membership>,
    connections: Connections,
    settings: Arc<GroupSettings>,
    handler: Arc<H>,
    heartbeats: mpsc::Receiver<Result<HeartbeatResponse>>,
    work: JoinSet<Result<()>>,
    /// By shard. A worker that has ended stays, so that its lease is not worked on again.
    workers: HashMap<u32, Handle>,
    _pulse: JoinSet<()>,
}

struct Handle {
    epoch: u64,
    /// Of its connection.
    place: usize,
    abort: AbortHandle,
    orders: watch::Sender<Order>,
}

impl<H, F, E> Member<H>
where
    H: Fn(GroupBatch) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    fn start(membership: Membership, connections: Connections, settings: Arc<GroupSettings>, handler: Arc<H>) -> Self {
        let membership = Arc::new(membership);
        let (sender, heartbeats) = mpsc::channel(1);
        let mut pulse = JoinSet::new();
        pulse.spawn(beat(Arc::clone(&membership), sender));
        let (work, workers) = (JoinSet::new(), HashMap::new());
        Self { membership, connections, settings, handler, heartbeats, work, workers, _pulse: pulse }
    }

    async fn live<S: Future<Output = ()>>(mut self, mut shutdown: Pin<&mut S>) -> Result<Left> {
        loop {
            tokio::select! {
                biased;
                heartbeat = self.heartbeats.recv() => match heartbeat {
                    Some(Ok(held)) => self.follow(held.leases),
                    Some(Err(error)) => return Ok(Left::Lost(error)),
                    None => return Ok(Left::Lost(Error::new(Kind::Unavailable, "the heartbeats ended"))),
                },
                () = &mut shutdown => break,
                Some(ended) = self.work.join_next() => if let Err(error) = self.note_end(ended) {
                    self.abandon().await;
                    return Err(error);
                },
            }
        }
        self.stop().await;
        Ok(Left::Shutdown)
    }

    /// Makes the workers those of the leases: whoever's lease is not there any more is dropped where it stands.
    fn follow(&mut self, leases: Vec<Lease>) {
        self.drop_lost(&leases);
        for lease in leases {
            let worker = match self.workers.get(&lease.shard) {
                Some(worker) => worker,
                None => self.begin(&lease),
            };
            if lease.release_within_ms.is_some() {
                worker.orders.send_if_modified(|order| {
                    let first = *order == Order::Work;
                    if first {
                        *order = Order::HandOver;
                    }
                    first
                });
            }
        }
    }

    fn drop_lost(&mut self, leases: &[Lease]) {
        self.workers.retain(|shard, worker| {
            let keeps = leases.iter().any(|lease| lease.shard == *shard && lease.epoch == worker.epoch);
            if !keeps {
                worker.abort.abort();
                self.connections.give_back(worker.place);
            }
            keeps
        });
    }

    fn begin(&mut self, lease: &Lease) -> &Handle {
        let (orders, told) = watch::channel(Order::Work);
        let (place, records) = self.connections.take();
        let worker = Worker {
            lease: LeaseId { shard: lease.shard, epoch: lease.epoch },
            from: lease.checkpoint.unwrap_or_default(),
            records,
            membership: Arc::clone(&self.membership),
            settings: Arc::clone(&self.settings),
            handler: Arc::clone(&self.handler),
            orders: told,
        };
        let abort = self.work.spawn(worker.run());
        let handle = Handle { epoch: lease.epoch, place, abort, orders };
        self.workers.entry(lease.shard).insert_entry(handle).into_mut()
    }

    /// A worker ended: as it was told, or because its lease is lost; else the member fails with it.
    fn note_end(&mut self, ended: Result<Result<()>, JoinError>) -> Result<()> {
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_stale(&error) => {
                tracing::warn!(stream = %self.membership.stream, group = %self.membership.group, %error, "a shard was lost");
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(error) if error.is_cancelled() => Ok(()),
            // A handler that panics ends the program's call, as it would have without us.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Lets the workers finish what they have in hand, for as long as the settings say, and leaves the group. Heartbeats go
    /// on meanwhile, so that what is finished can be noted.
    async fn stop(mut self) {
        for worker in self.workers.values() {
            worker.orders.send_replace(Order::Stop);
        }
        let too_late = Instant::now() + self.settings.shutdown_timeout;
        loop {
            tokio::select! {
                ended = self.work.join_next() => match ended {
                    None => break,
                    Some(Ok(Err(error))) => {
                        tracing::warn!(stream = %self.membership.stream, group = %self.membership.group, %error, "a batch was not noted");
                    }
                    Some(_) => {}
                },
                heartbeat = self.heartbeats.recv() => match heartbeat {
                    Some(Ok(held)) => self.drop_lost(&held.leases),
                    Some(Err(_)) | None => break,
                },
                () = sleep_until(too_late) => {
                    tracing::warn!(stream = %self.membership.stream, group = %self.membership.group, "handlers did not end in time; their batches come again");
                    break;
                }
            }
        }
        self.abandon().await;
    }

    /// Drops what is in hand, and leaves the group.
    async fn abandon(&mut self) {
        self.work.shutdown().await;
        self.membership.leave().await;
    }
}

/// Sends heartbeats until the member is lost. Once none has come through for as long as leases last, counted from when the
/// last good one was sent, the server may have given the shards to others: then they are lost here as well.
async fn beat(membership: Arc<Membership>, sender: mpsc::Sender<Result<HeartbeatResponse>>) {
    let times = membership.times;
    let (mut version, mut lost_at) = (0, Instant::now() + times.lease_ttl);
    loop {
        let sent_at = Instant::now();
        let answer = tokio::select! {
            answer = membership.heartbeat(version) => answer,
            () = sleep_until(lost_at) => Err(lost(&membership)),
            () = sender.closed() => return,
        };
        match answer {
            Ok(held) => {
                (version, lost_at) = (held.version, sent_at + times.lease_ttl);
                if sender.send(Ok(held)).await.is_err() {
                    return;
                }
            }
            Err(error) if error.is_retryable() && Instant::now() < lost_at => {
                tracing::warn!(stream = %membership.stream, group = %membership.group, %error, "a heartbeat failed");
                sleep(times.heartbeat_interval / 4).await;
            }
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    }
}

fn lost(membership: &Membership) -> Error {
    let ttl = membership.times.lease_ttl;
    Error::new(Kind::Unavailable, format!("no heartbeat came through for the lease time of {ttl:?}"))
}
