//! Subscriptions: one task a shard follows the tail and pushes into one bounded queue.
//!
//! A task takes its place in the queue before it reads, so a slow subscriber holds back reading and not memory. A shard's
//! records never come before those of its parents: its task begins when theirs have ended.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::Stream;
use millrace_storage::log::{Offset, ReadLimit, ShardId};
use millrace_storage::time::Timestamp;
use prometheus::IntGauge;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::consumers::{ConsumerName, Payer};
use super::name::StreamName;
use super::read::{Position, ShardRecords, end_at, read_shard};
use super::registry::Streams;
use super::state::StreamState;
use super::topology::ShardState;
use crate::error::{Error, Result};

/// Records of a stream, pushed as they become durable. Ends with an error when the stream is deleted or the server closes.
#[derive(Debug)]
pub struct Subscription {
    records: mpsc::Receiver<Result<ShardRecords>>,
    /// Dropping the subscription ends its tasks.
    _follower: JoinSet<()>,
    _open: Open,
}

impl Stream for Subscription {
    type Item = Result<ShardRecords>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_recv(context)
    }
}

/// Counts an open subscription.
#[derive(Debug)]
struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Streams {
    /// Subscribes to one shard, or to all shards of a stream, from a position on.
    ///
    /// # Errors
    /// Where the stream or shard is missing, or the position is an offset and no shard is named.
    pub async fn subscribe(
        &self,
        stream: &StreamName,
        shard: Option<ShardId>,
        position: Position,
    ) -> Result<Subscription> {
        self.subscribe_as(stream, shard, position, None).await
    }

    /// As [`Self::subscribe`], on the out quota of a named reader, or of all readers without a name.
    ///
    /// # Errors
    /// As there, and where the stream is read under too many names.
    pub async fn subscribe_as(
        &self,
        stream: &StreamName,
        shard: Option<ShardId>,
        position: Position,
        consumer: Option<&ConsumerName>,
    ) -> Result<Subscription> {
        let stream = self.get(stream)?;
        let payer = self.payer(&stream, consumer)?;
        let topology = stream.topology();
        if shard.is_none() && position.is_of_one_shard() && topology.shards().len() > 1 {
            let message = "an offset belongs to one shard: name the shard, or start from a time";
            return Err(Error::invalid(message).in_field("position"));
        }
        let shards = match (shard, position) {
            (Some(shard), _) => vec![stream.shard(shard)?],
            // What closed shards hold was there before.
            (None, Position::Latest) => topology.open().to_vec(),
            (None, _) => topology.shards().to_vec(),
        };
        let (sender, records) = mpsc::channel(self.settings().subscribe_messages_max.max(1) as usize);
        let mut waiting = HashMap::with_capacity(shards.len());
        for shard in shards {
            let next = self.resolve(&stream, &shard, position).await?;
            waiting.insert(shard.id(), Cursor { shard, next });
        }
        let lineage = Lineage {
            streams: self.clone(),
            stream,
            payer,
            whole: shard.is_none(),
            waiting,
            known_to: topology.next_id(),
            running: HashSet::new(),
            followers: JoinSet::new(),
            sender,
        };
        let mut follower = JoinSet::new();
        follower.spawn(lineage.run());
        let open = self.metrics().subscribers.clone();
        open.inc();
        Ok(Subscription { records, _follower: follower, _open: Open(open) })
    }
}

/// Where a subscription stands in one shard.
#[derive(Debug)]
struct Cursor {
    shard: Arc<ShardState>,
    next: Offset,
}

/// The shards of one subscription, in the order of their lineage.
struct Lineage {
    streams: Streams,
    stream: Arc<StreamState>,
    payer: Payer,
    /// Whether children are followed.
    whole: bool,
    /// Shards whose parents are not yet read.
    waiting: HashMap<ShardId, Cursor>,
    /// Shards from this number on are not known yet.
    known_to: u32,
    running: HashSet<ShardId>,
    /// Dropping the subscription ends them.
    followers: JoinSet<Result<Option<Arc<ShardState>>>>,
    sender: mpsc::Sender<Result<ShardRecords>>,
}

impl Lineage {
    async fn run(mut self) {
        let (stopping, stream) = (self.streams.stopping().clone(), Arc::clone(&self.stream));
        let error = tokio::select! {
            biased;
            () = stream.deleted().cancelled() => stream.is_deleted(),
            () = stopping.cancelled() => Error::unavailable("the server is closing; subscribe again"),
            outcome = self.follow() => match outcome {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        self.followers.abort_all();
        // The subscriber may be gone; nobody is left to tell then.
        let _ = self.sender.send(Err(error)).await;
    }

    /// Follows shards until the subscriber is gone, or the one shard that was asked for has ended.
    async fn follow(&mut self) -> Result<()> {
        let first: Vec<ShardId> = self.waiting.keys().copied().collect();
        // Only after all are known, since any may wait for any.
        let ready: Vec<ShardId> = first.into_iter().filter(|shard| self.is_ready(*shard)).collect();
        ready.into_iter().for_each(|shard| self.start(shard));
        while let Some(ended) = self.followers.join_next().await {
            let ended =
                ended.map_err(|error| Error::unavailable(format_args!("a subscription's task ended: {error}")))?;
            let Some(shard) = ended? else { return Ok(()) };
            self.running.remove(&shard.id());
            if self.whole {
                self.go_on(&shard);
            }
        }
        Ok(())
    }

    /// Starts the children of a shard that is read, as far as their other parents are. All shards that came with them are
    /// noted first: a child's other parent may be one that nobody has named yet.
    fn go_on(&mut self, shard: &ShardState) {
        let topology = self.stream.topology();
        let came = topology.shards().partition_point(|shard| shard.id().0 < self.known_to);
        for shard in &topology.shards()[came..] {
            self.waiting.insert(shard.id(), Cursor { shard: Arc::clone(shard), next: Offset::ZERO });
        }
        self.known_to = self.known_to.max(topology.next_id());
        // Among those that came may be some whose parents are gone already.
        let children = shard.closed().into_iter().flat_map(|closed| closed.children.iter()).copied();
        for child in children.chain(topology.shards()[came..].iter().map(|shard| shard.id())) {
            if self.is_ready(child) {
                self.start(child);
            }
        }
    }

    fn is_ready(&self, shard: ShardId) -> bool {
        let unread = |parent: &ShardId| self.running.contains(parent) || self.waiting.contains_key(parent);
        self.waiting.get(&shard).is_some_and(|cursor| !cursor.shard.parents().iter().any(unread))
    }

    fn start(&mut self, shard: ShardId) {
        let Some(cursor) = self.waiting.remove(&shard) else { return };
        self.running.insert(shard);
        let (streams, stream) = (self.streams.clone(), Arc::clone(&self.stream));
        let payer = self.payer.clone();
        let follower = Follower { streams, stream, payer, cursor, sender: self.sender.clone() };
        self.followers.spawn(follower.run());
    }
}

/// Follows one shard for one subscription.
struct Follower {
    streams: Streams,
    stream: Arc<StreamState>,
    payer: Payer,
    cursor: Cursor,
    sender: mpsc::Sender<Result<ShardRecords>>,
}

impl Follower {
    /// Pushes records until the shard ends, which gives the shard, or the subscriber is gone.
    async fn run(self) -> Result<Option<Arc<ShardState>>> {
        let Self { streams, stream, payer, cursor: Cursor { shard, mut next }, sender } = self;
        let bytes_max = usize::try_from(streams.settings().subscribe_bytes_max.as_u64()).unwrap_or(usize::MAX);
        let limit = ReadLimit { records_max: streams.settings().get_records_max as usize, bytes_max };
        let age = stream.readers.subscriber();
        let (mut tail, mut topology) = (streams.log().tail(shard.key()), stream.watch_topology());
        loop {
            tokio::select! {
                biased;
                tip = tail.wait_for(|tip| *tip > next) => {
                    tip.map_err(|_| Error::unavailable("the log is closed"))?;
                }
                // The stream holds the sender for as long as it is held here.
                _ = topology.wait_for(|_| shard.closed().is_some()), if shard.closed().is_none() => {}
                () = std::future::ready(()), if shard.closed().is_some() => {}
            }
            if let Some(end) = end_at(&stream.topology(), &shard, next) {
                let end = ShardRecords {
                    shard: shard.id(),
                    records: Vec::new(),
                    next_offset: next,
                    millis_behind_latest: 0,
                    end: Some(end),
                };
                let sent = sender.send(Ok(end)).await;
                return Ok(sent.is_ok().then_some(shard));
            }
            age.unread();
            while let Err(wait) = payer.account(&stream, &shard).outgoing(Instant::now()) {
                shard.metrics.throttled_out.inc();
                tokio::time::sleep(wait).await;
            }
            let Ok(place) = sender.reserve().await else { return Ok(None) };
            let read = read_shard(&**streams.log(), &shard, &payer.account(&stream, &shard), next, limit).await?;
            next = read.next_offset;
            age.read(read.millis_behind_latest);
            if let Some(last) = read.records.last() {
                if read.millis_behind_latest == 0 {
                    let since = Timestamp::now().as_millis() - last.arrival_time.as_millis();
                    stream.metrics.push_latency.observe(since.max(0) as f64 / 1000.0);
                }
                place.send(Ok(read));
            } else if let Some(closed) = shard.closed() {
                // Its last records were trimmed.
                next = next.max(closed.end);
            }
        }
    }
}
