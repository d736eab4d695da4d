//! The rates of control-plane calls, as AWS has them: of Kinesis those of botocore's service model and of the quotas' page,
//! of Firehose those that an operation declares an error for. Off unless the settings ask for them.
//!
//! What each operation may do stands in one table. A call is taken after its caller was found to be allowed it, so that
//! nobody uses up what is others'.

use std::time::{Duration, Instant};

use super::metrics::AwsMetrics;
use super::protocol::{AwsError, Call};
use super::rates::{Rate, Rates};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whose calls count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Account,
    /// A stream, with its consumers; a delivery stream.
    Stream,
}

/// The limit of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    rate: Rate,
    scope: Scope,
    /// The operation, or the one that it shares its calls with.
    operation: &'static str,
}

/// Counts control-plane calls.
#[derive(Debug)]
pub(in crate::api::aws) struct ControlRates {
    /// How many times AWS' rates; 0 is no limit.
    multiple: u32,
    taken: Rates<(&'static str, String)>,
    metrics: AwsMetrics,
}

impl ControlRates {
    pub(in crate::api::aws) fn new(multiple: u32, metrics: AwsMetrics) -> Self {
        Self { multiple, taken: Rates::new(), metrics }
    }

    /// Takes one call of an operation on a resource, an ARN or `*`.
    ///
    /// # Errors
    /// `LimitExceededException` where the time's calls are used up.
    pub(in crate::api::aws) fn take(&self, call: &Call, arn: &str, now: Instant) -> Result<(), AwsError> {
        self.take_of(call.operation.name, arn, now)
    }

    fn take_of(&self, operation: &'static str, arn: &str, now: Instant) -> Result<(), AwsError> {
        if self.multiple == 0 {
            return Ok(());
        }
        let Some(Limit { rate, scope, operation: shared }) = limit_of(operation) else { return Ok(()) };
        let of = match scope {
            Scope::Account => "",
            Scope::Stream => stream_of(arn),
        };
        let rate = Rate { calls: rate.calls.saturating_mul(self.multiple), per: rate.per };
        if self.taken.take((shared, of.to_owned()), rate, now) {
            return Ok(());
        }
        self.metrics.throttled("control_rates");
        let (calls, time) = (rate.calls, if rate.per == DAY { "24 hours" } else { "second" });
        let whose = if of.is_empty() { "the account" } else { of };
        Err(AwsError::limit(format!("Rate exceeded: {operation} may be called {calls} times a {time} for {whose}.")))
    }
}

/// A consumer's calls count for its stream.
fn stream_of(arn: &str) -> &str {
    arn.split_once("/consumer/").map_or(arn, |(stream, _)| stream)
}

fn limit_of(operation: &'static str) -> Option<Limit> {
    let limit = |rate, scope| Some(Limit { rate, scope, operation });
    let account = |calls| limit(Rate::per_second(calls), Scope::Account);
    let stream = |calls| limit(Rate::per_second(calls), Scope::Stream);
    match operation {
        "DescribeLimits" => account(1),
        "DescribeStream" | "UpdateShardCount" => account(10),
        "DescribeStreamSummary" => account(20),
        "DescribeStreamConsumer" => stream(20),
        "ListShards" => stream(1000),
        "DecreaseStreamRetentionPeriod"
        | "DeregisterStreamConsumer"
        | "DisableEnhancedMonitoring"
        | "EnableEnhancedMonitoring"
        | "IncreaseStreamRetentionPeriod"
        | "ListStreamConsumers" => stream(5),
        "AddTagsToStream"
        | "CreateStream"
        | "DeleteResourcePolicy"
        | "DeleteStream"
        | "DescribeAccountSettings"
        | "GetResourcePolicy"
        | "ListStreams"
        | "ListTagsForResource"
        | "ListTagsForStream"
        | "MergeShards"
        | "PutResourcePolicy"
        | "RegisterStreamConsumer"
        | "RemoveTagsFromStream"
        | "SplitShard"
        | "TagResource"
        | "UntagResource"
        | "UpdateAccountSettings"
        | "UpdateMaxRecordSize"
        | "UpdateStreamWarmThroughput" => account(5),
        "StartStreamEncryption" | "StopStreamEncryption" => limit(Rate { calls: 25, per: DAY }, Scope::Stream),
        "UpdateStreamMode" => limit(Rate { calls: 2, per: DAY }, Scope::Stream),
        "CreateDeliveryStream" | "ListTagsForDeliveryStream" | "TagDeliveryStream" | "UntagDeliveryStream" => {
            account(5)
        }
        // A start and a stop count alike.
        "StartDeliveryStreamEncryption" | "StopDeliveryStreamEncryption" => Some(Limit {
            rate: Rate { calls: 25, per: DAY },
            scope: Scope::Stream,
            operation: "StartDeliveryStreamEncryption",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::aws::model::{FIREHOSE, KINESIS};
    use crate::metrics::Metrics;

    const A: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/a";
    const B: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/b";

    fn rates(multiple: u32) -> ControlRates {
        ControlRates::new(multiple, AwsMetrics::new(&Metrics::new()))
    }

    /// How many calls are taken at one moment, up to 2,000.
    fn taken(rates: &ControlRates, operation: &'static str, arn: &str, now: Instant) -> usize {
        (0..2000).take_while(|_| rates.take_of(operation, arn, now).is_ok()).count()
    }

    #[test]
    fn each_operation_holds_at_its_rate_and_not_one_past() {
        for operation in KINESIS.operations.iter().chain(FIREHOSE.operations) {
            let expected = limit_of(operation.name).map_or(2000, |limit| limit.rate.calls as usize);
            assert_eq!(taken(&rates(1), operation.name, A, Instant::now()), expected, "{}", operation.name);
            if expected < 1000 {
                let twice = taken(&rates(2), operation.name, A, Instant::now());
                assert_eq!(twice, 2 * expected, "{}", operation.name);
            }
            assert_eq!(taken(&rates(0), operation.name, A, Instant::now()), 2000, "{}", operation.name);
            assert!(expected == 2000 || operation.declares("LimitExceededException"), "{}", operation.name);
        }
    }

    #[test]
    fn calls_are_there_again_after_their_time() {
        let (rates, now) = (rates(1), Instant::now());
        assert_eq!(taken(&rates, "CreateStream", A, now), 5);
        let error = rates.take_of("CreateStream", B, now).unwrap_err();
        assert_eq!(error.code(), "LimitExceededException");
        assert!(error.message().contains("CreateStream may be called 5 times a second"), "{}", error.message());
        assert_eq!(taken(&rates, "CreateStream", B, now + Duration::from_millis(401)), 2);
    }

    #[test]
    fn a_stream_has_its_own_calls_and_its_consumers_share_them() {
        let (rates, now) = (rates(1), Instant::now());
        let consumer = format!("{A}/consumer/app:1700000000");
        assert_eq!(taken(&rates, "DescribeStreamConsumer", &consumer, now), 20);
        assert_eq!(taken(&rates, "DescribeStreamConsumer", A, now), 0);
        assert_eq!(taken(&rates, "DescribeStreamConsumer", B, now), 20);
        assert_eq!(taken(&rates, "DescribeStream", A, now), 10);
        assert_eq!(taken(&rates, "DescribeStream", B, now), 0, "the account's calls are used up");
        assert_eq!(taken(&rates, "StartDeliveryStreamEncryption", A, now), 25);
        assert_eq!(taken(&rates, "StopDeliveryStreamEncryption", A, now), 0);
    }
}
