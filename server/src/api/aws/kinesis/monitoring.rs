//! `EnableEnhancedMonitoring` and `DisableEnhancedMonitoring`. Shards are always measured; what is switched on is kept and told.

use millrace_storage::meta::keys::stream_attribute::StreamAttributeValue;
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply};

/// Every shard metric, in the model's order.
const ALL: [&str; 7] = [
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(flatten)]
    stream: StreamRef,
    shard_level_metrics: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    stream_name: String,
    current_shard_level_metrics: Vec<String>,
    desired_shard_level_metrics: Vec<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

impl Kinesis {
    pub(super) async fn enable_monitoring(&self, call: &Call) -> Result<Reply, AwsError> {
        self.change_monitoring(call, |is_on, is_named| is_on || is_named).await
    }

    pub(super) async fn disable_monitoring(&self, call: &Call) -> Result<Reply, AwsError> {
        self.change_monitoring(call, |is_on, is_named| is_on && !is_named).await
    }

    async fn change_monitoring(&self, call: &Call, stays: fn(bool, bool) -> bool) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let named = |metric: &str| input.shard_level_metrics.iter().any(|name| name == metric || name == "ALL");
        let change = |attributes: &mut StreamAttributeValue| {
            let before = attributes.shard_metrics.clone();
            let is_on = |metric: &str| before.iter().any(|name| name == metric);
            let after = ALL.into_iter().filter(|metric| stays(is_on(metric), named(metric)));
            attributes.shard_metrics = after.map(str::to_owned).collect();
            Ok((before, attributes.shard_metrics.clone()))
        };
        let (current_shard_level_metrics, desired_shard_level_metrics) =
            self.store.change_attributes(&stream, change).await?;
        call.reply(&Output {
            stream_name: stream.name().to_string(),
            current_shard_level_metrics,
            desired_shard_level_metrics,
            stream_arn: self.arns.stream(stream.name()),
        })
    }
}
