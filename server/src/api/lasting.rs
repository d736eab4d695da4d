//! The answer of a long call that ends when its principal loses something: with `UNAVAILABLE`, so that the client calls again
//! and is told what it may still do.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

struct Lasting {
    body: Body,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
}

/// The body, as long as the token is not cancelled.
pub(super) fn lasting(body: Body, lasts: CancellationToken) -> Body {
    Body::new(Lasting { body, ended: Box::pin(lasts.cancelled_owned()), is_over: false })
}

impl HttpBody for Lasting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.ended.as_mut().poll(cx).is_ready() {
            self.is_over = true;
            // What the call holds is let go at once.
            self.body = Body::empty();
            let status = Status::unavailable("the caller's principal was changed; call again");
            let mut trailers = HeaderMap::new();
            return match status.add_header(&mut trailers) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Err(error) => Poll::Ready(Some(Err(axum::Error::new(error)))),
            };
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_ends_with_its_principal() {
        let (lasts, (sender, parts)) = (CancellationToken::new(), tokio::sync::mpsc::channel::<Bytes>(2));
        let parts = tokio_stream::wrappers::ReceiverStream::new(parts).map(Ok::<_, axum::Error>);
        let mut body = lasting(Body::from_stream(parts), lasts.clone());
        sender.send(Bytes::from_static(b"first")).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        assert!(body.frame().now_or_never().is_none());
        lasts.cancel();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers.get("grpc-status").unwrap(), "14");
        assert!(body.frame().await.is_none());
        assert!(sender.is_closed(), "what made the answer is let go");
    }

    use futures::StreamExt;
}
