//! `UpdateStreamMode`, `UpdateStreamWarmThroughput`, `UpdateMaxRecordSize`: what a stream takes.

use millrace_storage::meta::keys::stream_attribute::StreamAttributeValue;
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::streams::{StreamMode, StreamOptions, StreamState};

/// The most that a stream may be warmed to: 10 GiB/s.
const WARM_MIB_MAX: u32 = 10 << 10;

/// `StreamModeDetails` of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mode {
    stream_mode: String,
}

pub(super) fn mode_of(mode: &Mode) -> StreamMode {
    if mode.stream_mode == "ON_DEMAND" { StreamMode::OnDemand } else { StreamMode::Provisioned }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModeInput {
    #[serde(flatten)]
    stream: StreamRef,
    stream_mode_details: Mode,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_throughput: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct WarmInput {
    #[serde(flatten)]
    stream: StreamRef,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_throughput: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct WarmOutput {
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_name: String,
    warm_throughput: WarmThroughput,
}

#[derive(Debug, Deserialize)]
struct SizeInput {
    #[serde(flatten)]
    stream: StreamRef,
    #[serde(rename = "MaxRecordSizeInKiB")]
    record_kib_max: u64,
}

/// `WarmThroughputObject`: what was asked for, and what the open shards take.
#[derive(Debug, Serialize)]
pub(super) struct WarmThroughput {
    #[serde(rename = "TargetMiBps")]
    target: u64,
    #[serde(rename = "CurrentMiBps")]
    current: u64,
}

impl WarmThroughput {
    pub(super) fn of(stream: &StreamState, attributes: &StreamAttributeValue) -> Self {
        let spec = stream.spec();
        let current = (spec.quota.in_bytes_per_second >> 20) * u64::from(spec.shard_count.get());
        let target = u64::from(attributes.warm_mib_per_second);
        Self { target: if target == 0 { current } else { target }, current }
    }
}

impl Kinesis {
    pub(super) async fn update_stream_mode(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: ModeInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let mode = mode_of(&input.stream_mode_details);
        if let Some(warm) = input.warm_throughput {
            self.check_warm(mode).await?;
            check_warm_limit(warm)?;
        }
        self.change(&stream, &StreamOptions { mode: Some(mode), ..StreamOptions::default() }).await?;
        let warm = input.warm_throughput;
        let keep = mode == StreamMode::OnDemand && warm.is_none();
        if !keep {
            self.set_warm(&stream, warm.unwrap_or_default()).await?;
        }
        Ok(Reply::Empty)
    }

    pub(super) async fn update_warm_throughput(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: WarmInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        self.check_warm(stream.spec().mode).await?;
        check_warm_limit(input.warm_throughput)?;
        let attributes = self.set_warm(&stream, input.warm_throughput).await?;
        call.reply(&WarmOutput {
            stream_arn: self.arns.stream(stream.name()),
            stream_name: stream.name().to_string(),
            warm_throughput: WarmThroughput::of(&stream, &attributes),
        })
    }

    async fn set_warm(&self, stream: &StreamState, warm: u32) -> Result<StreamAttributeValue, AwsError> {
        self.store
            .change_attributes(stream, |attributes| {
                attributes.warm_mib_per_second = warm;
                Ok(attributes.clone())
            })
            .await
    }

    /// Whether a stream of this mode may be warmed.
    ///
    /// # Errors
    /// `ValidationException` as Kinesis has it: on demand only, and only with the account's commitment.
    pub(super) async fn check_warm(&self, mode: StreamMode) -> Result<(), AwsError> {
        if mode != StreamMode::OnDemand {
            return Err(AwsError::validation("WarmThroughputMiBps needs a stream whose StreamMode is ON_DEMAND."));
        }
        if !self.store.account().await?.commitment {
            let message = "WarmThroughputMiBps needs the account's MinimumThroughputBillingCommitment to be ENABLED.";
            return Err(AwsError::validation(message));
        }
        Ok(())
    }

    pub(super) async fn update_max_record_size(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: SizeInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let record_bytes_max = Some(input.record_kib_max * 1024);
        self.change(&stream, &StreamOptions { record_bytes_max, ..StreamOptions::default() }).await
    }
}

fn check_warm_limit(warm: u32) -> Result<(), AwsError> {
    if warm <= WARM_MIB_MAX {
        return Ok(());
    }
    Err(AwsError::limit(format!("a warm throughput of {warm} MiB/s is past the limit of {WARM_MIB_MAX} MiB/s")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_throughput_holds_at_its_limit_and_not_one_past() {
        assert!(check_warm_limit(WARM_MIB_MAX).is_ok());
        assert_eq!(check_warm_limit(WARM_MIB_MAX + 1).unwrap_err().code(), "LimitExceededException");
    }
}
