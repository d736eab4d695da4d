//! `IncreaseStreamRetentionPeriod` and `DecreaseStreamRetentionPeriod`. What a decrease puts past its retention goes with the
//! next pass of the retention; an increase brings nothing back.

use std::time::Duration;

use serde::Deserialize;

use super::Kinesis;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::streams::{StreamOptions, StreamState};

const HOUR: Duration = Duration::from_secs(3600);
/// The least that Kinesis keeps records for.
const HOURS_MIN: u64 = 24;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(flatten)]
    stream: StreamRef,
    retention_period_hours: i64,
}

/// A retention in hours, as Kinesis counts it; one of another grain is rounded up.
pub(super) const fn hours_of(retention: Duration) -> u64 {
    retention.as_secs().div_ceil(HOUR.as_secs())
}

impl Kinesis {
    pub(super) async fn increase_retention(&self, call: &Call) -> Result<Reply, AwsError> {
        let (stream, hours) = self.retention_input(call)?;
        let before = hours_of(stream.spec().retention);
        if hours < before {
            let message = format!(
                "Requested retention period ({hours} hours) for stream {} can not be shorter than existing retention period \
                 ({before} hours). Use DecreaseRetentionPeriod API.",
                stream.name()
            );
            return Err(AwsError::invalid(message));
        }
        self.set_retention(&stream, hours).await
    }

    pub(super) async fn decrease_retention(&self, call: &Call) -> Result<Reply, AwsError> {
        let (stream, hours) = self.retention_input(call)?;
        let before = hours_of(stream.spec().retention);
        if hours > before {
            let message = format!(
                "Requested retention period ({hours} hours) for stream {} can not be longer than existing retention period \
                 ({before} hours). Use IncreaseRetentionPeriod API.",
                stream.name()
            );
            return Err(AwsError::invalid(message));
        }
        self.set_retention(&stream, hours).await
    }

    fn retention_input(&self, call: &Call) -> Result<(std::sync::Arc<StreamState>, u64), AwsError> {
        let input: Input = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let hours_max = hours_of(self.streams.settings().retention_max);
        let asked = input.retention_period_hours;
        let hours = u64::try_from(asked).ok().filter(|hours| *hours >= HOURS_MIN).ok_or_else(|| {
            AwsError::invalid(format!(
                "Minimum allowed retention period is {HOURS_MIN} hours. Requested retention period ({asked} hours) is too short."
            ))
        })?;
        if hours > hours_max {
            let message = format!(
                "Maximum allowed retention period is {hours_max} hours. Requested retention period ({hours} hours) is too long."
            );
            return Err(AwsError::invalid(message));
        }
        Ok((stream, hours))
    }

    async fn set_retention(&self, stream: &StreamState, hours: u64) -> Result<Reply, AwsError> {
        let retention = HOUR.saturating_mul(u32::try_from(hours).unwrap_or(u32::MAX));
        let options = StreamOptions { retention: Some(retention), ..StreamOptions::default() };
        self.change(stream, &options).await
    }

    /// Changes what a stream is.
    pub(super) async fn change(&self, stream: &StreamState, options: &StreamOptions) -> Result<Reply, AwsError> {
        let changed = self.streams.update(stream.name(), options).await;
        changed.map(|_| Reply::Empty).map_err(|error| self.told(error, stream.name()))
    }
}
