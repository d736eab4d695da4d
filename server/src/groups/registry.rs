//! The groups that exist: kept in the meta store, and in memory while the process runs. A group goes with its stream.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_storage::log::StreamId;
use millrace_storage::meta::keys::group::{
    GroupCheckpointKey, GroupIdKey, GroupIdValue, GroupKey, GroupStart, GroupValue,
};
use millrace_storage::meta::{self, MetaStore, keys};
use millrace_storage::time::Timestamp;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::clock::Monotonic;
use super::metrics::GroupsMetrics;
use super::name::GroupName;
use super::settings::GroupSettings;
use super::state::{Group, Slot};
use super::{rows, shards};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::streams::{Position, StreamName, StreamState, Streams};

/// Time between two settings of the lag gauges.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two looks for what passing time brings about.
const TICK_MIN: Duration = Duration::from_millis(20);
const TICK_MAX: Duration = Duration::from_millis(500);

/// The handle of all consumer groups. Cheap to clone.
#[derive(Clone)]
pub struct Groups(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) streams: Streams,
    pub(super) meta: Arc<dyn MetaStore>,
    pub(super) settings: GroupSettings,
    pub(super) clock: Monotonic,
    pub(super) metrics: GroupsMetrics,
    /// By the stream's id, so that a stream's successor of the same name has none of its groups.
    by_name: RwLock<BTreeMap<(StreamId, GroupName), Arc<Group>>>,
    /// One change of the set of groups at a time.
    pub(super) changes: tokio::sync::Mutex<()>,
}

impl Groups {
    /// Reads all groups, and removes those whose stream is gone.
    ///
    /// # Errors
    /// Where the meta store cannot be read or written.
    pub async fn open(
        streams: &Streams,
        meta: Arc<dyn MetaStore>,
        settings: GroupSettings,
        clock: Monotonic,
        metrics: &Metrics,
    ) -> Result<Self> {
        let group_metrics = GroupsMetrics::new(metrics, streams.settings().metric_shards_max);
        let by_id: BTreeMap<u32, Arc<StreamState>> =
            streams.list().into_iter().map(|stream| (stream.id().0, stream)).collect();
        let mut by_name = BTreeMap::new();
        for (key, stored) in keys::scan::<GroupKey>(&*meta).await? {
            let Some(stream) = by_id.get(&key.stream) else {
                tracing::info!(group = key.name, "removing a group whose stream is gone");
                remove_stored(&*meta, &key, stored.value.id).await?;
                continue;
            };
            let name = GroupName::try_from(key.name.clone())?;
            let slots = rows::load(&*meta, stored.value.id).await?;
            let counts = group_metrics.group(stream.name(), &name);
            let group = Group::new(Arc::clone(stream), name.clone(), stored.value, slots, counts);
            by_name.insert((stream.id(), name), Arc::new(group));
        }
        Ok(Self(Arc::new(Inner {
            streams: streams.clone(),
            meta,
            settings,
            clock,
            metrics: group_metrics,
            by_name: RwLock::new(by_name),
            changes: tokio::sync::Mutex::default(),
        })))
    }

    /// The limits and times.
    #[must_use]
    pub fn settings(&self) -> &GroupSettings {
        &self.0.settings
    }

    /// A group by name.
    pub(super) fn get(&self, stream: &StreamName, name: &GroupName) -> Result<Arc<Group>> {
        let stream = self.0.streams.get(stream)?;
        self.find(&stream, name).ok_or_else(|| {
            Error::not_found(format_args!("stream {} has no group named {name}", stream.name()))
                .about("stream", stream.name())
                .about("group", name)
        })
    }

    fn find(&self, stream: &StreamState, name: &GroupName) -> Option<Arc<Group>> {
        self.0.by_name.read().get(&(stream.id(), name.clone())).cloned()
    }

    /// At most `count` groups after the one named, by stream's id and group's name; of one stream, or of all.
    pub(super) fn list_after(
        &self,
        after: Option<(StreamId, GroupName)>,
        stream: Option<StreamId>,
        count: usize,
    ) -> Vec<Arc<Group>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let by_name = self.0.by_name.read();
        let groups = by_name.range((after, Bound::Unbounded)).map(|(_, group)| group);
        groups.filter(|group| stream.is_none_or(|id| group.stream.id() == id)).take(count).cloned().collect()
    }

    fn all(&self) -> Vec<Arc<Group>> {
        self.0.by_name.read().values().cloned().collect()
    }

    /// A group by name, made where there is none. The caller holds `changes`.
    pub(super) async fn get_or_create(
        &self,
        stream: &StreamName,
        name: &GroupName,
        position: Position,
    ) -> Result<Arc<Group>> {
        let stream = self.0.streams.get(stream)?;
        if let Some(group) = self.find(&stream, name) {
            return Ok(group);
        }
        let most = self.0.settings.stream_groups_max;
        let count = self.0.by_name.read().keys().filter(|(id, _)| *id == stream.id()).count();
        if count >= most as usize {
            self.0.metrics.rejected("stream_groups_max");
            let message = format!("stream {} has {count} groups, and the limit is {most}", stream.name());
            return Err(Error::new(Kind::FailedPrecondition, message).about("stream", stream.name()));
        }
        self.create(stream, name, position).await
    }

    /// Fixes where each shard begins now: what comes later, also "latest" of a later day, is part of the group's work.
    async fn create(&self, stream: Arc<StreamState>, name: &GroupName, position: Position) -> Result<Arc<Group>> {
        let (start, start_time_ms) = start_of(position)?;
        let meta = &*self.0.meta;
        let key = GroupKey { stream: stream.id().0, name: name.as_str().to_owned() };
        let counter = keys::get(meta, &GroupIdKey).await?;
        let id = counter.as_ref().map_or(1, |stored| stored.value.next);
        let created_at_ms = Timestamp::now().as_millis();
        let value = GroupValue { id, created_at_ms, start: start.into(), start_time_ms };
        let begins = self.begins(&stream, position).await?;
        let conditions = vec![keys::absent(&key), keys::as_found(&GroupIdKey, counter.as_ref())];
        let mut writes = vec![keys::put(&key, &value), keys::put(&GroupIdKey, &GroupIdValue { next: id + 1 })];
        writes.extend(begins.iter().map(|(shard, begin)| {
            keys::put(&GroupCheckpointKey { group: id, shard: shard.0 }, &rows::fresh(id, begin.0))
        }));
        let value = match meta.commit(conditions, writes).await {
            Ok(()) => value,
            // An earlier creation was stored although its caller was told that it failed.
            Err(meta::Error::Conflict { .. }) if let Some(stored) = keys::get(meta, &key).await? => stored.value,
            Err(error) => return Err(error.into()),
        };
        let slots: BTreeMap<_, Slot> = rows::load(meta, value.id).await?;
        let counts = self.0.metrics.group(stream.name(), name);
        let group = Arc::new(Group::new(Arc::clone(&stream), name.clone(), value, slots, counts));
        self.0.by_name.write().insert((stream.id(), name.clone()), Arc::clone(&group));
        tracing::info!(stream = %stream.name(), group = %name, "created a consumer group");
        Ok(group)
    }

    /// Deletes a group and its checkpoints.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or [`Kind::FailedPrecondition`] while it has members.
    pub async fn delete(&self, stream: &StreamName, name: &GroupName) -> Result<()> {
        let _turn = self.0.changes.lock().await;
        let group = self.get(stream, name)?;
        let _alone = group.turn.lock().await;
        {
            let (now, ttl) = (self.0.clock.now(), self.0.settings.lease_ttl());
            let mut state = group.lock();
            let members = state.members.values().filter(|member| member.lives(now, ttl)).count();
            if members > 0 {
                let message = format!("group {name} of stream {stream} has {members} members; stop them first");
                return Err(group.about(Error::new(Kind::FailedPrecondition, message)));
            }
            state.gone = true;
        }
        let removed = self.remove(&group).await;
        if removed.is_err() {
            group.lock().gone = false;
        }
        removed
    }

    async fn remove(&self, group: &Group) -> Result<()> {
        let key = GroupKey { stream: group.stream.id().0, name: group.name.as_str().to_owned() };
        remove_stored(&*self.0.meta, &key, group.value.id).await?;
        self.0.by_name.write().remove(&(group.stream.id(), group.name.clone()));
        self.0.metrics.remove(group.stream.name(), &group.name);
        tracing::info!(stream = %group.stream.name(), group = %group.name, "deleted a consumer group");
        Ok(())
    }

    /// Does what passing time brings about, until `stop`: ends silent members, takes leases that were not handed over, gives
    /// out new shards, removes groups of deleted streams.
    pub async fn run(self, stop: CancellationToken) {
        let tick = (self.0.settings.lease_ttl() / 10).clamp(TICK_MIN, TICK_MAX);
        let mut turn = tokio::time::interval(tick);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut lag_set = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            self.tick().await;
            if lag_set.is_none_or(|at: Instant| at.elapsed() >= LAG_INTERVAL) {
                self.set_lag();
                lag_set = Some(Instant::now());
            }
        }
    }

    /// One look at all groups. A group that fails is logged, and looked at again.
    pub(super) async fn tick(&self) {
        for group in self.all() {
            let outcome =
                if group.stream.deleted().is_cancelled() { self.end(&group).await } else { self.keep(&group).await };
            if let Err(error) = outcome {
                tracing::warn!(%error, group = %group.name, stream = %group.stream.name(), "a group's turn failed");
            }
        }
    }

    async fn keep(&self, group: &Group) -> Result<()> {
        let (now, ttl) = (self.0.clock.now(), self.0.settings.lease_ttl());
        let topology = group.stream.topology();
        let due = {
            let state = group.lock();
            state.is_due(now, ttl, &topology) || state.holds_finished(&topology, &self.0.streams)
        };
        if due { self.rebalance(group).await } else { Ok(()) }
    }

    /// Removes a group whose stream was deleted.
    async fn end(&self, group: &Group) -> Result<()> {
        let _turn = self.0.changes.lock().await;
        let _alone = group.turn.lock().await;
        group.lock().gone = true;
        group.changed();
        self.remove(group).await
    }

    fn set_lag(&self) {
        for group in self.all() {
            let shards = shards::of(&self.0.streams, &group.stream.topology());
            let lags: Vec<_> = {
                let state = group.lock();
                shards.iter().map(|(id, shard)| (*id, shard.lag(state.at(*id).offset))).collect()
            };
            self.0.metrics.set_lag(group.stream.name(), &group.name, lags.into_iter());
        }
    }
}

/// The position as it is stored; only those that have a meaning for all shards.
pub(super) fn start_of(position: Position) -> Result<(GroupStart, i64)> {
    match position {
        Position::TrimHorizon => Ok((GroupStart::TrimHorizon, 0)),
        Position::Latest => Ok((GroupStart::Latest, 0)),
        Position::Time(time) => Ok((GroupStart::Time, time.as_millis())),
        Position::Offset(_) | Position::After(_) => {
            let message = "an offset belongs to one shard: a group's position is trim_horizon, latest or time_ms";
            Err(Error::invalid(message).in_field("position"))
        }
    }
}

/// The group goes last, so that a removal which a crash cut short is done again.
async fn remove_stored(meta: &dyn MetaStore, key: &GroupKey, id: u32) -> Result<()> {
    let shards: Vec<_> = rows::load(meta, id).await?.into_keys().collect();
    rows::remove(meta, id, &shards).await?;
    Ok(meta.commit(Vec::new(), vec![keys::delete(key)]).await?)
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("count", &self.0.by_name.read().len()).finish_non_exhaustive()
    }
}
