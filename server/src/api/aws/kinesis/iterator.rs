//! Shard iterators: where the next `GetRecords` reads on, as a token that only this server can make; and positions as
//! `GetShardIterator` and `SubscribeToShard` name them.

use std::time::Instant;

use millrace_storage::log::{Offset, ShardId, ShardKey, StreamId};
use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::sequence_number::SequenceNumber;
use super::shard_id::ShardName;
use super::target::StreamRef;
use super::wire::tip;
use crate::api::aws::protocol::{AwsError, Call, Reply, Time};
use crate::api::aws::rates::Rate;
use crate::api::aws::token::{BadToken, TokenKind};
use crate::streams::{Position, ShardState, StreamName, StreamState};

/// The bytes of an iterator before the stream's name: stream, shard, offset.
const FIXED_BYTES: usize = 16;

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardIterator {
    pub(super) shard: ShardKey,
    pub(super) next: Offset,
    /// Found faster than by the stream's number.
    pub(super) stream: StreamName,
}

impl ShardIterator {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.stream.as_str().len());
        bytes.extend_from_slice(&self.shard.stream.0.to_be_bytes());
        bytes.extend_from_slice(&self.shard.shard.0.to_be_bytes());
        bytes.extend_from_slice(&self.next.0.to_be_bytes());
        bytes.extend_from_slice(self.stream.as_str().as_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (stream, rest) = bytes.split_first_chunk()?;
        let (shard, rest) = rest.split_first_chunk()?;
        let (next, name) = rest.split_first_chunk()?;
        let shard =
            ShardKey { stream: StreamId(u32::from_be_bytes(*stream)), shard: ShardId(u32::from_be_bytes(*shard)) };
        let stream = std::str::from_utf8(name).ok()?.parse().ok()?;
        Some(Self { shard, next: Offset(u64::from_be_bytes(*next)), stream })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(flatten)]
    stream: StreamRef,
    shard_id: String,
    shard_iterator_type: String,
    starting_sequence_number: Option<String>,
    timestamp: Option<Time>,
    dry_run: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    shard_iterator: String,
}

impl Kinesis {
    pub(super) async fn get_shard_iterator(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let shard = self.shard(&stream, &input.shard_id)?;
        let rate = Rate::per_second(self.settings.shard_iterators_per_second);
        if !self.iterators.take(shard.key(), rate, Instant::now()) {
            self.metrics.throttled("shard_iterators_per_second");
            return Err(self.rate_exceeded(&stream, &shard));
        }
        let number = input.starting_sequence_number.as_deref();
        let position = self.position(call, &stream, &shard, &input.shard_iterator_type, number, input.timestamp)?;
        let next = self.streams.resolve(&stream, &shard, position).await?;
        check_dry_run(input.dry_run)?;
        let iterator = ShardIterator { shard: shard.key(), next, stream: stream.name().clone() };
        call.reply(&Output { shard_iterator: self.seal_iterator(&iterator) })
    }

    pub(super) fn seal_iterator(&self, iterator: &ShardIterator) -> String {
        self.tokens.seal(TokenKind::ShardIterator, &iterator.encode())
    }

    /// # Errors
    /// `InvalidArgumentException` where it was not made here, `ExpiredIteratorException`.
    pub(super) fn open_iterator(&self, iterator: &str) -> Result<ShardIterator, AwsError> {
        let invalid = || AwsError::invalid("Invalid ShardIterator.");
        let opened = self.tokens.open(TokenKind::ShardIterator, iterator).map_err(|bad| match bad {
            BadToken::Forged => invalid(),
            BadToken::Expired { issued_at, now } => {
                let tolerated = self.tokens.lifetime().as_millis();
                AwsError::new(
                    "ExpiredIteratorException",
                    format!(
                        "Iterator expired. The iterator was created at time {issued_at} while right now it is {now} which is \
                         further in the future than the tolerated delay of {tolerated} milliseconds."
                    ),
                )
            }
        })?;
        ShardIterator::decode(&opened).ok_or_else(invalid)
    }

    /// The position that a request names.
    ///
    /// # Errors
    /// `InvalidArgumentException` where it lacks what its type needs, or the number or time cannot be.
    pub(super) fn position(
        &self,
        call: &Call,
        stream: &StreamState,
        shard: &ShardState,
        kind: &str,
        number: Option<&str>,
        time: Option<Time>,
    ) -> Result<Position, AwsError> {
        let numbered = || {
            let text = number.ok_or_else(|| {
                AwsError::invalid(format!("Must either specify a sequence number or use another type than {kind}."))
            })?;
            self.sequence_number(call, stream, shard, text)
        };
        // An offset past the next one cannot be waited for.
        let within = |offset: Offset| Position::Offset(offset.min(tip(&**self.streams.log(), shard)));
        match kind {
            "TRIM_HORIZON" => Ok(Position::TrimHorizon),
            "LATEST" => Ok(Position::Latest),
            "AT_SEQUENCE_NUMBER" => Ok(within(numbered()?.offset())),
            "AFTER_SEQUENCE_NUMBER" => Ok(within(numbered()?.next_offset())),
            _ => {
                let Time(time) = time.ok_or_else(|| {
                    AwsError::invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP.")
                })?;
                let now = Timestamp::now();
                if time > now {
                    let message = format!(
                        "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
                         timestampInMillis: {}, currentTimestampInMillis: {}",
                        time.as_millis(),
                        now.as_millis()
                    );
                    return Err(AwsError::invalid(message));
                }
                Ok(Position::Time(time))
            }
        }
    }

    /// A sequence number of a shard.
    fn sequence_number(
        &self,
        call: &Call,
        stream: &StreamState,
        shard: &ShardState,
        text: &str,
    ) -> Result<SequenceNumber, AwsError> {
        let (name, account, operation) = (stream.name(), self.arns.account_id(), call.operation.name);
        let asked = ShardName(shard.id());
        let Some(number) = SequenceNumber::parse(text).filter(|number| number.shard().stream == stream.id()) else {
            return Err(AwsError::invalid(format!(
                "StartingSequenceNumber {text} used in {operation} on shard {asked} in stream {name} under account \
                 {account} is invalid because it did not come from this stream."
            )));
        };
        if number.shard() != shard.key() {
            let encoded = ShardName(number.shard().shard);
            return Err(AwsError::invalid(format!(
                "Invalid StartingSequenceNumber. It encodes {encoded}, while it was used in a call to a shard with {asked}"
            )));
        }
        Ok(number)
    }

    pub(super) fn rate_exceeded(&self, stream: &StreamState, shard: &ShardState) -> AwsError {
        AwsError::throughput(self.rate_exceeded_text(stream.name(), shard.id()))
    }

    pub(super) fn rate_exceeded_text(&self, stream: &StreamName, shard: ShardId) -> String {
        let account = self.arns.account_id();
        format!("Rate exceeded for shard {} in stream {stream} under account {account}.", ShardName(shard))
    }
}

/// A dry run ends where the operation would begin.
///
/// # Errors
/// `DryRunOperationException` where one was asked for.
pub(super) fn check_dry_run(dry_run: Option<bool>) -> Result<(), AwsError> {
    if dry_run == Some(true) {
        let message = "Request would have succeeded, but the DryRun flag is set.";
        return Err(AwsError::new("DryRunOperationException", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn iterators_come_back(stream: u32, shard: u32, next: u64, name in "[a-zA-Z0-9_.-]{1,128}") {
            let shard = ShardKey { stream: StreamId(stream), shard: ShardId(shard) };
            let iterator = ShardIterator { shard, next: Offset(next), stream: name.parse().unwrap() };
            prop_assert_eq!(ShardIterator::decode(&iterator.encode()), Some(iterator));
        }

        #[test]
        fn any_bytes_are_an_iterator_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(iterator) = ShardIterator::decode(&bytes) {
                prop_assert_eq!(iterator.encode(), bytes);
            }
        }
    }
}
