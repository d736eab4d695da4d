//! A request's body that must be there in time: a client that sends it byte by byte holds nothing for long.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

struct Timed {
    body: Body,
    timeout: Duration,
    /// Begins to run when the body is asked for and not there.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The body, which fails when it is not complete in time. One that is there already costs no timer.
pub(super) fn timed(body: Body, timeout: Duration) -> Body {
    if body.is_end_stream() { body } else { Body::new(Timed { body, timeout, deadline: None }) }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        if deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let timeout = humantime::format_duration(timeout);
        let message = format!("the request's body was not complete within {timeout} (http.body_timeout)");
        Poll::Ready(Some(Err(axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, message)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_end_fails_in_time() {
        let parts = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"a"))]);
        let never = futures::StreamExt::chain(parts, stream::pending());
        let error = timed(Body::from_stream(never), Duration::from_millis(20)).collect().await.unwrap_err();
        assert!(error.to_string().contains("within 20ms"), "{error}");
    }

    #[tokio::test]
    async fn a_body_that_is_there_passes() {
        let whole = timed(Body::from("abc"), Duration::from_secs(5)).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "abc");
    }
}
