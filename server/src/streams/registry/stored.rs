//! A stream as the meta store holds it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use millrace_storage::log::StreamId;
use millrace_storage::meta::keys::Stored;
use millrace_storage::meta::keys::shard::{ShardMetaKey, ShardValue};
use millrace_storage::meta::keys::stream::{self, StreamKey, StreamValue};
use millrace_storage::time::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::streams::metrics::StreamMetrics;
use crate::streams::name::StreamName;
use crate::streams::options::{StreamMode, StreamSpec};
use crate::streams::quota::{OverQuota, ShardQuota};
use crate::streams::reshard;
use crate::streams::room::Room;
use crate::streams::settings::StreamSettings;
use crate::streams::state::StreamState;

/// The burst of streams that were stored before they had one.
const BURST_UNSET: Duration = Duration::from_secs(1);

pub(super) fn value_of(id: u32, created_at: Timestamp, spec: &StreamSpec) -> StreamValue {
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

pub(super) fn spec_of(key: &StreamKey, value: &StreamValue) -> Result<StreamSpec> {
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

/// A stream as it runs, of what is stored of it and of its shards: none where it was never resharded.
pub(super) fn state_of(
    name: &StreamName,
    value: &StreamValue,
    spec: StreamSpec,
    shards: &[(ShardMetaKey, Stored<ShardValue>)],
    settings: &StreamSettings,
    metrics: &StreamMetrics,
) -> Result<Arc<StreamState>> {
    let (id, created_at) = (StreamId(value.id), Timestamp(value.created_at_ms));
    let topology = reshard::load(name, value, &spec, shards, metrics)?;
    let room = Room::new(settings.stream_in_flight_bytes_max.as_u64());
    let state = StreamState::new(id, name.clone(), created_at, spec, topology, room, metrics.stream(name));
    Ok(Arc::new(state))
}
