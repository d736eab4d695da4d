//! The work on one lease: read, hand to the handler, note, for as long as the lease lasts.
//!
//! A worker whose lease is lost is dropped where it stands. One that is asked to stop finishes the batch in hand first.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use crate::connection::Channel;
use millrace_proto::v1::GroupOffset;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use tokio::sync::watch;

use super::batch::GroupBatch;
use super::membership::{LeaseId, Membership};
use super::reader::{Read, Reader};
use super::settings::{Checkpointing, GroupSettings};
use crate::{Error, Kind, Result};

/// What a worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Work,
    /// Finish what is in hand, and give the lease back.
    HandOver,
    /// Finish what is in hand; the member leaves, and gives all leases back at once.
    Stop,
}

pub(super) struct Worker<H> {
    pub(super) lease: LeaseId,
    pub(super) from: GroupOffset,
    pub(super) records: RecordServiceClient<Channel>,
    pub(super) membership: Arc<Membership>,
    pub(super) settings: Arc<GroupSettings>,
    pub(super) handler: Arc<H>,
    pub(super) orders: watch::Receiver<Order>,
}

impl<H, F, E> Worker<H>
where
    H: Fn(GroupBatch) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    /// Works until told otherwise. An error is what waiting does not mend.
    pub(super) async fn run(mut self) -> Result<()> {
        let names = (self.membership.stream.as_str(), self.membership.group.as_str());
        let mut reader = Reader::start(self.records.clone(), names, self.lease.shard, self.from, &self.settings);
        loop {
            let read = tokio::select! {
                biased;
                order = told(&mut self.orders) => return self.end(order).await,
                read = reader.next() => read,
            };
            match read {
                Some(Ok(read)) => {
                    if let Some(order) = self.process(read).await? {
                        return self.end(order).await;
                    }
                }
                // Its records are past their retention, or the stream was deleted: the group takes the lease, or the member.
                Some(Err(error)) if error.kind() == Kind::NotFound => {
                    let (stream, group) = (&self.membership.stream, &self.membership.group);
                    tracing::warn!(stream, group, shard = self.lease.shard, %error, "a shard is gone");
                    let order = told(&mut self.orders).await;
                    return self.end(order).await;
                }
                Some(Err(error)) => return Err(error),
                // The shard ended, and all of it is noted: the group takes the lease back by itself.
                None => {
                    let order = told(&mut self.orders).await;
                    return self.end(order).await;
                }
            }
        }
    }

    /// Gives a batch to the handler until it is processed, and notes it; or until the order comes to stop trying.
    async fn process(&mut self, read: Read) -> Result<Option<Order>> {
        let Read { records, end, millis_behind_latest } = read;
        let mut batch = GroupBatch {
            records: records.into(),
            end,
            millis_behind_latest,
            attempt: 0,
            lease: self.lease,
            membership: Arc::clone(&self.membership),
            settings: Arc::clone(&self.settings),
        };
        let mut delays = self.settings.delays();
        loop {
            batch.attempt = batch.attempt.saturating_add(1);
            let Err(error) = (self.handler)(batch.clone()).await else { break };
            let delay = delays.next().unwrap_or(self.settings.retry_delay_max);
            let (stream, group) = (&self.membership.stream, &self.membership.group);
            tracing::warn!(
                stream, group, shard = self.lease.shard, attempt = batch.attempt, %error, ?delay,
                "the handler failed; the batch comes again"
            );
            tokio::select! {
                order = told(&mut self.orders) => return Ok(Some(order)),
                () = tokio::time::sleep(delay) => {}
            }
        }
        if self.settings.checkpointing == Checkpointing::AfterBatch {
            batch.note(batch.end).await?;
        }
        Ok(None)
    }

    async fn end(self, order: Order) -> Result<()> {
        if order == Order::HandOver {
            self.membership.release(self.lease).await;
        }
        Ok(())
    }
}

/// Waits for another order than to work.
async fn told(orders: &mut watch::Receiver<Order>) -> Order {
    // Nobody gives orders any more: the member is gone.
    orders.wait_for(|order| *order != Order::Work).await.map_or(Order::Stop, |order| *order)
}

/// Whether an error means that the lease is lost, which is no failure of the member.
pub(super) fn is_stale(error: &Error) -> bool {
    error.reason() == Some("STALE_LEASE")
}
