//! Which stream, shard or consumer a request is about, and whether its caller may.

use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;

use super::Kinesis;
use super::shard_id::ShardName;
use crate::api::aws::arn::{ConsumerArn, Resource};
use crate::api::aws::protocol::{AwsError, Call};
use crate::api::aws::store::Consumer;
use crate::error::{Error, Kind};
use crate::streams::{ShardState, StreamName, StreamState};

/// The members by which operations name a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamRef {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
    pub(super) stream_id: Option<String>,
}

impl StreamRef {
    /// Whether name and ARN surely keep their model; one with an id is left to the model.
    pub(super) fn is_valid(&self) -> bool {
        let name = self.stream_name.as_ref().is_none_or(|name| name.parse::<StreamName>().is_ok());
        name && self.stream_arn.as_deref().is_none_or(is_stream_arn) && self.stream_id.is_none()
    }
}

/// Whether a text surely matches the model's pattern of a stream's ARN.
fn is_stream_arn(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let is_aws = parts.next() == Some("arn") && parts.next().is_some_and(|partition| partition.starts_with("aws"));
    let is_kinesis = parts.next() == Some("kinesis");
    let (_region, account, resource) = (parts.next(), parts.next(), parts.next());
    let is_account = account.is_some_and(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()));
    let name = resource.and_then(|resource| resource.strip_prefix("stream/"));
    let is_name = name.is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    is_aws && is_kinesis && is_account && is_name && arn.is_ascii() && arn.len() <= 2048
}

/// A stream's id on the wire.
pub(super) fn stream_id_of(stream: &StreamState) -> String {
    format!("{:020}-000", stream.id().0)
}

impl Kinesis {
    /// The stream that a request names, where its caller may do this to it.
    ///
    /// # Errors
    /// `InvalidArgumentException` where it names none or two, `AccessDeniedException`, `ResourceNotFoundException`.
    pub(super) fn stream(&self, call: &Call, named: &StreamRef) -> Result<Arc<StreamState>, AwsError> {
        let name = self.stream_name(named)?;
        self.authorize(call, &self.arns.stream(&name))?;
        self.streams.get(&name).map_err(|error| self.told(error, &name))
    }

    /// Asks whether the caller may, and then for one of the operation's calls. An operation asks once.
    ///
    /// # Errors
    /// `AccessDeniedException`; `LimitExceededException` where its rate is used up.
    pub(super) fn authorize(&self, call: &Call, arn: &str) -> Result<(), AwsError> {
        call.caller.authorize(arn)?;
        self.control.take(call, arn, Instant::now())
    }

    fn stream_name(&self, named: &StreamRef) -> Result<StreamName, AwsError> {
        let by_arn = named.stream_arn.as_deref().map(|arn| self.stream_of_arn(arn)).transpose()?;
        let by_name = named.stream_name.as_deref().map(str::parse::<StreamName>).transpose()?;
        let by_id = named.stream_id.as_deref().map(|id| self.stream_of_id(id)).transpose()?;
        let mut names = by_arn.into_iter().chain(by_name).chain(by_id);
        let first =
            names.next().ok_or_else(|| AwsError::invalid("Either StreamName or StreamARN must be specified."))?;
        match names.find(|other| *other != first) {
            None => Ok(first),
            Some(other) => {
                let message = format!("the request names two streams: {first} and {other}");
                Err(AwsError::invalid(message))
            }
        }
    }

    fn stream_of_arn(&self, arn: &str) -> Result<StreamName, AwsError> {
        match self.arns.parse(arn)? {
            Resource::Stream(name) => Ok(name),
            Resource::Consumer(_) => Err(AwsError::invalid(format!("{arn} is the ARN of a consumer, not of a stream"))),
        }
    }

    fn stream_of_id(&self, id: &str) -> Result<StreamName, AwsError> {
        let is_named = |stream: &Arc<StreamState>| !stream.name().is_hidden() && stream_id_of(stream) == id;
        let found = self.streams.list().into_iter().find(is_named);
        let found = found.ok_or_else(|| AwsError::not_found(format!("no stream has the id {id}")))?;
        Ok(found.name().clone())
    }

    /// The shard that a request names.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub(super) fn shard(&self, stream: &StreamState, shard: &str) -> Result<Arc<ShardState>, AwsError> {
        let found = ShardName::parse(shard).and_then(|ShardName(id)| stream.topology().shard(id).cloned());
        found.ok_or_else(|| {
            let (name, account) = (stream.name(), self.arns.account_id());
            AwsError::not_found(format!("Could not find shard {shard} in stream {name} under account {account}."))
        })
    }

    /// The registered consumer that an ARN names, with its stream, where the caller may do this to it.
    ///
    /// # Errors
    /// `InvalidArgumentException`, `AccessDeniedException`, `ResourceNotFoundException`.
    pub(super) async fn consumer(&self, call: &Call, arn: &str) -> Result<(Arc<StreamState>, Consumer), AwsError> {
        let Resource::Consumer(parsed) = self.arns.parse(arn)? else {
            return Err(AwsError::invalid(format!("{arn} is not the ARN of a consumer")));
        };
        self.authorize(call, arn)?;
        let ConsumerArn { stream, name, created_at_seconds } = parsed;
        let stream = self.streams.get(&stream).map_err(|error| self.told(error, &stream))?;
        let consumer = self.store.consumer(&stream, &name).await?;
        let is_same = |consumer: &Consumer| consumer.created_at().as_millis().div_euclid(1000) == created_at_seconds;
        let consumer = consumer.filter(is_same).ok_or_else(|| self.no_consumer(arn))?;
        Ok((stream, consumer))
    }

    pub(super) fn no_consumer(&self, named: &str) -> AwsError {
        AwsError::not_found(format!("Consumer {named}, account {} not found.", self.arns.account_id()))
    }

    /// What the streams say about a stream, in AWS' words where those are well known.
    pub(super) fn told(&self, error: Error, stream: &StreamName) -> AwsError {
        let account = self.arns.account_id();
        match error.kind() {
            Kind::NotFound if error.objects().iter().all(|(noun, _)| *noun == "stream") => {
                AwsError::not_found(format!("Stream {stream} under account {account} not found."))
            }
            Kind::AlreadyExists => AwsError::in_use(format!("Stream {stream} under account {account} already exists.")),
            _ => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::aws::model::{KINESIS, validate};

    /// What the quick check lets pass must pass the model too.
    #[test]
    fn the_quick_check_is_never_looser_than_the_model() {
        let arns = [
            "arn:aws:kinesis:us-east-1:123456789012:stream/a",
            "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a/consumer/b:1",
            "arn:aws:kinesis:us-east-1:12345678901:stream/a",
            "arn:aws:kinesis:us-east-1:123456789012:stream/",
            "arn:aws:kinesis:us-east-1:123456789012:stream/a b",
            "arn:aws:kinesis:us-east-1:123456789012",
            "",
        ];
        let input = KINESIS.operation("PutRecords").unwrap().input;
        let mut passed = 0;
        for arn in arns {
            let named = StreamRef { stream_arn: Some(arn.to_owned()), ..StreamRef::default() };
            if named.is_valid() {
                let tree = serde_json::json!({"StreamARN": arn, "Records": [{"Data": "", "PartitionKey": "a"}]});
                validate(&tree, input).unwrap();
                passed += 1;
            }
        }
        assert_eq!(passed, 2);
        for (name, valid) in [("a", true), ("", false), ("a/b", false)] {
            let named = StreamRef { stream_name: Some(name.to_owned()), ..StreamRef::default() };
            assert_eq!(named.is_valid(), valid, "{name}");
        }
    }
}
