//! What becomes of one record: the producer's end settles it once, the caller's end is a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::{Error, Kind, Placed, Result};

/// The fate of one sent record: where it lies, durably, or why it is not known to be stored.
///
/// Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "a record is stored only when its fate says so; flush reports failures too"]
pub struct PutFuture(oneshot::Receiver<Result<Placed>>);

impl Future for PutFuture {
    type Output = Result<Placed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|fate| fate.unwrap_or_else(|_| Err(abandoned())))
    }
}

/// The producer's end of a [`PutFuture`].
#[derive(Debug)]
pub(super) enum Ticket {
    One(oneshot::Sender<Result<Placed>>),
    /// Of records that were packed into one.
    Many(Vec<Ticket>),
}

impl Ticket {
    pub(super) fn settle(self, fate: Result<Placed>) {
        match self {
            // A caller that dropped its end does not want to know.
            Self::One(sender) => drop(sender.send(fate)),
            Self::Many(tickets) => tickets.into_iter().for_each(|ticket| ticket.settle(fate.clone())),
        }
    }

    /// How many records it is of.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(tickets) => tickets.iter().map(Self::count).sum(),
        }
    }
}

pub(super) fn fate() -> (Ticket, PutFuture) {
    let (sender, receiver) = oneshot::channel();
    (Ticket::One(sender), PutFuture(receiver))
}

/// The worker ended with its runtime, before it settled the record.
pub(super) fn abandoned() -> Error {
    Error::new(Kind::Closed, "the producer ended before the record's fate was known").with_unknown_outcome(true)
}
