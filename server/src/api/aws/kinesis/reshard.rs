//! `SplitShard`, `MergeShards`, `UpdateShardCount`. All are done when they are answered.

use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::put::check_hash_key;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::error::{Error, Kind};
use crate::streams::{StreamMode, StreamState};

const DAY_MS: i64 = 24 * 3600 * 1000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SplitInput {
    #[serde(flatten)]
    stream: StreamRef,
    shard_to_split: String,
    new_starting_hash_key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MergeInput {
    #[serde(flatten)]
    stream: StreamRef,
    shard_to_merge: String,
    adjacent_shard_to_merge: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CountInput {
    #[serde(flatten)]
    stream: StreamRef,
    target_shard_count: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CountOutput {
    stream_name: String,
    current_shard_count: u32,
    target_shard_count: u32,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

impl Kinesis {
    pub(super) async fn split_shard(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: SplitInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        self.check_provisioned(&stream)?;
        let shard = self.shard(&stream, &input.shard_to_split)?;
        check_hash_key(Some(&input.new_starting_hash_key))?;
        let split = self.streams.split_shard(stream.name(), shard.id(), Some(&input.new_starting_hash_key)).await;
        split.map(|_| Reply::Empty).map_err(|error| self.not_resharded(error, &stream))
    }

    pub(super) async fn merge_shards(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: MergeInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        self.check_provisioned(&stream)?;
        let one = self.shard(&stream, &input.shard_to_merge)?;
        let other = self.shard(&stream, &input.adjacent_shard_to_merge)?;
        let merged = self.streams.merge_shards(stream.name(), one.id(), other.id()).await;
        merged.map(|_| Reply::Empty).map_err(|error| self.not_resharded(error, &stream))
    }

    pub(super) async fn update_shard_count(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: CountInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        self.check_provisioned(&stream)?;
        let (current, target) = (stream.spec().shard_count.get(), input.target_shard_count);
        check_scale(current, target)?;
        self.count_update(&stream).await?;
        let updated = self.streams.update_shard_count(stream.name(), target).await;
        updated.map_err(|error| self.not_resharded(error, &stream))?;
        call.reply(&CountOutput {
            stream_name: stream.name().to_string(),
            current_shard_count: current,
            target_shard_count: target,
            stream_arn: self.arns.stream(stream.name()),
        })
    }

    /// Notes an update of the number of shards, where the last day has room for one.
    async fn count_update(&self, stream: &StreamState) -> Result<(), AwsError> {
        let (now, count_max) = (Timestamp::now().as_millis(), self.settings.shard_count_updates_per_day as usize);
        let noted = self.store.change_attributes(stream, |attributes| {
            let updated = &mut attributes.shard_count_updated_at_ms;
            updated.retain(|at| now - at < DAY_MS);
            if updated.len() >= count_max {
                let message = format!(
                    "stream {} under account {} was scaled {count_max} times within 24 hours, and that is the limit",
                    stream.name(),
                    self.arns.account_id()
                );
                return Err(AwsError::limit(message));
            }
            updated.push(now);
            Ok(())
        });
        noted.await.inspect_err(|error| {
            if error.code() == "LimitExceededException" {
                self.metrics.throttled("shard_count_updates_per_day");
            }
        })
    }

    /// # Errors
    /// `ValidationException` where the stream's load decides its shards.
    pub(super) fn check_provisioned(&self, stream: &StreamState) -> Result<(), AwsError> {
        match stream.spec().mode {
            StreamMode::Provisioned => Ok(()),
            StreamMode::OnDemand => {
                let (name, account) = (stream.name(), self.arns.account_id());
                let message =
                    format!("Request is invalid. Stream {name} under account {account} is in On-Demand mode.");
                Err(AwsError::validation(message))
            }
        }
    }

    fn not_resharded(&self, error: Error, stream: &StreamState) -> AwsError {
        match (error.kind(), error.field()) {
            (Kind::Invalid, Some("shard_count" | "shards")) => AwsError::limit(error.to_string()),
            _ => self.told(error, stream.name()),
        }
    }
}

/// At most twice the shards, and no fewer than half of them.
fn check_scale(current: u32, target: u32) -> Result<(), AwsError> {
    let counts = format!("Current open shard count: {current} Target shard count: {target}");
    if target > current.saturating_mul(2) {
        let message = format!("UpdateShardCount cannot scale up over double your current open shard count. {counts}");
        return Err(AwsError::invalid(message));
    }
    if target < current.div_ceil(2) {
        let message = format!("UpdateShardCount cannot scale down below half your current open shard count. {counts}");
        return Err(AwsError::invalid(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_holds_at_its_limits_and_not_one_past() {
        for (current, target, allowed) in
            [(1, 1, true), (1, 2, true), (1, 3, false), (4, 8, true), (4, 9, false), (5, 3, true), (5, 2, false)]
        {
            assert_eq!(check_scale(current, target).is_ok(), allowed, "{current} to {target}");
        }
    }
}
