//! Subscriptions: one task a shard follows the tail and pushes into one bounded queue.
//!
//! A task takes its place in the queue before it reads, so a slow subscriber holds back reading and not memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::Stream;
use millrace_storage::log::{Offset, ReadLimit, ShardId};
use prometheus::IntGauge;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::name::StreamName;
use super::read::{Position, ShardRecords, read_shard};
use super::registry::Streams;
use super::state::StreamState;
use crate::error::{Error, Result};

/// Records of a stream, pushed as they become durable. Ends with an error when the stream is deleted or the server closes.
#[derive(Debug)]
pub struct Subscription {
    records: mpsc::Receiver<Result<ShardRecords>>,
    /// Dropping the subscription ends its tasks.
    _followers: JoinSet<()>,
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
        let stream = self.get(stream)?;
        if shard.is_none() && matches!(position, Position::Offset(_)) && stream.shards().len() > 1 {
            let message = "an offset belongs to one shard: name the shard, or start from a time";
            return Err(Error::invalid(message).in_field("position"));
        }
        let shards: Vec<ShardId> = match shard {
            Some(shard) => vec![stream.shard(shard)?.id()],
            None => stream.shards().iter().map(super::state::ShardState::id).collect(),
        };
        let (sender, records) = mpsc::channel(self.settings().subscribe_messages_max.max(1) as usize);
        let mut followers = JoinSet::new();
        for shard in shards {
            let from = self.resolve(&stream, stream.shard(shard)?, position).await?;
            let (streams, stream) = (self.clone(), Arc::clone(&stream));
            let follower = Follower { streams, stream, shard, next: from, sender: sender.clone() };
            followers.spawn(follower.run());
        }
        let open = self.metrics().subscribers.clone();
        open.inc();
        Ok(Subscription { records, _followers: followers, _open: Open(open) })
    }
}

/// Follows one shard for one subscription.
struct Follower {
    streams: Streams,
    stream: Arc<StreamState>,
    shard: ShardId,
    next: Offset,
    sender: mpsc::Sender<Result<ShardRecords>>,
}

impl Follower {
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
        // The subscriber may be gone; nobody is left to tell then.
        let _ = self.sender.send(Err(error)).await;
    }

    /// Pushes records until the subscriber is gone.
    async fn follow(&mut self) -> Result<()> {
        let shard = self.stream.shard(self.shard)?;
        let bytes_max = usize::try_from(self.streams.settings().subscribe_bytes_max.as_u64()).unwrap_or(usize::MAX);
        let limit = ReadLimit { records_max: self.streams.settings().get_records_max as usize, bytes_max };
        let mut tail = self.streams.log().tail(shard.key());
        loop {
            let next = self.next;
            if tail.wait_for(|tip| *tip > next).await.is_err() {
                return Err(Error::unavailable("the log is closed"));
            }
            while let Err(wait) = shard.account().outgoing(Instant::now()) {
                shard.metrics.throttled_out.inc();
                tokio::time::sleep(wait).await;
            }
            let Ok(place) = self.sender.reserve().await else { return Ok(()) };
            let read = read_shard(&**self.streams.log(), shard, self.next, limit).await?;
            self.next = read.next_offset;
            if !read.records.is_empty() {
                place.send(Ok(read));
            }
        }
    }
}
