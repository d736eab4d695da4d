//! Reads records: one page of a shard, or pushed by the server for as long as the caller listens.

mod position;
mod shard;
mod lineage;
mod subscription;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::connection::Channel;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::{ChildShard, GetRequest};

pub use position::Position;
pub use subscription::{Skipped, Subscription};

use crate::{Admin, Error, Kind, Record, Result};

/// Reads streams. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: millrace_client::Client) -> Result<(), millrace_client::Error> {
/// use millrace_client::Position;
///
/// let mut records = client.consumer().subscribe("flights", Position::TrimHorizon).await?;
/// while let Some(record) = records.next().await? {
///     println!("{}/{}: {} bytes", record.shard, record.offset, record.data.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Consumer {
    records: RecordServiceClient<Channel>,
    admin: Admin,
    /// Whose out quota reading takes; empty for that of all readers without a name.
    name: Arc<str>,
    skips_unreadable: bool,
}

/// Records of one shard, read at once.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order of their offsets; empty when there is nothing after the position.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next_offset: u64,
    /// How long ago the newest record arrived that is still to be read, in milliseconds; zero when none is.
    pub millis_behind_latest: u64,
    /// Set where the shard is closed and this is its end: the shards to read then, each from its first record on and once
    /// all its parents are read.
    pub children: Option<Vec<ChildShard>>,
}

impl Consumer {
    pub(crate) fn new(records: RecordServiceClient<Channel>, admin: Admin) -> Self {
        Self { records, admin, name: "".into(), skips_unreadable: false }
    }

    /// The same reader, whose subscriptions go on past records that nobody can read: a block that the server's disk lost, or
    /// one whose data key was destroyed. Otherwise they end there with [`Kind::DataLoss`], whose [`Error::next_offset`] is
    /// where to read on. [`Subscription::skipped`] tells what was passed by.
    #[must_use]
    pub const fn skipping_unreadable(mut self) -> Self {
        self.skips_unreadable = true;
        self
    }

    /// The same reader under a name: it has an out quota of its own on each shard, so that no other reader slows it. A name
    /// is 1 to 128 of `a-z A-Z 0-9 _ . -`; all who read under it share the quota.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Reads one shard once: up to 10,000 records and 10 MiB.
    ///
    /// # Errors
    /// `NotFound` where the stream or the shard does not exist, `Throttled` over the shard's reading quota.
    pub async fn get(&self, stream: &str, shard: u32, position: Position) -> Result<Page> {
        self.get_at_most(stream, shard, position, 0).await
    }

    /// As [`Self::get`], with at most `records_max` records; zero takes the server's limit.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_at_most(&self, stream: &str, shard: u32, position: Position, records_max: u32) -> Result<Page> {
        self.read(GetRequest { shard, records_max, ..self.request(stream, position) }).await
    }

    /// As [`Self::get`]; where nothing is left to read, the server waits so long for a record: at most 30 s. The page may be
    /// empty all the same.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_waiting(&self, stream: &str, shard: u32, position: Position, wait: Duration) -> Result<Page> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.read(GetRequest { shard, wait_ms, ..self.request(stream, position) }).await
    }

    fn request(&self, stream: &str, position: Position) -> GetRequest {
        let (position, consumer) = (Some(position.into()), self.name.to_string());
        GetRequest { stream: stream.to_owned(), position, consumer, ..GetRequest::default() }
    }

    async fn read(&self, request: GetRequest) -> Result<Page> {
        let (name, shard): (Arc<str>, _) = (request.stream.as_str().into(), request.shard);
        let response = self.records.clone().get(request).await?.into_inner();
        Ok(Page {
            records: response.records.into_iter().map(|record| Record::from_wire(&name, shard, record)).collect(),
            next_offset: response.next_offset,
            millis_behind_latest: response.millis_behind_latest,
            children: response.shard_end.map(|end| end.children),
        })
    }

    /// Subscribes to all shards of a stream; the server pushes until the subscription is dropped.
    ///
    /// A connection that breaks is opened again with back-off, and each shard goes on at the record after its last:
    /// no record is left out, none is given twice. Within a shard records come in order; between shards there is none, but
    /// that of a lineage: where shards are split or merged, their children are read when all of theirs was, so that each
    /// partition key's records come in order. A shard whose records were past their retention before they were read, and
    /// that the stream therefore has no more, gives way to its children, with a warning.
    ///
    /// # Errors
    /// `NotFound` where the stream does not exist, `Invalid` where it has more than 200 shards to read at once: each takes one of the 256
    /// calls that a connection may have; spread such a stream over clients by [`Self::subscribe_shard`].
    pub async fn subscribe(&self, stream: &str, position: Position) -> Result<Subscription> {
        let shards = self.admin.describe_stream(stream).await?.shards;
        Subscription::of_stream(self.clone(), stream, &shards, position)
    }

    /// As [`Self::subscribe`], for one shard; it ends where the shard was split or merged.
    ///
    /// # Errors
    /// `NotFound` where the stream or the shard does not exist.
    pub async fn subscribe_shard(&self, stream: &str, shard: u32, position: Position) -> Result<Subscription> {
        let shards = self.admin.describe_stream(stream).await?.shards;
        let missing = || Error::new(Kind::NotFound, format!("stream \"{stream}\" has no shard {shard}"));
        let shard = shards.iter().find(|described| described.shard == shard).ok_or_else(missing)?;
        Ok(Subscription::of_shard(self.clone(), stream, shard, position))
    }
}
