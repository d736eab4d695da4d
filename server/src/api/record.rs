//! `RecordService`: the data plane. Payload bytes pass through without a copy.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use millrace_proto::v1;
use millrace_proto::v1::record_service_server::RecordService;
use millrace_storage::log::{Offset, ProducerSequence, ReadLimit, Record, ShardId};
use millrace_storage::time::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::access::Call;
use crate::auth::{Payer, Resource};
use crate::error::Error;
use crate::streams::{
    ConsumerName, Expect, PendingPut, Place, Placed, Position, Put, PutConditions, PutFailure, PutFailureKind,
    PutRecord, PutResult, Room, ShardEnd, ShardRecords, StreamName, Streams,
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug)]
pub(super) struct RecordHandler {
    streams: Streams,
}

impl RecordHandler {
    pub(super) const fn new(streams: Streams) -> Self {
        Self { streams }
    }
}

#[tonic::async_trait]
impl RecordService for RecordHandler {
    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let call = Call::of(&request)?;
        let (stream, put) = parse(request.into_inner())?;
        call.allow(&Resource::stream(&stream))?;
        Ok(Response::new(answer(self.streams.put_for(call.payer(), &stream, put).await?)))
    }

    type PutStreamStream = Answers<v1::PutResponse>;

    async fn put_stream(
        &self,
        request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<Self::PutStreamStream>, Status> {
        let call = Call::of(&request)?;
        let settings = self.streams.settings();
        let (sender, pending) = mpsc::channel(settings.put_stream_requests_max.max(1) as usize);
        let window = Room::new(settings.put_stream_bytes_max.as_u64());
        tokio::spawn(take_puts(self.streams.clone(), call, request.into_inner(), window, sender));
        let answers = ReceiverStream::new(pending).then(|put: Result<InFlight, Status>| async {
            let InFlight { put, _place } = put?;
            Ok(answer(put.durable().await))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let stream = StreamName::try_from(request.stream)?;
        call.allow(&Resource::stream(&stream))?;
        let position = position(request.position)?;
        let limit = ReadLimit { records_max: request.records_max as usize, bytes_max: request.bytes_max as usize };
        let (wait, consumer) = (Duration::from_millis(request.wait_ms.into()), consumer(request.consumer)?);
        let shard = ShardId(request.shard);
        let read = self.streams.get_waiting(&stream, shard, position, limit, wait, consumer.as_ref()).await?;
        count_read(call.payer().as_deref(), &read.records);
        Ok(Response::new(v1::GetResponse {
            next_offset: read.next_offset.0,
            millis_behind_latest: read.millis_behind_latest,
            records: records(read.records)?,
            shard_end: read.end.map(shard_end),
        }))
    }

    type SubscribeStream = Answers<v1::SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let stream = StreamName::try_from(request.stream)?;
        call.allow(&Resource::stream(&stream))?;
        let position = position(request.position)?;
        let (shard, consumer) = (request.shard.map(ShardId), consumer(request.consumer)?);
        let subscription = self.streams.subscribe_as(&stream, shard, position, consumer.as_ref()).await?;
        let payer = call.payer();
        let pushed = subscription.map(move |read| {
            let ShardRecords { shard, records: read, next_offset, millis_behind_latest, end } = read?;
            count_read(payer.as_deref(), &read);
            let (shard, next_offset, shard_end) = (shard.0, next_offset.0, end.map(shard_end));
            Ok(v1::SubscribeResponse { shard, records: records(read)?, next_offset, millis_behind_latest, shard_end })
        });
        Ok(Response::new(Box::pin(pushed)))
    }
}

/// A put of a `PutStream` that is not yet answered.
struct InFlight {
    put: PendingPut,
    _place: Place,
}

/// Takes puts off the connection in order. A put that breaks a rule as a whole ends the stream, after the answers before it.
async fn take_puts(
    streams: Streams,
    call: Call,
    mut requests: Streaming<v1::PutRequest>,
    window: Room,
    sender: mpsc::Sender<Result<InFlight, Status>>,
) {
    loop {
        let request = tokio::select! {
            biased;
            () = streams.stopping().cancelled() => {
                Err(Error::unavailable("the server is closing; what is not answered was not taken").into())
            }
            () = sender.closed() => return,
            request = requests.message() => request,
        };
        let put = match request {
            Ok(None) => return,
            Ok(Some(request)) => take_put(&streams, &call, &window, request).await,
            Err(status) => {
                if status.code() == Code::OutOfRange {
                    streams.count_rejected(super::MESSAGE_LIMIT);
                }
                Err(status)
            }
        };
        let ends = put.is_err();
        if sender.send(put).await.is_err() || ends {
            return;
        }
    }
}

/// Waits for room, of the connection and then of the process, and begins the put.
async fn take_put(streams: &Streams, call: &Call, window: &Room, request: v1::PutRequest) -> Result<InFlight, Status> {
    let (stream, put) = parse(request)?;
    // For each put anew: grants may go while the connection stays.
    call.allow(&Resource::stream(&stream))?;
    let bytes = usize::try_from(put.records.iter().map(PutRecord::size).sum::<u64>()).unwrap_or(usize::MAX);
    let _place = window.enter(bytes).await;
    let in_process = streams.enter(&stream, bytes).await?;
    let put = streams.begin_put_for(call.payer(), &stream, put, in_process).await?;
    Ok(InFlight { put, _place })
}

fn parse(request: v1::PutRequest) -> Result<(StreamName, Put), Status> {
    let stream = StreamName::try_from(request.stream)?;
    let producer = (request.producer_id != 0).then_some(ProducerSequence {
        producer: request.producer_id,
        sequence: request.sequence,
        age: Duration::from_millis(request.sequence_age_ms),
    });
    let expect = request
        .expect
        .map(|v1::Expect { shard, next_offset }| Expect { shard: ShardId(shard), next_offset: Offset(next_offset) });
    let records = request.records.into_iter().map(|record| {
        let v1::PutRecord { partition_key, explicit_hash_key, data } = record;
        PutRecord { partition_key, explicit_hash_key, data }
    });
    Ok((stream, Put { records: records.collect(), conditions: PutConditions { producer, expect } }))
}

fn answer(fates: Vec<PutResult>) -> v1::PutResponse {
    let failed_count = fates.iter().filter(|fate| fate.is_err()).count();
    let results = fates.into_iter().map(|fate| {
        let result = match fate {
            Ok(Placed { shard, offset, duplicate }) => {
                v1::put_result::Result::Placed(v1::Placed { shard: shard.0, offset: offset.0, duplicate })
            }
            Err(failure) => v1::put_result::Result::Error(put_error(failure)),
        };
        v1::PutResult { result: Some(result) }
    });
    v1::PutResponse { results: results.collect(), failed_count: u32::try_from(failed_count).unwrap_or(u32::MAX) }
}

fn put_error(PutFailure { kind: failed, message, shard }: PutFailure) -> v1::PutError {
    use v1::put_error::Kind;
    // Rounded up, and never 0, which would ask for a retry at once.
    let millis = |time: Duration| u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
    let (kind, retry_after_ms) = match failed {
        PutFailureKind::Invalid => (Kind::Invalid, 0),
        PutFailureKind::Throttled { retry_after } => (Kind::Throttled, millis(retry_after)),
        PutFailureKind::Unavailable => (Kind::Unavailable, 0),
        PutFailureKind::SequenceTooOld => (Kind::SequenceTooOld, 0),
        PutFailureKind::SequenceReused => (Kind::SequenceReused, 0),
        PutFailureKind::ExpectationFailed { .. } => (Kind::ExpectationFailed, 0),
        PutFailureKind::DiskFull { retry_after } => (Kind::DiskFull, millis(retry_after)),
        PutFailureKind::StreamFull { retry_after } => (Kind::StreamFull, millis(retry_after)),
    };
    let next_offset = match failed {
        PutFailureKind::ExpectationFailed { next_offset } => Some(next_offset.0),
        _ => None,
    };
    v1::PutError { kind: kind.into(), message, shard: shard.map(|shard| shard.0), retry_after_ms, next_offset }
}

/// Counts what was given to a principal, as quotas count it.
fn count_read(payer: Option<&Payer>, records: &[Record]) {
    if let Some(payer) = payer {
        payer.read(records.len() as u64, records.iter().map(|record| record.bytes() as u64).sum());
    }
}

/// A reader's name; none where it is empty.
fn consumer(name: String) -> Result<Option<ConsumerName>, Error> {
    if name.is_empty() { Ok(None) } else { ConsumerName::try_from(name).map(Some) }
}

pub(super) fn position(position: Option<v1::Position>) -> Result<Position, Status> {
    use v1::position::Position as Wire;
    match position.and_then(|position| position.position) {
        Some(Wire::TrimHorizon(_)) => Ok(Position::TrimHorizon),
        Some(Wire::Latest(_)) => Ok(Position::Latest),
        Some(Wire::Offset(offset)) => Ok(Position::Offset(Offset(offset))),
        Some(Wire::TimeMs(time)) => Ok(Position::Time(Timestamp(time))),
        Some(Wire::AfterOffset(offset)) => Ok(Position::After(Offset(offset))),
        None => {
            Err(Error::invalid("a position is missing: give trim_horizon, latest, offset, after_offset or time_ms")
                .in_field("position")
                .into())
        }
    }
}

fn shard_end(end: ShardEnd) -> v1::ShardEnd {
    let children = end.children.into_iter().map(|child| v1::ChildShard {
        shard: child.shard.0,
        parents: child.parents.iter().map(|parent| parent.0).collect(),
        hash_key_start: child.range.start.to_string(),
        hash_key_end: child.range.end.to_string(),
    });
    v1::ShardEnd { children: children.collect() }
}

fn records(records: Vec<Record>) -> Result<Vec<v1::Record>, Error> {
    let record = |record: Record| {
        let Ok(partition_key) = String::from_utf8(record.partition_key.into()) else {
            let message = format!("the partition key of the record at offset {} is not UTF-8", record.offset);
            return Err(Error::new(crate::error::Kind::DataLoss, message));
        };
        Ok(v1::Record {
            offset: record.offset.0,
            arrival_time_ms: record.arrival_time.as_millis(),
            partition_key,
            data: record.data,
        })
    };
    records.into_iter().map(record).collect()
}
