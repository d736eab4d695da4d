//! A subscription: the shards' records merged as they come, for a caller who pulls.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt, TryStreamExt};
use millrace_proto::v1;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use tonic::transport::Channel;

use super::Position;
use super::shard;
use crate::{Record, Result};

/// Records as the server pushes them. A slow caller holds the server back; nothing piles up here beyond one push of
/// each shard.
///
/// It is also a [`Stream`] of results. It ends only with an error, which is its last item.
pub struct Subscription {
    pushes: SelectAll<BoxStream<'static, Result<Vec<Record>>>>,
    ready: VecDeque<Record>,
    failed: bool,
}

impl Subscription {
    pub(super) fn start(
        records: &RecordServiceClient<Channel>,
        stream: &str,
        shards: &[v1::Shard],
        position: Position,
    ) -> Self {
        let stream: Arc<str> = stream.into();
        let pushes = shards.iter().map(|described| {
            // "Latest" is fixed now: after a broken connection it would mean a later place, and leave records out.
            let position = match position {
                Position::Latest => Position::Offset(described.next_offset),
                position => position,
            };
            shard::pushes(records.clone(), Arc::clone(&stream), described.shard, position).boxed()
        });
        Self { pushes: pushes.collect(), ready: VecDeque::new(), failed: false }
    }

    /// The next record; waits until there is one. `None` after an error, or for a stream without shards.
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
                Some(Ok(records)) => self.ready.extend(records),
                Some(Err(error)) => {
                    self.failed = true;
                    return Poll::Ready(Some(Err(error)));
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
