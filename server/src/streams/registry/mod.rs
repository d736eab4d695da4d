//! The streams that exist: kept in the meta store, and in memory while the process runs.
//!
//! Crash-safe order: a stream is in the meta store before its first record is in the log; a deletion is marked in the meta
//! store before the log forgets, and the mark goes last. Opening finishes what a crash interrupted.

mod stored;
mod create;
mod update;
mod delete;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, OnceLock, Weak};

use millrace_storage::encryption::{KeyStore, MasterKeys};
use millrace_storage::log::{Log, StreamId};
use millrace_storage::meta::keys::shard::ShardMetaKey;
use millrace_storage::meta::keys::stream::StreamKey;
use millrace_storage::meta::{MetaStore, keys};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::metrics::StreamMetrics;
use super::name::StreamName;
use super::options::Rejected;
use super::room::Room;
use super::sampled::{Sample, Samples};
use super::settings::StreamSettings;
use super::state::StreamState;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use delete::forget;
use stored::{spec_of, state_of};

/// The handle of all streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    log: Arc<dyn Log>,
    meta: Arc<dyn MetaStore>,
    keys: Arc<KeyStore>,
    settings: StreamSettings,
    metrics: StreamMetrics,
    by_name: RwLock<BTreeMap<StreamName, Arc<StreamState>>>,
    /// One change of the set of streams at a time.
    changes: tokio::sync::Mutex<()>,
    stopping: CancellationToken,
    /// For the bytes of all puts in flight.
    room: Room,
    /// For the bytes of puts that wait for quota; a part of those in `room`.
    delayed: Room,
    disk: OnceLock<Disk>,
}

impl Streams {
    /// Reads all streams and finishes deletions that a crash interrupted.
    ///
    /// # Errors
    /// Where the meta store cannot be read, or the log cannot finish a deletion.
    pub async fn open(
        log: Arc<dyn Log>,
        meta: Arc<dyn MetaStore>,
        settings: StreamSettings,
        metrics: &Metrics,
    ) -> Result<Self> {
        let data_keys = KeyStore::open(Arc::clone(&meta), MasterKeys::default()).await?;
        Self::open_with_keys(log, meta, Arc::new(data_keys), settings, metrics).await
    }

    /// As [`Streams::open`], with the data keys that the log was opened with.
    ///
    /// # Errors
    /// As [`Streams::open`].
    pub async fn open_with_keys(
        log: Arc<dyn Log>,
        meta: Arc<dyn MetaStore>,
        data_keys: Arc<KeyStore>,
        settings: StreamSettings,
        metrics: &Metrics,
    ) -> Result<Self> {
        let stream_metrics = StreamMetrics::new(metrics, &settings);
        let mut by_name = BTreeMap::new();
        let shards = keys::scan::<ShardMetaKey>(&*meta).await?;
        for (key, stored) in keys::scan::<StreamKey>(&*meta).await? {
            let id = StreamId(stored.value.id);
            if stored.value.deleting {
                tracing::info!(stream = key.name, "finishing the deletion of a stream");
                log.delete_stream(id).await?;
                let mut writes = forget(&key, &*meta, id).await?;
                writes.extend(data_keys.destruction(id).await?);
                meta.commit(vec![keys::unchanged(&key, &stored)], writes).await?;
                data_keys.destroyed(id).await;
                continue;
            }
            let spec = spec_of(&key, &stored.value)?;
            let name = StreamName::any(&key.name)?;
            let from = shards.partition_point(|(shard, _)| shard.shard.stream < id);
            let to = shards.partition_point(|(shard, _)| shard.shard.stream <= id);
            let state = state_of(&name, &stored.value, spec, &shards[from..to], &settings, &stream_metrics)?;
            by_name.insert(name, state);
        }
        let inner = Arc::new(Inner {
            log,
            meta,
            keys: data_keys,
            room: Room::new(settings.put_in_flight_bytes_max.as_u64()),
            delayed: Room::new(settings.delay_bytes_max.as_u64()),
            disk: OnceLock::new(),
            settings,
            metrics: stream_metrics,
            by_name: RwLock::new(by_name),
            changes: tokio::sync::Mutex::default(),
            stopping: CancellationToken::new(),
        });
        let source: Weak<Inner> = Arc::downgrade(&inner);
        inner.metrics.sampled.sample(source);
        Ok(Self(inner))
    }

    /// A stream by name.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn get(&self, name: &StreamName) -> Result<Arc<StreamState>> {
        let state = self.0.by_name.read().get(name).cloned();
        state.filter(|state| !state.deleted.is_cancelled()).ok_or_else(|| not_found(name))
    }

    /// All streams, by name, with those that parts of the server made for themselves.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<StreamState>> {
        self.0.by_name.read().values().cloned().collect()
    }

    /// At most `count` streams after the one named, by name, without hidden ones.
    #[must_use]
    pub fn list_after(&self, name: &str, count: usize) -> Vec<Arc<StreamState>> {
        let after = (Bound::Excluded(name), Bound::Unbounded);
        let by_name = self.0.by_name.read();
        let shown = by_name.range::<str, _>(after).filter(|(name, _)| !name.is_hidden());
        shown.take(count).map(|(_, state)| Arc::clone(state)).collect()
    }

    /// Tells subscribers that the server closes. Puts and reads go on until the log closes.
    pub fn stop(&self) {
        self.0.stopping.cancel();
    }

    /// The limits.
    #[must_use]
    pub fn settings(&self) -> &StreamSettings {
        &self.0.settings
    }

    /// The log that holds the records.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.0.log
    }

    /// Ends when the server begins to close.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Refuses puts from now on while this disk is full.
    pub fn guard_disk(&self, disk: Disk) {
        // A second guard would be a bug, and the first one guards.
        let _ = self.0.disk.set(disk);
    }

    pub(in crate::streams) fn disk(&self) -> Option<&Disk> {
        self.0.disk.get()
    }

    pub(in crate::streams) fn delayed(&self) -> &Room {
        &self.0.delayed
    }

    /// The room that all puts in flight share.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.0.room
    }

    /// The data keys.
    pub(in crate::streams) fn keys(&self) -> &KeyStore {
        &self.0.keys
    }

    pub(in crate::streams) fn meta(&self) -> &dyn MetaStore {
        &*self.0.meta
    }

    /// The turn to change streams or their shards: one at a time.
    pub(in crate::streams) fn changes(&self) -> &tokio::sync::Mutex<()> {
        &self.0.changes
    }

    pub(in crate::streams) fn metrics(&self) -> &StreamMetrics {
        &self.0.metrics
    }

    /// Counts a request that broke a limit before it came here, by the limit's name.
    pub fn count_rejected(&self, limit: &'static str) {
        self.0.metrics.rejected(limit, 1);
    }

    /// Counts a broken limit and gives the error for the caller.
    pub(in crate::streams) fn reject(&self, rejected: Rejected) -> Error {
        self.0.metrics.rejected(rejected.limit, 1);
        rejected.error
    }
}

impl Samples for Inner {
    fn samples(&self) -> Vec<Sample> {
        let streams: Vec<_> = self.by_name.read().values().cloned().collect();
        let sample = |stream: Arc<StreamState>| {
            let stored_bytes = self.log.stored_bytes(stream.id());
            Sample { stream, stored_bytes }
        };
        streams.into_iter().map(sample).collect()
    }
}

pub(in crate::streams) fn not_found(name: &StreamName) -> Error {
    Error::not_found(format_args!("no stream is named {name}")).about("stream", name)
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("count", &self.0.by_name.read().len()).finish_non_exhaustive()
    }
}
