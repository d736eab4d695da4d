//! A subscription: the shards' records merged as they come, for a caller who pulls.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt, TryStreamExt};
use millrace_proto::v1;

use super::lineage::Lineage;
use super::shard::{self, Push};
use super::{Consumer, Position};
use crate::{Error, Record, Result};

/// Shards read at once; a connection has room for little more.
pub(super) const SHARDS_MAX: usize = 200;

/// Records as the server pushes them. A slow caller holds the server back; nothing piles up here beyond one push of
/// each shard.
///
/// It is also a [`Stream`] of results. It ends with an error, which is its last item, or where it reads one shard alone
/// and that was split or merged.
pub struct Subscription {
    consumer: Consumer,
    stream: Arc<str>,
    pushes: SelectAll<BoxStream<'static, Result<Push>>>,
    /// `None` where one shard alone is read.
    lineage: Option<Lineage>,
    ready: VecDeque<Record>,
    skipped: Option<Skipped>,
    failed: bool,
}

/// What a subscription passed by, because nobody can read it.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Places at which it did.
    pub count: u64,
    /// Why, at the last of them.
    pub last: Error,
}

impl Subscription {
    /// Reads a stream's shards and those that they become.
    pub(super) fn of_stream(
        consumer: Consumer,
        stream: &str,
        shards: &[v1::Shard],
        position: Position,
    ) -> Result<Self> {
        let (lineage, ready) = Lineage::begin(shards, position);
        let mut subscription = Self::new(consumer, stream, Some(lineage));
        subscription.follow(ready)?;
        Ok(subscription)
    }

    /// Reads one shard to its end.
    pub(super) fn of_shard(consumer: Consumer, stream: &str, shard: &v1::Shard, position: Position) -> Self {
        // "Latest" is fixed now: after a broken connection it would mean a later place, and leave records out.
        let position = match position {
            Position::Latest => Position::Offset(shard.next_offset),
            position => position,
        };
        let mut subscription = Self::new(consumer, stream, None);
        subscription.push(shard.shard, position);
        subscription
    }

    fn new(consumer: Consumer, stream: &str, lineage: Option<Lineage>) -> Self {
        let (pushes, ready) = (SelectAll::new(), VecDeque::new());
        Self { consumer, stream: stream.into(), pushes, lineage, ready, skipped: None, failed: false }
    }

    fn push(&mut self, shard: u32, position: Position) {
        let pushes = shard::pushes(self.consumer.clone(), Arc::clone(&self.stream), shard, position);
        self.pushes.push(pushes.boxed());
    }

    fn follow(&mut self, ready: Vec<(u32, Position)>) -> Result<()> {
        let count = self.lineage.as_ref().map_or(0, Lineage::running);
        if count > SHARDS_MAX {
            let stream = &self.stream;
            return Err(Error::invalid(format!(
                "stream \"{stream}\" has {count} shards to read at once; a subscription reads at most {SHARDS_MAX}"
            )));
        }
        ready.into_iter().for_each(|(shard, position)| self.push(shard, position));
        Ok(())
    }

    fn receive(&mut self, push: Push) -> Result<()> {
        match (push, &mut self.lineage) {
            (Push::Records(records), _) => self.ready.extend(records),
            (Push::Unreadable(last), _) => {
                let count = self.skipped.as_ref().map_or(0, |skipped| skipped.count) + 1;
                self.skipped = Some(Skipped { count, last });
            }
            (Push::End { shard, children }, Some(lineage)) => {
                let ready = lineage.ended(shard, &children);
                self.follow(ready)?;
            }
            (Push::Gone { shard, shards }, Some(lineage)) => {
                let ready = lineage.gone(shard, &shards);
                self.follow(ready)?;
            }
            (Push::End { .. } | Push::Gone { .. }, None) => {}
        }
        Ok(())
    }

    /// What was passed by so far; `None` without [`Consumer::skipping_unreadable`], and where all could be read.
    #[must_use]
    pub const fn skipped(&self) -> Option<&Skipped> {
        self.skipped.as_ref()
    }

    /// The next record; waits until there is one. `None` after an error, and at the end of one shard that is read alone.
    ///
    /// # Errors
    /// What a new connection does not mend, for example `NotFound` when the stream was deleted.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        self.try_next().await
    }
}

impl Stream for Subscription {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(record)));
            }
            if self.failed {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.pushes.poll_next_unpin(cx)) {
                Some(pushed) => {
                    if let Err(error) = pushed.and_then(|push| self.receive(push)) {
                        self.failed = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("shards", &self.pushes.len()).field("ready", &self.ready.len()).finish()
    }
}
