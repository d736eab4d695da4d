//! `DescribeStream` and `DescribeStreamSummary`. A stream that can be found is `ACTIVE`: what changes it is done when it is
//! answered.

use millrace_storage::log::ShardId;
use millrace_storage::meta::keys::stream_attribute::StreamAttributeValue;
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::mode::WarmThroughput;
use super::shard_id::ShardName;
use super::target::{StreamRef, stream_id_of};
use super::wire::{ModeDetails, Shard, encryption_of};
use crate::api::aws::protocol::{AwsError, Call, Reply, Time};
use crate::streams::{StreamMode, StreamState};

/// The most shards in one answer, and how many where the caller does not say.
const SHARDS_MAX: usize = 100;
/// The key id of a stream whose encryption was switched on without one.
pub(super) const OWN_KEY: &str = "alias/aws/kinesis";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(flatten)]
    stream: StreamRef,
    limit: Option<usize>,
    exclusive_start_shard_id: Option<String>,
}

/// What both descriptions have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Common {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: ModeDetails,
    retention_period_hours: u64,
    stream_creation_timestamp: Time,
    enhanced_monitoring: [Monitoring; 1],
    encryption_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

/// `EnhancedMetrics`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Monitoring {
    shard_level_metrics: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(flatten)]
    common: Common,
    shards: Vec<Shard>,
    has_more_shards: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    #[serde(flatten)]
    common: Common,
    stream_id: String,
    open_shard_count: usize,
    consumer_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    warm_throughput: Option<WarmThroughput>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    record_kib_max: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_distribution_strategy: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeOutput {
    stream_description: Description,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SummaryOutput {
    stream_description_summary: Summary,
}

impl Kinesis {
    pub(super) async fn describe_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let after = input.exclusive_start_shard_id.as_deref().map(parse_shard).transpose()?;
        let limit = input.limit.unwrap_or(SHARDS_MAX).min(SHARDS_MAX);
        let attributes = self.store.attributes(&stream).await?;
        let topology = stream.topology();
        let shards = topology.shards();
        let from = after.map_or(0, |after| shards.partition_point(|shard| shard.id() <= after));
        let description = Description {
            common: self.common(&stream, attributes),
            shards: shards[from..].iter().take(limit).map(|shard| Shard::from(&**shard)).collect(),
            has_more_shards: shards.len() - from > limit,
        };
        call.reply(&DescribeOutput { stream_description: description })
    }

    pub(super) async fn describe_stream_summary(&self, call: &Call) -> Result<Reply, AwsError> {
        let stream = self.stream(call, &call.input()?)?;
        let attributes = self.store.attributes(&stream).await?;
        let consumer_count = self.store.consumers(&stream).await?.len();
        let (spec, is_on_demand) = (stream.spec(), stream.spec().mode == StreamMode::OnDemand);
        let summary = Summary {
            stream_id: stream_id_of(&stream),
            open_shard_count: stream.topology().open().len(),
            consumer_count,
            warm_throughput: is_on_demand.then(|| WarmThroughput::of(&stream, &attributes)),
            record_kib_max: spec.record_bytes_max.div_ceil(1024),
            record_distribution_strategy: is_on_demand.then_some("USER_PARTITION_KEY"),
            common: self.common(&stream, attributes),
        };
        call.reply(&SummaryOutput { stream_description_summary: summary })
    }

    fn common(&self, stream: &StreamState, attributes: StreamAttributeValue) -> Common {
        let spec = stream.spec();
        Common {
            stream_name: stream.name().to_string(),
            stream_arn: self.arns.stream(stream.name()),
            stream_status: "ACTIVE",
            stream_mode_details: spec.mode.into(),
            retention_period_hours: super::retention::hours_of(spec.retention),
            stream_creation_timestamp: Time(stream.created_at()),
            enhanced_monitoring: [Monitoring { shard_level_metrics: attributes.shard_metrics }],
            encryption_type: encryption_of(stream),
            key_id: spec.encryption.then(|| key_id_of(attributes.kms_key_id)),
        }
    }
}

/// The key id that a stream is said to be encrypted with.
fn key_id_of(asked: String) -> String {
    if asked.is_empty() { OWN_KEY.to_owned() } else { asked }
}

/// A shard's id as a place in a list, where it need not exist.
pub(super) fn parse_shard(text: &str) -> Result<ShardId, AwsError> {
    let parsed = ShardName::parse(text).map(|ShardName(id)| id);
    parsed.ok_or_else(|| AwsError::invalid(format!("{text} is not the id of a shard")))
}
