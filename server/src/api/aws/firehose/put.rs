//! `PutRecord` and `PutRecordBatch`: into the hidden stream, answered once all is durable or refused.

use std::time::Instant;

use bytes::Bytes;
use millrace_storage::log::{ShardId, ShardKey};
use serde::{Deserialize, Serialize};

use super::Firehose;
use super::name::Name;
use super::target::told;
use crate::api::aws::protocol::{AwsError, Blob, Call, Checked, Reply};
use crate::api::aws::rates::Rate;
use crate::error::Kind;
use crate::streams::{Placed, Put, PutFailure, PutFailureKind, PutRecord, PutResult, StreamState};

/// The most bytes of a record.
pub(super) const RECORD_BYTES_MAX: usize = 1_024_000;
const RECORDS_MAX: usize = 500;
/// The most bytes of a batch.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Hidden streams have one shard, so that no key matters.
const PARTITION_KEY: &str = "-";
const SLOW_DOWN: &str = "Slow down.";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Blob,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecordInput {
    delivery_stream_name: String,
    record: Entry,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchInput {
    delivery_stream_name: String,
    records: Vec<Entry>,
}

impl Checked for RecordInput {
    fn is_valid(&self) -> bool {
        Name::parse(&self.delivery_stream_name).is_some() && self.record.data.0.len() <= RECORD_BYTES_MAX
    }
}

impl Checked for BatchInput {
    fn is_valid(&self) -> bool {
        Name::parse(&self.delivery_stream_name).is_some()
            && (1..=RECORDS_MAX).contains(&self.records.len())
            && self.records.iter().all(|record| record.data.0.len() <= RECORD_BYTES_MAX)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecordOutput {
    record_id: String,
    encrypted: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchOutput {
    failed_put_count: usize,
    encrypted: bool,
    request_responses: Vec<Fate>,
}

/// `PutRecordBatchResponseEntry`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Fate {
    #[serde(rename_all = "PascalCase")]
    Stored { record_id: String },
    #[serde(rename_all = "PascalCase")]
    Failed { error_code: &'static str, error_message: String },
}

impl Firehose {
    pub(super) async fn put_record(&self, call: &Call) -> Result<Reply, AwsError> {
        let RecordInput { delivery_stream_name, record } = call.checked()?;
        let (stream, mut fates) = self.put(call, &delivery_stream_name, vec![record]).await?;
        match fates.pop() {
            Some(Ok(placed)) => call
                .reply(&RecordOutput { record_id: record_id(&stream, &placed), encrypted: stream.spec().encryption }),
            Some(Err(failure)) => match failure.kind {
                PutFailureKind::Invalid => Err(AwsError::invalid(failure.message)),
                _ => Err(AwsError::unavailable(message_of(failure))),
            },
            None => Err(AwsError::internal("the put told nothing of its record")),
        }
    }

    pub(super) async fn put_record_batch(&self, call: &Call) -> Result<Reply, AwsError> {
        let BatchInput { delivery_stream_name, records } = call.checked()?;
        let bytes: usize = records.iter().map(|record| record.data.0.len()).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(AwsError::invalid(format!(
                "the records of the batch have {bytes} bytes, and the limit is {BATCH_BYTES_MAX}"
            )));
        }
        let (stream, fates) = self.put(call, &delivery_stream_name, records).await?;
        let encrypted = stream.spec().encryption;
        let fate = |fate: PutResult| match fate {
            Ok(placed) => Fate::Stored { record_id: record_id(&stream, &placed) },
            Err(failure) => Fate::Failed { error_code: code_of(&failure), error_message: message_of(failure) },
        };
        let request_responses: Vec<Fate> = fates.into_iter().map(fate).collect();
        let failed_put_count = request_responses.iter().filter(|fate| matches!(fate, Fate::Failed { .. })).count();
        call.reply(&BatchOutput { failed_put_count, encrypted, request_responses })
    }

    async fn put(
        &self,
        call: &Call,
        name: &str,
        records: Vec<Entry>,
    ) -> Result<(std::sync::Arc<StreamState>, Vec<PutResult>), AwsError> {
        let name = self.name(call, name)?;
        let stream = match self.streams.get(&name.stream()?) {
            Ok(stream) => stream,
            Err(error) if *error.kind() == Kind::NotFound => return Err(self.takes_none(&name).await),
            Err(error) => return Err(told(error)),
        };
        let shard = ShardKey { stream: stream.id(), shard: ShardId(0) };
        let rate = Rate::per_second(self.settings.put_requests_per_second);
        if !self.puts.take(shard, rate, Instant::now()) {
            self.metrics.throttled("firehose_put_requests_per_second");
            return Err(AwsError::unavailable(SLOW_DOWN));
        }
        self.sources.check(&name, records.iter().map(|Entry { data: Blob(data) }| data))?;
        let record = |Entry { data: Blob(data) }: Entry| record_of(data);
        let records: Vec<PutRecord> = records.into_iter().map(record).collect();
        let bytes: u64 = records.iter().map(PutRecord::size).sum();
        let place =
            self.streams.enter(stream.name(), usize::try_from(bytes).unwrap_or(usize::MAX)).await.map_err(told)?;
        let (payer, put) = (call.caller.payer(), Put::from(records));
        let pending = self.streams.begin_put_for(payer, stream.name(), put, place).await.map_err(told)?;
        let fates = pending.durable().await;
        let throttled = |fate: &PutResult| matches!(fate, Err(failure) if is_throttled(failure));
        if fates.iter().any(throttled) {
            self.metrics.throttled("firehose_rate");
        }
        Ok((stream, fates))
    }

    /// Why a name has no stream that takes records.
    async fn takes_none(&self, name: &Name) -> AwsError {
        match self.found(name).await {
            Ok(found) if !found.value.source_stream_arn.is_empty() => {
                AwsError::invalid("This operation is not permitted on KinesisStreamAsSource delivery stream type.")
            }
            Ok(_) => AwsError::unavailable(format!("Firehose {name} is not ACTIVE")),
            Err(error) => error,
        }
    }
}

fn record_of(data: Bytes) -> PutRecord {
    PutRecord { partition_key: PARTITION_KEY.to_owned(), explicit_hash_key: None, data }
}

const fn is_throttled(failure: &PutFailure) -> bool {
    matches!(failure.kind, PutFailureKind::Throttled { .. })
}

const fn code_of(failure: &PutFailure) -> &'static str {
    match failure.kind {
        PutFailureKind::Throttled { .. } | PutFailureKind::DiskFull { .. } | PutFailureKind::StreamFull { .. } => {
            "ServiceUnavailableException"
        }
        _ => "InternalFailure",
    }
}

fn message_of(failure: PutFailure) -> String {
    if is_throttled(&failure) { SLOW_DOWN.to_owned() } else { failure.message }
}

/// Tells nothing to clients but that it is one of a kind.
fn record_id(stream: &StreamState, placed: &Placed) -> String {
    format!("{:08x}{:08x}{:016x}", stream.id().0, placed.shard.0, placed.offset.0)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;
    use crate::api::aws::model::{FIREHOSE, validate};
    use crate::api::aws::protocol::Format;

    /// What the quick check lets pass, the model lets pass; and the other way round.
    #[test]
    fn the_quick_check_says_what_the_model_says() {
        let input = FIREHOSE.operation("PutRecordBatch").unwrap().input;
        for (name, bytes, records) in [
            ("a", 1, 1),
            ("a", 0, 1),
            ("", 1, 1),
            ("a/b", 1, 1),
            ("a", RECORD_BYTES_MAX, 1),
            ("a", RECORD_BYTES_MAX + 1, 1),
            ("a", 1, 0),
            ("a", 1, RECORDS_MAX),
            ("a", 1, RECORDS_MAX + 1),
        ] {
            let entry = json!({"Data": STANDARD.encode(vec![7; bytes])});
            let tree = json!({"DeliveryStreamName": name, "Records": vec![entry; records]});
            let body = serde_json::to_vec(&tree).unwrap();
            let quick = Format::Json.decode::<BatchInput>(&body).is_some_and(|input| input.is_valid());
            assert_eq!(quick, validate(&tree, input).is_ok(), "{name:?} {bytes} {records}");
        }
    }
}
