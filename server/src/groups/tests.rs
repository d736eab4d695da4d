//! What consumer groups promise, over the reference log and meta store, on a clock that the test moves.

mod leases;
mod dropped;
mod checkpoints;
mod lineage;
mod random;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_storage::log::memory::MemoryLog;
use millrace_storage::log::{Log, Offset, ShardId};
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::memory::MemoryMeta;
use parking_lot::Mutex;

use super::*;
use crate::error::Kind;
use crate::metrics::Metrics;
use crate::streams::{Position, PutRecord, StreamOptions, StreamSettings, Streams};

const TTL: Duration = Duration::from_secs(10);
const HAND_OVER: Duration = Duration::from_secs(30);
const NOW: Duration = Duration::ZERO;

struct World {
    log: Arc<MemoryLog>,
    meta: Arc<dyn MetaStore>,
    now: Arc<Mutex<Instant>>,
    settings: GroupSettings,
    metrics: Metrics,
    streams: Streams,
    groups: Groups,
}

impl World {
    /// A stream `s` of so many shards.
    async fn new(shards: u32) -> Self {
        Self::with(shards, |_| {}).await
    }

    async fn with(shards: u32, change: impl FnOnce(&mut GroupSettings)) -> Self {
        Self::over(Arc::new(MemoryMeta::new()), shards, change).await
    }

    async fn over(meta: Arc<dyn MetaStore>, shards: u32, change: impl FnOnce(&mut GroupSettings)) -> Self {
        let mut settings = GroupSettings { lease_ttl: TTL, hand_over_timeout: HAND_OVER, ..GroupSettings::default() };
        change(&mut settings);
        let log = Arc::new(MemoryLog::new());
        let now = Arc::new(Mutex::new(Instant::now()));
        let (metrics, streams, groups) = open(&log, &meta, &settings, &now).await;
        let world = Self { log, meta, now, settings, metrics, streams, groups };
        world.create(shards).await;
        world
    }

    async fn create(&self, shards: u32) {
        let options = StreamOptions {
            shard_count: Some(shards),
            in_bytes_per_second: Some(0),
            in_records_per_second: Some(0),
            ..StreamOptions::default()
        };
        self.streams.create(&stream(), &options).await.unwrap();
    }

    /// The same as a restart finds it.
    async fn restart(&mut self) {
        (self.metrics, self.streams, self.groups) = open(&self.log, &self.meta, &self.settings, &self.now).await;
    }

    /// Lets time pass, and the groups notice it.
    async fn pass(&self, time: Duration) {
        *self.now.lock() += time;
        self.groups.tick().await;
    }

    async fn join(&self, member: &str) {
        self.groups.join(&caller(member), MemberName::default(), Position::TrimHorizon).await.unwrap();
    }

    async fn heartbeat(&self, member: &str) -> crate::error::Result<Vec<LeaseView>> {
        Ok(self.groups.heartbeat(&caller(member), 0, NOW).await?.leases)
    }

    /// The shards that a member holds and was not asked to give back.
    async fn held(&self, member: &str) -> Vec<u32> {
        let leases = self.heartbeat(member).await.unwrap();
        leases.iter().filter(|lease| lease.release_within.is_none()).map(|lease| lease.shard.0).collect()
    }

    async fn lease(&self, member: &str, shard: u32) -> LeaseId {
        let leases = self.heartbeat(member).await.unwrap();
        let lease = leases.iter().find(|lease| lease.shard.0 == shard).unwrap();
        LeaseId { shard: lease.shard, epoch: lease.epoch }
    }

    async fn checkpoint(&self, member: &str, lease: LeaseId, offset: u64) -> crate::error::Result<()> {
        self.groups.checkpoint(&caller(member), lease, at(offset)).await
    }

    /// Puts records into a shard.
    async fn put(&self, shard: u32, count: usize) {
        let state = self.streams.get(&stream()).unwrap();
        let hash_key = state.shard(ShardId(shard)).unwrap().range().start.to_string();
        let record = PutRecord { partition_key: "k".to_owned(), explicit_hash_key: Some(hash_key), data: "x".into() };
        let results = self.streams.put(&stream(), vec![record; count]).await.unwrap();
        assert!(results.iter().all(|result| result.as_ref().is_ok_and(|placed| placed.shard.0 == shard)));
    }

    async fn describe(&self) -> GroupView {
        self.groups.describe(&stream(), &group()).await.unwrap()
    }

    async fn states(&self) -> Vec<SlotState> {
        self.describe().await.shards.into_iter().map(|shard| shard.state).collect()
    }

    /// A count of the group's.
    fn count(&self, metric: &str) -> u64 {
        let line = format!("millrace_groups_{metric}{{group=\"g\",stream=\"s\"}} ");
        let text = self.metrics.text();
        text.lines().find_map(|each| each.strip_prefix(&line)).map_or(0, |value| value.parse().unwrap())
    }
}

async fn open(
    log: &Arc<MemoryLog>,
    meta: &Arc<dyn MetaStore>,
    settings: &GroupSettings,
    now: &Arc<Mutex<Instant>>,
) -> (Metrics, Streams, Groups) {
    let (metrics, log) = (Metrics::new(), Arc::clone(log) as Arc<dyn Log>);
    let streams = Streams::open(log, Arc::clone(meta), StreamSettings::default(), &metrics).await.unwrap();
    let told = Arc::clone(now);
    let clock = Monotonic::new(move || *told.lock());
    let groups = Groups::open(&streams, Arc::clone(meta), settings.clone(), clock, &metrics).await.unwrap();
    (metrics, streams, groups)
}

fn stream() -> StreamName {
    "s".parse().unwrap()
}

fn group() -> GroupName {
    GroupName::try_from("g".to_owned()).unwrap()
}

fn caller(member: &str) -> Caller {
    Caller { stream: stream(), group: group(), member: MemberId::try_from(member.to_owned()).unwrap() }
}

fn at(offset: u64) -> GroupOffset {
    GroupOffset { offset: Offset(offset), sub: 0 }
}
