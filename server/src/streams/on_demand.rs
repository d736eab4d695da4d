//! Streams on demand: shards split by themselves under sustained load, and neighbours merge when idle.
//!
//! [`Monitor`] decides by what each shard took between two looks; it has no clock and changes nothing. A shard splits when
//! it takes 80 % of its quota or more at every look for `on_demand_split_after`; two neighbours merge when they take
//! together at most 40 % of one shard's for `on_demand_merge_after`, so that what was merged is not split at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use millrace_storage::log::{ShardId, StreamId};
use tokio_util::sync::CancellationToken;

use super::options::StreamMode;
use super::quota::ShardQuota;
use super::registry::Streams;
use super::reshard::{Ask, By};
use super::settings::StreamSettings;
use super::state::StreamState;

/// The part of its quota from which on a shard is hot.
const HOT: f64 = 0.8;
/// The part of one shard's quota up to which two neighbours together are idle.
const IDLE: f64 = 0.4;

/// What an open shard has taken since the process began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) shard: ShardId,
    pub(super) bytes: u64,
    pub(super) records: u64,
}

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Split { shard: ShardId, reason: String },
    Merge { shard: ShardId, adjacent: ShardId, reason: String },
}

/// The bounds of [`StreamSettings`] that decisions keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) shards_min: usize,
    pub(super) shards_max: usize,
    pub(super) split_after: Duration,
    pub(super) merge_after: Duration,
}

impl From<&StreamSettings> for Bounds {
    fn from(settings: &StreamSettings) -> Self {
        Self {
            shards_min: settings.on_demand_shards_min.max(1) as usize,
            shards_max: settings.on_demand_shards_max.min(settings.shard_count_max) as usize,
            split_after: settings.on_demand_split_after,
            merge_after: settings.on_demand_merge_after,
        }
    }
}

/// What is known of the load of one stream.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    looked_at: Option<Instant>,
    shards: HashMap<ShardId, Watched>,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    bytes: u64,
    records: u64,
    /// The part of its quota that it took since the look before.
    load: f64,
    hot_since: Option<Instant>,
    /// Since when it is idle together with the open shard after it.
    idle_since: Option<Instant>,
    measured: bool,
}

impl Monitor {
    /// Looks at the open shards, in the order of their hash keys.
    pub(super) fn look(&mut self, now: Instant, open: &[Sample], quota: ShardQuota, bounds: &Bounds) -> Vec<Decision> {
        let before = self.looked_at.replace(now);
        let passed = before.map(|before| now.saturating_duration_since(before)).unwrap_or_default();
        let known = std::mem::take(&mut self.shards);
        for sample in open {
            let watched = watch(known.get(&sample.shard).copied(), *sample, before, passed, quota);
            self.shards.insert(sample.shard, watched);
        }
        let mut decisions = self.splits(now, open, bounds);
        self.note_idle(now, before, open);
        if decisions.is_empty() {
            decisions.extend(self.merge(now, open, bounds));
        }
        decisions
    }

    fn splits(&self, now: Instant, open: &[Sample], bounds: &Bounds) -> Vec<Decision> {
        let room = bounds.shards_max.saturating_sub(open.len());
        let hot = open.iter().filter_map(|sample| {
            let watched = &self.shards[&sample.shard];
            let lasted = now.saturating_duration_since(watched.hot_since?);
            let reason = format!(
                "split of shard {} on demand: it took {} of its quota at the last look, and 80 % or more for {}",
                sample.shard,
                percent(watched.load),
                seconds(lasted)
            );
            (lasted >= bounds.split_after).then_some(Decision::Split { shard: sample.shard, reason })
        });
        hot.take(room).collect()
    }

    fn note_idle(&mut self, now: Instant, before: Option<Instant>, open: &[Sample]) {
        for pair in open.windows(2) {
            let upper = self.shards[&pair[1].shard];
            let lower = self.shards.get_mut(&pair[0].shard).expect("each sample has its entry");
            let idle = lower.measured && upper.measured && lower.load + upper.load <= IDLE;
            lower.idle_since = if idle { lower.idle_since.or(before).or(Some(now)) } else { None };
        }
    }

    /// One pair at a time: who shrinks has time.
    fn merge(&self, now: Instant, open: &[Sample], bounds: &Bounds) -> Option<Decision> {
        if open.len() <= bounds.shards_min {
            return None;
        }
        open.windows(2).find_map(|pair| {
            let (lower, upper) = (&self.shards[&pair[0].shard], &self.shards[&pair[1].shard]);
            let lasted = now.saturating_duration_since(lower.idle_since?);
            let reason = format!(
                "merge of shards {} and {} on demand: together they took {} of one shard's quota at the last look, and 40 % \
                 or less for {}",
                pair[0].shard,
                pair[1].shard,
                percent(lower.load + upper.load),
                seconds(lasted)
            );
            let merge = Decision::Merge { shard: pair[0].shard, adjacent: pair[1].shard, reason };
            (lasted >= bounds.merge_after).then_some(merge)
        })
    }
}

fn watch(
    known: Option<Watched>,
    sample: Sample,
    before: Option<Instant>,
    passed: Duration,
    quota: ShardQuota,
) -> Watched {
    let Sample { bytes, records, .. } = sample;
    let fresh = Watched { bytes, records, load: 0.0, hot_since: None, idle_since: None, measured: false };
    let Some(known) = known.filter(|_| !passed.is_zero()) else { return known.unwrap_or(fresh) };
    let part = |taken: u64, before: u64, quota: u64| match quota {
        0 => 0.0,
        quota => taken.saturating_sub(before) as f64 / passed.as_secs_f64() / quota as f64,
    };
    let load = part(bytes, known.bytes, quota.in_bytes_per_second).max(part(
        records,
        known.records,
        quota.in_records_per_second,
    ));
    // What was measured now held since the look before.
    let hot_since = if load >= HOT { known.hot_since.or(before) } else { None };
    Watched { bytes, records, load, hot_since, idle_since: known.idle_since, measured: true }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

impl Streams {
    /// Splits and merges shards of streams on demand, one look at an interval, until `stop`.
    pub async fn run_on_demand(self, stop: CancellationToken) {
        let mut monitors = HashMap::new();
        let mut turn = tokio::time::interval(self.settings().on_demand_interval.max(Duration::from_millis(1)));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            self.balance(&mut monitors, Instant::now()).await;
        }
    }

    /// One look at all streams on demand. What cannot be done now is asked again at the next look.
    pub(super) async fn balance(&self, monitors: &mut HashMap<StreamId, Monitor>, now: Instant) {
        let mut streams = self.list();
        streams.retain(|stream| stream.spec().mode == StreamMode::OnDemand && !stream.deleted.is_cancelled());
        monitors.retain(|id, _| streams.iter().any(|stream| stream.id() == *id));
        for stream in streams {
            let open: Vec<Sample> = samples(&stream);
            let bounds = Bounds::from(self.settings());
            let decisions = monitors.entry(stream.id()).or_default().look(now, &open, stream.spec().quota, &bounds);
            for decision in decisions {
                let (ask, reason) = match decision {
                    Decision::Split { shard, reason } => (Ask::Split { shard, at: None }, reason),
                    Decision::Merge { shard, adjacent, reason } => (Ask::Merge { shard, adjacent }, reason),
                };
                if let Err(error) = self.ask(stream.name(), ask, By::Load(reason)).await {
                    tracing::warn!(stream = %stream.name(), %error, "cannot reshard a stream on demand");
                }
            }
        }
    }
}

fn samples(stream: &StreamState) -> Vec<Sample> {
    let topology = stream.topology();
    let sample = |shard: &std::sync::Arc<super::topology::ShardState>| {
        let (bytes, records) = shard.taken();
        Sample { shard: shard.id(), bytes, records }
    };
    topology.open().iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BOUNDS: Bounds = Bounds {
        shards_min: 1,
        shards_max: 8,
        split_after: Duration::from_secs(60),
        merge_after: Duration::from_secs(600),
    };

    /// A stream whose shards each take 1,000 bytes and 100 records a second.
    struct World {
        monitor: Monitor,
        now: Instant,
        taken: Vec<Sample>,
    }

    impl World {
        fn new(shards: u32) -> Self {
            let taken = (0..shards).map(|shard| Sample { shard: ShardId(shard), bytes: 0, records: 0 }).collect();
            let mut world = Self { monitor: Monitor::default(), now: Instant::now(), taken };
            assert!(world.pass(0, &[]).is_empty());
            world
        }

        /// Time passes, in which shards take so many bytes and records a second.
        fn pass(&mut self, seconds: u64, rates: &[(u64, u64)]) -> Vec<Decision> {
            self.pass_within(seconds, rates, &BOUNDS)
        }

        fn pass_within(&mut self, seconds: u64, rates: &[(u64, u64)], bounds: &Bounds) -> Vec<Decision> {
            let quota = ShardQuota { in_bytes_per_second: 1000, in_records_per_second: 100, ..ShardQuota::default() };
            self.now += SECOND * u32::try_from(seconds).unwrap();
            for (sample, (bytes, records)) in self.taken.iter_mut().zip(rates) {
                sample.bytes += bytes * seconds;
                sample.records += records * seconds;
            }
            self.monitor.look(self.now, &self.taken, quota, bounds)
        }
    }

    fn split(decisions: &[Decision]) -> Vec<u32> {
        let split = |decision: &Decision| match decision {
            Decision::Split { shard, .. } => shard.0,
            Decision::Merge { .. } => panic!("{decision:?}"),
        };
        decisions.iter().map(split).collect()
    }

    #[test]
    fn a_shard_splits_when_it_was_hot_for_the_whole_time_and_says_why() {
        let mut world = World::new(2);
        for _ in 0..5 {
            assert!(world.pass(10, &[(800, 0), (799, 79)]).is_empty());
        }
        let decisions = world.pass(10, &[(950, 0), (799, 79)]);
        let Decision::Split { shard, reason } = &decisions[0] else { panic!("{decisions:?}") };
        assert_eq!((decisions.len(), shard.0), (1, 0));
        assert_eq!(
            reason,
            "split of shard 0 on demand: it took 95 % of its quota at the last look, and 80 % or more for 1m"
        );
    }

    #[test]
    fn records_count_as_bytes_do() {
        let mut world = World::new(1);
        assert!(world.pass(30, &[(0, 80)]).is_empty());
        assert_eq!(split(&world.pass(30, &[(0, 80)])), [0]);
    }

    #[test]
    fn a_look_below_begins_the_time_anew() {
        let mut world = World::new(1);
        assert!(world.pass(50, &[(900, 0)]).is_empty());
        assert!(world.pass(5, &[(700, 0)]).is_empty());
        assert!(world.pass(50, &[(900, 0)]).is_empty());
        assert_eq!(split(&world.pass(10, &[(900, 0)])), [0]);
    }

    #[test]
    fn children_begin_anew_and_bounds_hold() {
        let mut world = World::new(2);
        assert_eq!(split(&world.pass(60, &[(900, 0), (900, 0)])), [0, 1]);
        let narrow = Bounds { shards_max: 3, ..BOUNDS };
        assert_eq!(split(&world.pass_within(10, &[(900, 0), (900, 0)], &narrow)), [0], "there is room for one");
        let full = Bounds { shards_max: 2, ..BOUNDS };
        assert!(world.pass_within(10, &[(900, 0), (900, 0)], &full).is_empty());
        world.taken[0] = Sample { shard: ShardId(2), bytes: 0, records: 0 };
        assert_eq!(split(&world.pass(10, &[(900, 0), (900, 0)])), [1], "2 has only just come");
    }

    #[test]
    fn idle_neighbours_merge_one_pair_at_a_time_down_to_the_least() {
        let mut world = World::new(3);
        let idle = [(200, 0), (200, 0), (150, 0)];
        assert!(world.pass(300, &idle).is_empty());
        let decisions = world.pass(300, &idle);
        let Decision::Merge { shard, adjacent, reason } = &decisions[0] else { panic!("{decisions:?}") };
        assert_eq!((decisions.len(), shard.0, adjacent.0), (1, 0, 1));
        assert_eq!(
            reason,
            "merge of shards 0 and 1 on demand: together they took 40 % of one shard's quota at the last look, and 40 % or less for 10m"
        );
        let least = Bounds { shards_min: 3, ..BOUNDS };
        assert!(world.pass_within(300, &idle, &least).is_empty());
    }

    #[test]
    fn a_pair_with_more_than_idle_load_stays() {
        let mut world = World::new(2);
        assert!(world.pass(300, &[(200, 0), (200, 0)]).is_empty());
        assert!(world.pass(10, &[(200, 0), (201, 0)]).is_empty());
        assert!(world.pass(590, &[(200, 0), (200, 0)]).is_empty());
        assert_eq!(world.pass(10, &[(200, 0), (200, 0)]).len(), 1);
    }

    #[test]
    fn a_stream_without_quotas_only_merges() {
        let mut world = World::new(1);
        let mut look = |seconds: u32| {
            world.now += SECOND * seconds;
            world.taken[0].bytes += 1 << 40;
            world.monitor.look(world.now, &world.taken, ShardQuota::default(), &BOUNDS)
        };
        assert!(look(60).is_empty() && look(60).is_empty());
    }
}
