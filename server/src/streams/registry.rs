//! The streams that exist: kept in the meta store, and in memory while the process runs.
//!
//! Crash-safe order: a stream is in the meta store before its first record is in the log; a deletion is marked in the meta
//! store before the log forgets, and the mark goes last. Opening finishes what a crash interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use millrace_storage::encryption::{KeyStore, KeyVersion, MasterKeys, NewKey};
use millrace_storage::log::{Append, Log, StreamId};
use millrace_storage::meta::keys::delivery::DeliveryKey;
use millrace_storage::meta::keys::import::ImportKey;
use millrace_storage::meta::keys::shard::{ShardMetaKey, scan_stream};
use millrace_storage::meta::keys::stream::{self, StreamIdKey, StreamIdValue, StreamKey, StreamValue};
use millrace_storage::meta::keys::stream_attribute::StreamAttributeKey;
use millrace_storage::meta::keys::stream_consumer::scan_consumers;
use millrace_storage::meta::{self, MetaStore, keys};
use millrace_storage::time::Timestamp;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::metrics::StreamMetrics;
use super::name::StreamName;
use super::options::{Rejected, StreamMode, StreamOptions, StreamSpec};
use super::quota::{OverQuota, ShardQuota};
use super::reshard::{self, Ask, By};
use super::room::Room;
use super::sampled::{Sample, Samples};
use super::settings::StreamSettings;
use super::state::StreamState;
use crate::disk::Disk;
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// The burst of streams that were stored before they had one.
const BURST_UNSET: Duration = Duration::from_secs(1);

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
            let created_at = Timestamp(stored.value.created_at_ms);
            let from = shards.partition_point(|(shard, _)| shard.shard.stream < id);
            let to = shards.partition_point(|(shard, _)| shard.shard.stream <= id);
            let topology = reshard::load(&name, &stored.value, &spec, &shards[from..to], &stream_metrics)?;
            let room = Room::new(settings.stream_in_flight_bytes_max.as_u64());
            let counts = stream_metrics.stream(&name);
            let state = StreamState::new(id, name.clone(), created_at, spec, topology, room, counts);
            by_name.insert(name, Arc::new(state));
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

    /// Creates a stream.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] where one has the name; [`Kind::Invalid`] where the options break a limit.
    pub async fn create(&self, name: &StreamName, options: &StreamOptions) -> Result<Arc<StreamState>> {
        self.create_with(name, options, |_| None).await
    }

    /// As [`Self::create`], with a write of the caller's own in the same commit.
    ///
    /// # Errors
    /// As there.
    pub async fn create_with(
        &self,
        name: &StreamName,
        options: &StreamOptions,
        also: impl FnOnce(StreamId) -> Option<meta::Write> + Send,
    ) -> Result<Arc<StreamState>> {
        let _turn = self.0.changes.lock().await;
        if self.0.by_name.read().contains_key(name) {
            return Err(exists(name));
        }
        let spec = options.create(&self.0.settings).map_err(|rejected| self.reject(rejected))?;
        let (count, count_max) = (self.0.by_name.read().len(), self.0.settings.count_max);
        if count >= count_max as usize {
            let message = format!("{count} streams exist, and the limit is {count_max}");
            return Err(self.reject(Rejected::new("stream_count_max", "name", message)));
        }
        self.check_shards(spec.shard_count.get() as usize).map_err(|rejected| self.reject(rejected))?;
        let (meta, key) = (&*self.0.meta, StreamKey { name: name.to_string() });
        let counter = keys::get(meta, &StreamIdKey).await?;
        let id = counter.as_ref().map_or(1, |stored| stored.value.next);
        let new_key = self.first_key(StreamId(id), spec.encryption).await?;
        let mut value = value_of(id, Timestamp::now(), &spec);
        value.encryption_key_version = new_key.as_ref().map_or(0, |key| key.version().0);
        let conditions = vec![keys::absent(&key), keys::as_found(&StreamIdKey, counter.as_ref())];
        let mut writes = vec![keys::put(&key, &value), keys::put(&StreamIdKey, &StreamIdValue { next: id + 1 })];
        writes.extend(new_key.as_ref().map(NewKey::write));
        writes.extend(also(StreamId(id)));
        match meta.commit(conditions, writes).await {
            Ok(()) => {}
            // An earlier creation was stored although its caller was told that it failed.
            Err(meta::Error::Conflict { .. }) if let Some(stored) = keys::get(meta, &key).await? => {
                let sealing = stored.value.encryption_key_version;
                let sealing = (sealing > 0).then_some(KeyVersion(sealing));
                self.0.keys.load_stream(StreamId(stored.value.id), sealing).await?;
                self.insert(name, &stored.value, spec_of(&key, &stored.value)?)?;
                return Err(exists(name));
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(key) = new_key {
            self.0.keys.install(key);
        }
        tracing::info!(stream = %name, id, shards = spec.shard_count, "created a stream");
        self.insert(name, &value, spec)
    }

    fn insert(&self, name: &StreamName, value: &StreamValue, spec: StreamSpec) -> Result<Arc<StreamState>> {
        let (id, created_at) = (StreamId(value.id), Timestamp(value.created_at_ms));
        let topology = reshard::load(name, value, &spec, &[], &self.0.metrics)?;
        let (room, counts) =
            (Room::new(self.0.settings.stream_in_flight_bytes_max.as_u64()), self.0.metrics.stream(name));
        let state = Arc::new(StreamState::new(id, name.clone(), created_at, spec, topology, room, counts));
        self.0.by_name.write().insert(name.clone(), Arc::clone(&state));
        Ok(state)
    }

    /// Changes what `options` names; the rest stays. Another number of shards is a reshard, after all else.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or [`Kind::Invalid`] where the options break a limit.
    pub async fn update(&self, name: &StreamName, options: &StreamOptions) -> Result<Arc<StreamState>> {
        let _turn = self.0.changes.lock().await;
        let state = self.get(name)?;
        let spec = options.update(state.spec(), &self.0.settings).map_err(|rejected| self.reject(rejected))?;
        let before = state.spec();
        if spec == before {
            return Ok(state);
        }
        let resharded = spec.shard_count;
        let spec = StreamSpec { shard_count: before.shard_count, ..spec };
        let key = StreamKey { name: name.to_string() };
        let stored = keys::get(&*self.0.meta, &key).await?.ok_or_else(|| not_found(name))?;
        let mut value = value_of(stored.value.id, Timestamp(stored.value.created_at_ms), &spec);
        value.spec_toml.clone_from(&stored.value.spec_toml);
        value.encryption_key_version = stored.value.encryption_key_version;
        if spec.encryption == before.encryption {
            self.0.meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
        } else {
            let new_key = self.first_key(state.id(), spec.encryption).await?;
            self.switch_key(&state, &key, &stored, value, new_key).await?;
        }
        state.set_spec(spec);
        tracing::info!(stream = %name, ?spec, "updated a stream");
        if resharded != spec.shard_count {
            self.reshard(name, Ask::Evenly { count: resharded }, By::User).await?;
        }
        Ok(state)
    }

    /// What a stream is now, where it exists, and what a creation or an update with `options` would make of it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where the options break a limit.
    pub fn preview(&self, name: &StreamName, options: &StreamOptions) -> Result<(Option<StreamSpec>, StreamSpec)> {
        let before = self.get(name).ok().map(|state| state.spec());
        let after = match before {
            Some(before) => options.update(before, &self.0.settings),
            None => options.create(&self.0.settings),
        };
        Ok((before, after.map_err(|rejected| self.reject(rejected))?))
    }

    /// Deletes a stream and its records. Puts in flight end first; readers are told.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] while a delivery reads it or an import puts into it. After another error the deletion can be repeated, and a
    /// restart finishes it.
    pub async fn delete(&self, name: &StreamName) -> Result<()> {
        let _turn = self.0.changes.lock().await;
        let state = self.0.by_name.read().get(name).cloned().ok_or_else(|| not_found(name))?;
        self.check_unread(name).await?;
        let (meta, key) = (&*self.0.meta, StreamKey { name: name.to_string() });
        if let Some(stored) = keys::get(meta, &key).await? {
            self.mark_deleting(name, &key, &stored).await?;
        }
        state.deleted.cancel();
        let _alone = state.gate.write().await;
        self.settle_appends(&state).await;
        self.0.log.delete_stream(state.id()).await?;
        let mut writes = forget(&key, meta, state.id()).await?;
        writes.extend(self.0.keys.destruction(state.id()).await?);
        meta.commit(Vec::new(), writes).await?;
        self.0.keys.destroyed(state.id()).await;
        self.0.by_name.write().remove(name);
        self.0.metrics.remove(name);
        tracing::info!(stream = %name, "deleted a stream");
        Ok(())
    }

    /// Waits until all appends of a stream are decided. An append of nothing is answered in its turn; a log that takes none
    /// has decided all.
    pub(super) async fn settle_appends(&self, state: &StreamState) {
        let mut barriers = Vec::new();
        for shard in state.topology().open() {
            barriers.extend(self.0.log.append(shard.key(), Append::default()).await);
        }
        for barrier in barriers {
            let _ = barrier.durable().await;
        }
    }

    /// Marks, then looks again: a delivery that was declared in between asked for the stream without the mark.
    async fn mark_deleting(
        &self,
        name: &StreamName,
        key: &StreamKey,
        stored: &keys::Stored<StreamValue>,
    ) -> Result<()> {
        if stored.value.deleting {
            return Ok(());
        }
        let meta = &*self.0.meta;
        let marked = StreamValue { deleting: true, ..stored.value.clone() };
        meta.commit(vec![keys::unchanged(key, stored)], vec![keys::put(key, &marked)]).await?;
        if let Err(error) = self.check_unread(name).await {
            meta.commit(Vec::new(), vec![keys::put(key, &stored.value)]).await?;
            return Err(error);
        }
        Ok(())
    }

    async fn check_unread(&self, name: &StreamName) -> Result<()> {
        let imports = keys::scan::<ImportKey>(&*self.0.meta).await?;
        if let Some((import, _)) = imports.iter().find(|(_, stored)| stored.value.stream == name.as_str()) {
            let words = format_args!("import {} puts into stream {name}; delete that first", import.name);
            let error = Error::new(Kind::FailedPrecondition, words);
            return Err(error.about("stream", name).about("import", &import.name));
        }
        let deliveries = keys::scan::<DeliveryKey>(&*self.0.meta).await?;
        match deliveries.iter().find(|(_, stored)| stored.value.stream == name.as_str()) {
            None => Ok(()),
            Some((delivery, _)) => Err(Error::new(
                Kind::FailedPrecondition,
                format_args!("stream {name} is read by delivery {}; delete that first", delivery.name),
            )
            .about("stream", name)
            .about("delivery", &delivery.name)),
        }
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

    pub(super) fn disk(&self) -> Option<&Disk> {
        self.0.disk.get()
    }

    pub(super) fn delayed(&self) -> &Room {
        &self.0.delayed
    }

    /// The room that all puts in flight share.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.0.room
    }

    /// The data keys.
    pub(super) fn keys(&self) -> &KeyStore {
        &self.0.keys
    }

    pub(super) fn meta(&self) -> &dyn MetaStore {
        &*self.0.meta
    }

    /// The turn to change streams or their shards: one at a time.
    pub(super) fn changes(&self) -> &tokio::sync::Mutex<()> {
        &self.0.changes
    }

    pub(super) fn metrics(&self) -> &StreamMetrics {
        &self.0.metrics
    }

    /// Counts a request that broke a limit before it came here, by the limit's name.
    pub fn count_rejected(&self, limit: &'static str) {
        self.0.metrics.rejected(limit, 1);
    }

    /// Counts a broken limit and gives the error for the caller.
    pub(super) fn reject(&self, rejected: Rejected) -> Error {
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

fn exists(name: &StreamName) -> Error {
    Error::new(Kind::AlreadyExists, format_args!("a stream named {name} exists")).about("stream", name)
}

pub(super) fn not_found(name: &StreamName) -> Error {
    Error::not_found(format_args!("no stream is named {name}")).about("stream", name)
}

/// The writes that remove a stream with its shards, registered consumers and attributes.
async fn forget(key: &StreamKey, meta: &dyn MetaStore, id: StreamId) -> Result<Vec<meta::Write>> {
    let (shards, consumers) = (scan_stream(meta, id).await?, scan_consumers(meta, id.0).await?);
    let shards = shards.iter().map(|(shard, _)| keys::delete(shard));
    let consumers = consumers.iter().map(|(consumer, _)| keys::delete(consumer));
    let rest = [keys::delete(&StreamAttributeKey { stream: id.0 }), keys::delete(key)];
    Ok(shards.chain(consumers).chain(rest).collect())
}

fn value_of(id: u32, created_at: Timestamp, spec: &StreamSpec) -> StreamValue {
    StreamValue {
        id,
        shard_count: spec.shard_count.get(),
        retention_ms: u64::try_from(spec.retention.as_millis()).unwrap_or(u64::MAX),
        record_bytes_max: spec.record_bytes_max,
        in_bytes_per_second: spec.quota.in_bytes_per_second,
        in_records_per_second: spec.quota.in_records_per_second,
        out_bytes_per_second: spec.quota.out_bytes_per_second,
        created_at_ms: created_at.as_millis(),
        mode: match spec.mode {
            StreamMode::Provisioned => stream::StreamMode::Provisioned,
            StreamMode::OnDemand => stream::StreamMode::OnDemand,
        }
        .into(),
        burst_ms: u64::try_from(spec.quota.burst.as_millis()).unwrap_or(u64::MAX),
        over_quota: spec.over_quota as u32,
        stored_bytes_max: spec.stored_bytes_max,
        trims_undelivered: !spec.hold_for_deliveries,
        ..Default::default()
    }
}

fn spec_of(key: &StreamKey, value: &StreamValue) -> Result<StreamSpec> {
    let shard_count = NonZeroU32::new(value.shard_count)
        .ok_or_else(|| Error::new(Kind::DataLoss, format_args!("the stored stream {} has no shards", key.name)))?;
    Ok(StreamSpec {
        mode: match value.mode() {
            stream::StreamMode::Provisioned => StreamMode::Provisioned,
            stream::StreamMode::OnDemand => StreamMode::OnDemand,
        },
        shard_count,
        retention: Duration::from_millis(value.retention_ms),
        record_bytes_max: value.record_bytes_max,
        quota: ShardQuota {
            in_bytes_per_second: value.in_bytes_per_second,
            in_records_per_second: value.in_records_per_second,
            out_bytes_per_second: value.out_bytes_per_second,
            burst: if value.burst_ms == 0 { BURST_UNSET } else { Duration::from_millis(value.burst_ms) },
        },
        over_quota: OverQuota::from_stored(value.over_quota).ok_or_else(|| {
            let message = format!("the stored stream {} has the unknown choice {}", key.name, value.over_quota);
            Error::new(Kind::DataLoss, message)
        })?,
        stored_bytes_max: value.stored_bytes_max,
        hold_for_deliveries: !value.trims_undelivered,
        encryption: value.encryption_key_version > 0,
    })
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("count", &self.0.by_name.read().len()).finish_non_exhaustive()
    }
}
