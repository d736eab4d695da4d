//! `CreateStream` and `DeleteStream`. Both are done when they are answered.

use std::collections::BTreeMap;

use millrace_storage::meta::keys::stream_attribute::StreamAttributeValue;
use serde::Deserialize;

use super::Kinesis;
use super::mode::{Mode, check_warm_limit, mode_of};
use super::tags;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::api::aws::store::initial_attributes;
use crate::streams::{StreamMode, StreamName, StreamOptions};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    stream_name: String,
    shard_count: Option<u32>,
    stream_mode_details: Option<Mode>,
    tags: Option<BTreeMap<String, String>>,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_throughput: Option<u32>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    record_kib_max: Option<u32>,
    record_distribution_strategy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteInput {
    #[serde(flatten)]
    stream: StreamRef,
    enforce_consumer_deletion: Option<bool>,
}

impl Kinesis {
    pub(super) async fn create_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: CreateInput = call.input()?;
        let name: StreamName = input.stream_name.parse()?;
        self.authorize(call, &self.arns.stream(&name))?;
        let mode = input.stream_mode_details.as_ref().map_or(StreamMode::Provisioned, mode_of);
        let shard_count = match (mode, input.shard_count) {
            (_, Some(count)) => count,
            (StreamMode::OnDemand, None) => self.settings.on_demand_shard_count,
            (StreamMode::Provisioned, None) => {
                let message = "ShardCount must be specified for a stream whose StreamMode is PROVISIONED.";
                return Err(AwsError::invalid(message));
            }
        };
        if input.record_distribution_strategy.as_deref() == Some("AUTO") {
            let message =
                "RecordDistributionStrategy AUTO is not supported: a record's shard follows from its partition key";
            return Err(AwsError::invalid(message));
        }
        let tags = input.tags.unwrap_or_default();
        tags::check(&tags, self.settings.tags_max as usize)?;
        let warm = input.warm_throughput;
        if let Some(warm) = warm {
            self.check_warm(mode).await?;
            check_warm_limit(warm)?;
        }
        let options = StreamOptions {
            mode: Some(mode),
            shard_count: Some(shard_count),
            record_bytes_max: input.record_kib_max.map(|kib| u64::from(kib) * 1024),
            ..StreamOptions::default()
        };
        let attributes = StreamAttributeValue {
            tags,
            warm_mib_per_second: warm.unwrap_or_default(),
            ..StreamAttributeValue::default()
        };
        // In one commit, so that no crash leaves a stream without its tags.
        let created = self.streams.create_with(&name, &options, |id| initial_attributes(id, &attributes)).await;
        created.map_err(|error| match error.field() {
            // The most streams and the most shards are limits of the account.
            Some("name" | "shard_count") => AwsError::limit(error.to_string()),
            _ => self.told(error, &name),
        })?;
        Ok(Reply::Empty)
    }

    pub(super) async fn delete_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: DeleteInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let consumers = self.store.consumers(&stream).await?;
        if !consumers.is_empty() && input.enforce_consumer_deletion != Some(true) {
            let message = format!(
                "Stream {} under account {} has {} registered consumers; deregister them first, or set \
                 EnforceConsumerDeletion.",
                stream.name(),
                self.arns.account_id(),
                consumers.len()
            );
            return Err(AwsError::in_use(message));
        }
        self.streams.delete(stream.name()).await.map_err(|error| self.told(error, stream.name()))?;
        Ok(Reply::Empty)
    }
}
