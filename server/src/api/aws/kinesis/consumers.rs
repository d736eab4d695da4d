//! Registered consumers: `RegisterStreamConsumer`, `DeregisterStreamConsumer`, `DescribeStreamConsumer`, `ListStreamConsumers`.
//! A consumer that can be found is `ACTIVE`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::list_shards::check_created;
use super::tags;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply, Time};
use crate::api::aws::store::Consumer;
use crate::api::aws::token::TokenKind;
use crate::streams::StreamState;

/// Consumers in one page where the caller does not say.
const RESULTS_DEFAULT: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RegisterInput {
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    consumer_name: String,
    tags: Option<BTreeMap<String, String>>,
}

/// A consumer, by its ARN or by its name and stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamedInput {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    consumer_name: Option<String>,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    next_token: Option<String>,
    max_results: Option<usize>,
    stream_creation_timestamp: Option<Time>,
}

/// `Consumer`, and with the stream `ConsumerDescription`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    consumer_name: String,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: String,
    consumer_status: &'static str,
    consumer_creation_timestamp: Time,
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    stream_arn: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RegisterOutput {
    consumer: Described,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeOutput {
    consumer_description: Described,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    consumers: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl Kinesis {
    pub(super) async fn register_consumer(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: RegisterInput = call.input()?;
        let stream = self.stream_by_arn(call, &input.stream_arn)?;
        let tags = input.tags.unwrap_or_default();
        tags::check(&tags, self.settings.tags_max as usize)?;
        let count_max = self.settings.consumers_max as usize;
        let registered = self.store.register(&stream, &input.consumer_name, tags, count_max).await;
        let consumer = registered.inspect_err(|error| {
            if error.code() == "LimitExceededException" {
                self.metrics.throttled("consumers_max");
            }
        })?;
        call.reply(&RegisterOutput { consumer: self.described(&stream, &consumer) })
    }

    pub(super) async fn deregister_consumer(&self, call: &Call) -> Result<Reply, AwsError> {
        let (stream, consumer) = self.named_consumer(call).await?;
        self.store.deregister(&stream, &consumer.name).await?;
        self.subscriptions.end(&stream, &consumer.name);
        Ok(Reply::Empty)
    }

    pub(super) async fn describe_consumer(&self, call: &Call) -> Result<Reply, AwsError> {
        let (stream, consumer) = self.named_consumer(call).await?;
        let stream_arn = Some(self.arns.stream(stream.name()));
        let described = self.described(&stream, &consumer);
        call.reply(&DescribeOutput { consumer_description: Described { stream_arn, ..described } })
    }

    pub(super) async fn list_consumers(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: ListInput = call.input()?;
        let stream = self.stream_by_arn(call, &input.stream_arn)?;
        if let Some(Time(asked)) = input.stream_creation_timestamp {
            check_created(&stream, asked)?;
        }
        // A token carries the stream's number and the name of the last consumer.
        let id = stream.id().0.to_be_bytes();
        let after = match &input.next_token {
            None => String::new(),
            Some(token) => {
                let page = self.open_page(TokenKind::Consumers, token)?;
                let name = page.strip_prefix(&id).and_then(|name| std::str::from_utf8(name).ok());
                name.ok_or_else(|| AwsError::invalid("Invalid NextToken."))?.to_owned()
            }
        };
        let limit = input.max_results.unwrap_or(RESULTS_DEFAULT);
        let mut consumers = self.store.consumers(&stream).await?;
        consumers.retain(|consumer| consumer.name > after);
        let has_more = consumers.len() > limit;
        consumers.truncate(limit);
        let last = consumers.last().filter(|_| has_more);
        let page = last.map(|last| [&id, last.name.as_bytes()].concat());
        call.reply(&ListOutput {
            consumers: consumers.iter().map(|consumer| self.described(&stream, consumer)).collect(),
            next_token: page.map(|page| self.tokens.seal(TokenKind::Consumers, &page)),
        })
    }

    fn stream_by_arn(&self, call: &Call, arn: &str) -> Result<Arc<StreamState>, AwsError> {
        self.stream(call, &StreamRef { stream_arn: Some(arn.to_owned()), ..StreamRef::default() })
    }

    async fn named_consumer(&self, call: &Call) -> Result<(Arc<StreamState>, Consumer), AwsError> {
        let input: NamedInput = call.input()?;
        match (input.consumer_arn, input.stream_arn, input.consumer_name) {
            (Some(arn), stream_arn, name) => {
                let (stream, consumer) = self.consumer(call, &arn).await?;
                let is_other_stream = stream_arn.is_some_and(|arn| arn != self.arns.stream(stream.name()));
                if is_other_stream || name.is_some_and(|name| name != consumer.name) {
                    let message = "ConsumerARN names another consumer than StreamARN and ConsumerName.";
                    return Err(AwsError::invalid(message));
                }
                Ok((stream, consumer))
            }
            (None, Some(stream_arn), Some(name)) => {
                let stream = self.stream_by_arn(call, &stream_arn)?;
                let consumer = self.store.consumer(&stream, &name).await?;
                Ok((stream, consumer.ok_or_else(|| self.no_consumer(&name))?))
            }
            _ => Err(AwsError::invalid("Either ConsumerARN, or StreamARN and ConsumerName must be specified.")),
        }
    }

    fn described(&self, stream: &StreamState, consumer: &Consumer) -> Described {
        Described {
            consumer_name: consumer.name.clone(),
            consumer_arn: self.arns.consumer(stream.name(), &consumer.name, consumer.created_at()),
            consumer_status: "ACTIVE",
            consumer_creation_timestamp: Time(consumer.created_at()),
            stream_arn: None,
        }
    }
}
