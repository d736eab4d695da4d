//! Puts records: batched, pipelined, bounded in memory, each with its own result.
//!
//! Senders leave records in a [`queue`]; one [`worker`] a producer carries batches over one `PutStream` call at a time
//! and settles each record's fate. Nothing is dropped in silence: a record's future, or the next flush, says what
//! became of it.

mod settings;
mod fate;
mod shard_map;
mod batch;
mod pack;
mod queue;
mod link;
mod verdict;
mod worker;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::connection::Channel;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::stream_service_client::StreamServiceClient;

use queue::Queue;
pub(crate) use verdict::error_of;
use worker::Worker;

pub use fate::PutFuture;
pub use settings::{ProducerSettings, RetrySettings};

use crate::{PutRecord, Result};

/// Puts records into one stream. Clones share the batches, the buffer and the connection.
///
/// **Order.** Records go out in the order they were sent, and records of one partition key are stored in that order,
/// unless one of them is tried again: then it comes after those that were under way with it.
///
/// **Retries.** Each batch has a name, under which the server stores it once; so what may have been stored is sent again too.
/// See [`ProducerSettings::idempotent`] and [`RetrySettings`]. A throttled shard makes the whole producer wait as long as the server asks, so
/// that later records do not overtake.
///
/// **Ending.** [`Self::close`] sends what is buffered and waits. When the last clone is dropped, what is buffered is
/// still sent for as long as the runtime lives; a future that is kept says what became of its record either way.
///
/// ```no_run
/// # async fn example(client: millrace_client::Client) -> Result<(), millrace_client::Error> {
/// use millrace_client::{ProducerSettings, PutRecord};
///
/// let settings = ProducerSettings { in_flight_max: 4, ..ProducerSettings::default() };
/// let producer = client.producer_with("flights", settings)?;
/// let mut fates = Vec::new();
/// for line in ["{\"flight\":1545}", "{\"flight\":1714}"] {
///     // Waits while the buffer is full.
///     fates.push(producer.send(PutRecord::new("UA", line)).await?);
/// }
/// for fate in fates {
///     match fate.await {
///         Ok(placed) => println!("{}/{}", placed.shard, placed.offset),
///         Err(error) if error.may_have_applied() => println!("perhaps stored: {error}"),
///         Err(error) => println!("not stored: {error}"),
///     }
/// }
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Producer {
    stream: Arc<str>,
    handle: Arc<Handle>,
}

/// What the clones share; its end closes the queue.
#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
}

impl Producer {
    pub(crate) fn start(
        records: RecordServiceClient<Channel>,
        streams: StreamServiceClient<Channel>,
        stream: String,
        settings: ProducerSettings,
    ) -> Self {
        let queue = Arc::new(Queue::new(settings.clone()));
        let stream: Arc<str> = stream.into();
        let worker = Worker::new(records, streams, Arc::clone(&stream), settings, Arc::clone(&queue));
        tokio::spawn(worker.run());
        Self { stream, handle: Arc::new(Handle { queue }) }
    }

    /// The stream that this producer puts into.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Accepts a record, waiting while the buffer is full. The record is stored once its future says so.
    ///
    /// When this future is dropped before it is ready, the record was not accepted.
    ///
    /// # Errors
    /// [`Kind::Closed`](crate::Kind::Closed) after [`Self::close`], [`Kind::Invalid`](crate::Kind::Invalid) for a
    /// record larger than the whole buffer. The record was not accepted then.
    pub async fn send(&self, record: PutRecord) -> Result<PutFuture> {
        self.handle.queue.push(record).await
    }

    /// Sends what is buffered and waits until every record accepted before the call is settled.
    ///
    /// # Errors
    /// The first failure of a record since the last flush, whether or not its own future was kept.
    pub async fn flush(&self) -> Result<()> {
        self.handle.queue.flush().await
    }

    /// Accepts no more records, here and in clones; otherwise as [`Self::flush`].
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn close(self) -> Result<()> {
        self.handle.queue.close();
        self.handle.queue.flush().await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}
