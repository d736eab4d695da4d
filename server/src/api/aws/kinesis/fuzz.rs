//! The parts of the service that a fuzz target calls.

use bytes::Bytes;

use super::event_stream::{event, exception, initial_response};
use super::iterator::ShardIterator;
use super::sequence_number::SequenceNumber;
use super::shard_id::ShardName;
use crate::api::aws::protocol::{AwsError, Format};

/// A text as a sequence number and as a shard's id.
pub(in crate::api::aws) fn names(text: &str) {
    if let Some(number) = SequenceNumber::parse(text) {
        assert_eq!(number.to_string(), text);
    }
    if let Some(shard) = ShardName::parse(text) {
        assert_eq!(ShardName::parse(&shard.to_string()), Some(shard));
    }
}

pub(in crate::api::aws) fn iterator(payload: &[u8]) {
    if let Some(iterator) = ShardIterator::decode(payload) {
        assert_eq!(iterator.encode(), payload);
    }
}

pub(in crate::api::aws) fn events(format: Format, payload: &[u8], words: &str) -> [Bytes; 3] {
    let error = exception(&AwsError::internal(words.to_owned()), format);
    [initial_response(format), event("SubscribeToShardEvent", format, payload), error]
}
