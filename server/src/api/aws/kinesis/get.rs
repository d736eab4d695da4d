//! `GetRecords`: what an iterator points to, and the iterator after it.

use std::time::Instant;

use millrace_storage::log::{ReadLimit, ShardKey};
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::iterator::{ShardIterator, check_dry_run};
use super::target::StreamRef;
use super::wire::{Child, GivenRecord};
use crate::api::aws::protocol::{AwsError, Call, Checked, Reply};
use crate::api::aws::rates::Rate;
use crate::error::Kind;
use crate::streams::{Position, ShardRecords, StreamState};

/// What the model allows.
const RECORDS_MAX: u32 = 10_000;
const ITERATOR_CHARS_MAX: usize = 512;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    shard_iterator: String,
    limit: Option<u32>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    stream_id: Option<String>,
    dry_run: Option<bool>,
}

impl Checked for Input {
    fn is_valid(&self) -> bool {
        let iterator = &self.shard_iterator;
        let limit = self.limit.is_none_or(|limit| (1..=RECORDS_MAX).contains(&limit));
        let stream = StreamRef { stream_arn: self.stream_arn.clone(), ..StreamRef::default() };
        !iterator.is_empty()
            && iterator.len() <= ITERATOR_CHARS_MAX
            && limit
            && stream.is_valid()
            && self.stream_id.is_none()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    records: Vec<GivenRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<Child>>,
}

impl Kinesis {
    pub(super) async fn get_records(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.checked()?;
        let iterator = self.open_iterator(&input.shard_iterator)?;
        let stream = self.stream_of_iterator(call, &input, &iterator)?;
        let shard = stream.shard(iterator.shard.shard)?;
        let rate = Rate::per_second(self.settings.get_records_per_second);
        if !self.reads.take(shard.key(), rate, Instant::now()) {
            self.metrics.throttled("get_records_per_second");
            return Err(self.rate_exceeded(&stream, &shard));
        }
        check_dry_run(input.dry_run)?;
        let records_max = input.limit.unwrap_or_default().min(self.streams.settings().get_records_max);
        let limit = ReadLimit { records_max: records_max as usize, bytes_max: 0 };
        let position = Position::Offset(iterator.next);
        let read = self.streams.get_records(stream.name(), shard.id(), position, limit).await;
        let read = read.map_err(|error| match error.kind() {
            Kind::Throttled { .. } => self.rate_exceeded(&stream, &shard),
            _ => self.told(error, stream.name()),
        })?;
        call.caller.read(&read.records);
        self.answer(call, &stream, shard.key(), read)
    }

    /// The stream that an iterator is of, which a request may name besides.
    fn stream_of_iterator(
        &self,
        call: &Call,
        input: &Input,
        iterator: &ShardIterator,
    ) -> Result<std::sync::Arc<StreamState>, AwsError> {
        let named = StreamRef {
            stream_name: Some(iterator.stream.to_string()),
            stream_arn: input.stream_arn.clone(),
            stream_id: input.stream_id.clone(),
        };
        let stream = self.stream(call, &named)?;
        if stream.id() != iterator.shard.stream {
            let message = format!("the ShardIterator is of a stream {} that was deleted", stream.name());
            return Err(AwsError::not_found(message));
        }
        Ok(stream)
    }

    fn answer(
        &self,
        call: &Call,
        stream: &StreamState,
        shard: ShardKey,
        read: ShardRecords,
    ) -> Result<Reply, AwsError> {
        let ShardRecords { records, next_offset, millis_behind_latest, end, .. } = read;
        let next = ShardIterator { shard, next: next_offset, stream: stream.name().clone() };
        let bytes: usize = records.iter().map(|record| record.bytes() * 4 / 3 + RECORD_OVERHEAD_BYTES).sum();
        let output = Output {
            records: GivenRecord::all(stream, shard, &records),
            next_shard_iterator: end.is_none().then(|| self.seal_iterator(&next)),
            millis_behind_latest,
            child_shards: end.map(Child::all),
        };
        call.reply_of(&output, bytes)
    }
}

/// What stands around a record's data and key in an answer.
const RECORD_OVERHEAD_BYTES: usize = 224;
