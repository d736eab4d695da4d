//! A stream as a pipeline file declares it, and as the service knows it.

use std::time::Duration;

use crate::delivery::declaration::Declaration;
use crate::delivery::spec::{ModeSpec, QuotaSpec, RateSpec, Size, StreamSpec};
use crate::streams::{self, StreamMode, StreamName, StreamOptions};

pub(super) fn options_of(spec: &StreamSpec) -> StreamOptions {
    let rate = |rate: Option<RateSpec>| {
        rate.map(|rate| match rate {
            RateSpec::Off => 0,
            RateSpec::PerSecond(rate) => rate,
        })
    };
    StreamOptions {
        mode: spec.mode.map(|mode| match mode {
            ModeSpec::Provisioned => StreamMode::Provisioned,
            ModeSpec::OnDemand => StreamMode::OnDemand,
        }),
        shard_count: spec.shards,
        retention: spec.retention,
        record_bytes_max: spec.record_size_max.map(|size| size.as_u64()),
        in_bytes_per_second: rate(spec.quota.in_bytes_per_second),
        in_records_per_second: rate(spec.quota.in_records_per_second),
        out_bytes_per_second: rate(spec.quota.out_bytes_per_second),
        burst: spec.quota.burst,
        over_quota: spec.over_quota,
        stored_bytes_max: rate(spec.stored_size_max),
        hold_for_deliveries: spec.hold_for_deliveries,
        encryption: spec.encryption,
    }
}

/// A stream's declaration, written out in full.
pub(super) fn stream_toml(name: &StreamName, spec: &streams::StreamSpec) -> String {
    let rate = |rate| Some(if rate == 0 { RateSpec::Off } else { RateSpec::PerSecond(rate) });
    let declared = StreamSpec {
        name: name.to_string(),
        // Provisioned is what needs no words.
        mode: (spec.mode == StreamMode::OnDemand).then_some(ModeSpec::OnDemand),
        shards: Some(spec.shard_count.get()),
        retention: Some(Duration::from_millis(u64::try_from(spec.retention.as_millis()).unwrap_or(u64::MAX))),
        record_size_max: Some(Size(spec.record_bytes_max)),
        quota: QuotaSpec {
            in_bytes_per_second: rate(spec.quota.in_bytes_per_second),
            in_records_per_second: rate(spec.quota.in_records_per_second),
            out_bytes_per_second: rate(spec.quota.out_bytes_per_second),
            burst: Some(spec.quota.burst),
        },
        over_quota: Some(spec.over_quota),
        stored_size_max: rate(spec.stored_bytes_max),
        hold_for_deliveries: Some(spec.hold_for_deliveries),
        encryption: Some(spec.encryption),
    };
    declared.to_toml()
}
