//! One `PutStream` call: requests go out in order, answers come back in order, and it is known which requests left.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::connection::Channel;
use futures::{Stream, StreamExt, TryFutureExt};
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::{PutRequest, PutResponse};
use tonic::Status;

/// An open call.
pub(super) struct Link {
    outbox: Arc<Outbox>,
    answers: Pin<Box<dyn Stream<Item = Result<PutResponse, Status>> + Send>>,
}

impl Link {
    /// Begins a call; whether the server can be reached shows at the first answer.
    pub(super) fn open(mut records: RecordServiceClient<Channel>) -> Self {
        let outbox = Arc::new(Outbox::default());
        let requests = Requests(Arc::clone(&outbox));
        let call = async move { records.put_stream(requests).await.map(tonic::Response::into_inner) };
        Self { outbox, answers: Box::pin(call.try_flatten_stream()) }
    }

    pub(super) fn send(&self, request: PutRequest) {
        let waker = {
            let mut state = self.outbox.lock();
            state.waiting.push_back(request);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The answer to the oldest request without one; `None` when the server ended the call in good order.
    pub(super) async fn answer(&mut self) -> Option<Result<PutResponse, Status>> {
        self.answers.next().await
    }

    /// Ends the call; gives how many requests never left. The server cannot have seen those.
    pub(super) fn close(self) -> usize {
        let mut state = self.outbox.lock();
        state.sealed = true;
        let waiting = state.waiting.len();
        state.waiting.clear();
        waiting
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.outbox.lock();
        state.sealed = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Requests that have not left. The worker holds at most `in_flight_max` requests, so that this is bounded too.
#[derive(Default)]
struct Outbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    waiting: VecDeque<PutRequest>,
    sealed: bool,
    waker: Option<Waker>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request side of the call, as the transport pulls it.
struct Requests(Arc<Outbox>);

impl Stream for Requests {
    type Item = PutRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PutRequest>> {
        let mut state = self.0.lock();
        if state.sealed {
            return Poll::Ready(None);
        }
        match state.waiting.pop_front() {
            Some(request) => Poll::Ready(Some(request)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
