//! What a caller may ask of a stream, and the checked specification that it becomes.

use std::num::NonZeroU32;
use std::time::Duration;

use super::quota::{OverQuota, ShardQuota};
use super::settings::StreamSettings;
use crate::error::{Error, Result};

/// The shortest burst: the grain that it is kept in.
const BURST_MIN: Duration = Duration::from_millis(1);
/// Who decides how many shards a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamMode {
    /// Its users.
    #[default]
    Provisioned,
    /// Its load.
    OnDemand,
}

/// What a caller asks of a stream; what is `None` takes the default at creation and stays at an update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamOptions {
    /// Who decides the number of shards.
    pub mode: Option<StreamMode>,
    /// Shards. Where the stream is on demand, those that it begins with.
    pub shard_count: Option<u32>,
    /// How long records are kept, in whole milliseconds.
    pub retention: Option<Duration>,
    /// The most that a record holds: data plus partition key, in bytes.
    pub record_bytes_max: Option<u64>,
    /// Bytes a second into each shard; zero is no limit.
    pub in_bytes_per_second: Option<u64>,
    /// Records a second into each shard; zero is no limit.
    pub in_records_per_second: Option<u64>,
    /// Bytes a second out of each shard; zero is no limit.
    pub out_bytes_per_second: Option<u64>,
    /// How much of its quotas an idle shard saves up, in whole milliseconds.
    pub burst: Option<Duration>,
    /// What becomes of a put over quota.
    pub over_quota: Option<OverQuota>,
    /// The most that the stream holds, in bytes as stored; zero is no limit.
    pub stored_bytes_max: Option<u64>,
    /// Whether what a delivery has not committed outlives the retention.
    pub hold_for_deliveries: Option<bool>,
    /// Whether new records are encrypted at rest.
    pub encryption: Option<bool>,
}

/// What a stream is made to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSpec {
    /// Who decides the number of shards.
    pub mode: StreamMode,
    /// Open shards.
    pub shard_count: NonZeroU32,
    /// How long records are kept.
    pub retention: Duration,
    /// The most that a record holds: data plus partition key, in bytes.
    pub record_bytes_max: u64,
    /// What each shard takes and gives.
    pub quota: ShardQuota,
    /// What becomes of a put over quota.
    pub over_quota: OverQuota,
    /// The most that the stream holds, in bytes as stored; zero is no limit.
    pub stored_bytes_max: u64,
    /// Whether what a delivery has not committed outlives the retention.
    pub hold_for_deliveries: bool,
    /// Whether new records are encrypted at rest.
    pub encryption: bool,
}

/// A limit of [`StreamSettings`] that a request broke, by the name that metrics count it under.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) limit: &'static str,
    pub(super) error: Error,
}

impl Rejected {
    pub(super) fn new(limit: &'static str, field: &'static str, message: String) -> Self {
        Self { limit, error: Error::invalid(message).in_field(field) }
    }
}

impl StreamOptions {
    /// The specification of a new stream.
    pub(super) fn create(&self, settings: &StreamSettings) -> Result<StreamSpec, Rejected> {
        let spec = StreamSpec {
            mode: StreamMode::default(),
            shard_count: shards(self.shard_count.unwrap_or(settings.shard_count_default))?,
            retention: settings.retention_default,
            record_bytes_max: settings.record_bytes_default.as_u64(),
            quota: ShardQuota {
                in_bytes_per_second: settings.in_bytes_per_second.as_u64(),
                in_records_per_second: settings.in_records_per_second,
                out_bytes_per_second: settings.out_bytes_per_second.as_u64(),
                burst: settings.quota_burst_default,
            },
            over_quota: OverQuota::Reject,
            stored_bytes_max: settings.stored_bytes_max_default.as_u64(),
            hold_for_deliveries: true,
            encryption: false,
        };
        let spec = self.over(spec);
        check(&spec, settings)?;
        Ok(spec)
    }

    /// The specification of a stream after an update.
    pub(super) fn update(&self, before: StreamSpec, settings: &StreamSettings) -> Result<StreamSpec, Rejected> {
        let mut spec = self.over(before);
        // The load decides the number of one that is on demand.
        if let (Some(count), StreamMode::Provisioned) = (self.shard_count, spec.mode) {
            spec.shard_count = shards(count)?;
        }
        check(&spec, settings)?;
        Ok(spec)
    }

    fn over(&self, base: StreamSpec) -> StreamSpec {
        StreamSpec {
            mode: self.mode.unwrap_or(base.mode),
            shard_count: base.shard_count,
            retention: self.retention.unwrap_or(base.retention),
            record_bytes_max: self.record_bytes_max.unwrap_or(base.record_bytes_max),
            quota: ShardQuota {
                in_bytes_per_second: self.in_bytes_per_second.unwrap_or(base.quota.in_bytes_per_second),
                in_records_per_second: self.in_records_per_second.unwrap_or(base.quota.in_records_per_second),
                out_bytes_per_second: self.out_bytes_per_second.unwrap_or(base.quota.out_bytes_per_second),
                burst: self.burst.unwrap_or(base.quota.burst),
            },
            over_quota: self.over_quota.unwrap_or(base.over_quota),
            stored_bytes_max: self.stored_bytes_max.unwrap_or(base.stored_bytes_max),
            hold_for_deliveries: self.hold_for_deliveries.unwrap_or(base.hold_for_deliveries),
            encryption: self.encryption.unwrap_or(base.encryption),
        }
    }
}

fn shards(count: u32) -> Result<NonZeroU32, Rejected> {
    let none = || Rejected::new("shard_count_min", "shard_count", "a stream needs at least 1 shard".to_owned());
    NonZeroU32::new(count).ok_or_else(none)
}

fn check(spec: &StreamSpec, settings: &StreamSettings) -> Result<(), Rejected> {
    let (shards, shards_max) = (spec.shard_count.get(), settings.shard_count_max);
    if shards > shards_max {
        let message = format!("{shards} shards are past the limit of {shards_max} for a stream");
        return Err(Rejected::new("shard_count_max", "shard_count", message));
    }
    if spec.retention < settings.retention_min || spec.retention > settings.retention_max {
        let (min, max) = (settings.retention_min, settings.retention_max);
        let message = format!("a retention of {} is outside of {} to {}", time(spec.retention), time(min), time(max));
        return Err(Rejected::new("retention", "retention_ms", message));
    }
    let bytes_max = settings.record_bytes_max.as_u64();
    if spec.record_bytes_max == 0 || spec.record_bytes_max > bytes_max {
        let message = format!("a record limit of {} bytes is outside of 1 to {bytes_max} bytes", spec.record_bytes_max);
        return Err(Rejected::new("record_bytes_max", "record_bytes_max", message));
    }
    let (burst, burst_max) = (spec.quota.burst, settings.quota_burst_max);
    if burst < BURST_MIN || burst > burst_max {
        let message = format!("a burst of {} is outside of {} to {}", time(burst), time(BURST_MIN), time(burst_max));
        return Err(Rejected::new("quota_burst_max", "burst_ms", message));
    }
    Ok(())
}

/// Hours where they are whole, as retentions are spoken of.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds % 3600, duration.subsec_nanos()) {
        (0, 0) => format!("{} h", seconds / 3600),
        _ => humantime::format_duration(duration).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_takes_the_defaults() {
        let spec = StreamOptions::default().create(&StreamSettings::default()).unwrap();
        assert_eq!(spec.shard_count.get(), 1);
        assert_eq!(spec.retention, Duration::from_secs(24 * 3600));
        assert_eq!(spec.record_bytes_max, 1 << 20);
        assert_eq!(spec.quota.in_bytes_per_second, 1 << 20);
        assert_eq!(spec.quota.in_records_per_second, 1000);
        assert_eq!(spec.quota.out_bytes_per_second, 2 << 20);
    }

    /// Each limit: what is allowed, and one past it.
    #[test]
    fn each_limit_holds_at_its_edge() {
        let settings = StreamSettings::default();
        let hour = Duration::from_secs(3600);
        let with = |change: &dyn Fn(&mut StreamOptions)| {
            let mut options = StreamOptions::default();
            change(&mut options);
            options.create(&settings)
        };
        for shards in [1, settings.shard_count_max] {
            assert!(with(&|options| options.shard_count = Some(shards)).is_ok());
        }
        for retention in [hour, 8760 * hour] {
            assert!(with(&|options| options.retention = Some(retention)).is_ok());
        }
        for bytes in [1, 10 << 20] {
            assert!(with(&|options| options.record_bytes_max = Some(bytes)).is_ok());
        }
        let check = |change: &dyn Fn(&mut StreamOptions), limit: &str, words: &str| {
            let rejected = with(change).unwrap_err();
            assert_eq!(rejected.limit, limit);
            assert!(rejected.error.to_string().contains(words), "{}", rejected.error);
        };
        check(&|o| o.shard_count = Some(0), "shard_count_min", "at least 1 shard");
        check(&|o| o.shard_count = Some(10_001), "shard_count_max", "10001 shards are past the limit of 10000");
        let millisecond = Duration::from_millis(1);
        check(&|o| o.retention = Some(hour - millisecond), "retention", "59m 59s 999ms is outside of 1 h to 8760 h");
        check(&|o| o.retention = Some(8760 * hour + millisecond), "retention", "is outside of 1 h to 8760 h");
        check(&|o| o.record_bytes_max = Some(0), "record_bytes_max", "0 bytes is outside");
        check(&|o| o.record_bytes_max = Some((10 << 20) + 1), "record_bytes_max", "10485761 bytes is outside");
        for burst in [millisecond, settings.quota_burst_max] {
            assert!(with(&|options| options.burst = Some(burst)).is_ok());
        }
        check(&|o| o.burst = Some(Duration::ZERO), "quota_burst_max", "is outside of 1ms to 1m");
        check(&|o| o.burst = Some(settings.quota_burst_max + millisecond), "quota_burst_max", "1m 1ms is outside");
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let settings = StreamSettings::default();
        let before = StreamOptions { shard_count: Some(2), ..Default::default() }.create(&settings).unwrap();
        let update = StreamOptions { in_bytes_per_second: Some(0), shard_count: Some(2), ..Default::default() };
        let after = update.update(before, &settings).unwrap();
        assert_eq!(after.quota.in_bytes_per_second, 0);
        assert_eq!(after.retention, before.retention);
        assert_eq!((after.shard_count.get(), after.mode), (2, StreamMode::Provisioned));
        let reshard = StreamOptions { shard_count: Some(3), ..Default::default() };
        assert_eq!(reshard.update(before, &settings).unwrap().shard_count.get(), 3);
        let on_demand = StreamOptions { mode: Some(StreamMode::OnDemand), ..reshard };
        assert_eq!(on_demand.update(before, &settings).unwrap().shard_count.get(), 2, "the load decides");
    }
}
