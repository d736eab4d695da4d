//! Kinesis Data Streams over [`Streams`]: a file for each group of operations.
//!
//! Records are acknowledged when the streams say that they are durable, never before.

mod sequence_number;
mod shard_id;
mod target;
mod wire;
mod iterator;
mod put;
mod get;
mod create;
mod describe;
mod list_streams;
mod list_shards;
mod reshard;
mod retention;
mod mode;
mod encryption;
mod monitoring;
mod tags;
mod policy;
mod account;
mod consumers;
mod event_stream;
mod subscribe;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;

use std::sync::Arc;

use async_trait::async_trait;
use millrace_storage::log::ShardKey;

use self::subscribe::Subscriptions;
#[cfg(any(test, feature = "fuzzing"))]
use super::agreement::{Agree, agree};
use super::arn::Arns;
use super::control_rates::ControlRates;
use super::metrics::AwsMetrics;
use super::model::{self, KINESIS};
use super::protocol::{AwsError, Call, Reply, Service};
use super::rates::Rates;
use super::settings::KinesisSettings;
use super::store::Store;
use super::token::Tokens;
use crate::streams::Streams;

/// The operations whose requests are read without a tree.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) const READ_QUICKLY: [(&str, Agree); 3] = [
    ("PutRecord", agree::<put::PutRecordInput>),
    ("PutRecords", agree::<put::PutRecordsInput>),
    ("GetRecords", agree::<get::Input>),
];

/// The service `Kinesis_20131202`.
pub(super) struct Kinesis {
    streams: Streams,
    store: Store,
    arns: Arns,
    tokens: Tokens,
    settings: KinesisSettings,
    control: Arc<ControlRates>,
    metrics: AwsMetrics,
    reads: Rates<ShardKey>,
    iterators: Rates<ShardKey>,
    subscriptions: Subscriptions,
}

/// What the service stands on.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) streams: Streams,
    pub(super) store: Store,
    pub(super) arns: Arns,
    pub(super) tokens: Tokens,
    pub(super) control: Arc<ControlRates>,
    pub(super) metrics: AwsMetrics,
}

impl Kinesis {
    pub(super) fn new(parts: Parts, settings: KinesisSettings) -> Self {
        let Parts { streams, store, arns, tokens, control, metrics } = parts;
        let (reads, iterators) = (Rates::new(), Rates::new());
        let subscriptions = Subscriptions::new(settings.takeover_after);
        Self { streams, store, arns, tokens, settings, control, metrics, reads, iterators, subscriptions }
    }
}

#[async_trait]
impl Service for Kinesis {
    fn model(&self) -> &'static model::Service {
        &KINESIS
    }

    async fn call(&self, call: Call) -> Result<Reply, AwsError> {
        let call = &call;
        match call.operation.name {
            "PutRecord" => self.put_record(call).await,
            "PutRecords" => self.put_records(call).await,
            "GetShardIterator" => self.get_shard_iterator(call).await,
            "GetRecords" => self.get_records(call).await,
            "SubscribeToShard" => self.subscribe_to_shard(call).await,
            "CreateStream" => self.create_stream(call).await,
            "DeleteStream" => self.delete_stream(call).await,
            "DescribeStream" => self.describe_stream(call).await,
            "DescribeStreamSummary" => self.describe_stream_summary(call).await,
            "ListStreams" => self.list_streams(call),
            "ListShards" => self.list_shards(call),
            "SplitShard" => self.split_shard(call).await,
            "MergeShards" => self.merge_shards(call).await,
            "UpdateShardCount" => self.update_shard_count(call).await,
            "IncreaseStreamRetentionPeriod" => self.increase_retention(call).await,
            "DecreaseStreamRetentionPeriod" => self.decrease_retention(call).await,
            "UpdateStreamMode" => self.update_stream_mode(call).await,
            "UpdateStreamWarmThroughput" => self.update_warm_throughput(call).await,
            "UpdateMaxRecordSize" => self.update_max_record_size(call).await,
            "StartStreamEncryption" => self.start_encryption(call).await,
            "StopStreamEncryption" => self.stop_encryption(call).await,
            "EnableEnhancedMonitoring" => self.enable_monitoring(call).await,
            "DisableEnhancedMonitoring" => self.disable_monitoring(call).await,
            "AddTagsToStream" => self.add_tags_to_stream(call).await,
            "RemoveTagsFromStream" => self.remove_tags_from_stream(call).await,
            "ListTagsForStream" => self.list_tags_for_stream(call).await,
            "TagResource" => self.tag_resource(call).await,
            "UntagResource" => self.untag_resource(call).await,
            "ListTagsForResource" => self.list_tags_for_resource(call).await,
            "PutResourcePolicy" => self.put_resource_policy(call).await,
            "GetResourcePolicy" => self.get_resource_policy(call).await,
            "DeleteResourcePolicy" => self.delete_resource_policy(call).await,
            "DescribeAccountSettings" => self.describe_account_settings(call).await,
            "UpdateAccountSettings" => self.update_account_settings(call).await,
            "DescribeLimits" => self.describe_limits(call),
            "RegisterStreamConsumer" => self.register_consumer(call).await,
            "DeregisterStreamConsumer" => self.deregister_consumer(call).await,
            "DescribeStreamConsumer" => self.describe_consumer(call).await,
            "ListStreamConsumers" => self.list_consumers(call).await,
            other => Err(AwsError::internal(format!("{other} is in the model, and nothing answers it"))),
        }
    }
}

impl std::fmt::Debug for Kinesis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kinesis").field("settings", &self.settings).finish_non_exhaustive()
    }
}
