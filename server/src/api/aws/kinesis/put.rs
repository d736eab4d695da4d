//! `PutRecord` and `PutRecords`: read without a tree, put by the streams, answered once all is durable or refused.

use millrace_storage::log::{ShardId, ShardKey};
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::iterator::check_dry_run;
use super::sequence_number::SequenceNumber;
use super::shard_id::ShardName;
use super::target::StreamRef;
use super::wire::{encryption_of, tip};
use crate::api::aws::protocol::{AwsError, Blob, Call, Checked, Reply};
use crate::streams::{Placed, Put, PutFailure, PutFailureKind, PutRecord, PutResult, StreamName, StreamState};

/// What the model allows of a request's records.
const RECORDS_MAX: usize = 500;
const KEY_CHARS_MAX: usize = 256;
const DATA_BYTES_MAX: usize = 10 << 20;
const HASH_KEY_DIGITS_MAX: usize = 39;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Blob,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

/// Whether a record surely keeps its model.
fn is_record(data: &Blob, key: Option<&str>, hash_key: Option<&str>) -> bool {
    let is_key = |key: &str| !key.is_empty() && (key.len() <= KEY_CHARS_MAX || key.chars().count() <= KEY_CHARS_MAX);
    let is_hash_key = |digits: &str| {
        let canonical = digits == "0" || !digits.starts_with('0');
        let length = (1..=HASH_KEY_DIGITS_MAX).contains(&digits.len());
        canonical && length && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    key.is_some_and(is_key) && data.0.len() <= DATA_BYTES_MAX && hash_key.is_none_or(is_hash_key)
}

impl Entry {
    /// The record, where it has a partition key: without one there is no shard for it here, though the model allows it.
    fn record(self) -> Option<PutRecord> {
        let Self { data: Blob(data), partition_key, explicit_hash_key } = self;
        Some(PutRecord { partition_key: partition_key?, explicit_hash_key, data })
    }
}

/// What is said of a record without a partition key, in the model's words.
fn no_key(path: &str) -> AwsError {
    AwsError::validation(format!(
        "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null"
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecordsInput {
    records: Vec<Entry>,
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    stream_id: Option<String>,
    dry_run: Option<bool>,
}

impl PutRecordsInput {
    fn split(self) -> Result<(StreamRef, Vec<PutRecord>, Option<bool>), AwsError> {
        let Self { records, stream_name, stream_arn, stream_id, dry_run } = self;
        let stream = StreamRef { stream_name, stream_arn, stream_id };
        let mut keyed = Vec::with_capacity(records.len());
        for (number, entry) in (1..).zip(records) {
            keyed.push(entry.record().ok_or_else(|| no_key(&format!("records.{number}.member.partitionKey")))?);
        }
        Ok((stream, keyed, dry_run))
    }
}

impl Checked for PutRecordsInput {
    fn is_valid(&self) -> bool {
        (1..=RECORDS_MAX).contains(&self.records.len())
            && self
                .records
                .iter()
                .all(|entry| is_record(&entry.data, entry.partition_key.as_deref(), entry.explicit_hash_key.as_deref()))
            && is_stream(self.stream_name.as_ref(), self.stream_arn.as_ref(), self.stream_id.as_ref())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecordInput {
    data: Blob,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    sequence_number_for_ordering: Option<String>,
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    stream_id: Option<String>,
    dry_run: Option<bool>,
}

impl Checked for PutRecordInput {
    fn is_valid(&self) -> bool {
        let number = self.sequence_number_for_ordering.as_deref();
        is_record(&self.data, self.partition_key.as_deref(), self.explicit_hash_key.as_deref())
            && number.is_none_or(|number| SequenceNumber::parse(number).is_some())
            && is_stream(self.stream_name.as_ref(), self.stream_arn.as_ref(), self.stream_id.as_ref())
    }
}

fn is_stream(name: Option<&String>, arn: Option<&String>, id: Option<&String>) -> bool {
    let named = StreamRef { stream_name: name.cloned(), stream_arn: arn.cloned(), stream_id: id.cloned() };
    named.is_valid()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordOutput {
    shard_id: ShardName,
    sequence_number: SequenceNumber,
    encryption_type: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsOutput {
    failed_record_count: usize,
    records: Vec<Fate>,
    encryption_type: &'static str,
}

/// `PutRecordsResultEntry`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Fate {
    #[serde(rename_all = "PascalCase")]
    Stored { sequence_number: SequenceNumber, shard_id: ShardName },
    #[serde(rename_all = "PascalCase")]
    Failed { error_code: &'static str, error_message: String },
}

impl Kinesis {
    pub(super) async fn put_records(&self, call: &Call) -> Result<Reply, AwsError> {
        let (named, records, dry_run) = call.checked::<PutRecordsInput>()?.split()?;
        let stream = self.stream(call, &named)?;
        let encryption_type = encryption_of(&stream);
        let fates = self.put(call, &stream, records, dry_run).await?;
        let records: Vec<Fate> = fates.into_iter().map(|fate| self.fate(&stream, fate)).collect();
        let failed_record_count = records.iter().filter(|fate| matches!(fate, Fate::Failed { .. })).count();
        call.reply(&PutRecordsOutput { failed_record_count, records, encryption_type })
    }

    pub(super) async fn put_record(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: PutRecordInput = call.checked()?;
        let PutRecordInput { data, partition_key, explicit_hash_key, .. } = input;
        let named =
            StreamRef { stream_name: input.stream_name, stream_arn: input.stream_arn, stream_id: input.stream_id };
        let stream = self.stream(call, &named)?;
        if let Some(number) = &input.sequence_number_for_ordering {
            self.check_ordering(&stream, number)?;
        }
        let encryption_type = encryption_of(&stream);
        let entry = Entry { data, partition_key, explicit_hash_key };
        let record = entry.record().ok_or_else(|| no_key("partitionKey"))?;
        let fate = self.put(call, &stream, vec![record], input.dry_run).await?.pop();
        match fate.unwrap_or_else(|| Err(no_fate())) {
            Ok(Placed { shard, offset, .. }) => {
                let sequence_number = SequenceNumber::of(ShardKey { stream: stream.id(), shard }, offset);
                call.reply(&PutRecordOutput { shard_id: ShardName(shard), sequence_number, encryption_type })
            }
            Err(failure) => match failure.kind {
                PutFailureKind::Throttled { .. } => Err(AwsError::throughput(self.throttled(stream.name(), &failure))),
                PutFailureKind::Invalid => Err(AwsError::invalid(failure.message)),
                _ => Err(AwsError::internal(failure.message)),
            },
        }
    }

    /// Checks what the stream itself demands of records, for the request as a whole, and puts them.
    async fn put(
        &self,
        call: &Call,
        stream: &StreamState,
        records: Vec<PutRecord>,
        dry_run: Option<bool>,
    ) -> Result<Vec<PutResult>, AwsError> {
        let record_bytes_max = stream.spec().record_bytes_max;
        let mut bytes = 0;
        for record in &records {
            let size = record.size();
            if size > record_bytes_max {
                let message = format!(
                    "a record of {size} bytes (data and partition key) is past the limit of {record_bytes_max} of stream {}",
                    stream.name()
                );
                return Err(AwsError::invalid(message));
            }
            check_hash_key(record.explicit_hash_key.as_deref())?;
            bytes += size;
        }
        check_dry_run(dry_run)?;
        let told = |error| self.told(error, stream.name());
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let place = self.streams.enter(stream.name(), bytes).await.map_err(told)?;
        let (payer, put) = (call.caller.payer(), Put::from(records));
        let pending = self.streams.begin_put_for(payer, stream.name(), put, place).await.map_err(told)?;
        Ok(pending.durable().await)
    }

    fn fate(&self, stream: &StreamState, fate: PutResult) -> Fate {
        match fate {
            Ok(Placed { shard, offset, .. }) => Fate::Stored {
                sequence_number: SequenceNumber::of(ShardKey { stream: stream.id(), shard }, offset),
                shard_id: ShardName(shard),
            },
            Err(failure) if matches!(failure.kind, PutFailureKind::Throttled { .. }) => Fate::Failed {
                error_code: "ProvisionedThroughputExceededException",
                error_message: self.throttled(stream.name(), &failure),
            },
            Err(failure) => Fate::Failed {
                error_code: "InternalFailure",
                error_message: format!("Internal Service Failure: {}", failure.message),
            },
        }
    }

    fn throttled(&self, stream: &StreamName, failure: &PutFailure) -> String {
        match failure.shard {
            Some(shard) => self.rate_exceeded_text(stream, shard),
            None => failure.message.clone(),
        }
    }

    /// The log gives rising numbers to puts that come one after the other, so there is nothing to do but to see that the
    /// number was given out.
    fn check_ordering(&self, stream: &StreamState, text: &str) -> Result<(), AwsError> {
        let number = SequenceNumber::parse(text).filter(|number| number.shard().stream == stream.id());
        let is_given = |number: SequenceNumber| {
            let shard = stream.topology().shard(number.shard().shard).cloned();
            shard.is_some_and(|shard| number.next_offset() <= tip(&**self.streams.log(), &shard))
        };
        if number.is_some_and(is_given) {
            return Ok(());
        }
        let (name, account) = (stream.name(), self.arns.account_id());
        Err(AwsError::invalid(format!(
            "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {name} under account {account} is invalid \
             because it did not come from this stream."
        )))
    }
}

/// A hash key of the model's pattern may still be too large.
pub(super) fn check_hash_key(decimal: Option<&str>) -> Result<(), AwsError> {
    match decimal {
        Some(decimal) if decimal.parse::<u128>().is_err() => Err(AwsError::invalid(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {decimal}"
        ))),
        _ => Ok(()),
    }
}

fn no_fate() -> PutFailure {
    let message = "the put told nothing of its record".to_owned();
    PutFailure { kind: PutFailureKind::Unavailable, message, shard: None::<ShardId> }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::aws::model::{KINESIS, validate};
    use crate::api::aws::protocol::Format;

    proptest! {
        /// What the quick check lets pass, the model lets pass; and the other way round, but for what only the model reads.
        #[test]
        fn the_quick_check_says_what_the_model_says(
            name in "[a-z/]{0,3}",
            key in "[aü]{0,3}|[ü]{255,258}",
            hash_key in proptest::option::of("[0-9]{0,3}|[1-9][0-9]{37,40}|x"),
            records in 0_usize..3,
        ) {
            let mut entry = json!({"Data": "aGk=", "PartitionKey": key});
            if let Some(hash_key) = hash_key {
                entry["ExplicitHashKey"] = hash_key.into();
            }
            let tree = json!({"StreamName": name, "Records": vec![entry; records]});
            let body = serde_json::to_vec(&tree).unwrap();
            let quick = Format::Json.decode::<PutRecordsInput>(&body).is_some_and(|input| input.is_valid());
            let model = validate(&tree, KINESIS.operation("PutRecords").unwrap().input);
            prop_assert_eq!(quick, model.is_ok(), "{} {:?}", tree, model);
        }
    }

    #[test]
    fn hash_keys_hold_at_their_limit_and_not_one_past() {
        assert!(check_hash_key(Some("340282366920938463463374607431768211455")).is_ok());
        assert!(check_hash_key(Some("340282366920938463463374607431768211456")).is_err());
        assert!(check_hash_key(None).is_ok());
    }
}
