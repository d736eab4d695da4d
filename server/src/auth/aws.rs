//! What an action of the AWS protocols needs of ours, so that one grant means the same over each wire.
//!
//! `kinesis:PutRecords` on `arn:aws:kinesis:us-east-1:000000000000:stream/flights` is `put` on `stream/flights`. An action that
//! is not known here needs `admin`.

use std::fmt;

use super::action::{Action, Resource};
use super::caller::Caller;
use crate::error::Result;

/// An action of the AWS protocols, as their policies write it: `kinesis:PutRecords`. What it needs of ours is found once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwsAction {
    service: &'static str,
    operation: &'static str,
    needs: Action,
}

impl AwsAction {
    /// An operation of a service.
    #[must_use]
    pub fn new(service: &'static str, operation: &'static str) -> Self {
        let needs = match service {
            "kinesis" => of_kinesis(operation),
            "firehose" => of_firehose(operation),
            _ => Action::Admin,
        };
        Self { service, operation, needs }
    }

    /// Our action for it.
    #[must_use]
    pub const fn needs(self) -> Action {
        self.needs
    }

    /// Whether it changes what is, so that each request is told in the audit log.
    #[must_use]
    pub fn is_change(self) -> bool {
        self.needs.is_change()
    }

    /// Our action, and the resource where the ARN names one.
    fn on(self, arn: &str) -> (Action, Option<Resource>) {
        if self.needs == Action::Admin {
            return (self.needs, None);
        }
        // `arn:aws:<service>:<region>:<account>:<resource>`.
        let resource = arn.splitn(6, ':').nth(5).and_then(|resource| match self.service {
            // Consumers of a stream stand behind it: `stream/<name>/consumer/<name>:<time>`.
            "kinesis" => Some(Resource::stream(resource.strip_prefix("stream/")?.split('/').next()?)),
            _ => Some(Resource::delivery(resource.strip_prefix("deliverystream/")?)),
        });
        if resource.is_none() && arn != "*" {
            // An ARN that cannot be read must not pass for any.
            return (Action::Admin, None);
        }
        (self.needs, resource)
    }
}

impl fmt::Display for AwsAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.operation)
    }
}

impl Caller {
    /// Whether the caller may do what an AWS action does to the resource of an ARN, or to any for `*`.
    ///
    /// # Errors
    /// As [`Caller::check`].
    pub fn check_aws(&self, action: AwsAction, arn: &str) -> Result<()> {
        match action.on(arn) {
            (action, Some(resource)) => self.check(action, &resource),
            (Action::Admin, None) => self.check(Action::Admin, &Resource::server()),
            // Firehose's `Put` always names its delivery, so that the action's own kind is the one that is meant.
            (action, None) => self.check_some(action, action.kind()),
        }
    }

    /// As [`Caller::check_aws`], for what is shown or left out of a list.
    #[must_use]
    pub fn may_aws(&self, action: AwsAction, arn: &str) -> bool {
        self.check_aws(action, arn).is_ok()
    }
}

fn of_kinesis(operation: &str) -> Action {
    match operation {
        "PutRecord" | "PutRecords" => Action::Put,
        "GetRecords" | "GetShardIterator" => Action::Get,
        "SubscribeToShard" => Action::Subscribe,
        "CreateStream" => Action::CreateStream,
        "DeleteStream" => Action::DeleteStream,
        "DescribeStream"
        | "DescribeStreamSummary"
        | "DescribeStreamConsumer"
        | "DescribeLimits"
        | "DescribeAccountSettings"
        | "ListShards"
        | "ListStreams"
        | "ListStreamConsumers"
        | "ListTagsForStream"
        | "ListTagsForResource"
        | "GetResourcePolicy" => Action::DescribeStream,
        "AddTagsToStream"
        | "RemoveTagsFromStream"
        | "TagResource"
        | "UntagResource"
        | "IncreaseStreamRetentionPeriod"
        | "DecreaseStreamRetentionPeriod"
        | "SplitShard"
        | "MergeShards"
        | "UpdateShardCount"
        | "UpdateStreamMode"
        | "UpdateMaxRecordSize"
        | "UpdateStreamWarmThroughput"
        | "RegisterStreamConsumer"
        | "DeregisterStreamConsumer"
        | "StartStreamEncryption"
        | "StopStreamEncryption"
        | "EnableEnhancedMonitoring"
        | "DisableEnhancedMonitoring"
        | "PutResourcePolicy"
        | "DeleteResourcePolicy" => Action::UpdateStream,
        _ => Action::Admin,
    }
}

fn of_firehose(operation: &str) -> Action {
    match operation {
        "PutRecord" | "PutRecordBatch" => Action::Put,
        "CreateDeliveryStream" => Action::CreateDelivery,
        "DeleteDeliveryStream" => Action::DeleteDelivery,
        "DescribeDeliveryStream" | "ListDeliveryStreams" | "ListTagsForDeliveryStream" => Action::DescribeDelivery,
        "UpdateDestination"
        | "StartDeliveryStreamEncryption"
        | "StopDeliveryStreamEncryption"
        | "TagDeliveryStream"
        | "UntagDeliveryStream" => Action::UpdateDelivery,
        _ => Action::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_actions_are_ours_by_other_names() {
        let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/flights";
        let consumer = "arn:aws:kinesis:us-east-1:000000000000:stream/flights/consumer/app:1700000000";
        let delivery = "arn:aws:firehose:us-east-1:000000000000:deliverystream/flights";
        let (of_stream, of_delivery) = (Some(Resource::stream("flights")), Some(Resource::delivery("flights")));
        for ((service, operation), arn, wanted) in [
            (("kinesis", "PutRecords"), stream, (Action::Put, of_stream.clone())),
            (("kinesis", "SubscribeToShard"), consumer, (Action::Subscribe, of_stream.clone())),
            (("kinesis", "UpdateShardCount"), stream, (Action::UpdateStream, of_stream.clone())),
            (("kinesis", "ListStreams"), "*", (Action::DescribeStream, None)),
            (("firehose", "PutRecordBatch"), delivery, (Action::Put, of_delivery.clone())),
            (("firehose", "UpdateDestination"), delivery, (Action::UpdateDelivery, of_delivery.clone())),
            // What is not known, or cannot be read, is an administrator's.
            (("kinesis", "UpdateAccountSettings"), "*", (Action::Admin, None)),
            (("kinesis", "NewOperation"), stream, (Action::Admin, None)),
            (("s3", "GetObject"), stream, (Action::Admin, None)),
            (("kinesis", "PutRecords"), "flights", (Action::Admin, None)),
            (("kinesis", "PutRecords"), delivery, (Action::Admin, None)),
            (("firehose", "PutRecord"), stream, (Action::Admin, None)),
        ] {
            assert_eq!(AwsAction::new(service, operation).on(arn), wanted, "{service}:{operation} {arn}");
        }
        let foreign = AwsAction::new("s3", "GetObject");
        assert!(Caller::open().may_aws(foreign, "*"));
        assert_eq!((foreign.to_string(), foreign.is_change()), ("s3:GetObject".to_owned(), Action::Admin.is_change()));
    }
}
