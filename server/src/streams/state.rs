//! A stream as it runs: its present shards, and the gate that keeps a reshard or a deletion from overtaking puts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use millrace_storage::log::{ShardId, StreamId};
use millrace_storage::time::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::consumers::Consumers;
use super::metrics::StreamCounts;
use super::name::StreamName;
use super::options::StreamSpec;
use super::room::Room;
use super::sampled::Readers;
use super::topology::{Closed, ShardState, Topology};
use crate::error::{Error, Result};

/// A stream that exists.
#[derive(Debug)]
pub struct StreamState {
    id: StreamId,
    name: StreamName,
    created_at: Timestamp,
    spec: RwLock<StreamSpec>,
    topology: watch::Sender<Arc<Topology>>,
    /// Puts hold it shared from their routing until the log has them in its order; who moves shards takes it alone.
    pub(super) gate: tokio::sync::RwLock<()>,
    pub(super) deleted: CancellationToken,
    pub(super) consumers: Consumers,
    /// For the bytes of the stream's puts in flight.
    pub(super) room: Room,
    /// Bytes of puts that are let in and not yet durable.
    pub(super) in_flight_bytes: AtomicU64,
    pub(super) metrics: StreamCounts,
    pub(super) readers: Readers,
    /// What the retention keeps for deliveries, as its last pass found it.
    pub(super) holding: RwLock<Holding>,
}

/// What is kept past the retention.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Records, each counted once.
    pub records: u64,
    /// As stored, each block counted once.
    pub bytes: u64,
    /// By delivery; what several need is counted for each.
    pub by: Vec<Held>,
}

/// Records past their retention that are kept because a delivery has not committed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The delivery.
    pub delivery: String,
    /// How many, in all shards.
    pub records: u64,
    /// As stored.
    pub bytes: u64,
    /// The first pass, of this process, that found any.
    pub since: Timestamp,
}

impl StreamState {
    pub(super) fn new(
        id: StreamId,
        name: StreamName,
        created_at: Timestamp,
        spec: StreamSpec,
        topology: Topology,
        room: Room,
        metrics: StreamCounts,
    ) -> Self {
        Self {
            id,
            name,
            created_at,
            spec: RwLock::new(spec),
            topology: watch::Sender::new(Arc::new(topology)),
            gate: tokio::sync::RwLock::default(),
            deleted: CancellationToken::new(),
            consumers: Consumers::default(),
            room,
            in_flight_bytes: AtomicU64::new(0),
            metrics,
            readers: Readers::default(),
            holding: RwLock::default(),
        }
    }

    /// The number that the log knows the stream by.
    #[must_use]
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// The stream's name.
    #[must_use]
    pub const fn name(&self) -> &StreamName {
        &self.name
    }

    /// When the stream was created.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// What the stream is made to be now.
    #[must_use]
    pub fn spec(&self) -> StreamSpec {
        *self.spec.read()
    }

    /// The shards at present.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// Watches the shards: it changes with each reshard, and when closed shards go.
    #[must_use]
    pub fn watch_topology(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.subscribe()
    }

    /// A shard by number.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`] where the stream has no such shard, or has it no more.
    pub fn shard(&self, shard: ShardId) -> Result<Arc<ShardState>> {
        let topology = self.topology();
        topology.shard(shard).cloned().ok_or_else(|| {
            let count = topology.shards().len();
            Error::not_found(format_args!("stream {} has {count} shards, and no shard {shard}", self.name))
                .in_field("shard")
                .about("stream", &self.name)
                .about("shard", shard)
        })
    }

    /// What is kept past the retention, as of the last pass.
    #[must_use]
    pub fn holding(&self) -> Holding {
        self.holding.read().clone()
    }

    /// Ends when the stream is deleted.
    #[must_use]
    pub const fn deleted(&self) -> &CancellationToken {
        &self.deleted
    }

    /// Puts another topology in place and closes what it closes, as one step for everyone who looks.
    pub(super) fn set_topology(&self, topology: Topology, closed: impl IntoIterator<Item = (Arc<ShardState>, Closed)>) {
        self.spec.write().shard_count = u32::try_from(topology.open().len())
            .ok()
            .and_then(std::num::NonZeroU32::new)
            .unwrap_or(std::num::NonZeroU32::MIN);
        self.topology.send_modify(|held| {
            *held = Arc::new(topology);
            closed.into_iter().for_each(|(shard, closed)| shard.close_now(closed));
        });
    }

    pub(super) fn set_spec(&self, spec: StreamSpec) {
        let before = std::mem::replace(&mut *self.spec.write(), spec);
        if before.quota != spec.quota || before.record_bytes_max != spec.record_bytes_max {
            for shard in self.topology().shards() {
                shard.set_account(&spec);
            }
        }
    }

    pub(super) fn is_deleted(&self) -> Error {
        Error::not_found(format_args!("stream {} was deleted", self.name)).about("stream", &self.name)
    }
}

impl PartialEq for StreamState {
    /// Numbers of streams are never reused.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for StreamState {}
