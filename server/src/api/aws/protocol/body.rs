//! Request bodies: so many bytes and no more, each and all together, and not for ever.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::AwsError;
use crate::streams::{Place, Room};

/// What is read of a body that is too large, and dropped, so that its sender gets to read why: most clients do not look at an
/// answer before they have sent all.
const DROPPED_BYTES_MAX: usize = 64 << 20;

/// Reads bodies within limits.
#[derive(Debug)]
pub(super) struct Bodies {
    bytes_max: usize,
    timeout: Duration,
    room: Room,
}

/// A body and its place in memory.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) place: Place,
}

impl Bodies {
    /// Bodies of at most `bytes_max` each, and `in_flight_max` together; each within `timeout`.
    pub(super) fn new(bytes_max: u64, in_flight_max: u64, timeout: Duration) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self { bytes_max, timeout, room: Room::new(in_flight_max) }
    }

    /// Reads a body. It waits for room before it reads, so that what is in memory stays bounded.
    ///
    /// # Errors
    /// Where the body is too large, too slow, or ends early.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held, AwsError> {
        let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let reading = async {
            if told.is_some_and(|told| told > self.bytes_max) {
                drop_rest(&mut body.into_data_stream()).await;
                return Err(self.too_large());
            }
            let place = self.room.enter(told.unwrap_or(self.bytes_max)).await;
            let bytes = self.collect(body, told.unwrap_or_default()).await?;
            Ok(Held { bytes, place })
        };
        let late = || {
            let message = format!("the request did not arrive within {} s", self.timeout.as_secs());
            AwsError::new("RequestTimeoutException", message).with_status(408)
        };
        tokio::time::timeout(self.timeout, reading).await.unwrap_or_else(|_| Err(late()))
    }

    /// Reads a body that is not wanted, so that its connection can be used again.
    pub(super) async fn forget(&self, body: Body) {
        // One that does not come in time costs its connection.
        let _ = tokio::time::timeout(self.timeout, drop_rest(&mut body.into_data_stream())).await;
    }

    async fn collect(&self, body: Body, told: usize) -> Result<Bytes, AwsError> {
        let mut parts = body.into_data_stream();
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| AwsError::serialization(format!("the request ended early: {error}")))?;
            if all.len() + first.len() + part.len() > self.bytes_max {
                drop_rest(&mut parts).await;
                return Err(self.too_large());
            }
            if first.is_empty() && all.is_empty() {
                // Small requests come in one part, and need no copy.
                first = part;
                continue;
            }
            if all.is_empty() {
                all.reserve(told.max(first.len() + part.len()));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&part);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    fn too_large(&self) -> AwsError {
        let message = format!("the request is larger than the limit of {} bytes", self.bytes_max);
        AwsError::new("RequestEntityTooLargeException", message).with_status(413)
    }
}

/// Reads and forgets, in bounds.
async fn drop_rest(parts: &mut BodyDataStream) {
    let mut dropped = 0;
    while let Some(Ok(part)) = parts.next().await {
        dropped += part.len();
        if dropped > DROPPED_BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(1024, 4096, Duration::from_millis(50))
    }

    fn length(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, bytes.into())])
    }

    fn in_parts(parts: Vec<&'static str>) -> Body {
        Body::from_stream(futures::stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn a_body_holds_at_its_limit_and_not_one_past() {
        let read = bodies().read(&length(1024), Body::from(vec![7; 1024])).await.unwrap();
        assert_eq!(read.bytes.len(), 1024);
        let error = bodies().read(&length(1025), Body::from(vec![7; 1025])).await.unwrap_err();
        assert_eq!((error.code(), error.status()), ("RequestEntityTooLargeException", 413));
        // Without a length, it shows as it comes.
        let error = bodies().read(&HeaderMap::new(), Body::from(vec![7; 1025])).await.unwrap_err();
        assert_eq!(error.status(), 413);
    }

    #[tokio::test]
    async fn parts_are_joined_in_order() {
        for (parts, whole) in [(vec![], ""), (vec!["a"], "a"), (vec!["a", "", "bc", "d"], "abcd")] {
            let read = bodies().read(&HeaderMap::new(), in_parts(parts)).await.unwrap();
            assert_eq!(read.bytes, whole);
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = bodies().read(&HeaderMap::new(), silent).await.unwrap_err();
        assert_eq!((error.code(), error.status()), ("RequestTimeoutException", 408));
    }
}
