//! The clients of a crash run: each does one kind of operation for as long as the run lasts, and notes what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_client::{Client, ProducerSettings, PutRecord as ClientRecord};
use millrace_proto::v1::put_error::Kind;
use millrace_proto::v1::put_result::Result as Outcome;
use millrace_proto::v1::{
    self, CreateStreamRequest, DeleteStreamRequest, Expect, FlushDeliveryRequest, GetRequest, ListShardsRequest,
    MergeShardsRequest, PutRecord, PutRequest, PutResponse, RotateStreamKeyRequest, SplitShardRequest,
};
use millrace_tests::grpc;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use tonic::transport::{Channel, Endpoint};

use super::history::{Append, Fate, History, Place, Read};

/// Between two operations of a client, and before it looks for a server that is away: a load that leaves the disk time.
const PAUSE: Duration = Duration::from_millis(3);
/// Open shards are merged from here on.
const OPEN_SHARDS_MAX: usize = 6;

/// What the clients of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) endpoint: String,
    pub(crate) stream: String,
    pub(crate) history: History,
    pub(crate) stop: AtomicBool,
}

impl Run {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// A connection that comes back by itself.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(self.endpoint.clone()).expect("a URL").connect_lazy()
    }

    fn records(&self, ids: &[i64], key: &str, generator: &mut StdRng) -> Vec<PutRecord> {
        let spread = generator.random_bool(0.5);
        let record = |id: &i64| {
            let pad = "x".repeat(generator.random_range(0..200));
            let partition_key = if spread { format!("{key}-{id}") } else { key.to_owned() };
            PutRecord { partition_key, explicit_hash_key: None, data: data(*id, &pad).into() }
        };
        ids.iter().map(record).collect()
    }

    fn note(&self, ids: Vec<i64>, fates: Vec<Fate>, expected: Option<(Place, Option<u64>)>, invoked: u64) {
        let ended = self.history.now();
        self.history.appends.lock().push(Append { ids, fates, expected, invoked, ended });
    }
}

fn data(id: i64, pad: &str) -> String {
    format!("{{\"id\":{id},\"pad\":\"{pad}\"}}")
}

/// The id that a record carries.
pub(crate) fn id_of(data: &[u8]) -> i64 {
    serde_json::from_slice::<serde_json::Value>(data).expect("JSON")["id"].as_i64().expect("an id")
}

/// Puts with one try each: what is not answered is unknown.
pub(crate) async fn put_once(run: Arc<Run>, seed: u64) {
    let mut generator = StdRng::seed_from_u64(seed);
    let mut records = grpc::records(&run.channel());
    while !run.stopped() {
        let ids = run.history.ids(generator.random_range(1..20));
        let request = PutRequest {
            stream: run.stream.clone(),
            records: run.records(&ids, &format!("once-{}", ids[0]), &mut generator),
            ..PutRequest::default()
        };
        let invoked = run.history.now();
        let fates = match records.put(request).await {
            Ok(answer) => fates(&answer.into_inner()),
            Err(_) => vec![Fate::Unknown; ids.len()],
        };
        run.note(ids, fates, None, invoked);
        tokio::time::sleep(PAUSE).await;
    }
}

fn fates(answer: &PutResponse) -> Vec<Fate> {
    let fate = |result: &v1::PutResult| match &result.result {
        Some(Outcome::Placed(placed)) => Fate::Stored((placed.shard, placed.offset)),
        Some(Outcome::Error(error)) if error.kind() == Kind::Unavailable => Fate::Unknown,
        Some(Outcome::Error(_)) => Fate::Refused,
        None => Fate::Unknown,
    };
    answer.results.iter().map(fate).collect()
}

/// Puts under names, each sent again until it is known to be stored, and some once more after that.
pub(crate) async fn put_named(run: Arc<Run>, seed: u64) {
    let mut generator = StdRng::seed_from_u64(seed);
    let producer_id = generator.next_u64().max(1);
    let mut records = grpc::records(&run.channel());
    for sequence in 0.. {
        if run.stopped() {
            return;
        }
        let ids = run.history.ids(generator.random_range(1..20));
        let batch = run.records(&ids, &format!("named-{}", ids[0]), &mut generator);
        let (invoked, began) = (run.history.now(), Instant::now());
        let mut tries = 0_u64;
        let mut put = async || {
            let age = u64::try_from(began.elapsed().as_millis()).expect("a test is short").max(1);
            let request = PutRequest {
                stream: run.stream.clone(),
                records: batch.clone(),
                producer_id,
                sequence,
                sequence_age_ms: if tries == 0 { 0 } else { age },
                expect: None,
            };
            tries += 1;
            records.put(request).await
        };
        let places = loop {
            match put().await {
                Ok(answer) => {
                    let fates = fates(&answer.into_inner());
                    assert!(!fates.contains(&Fate::Refused), "sequence {sequence} was refused: {fates:?}");
                    if !fates.contains(&Fate::Unknown) {
                        break fates;
                    }
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        if generator.random_bool(0.2)
            && let Ok(answer) = put().await
        {
            let answer = answer.into_inner();
            // A log that stopped after a failed sync knows nothing for certain.
            let again = fates(&answer);
            let known = !again.contains(&Fate::Unknown);
            let duplicate = |result: &v1::PutResult| matches!(&result.result, Some(Outcome::Placed(p)) if p.duplicate);
            assert!(!known || again == places, "sequence {sequence} lies at {places:?}, and then at {again:?}");
            assert!(!known || answer.results.iter().all(duplicate), "sequence {sequence} was stored twice");
        }
        run.note(ids, places, None, invoked);
        tokio::time::sleep(PAUSE).await;
    }
}

/// The SDK's producer with its defaults: every record that it accepts is stored, whatever happens to the server.
pub(crate) async fn put_by_sdk(run: Arc<Run>) {
    let client = Client::connect(&run.endpoint).expect("a client");
    let settings = ProducerSettings { batch_records_max: 7, ..ProducerSettings::default() };
    let producer = client.producer_with(&run.stream, settings).expect("a producer");
    while !run.stopped() {
        let mut sent = Vec::new();
        for id in run.history.ids(60) {
            let invoked = run.history.now();
            let record = ClientRecord::new(format!("sdk-{id}"), data(id, ""));
            sent.push((id, invoked, producer.send(record).await.expect("accepted")));
        }
        for (id, invoked, fate) in sent {
            let placed = fate.await.unwrap_or_else(|error| panic!("record {id} of the SDK failed: {error}"));
            run.note(vec![id], vec![Fate::Stored((placed.shard, placed.offset))], None, invoked);
        }
        tokio::time::sleep(PAUSE).await;
    }
    producer.close().await.expect("every record was stored");
}

/// Puts at the offset that it believes to be next, sometimes wrongly.
pub(crate) async fn put_expecting(run: Arc<Run>, seed: u64) {
    let mut generator = StdRng::seed_from_u64(seed);
    let channel = run.channel();
    let mut records = grpc::records(&channel);
    while !run.stopped() {
        let Some(shard) = open_shards(&run, &channel).await.choose(&mut generator).cloned() else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let mut next = shard.next_offset;
        for _ in 0..20 {
            if generator.random_bool(0.1) {
                next = next.saturating_add_signed(generator.random_range(-3..3));
            }
            let ids = run.history.ids(generator.random_range(1..4));
            let records_of = ids.iter().map(|id| PutRecord {
                partition_key: "expecting".to_owned(),
                explicit_hash_key: Some(shard.hash_key_start.clone()),
                data: data(*id, "").into(),
            });
            let request = PutRequest {
                stream: run.stream.clone(),
                records: records_of.collect(),
                expect: Some(Expect { shard: shard.shard, next_offset: next }),
                ..PutRequest::default()
            };
            let (place, invoked) = ((shard.shard, next), run.history.now());
            let (fates, refused_at) = match records.put(request).await {
                Ok(answer) => (fates(answer.get_ref()), actual_next(answer.get_ref())),
                // A shard that was closed takes nothing.
                Err(status) if status.code() == tonic::Code::FailedPrecondition => {
                    (vec![Fate::Refused; ids.len()], None)
                }
                Err(_) => (vec![Fate::Unknown; ids.len()], None),
            };
            next = refused_at.unwrap_or(next + ids.len() as u64);
            let goes_on =
                fates.iter().all(|fate| *fate != Fate::Unknown) && (refused_at.is_some() || fates[0] != Fate::Refused);
            run.note(ids, fates, Some((place, refused_at)), invoked);
            tokio::time::sleep(PAUSE).await;
            if !goes_on || run.stopped() {
                break;
            }
        }
    }
}

fn actual_next(answer: &PutResponse) -> Option<u64> {
    match answer.results.first()?.result.as_ref()? {
        Outcome::Error(error) if error.kind() == Kind::ExpectationFailed => error.next_offset,
        _ => None,
    }
}

/// The stream's open shards; none while the server is away.
async fn open_shards(run: &Run, channel: &Channel) -> Vec<v1::Shard> {
    shards(run, channel).await.unwrap_or_default().into_iter().filter(|shard| !shard.closed).collect()
}

/// All shards of the stream.
pub(crate) async fn shards(run: &Run, channel: &Channel) -> Result<Vec<v1::Shard>, tonic::Status> {
    let request = ListShardsRequest { stream: run.stream.clone(), ..ListShardsRequest::default() };
    Ok(grpc::streams(channel).list_shards(request).await?.into_inner().shards)
}

/// Reads anywhere, old and new.
pub(crate) async fn read(run: Arc<Run>, seed: u64) {
    let mut generator = StdRng::seed_from_u64(seed);
    let channel = run.channel();
    while !run.stopped() {
        tokio::time::sleep(PAUSE).await;
        let Ok(shards) = shards(&run, &channel).await else { continue };
        let Some(shard) = shards.choose(&mut generator) else { continue };
        let back = generator.random_range(0..=shard.next_offset.min(50));
        let _gone = read_shard(&run, &channel, shard.shard, shard.next_offset - back, 40).await;
    }
}

/// Reads once, and notes what was found.
pub(crate) async fn read_shard(run: &Run, channel: &Channel, shard: u32, from: u64, limit: u32) -> Option<Vec<i64>> {
    let position = v1::Position { position: Some(v1::position::Position::Offset(from)) };
    let stream = run.stream.clone();
    let request = GetRequest { stream, shard, position: Some(position), records_max: limit, ..GetRequest::default() };
    let invoked = run.history.now();
    let answer = grpc::records(channel).get(request).await.ok()?.into_inner();
    let ended = run.history.now();
    for (expected, record) in (from..).zip(&answer.records) {
        assert_eq!(record.offset, expected, "shard {shard}: offsets are not dense from {from} on");
    }
    let ids: Vec<i64> = answer.records.iter().map(|record| id_of(&record.data)).collect();
    let to_the_end = ids.len() < limit as usize && answer.millis_behind_latest == 0;
    run.history.reads.lock().push(Read { shard, from, ids: ids.clone(), to_the_end, invoked, ended });
    Some(ids)
}

/// Splits, merges, rotates keys, makes and deletes streams, lets records pass their retention, and flushes the delivery.
pub(crate) async fn operate(run: Arc<Run>, seed: u64) {
    let mut generator = StdRng::seed_from_u64(seed);
    let channel = run.channel();
    let (mut streams, mut records, mut deliveries) =
        (grpc::streams(&channel), grpc::records(&channel), grpc::deliveries(&channel));
    let put = |stream: &str| grpc::put_request(stream, [("k".to_owned(), data(0, "").into_bytes())]);
    for number in 0.. {
        if run.stopped() {
            return;
        }
        // What fails here fails with the server; the clients that keep a history notice what is lost.
        match number % 5 {
            0 => reshape(&run, &channel, &mut generator).await,
            1 => drop(streams.rotate_stream_key(RotateStreamKeyRequest { name: run.stream.clone() }).await),
            2 => {
                let name = format!("brief-{}", generator.random::<u32>());
                let request = CreateStreamRequest { name: name.clone(), ..CreateStreamRequest::default() };
                drop(streams.create_stream(request).await);
                drop(records.put(put(&name)).await);
                drop(streams.delete_stream(DeleteStreamRequest { name }).await);
            }
            3 => drop(deliveries.flush_delivery(FlushDeliveryRequest { name: run.stream.clone() }).await),
            _ => drop(records.put(put("short")).await),
        }
        tokio::time::sleep(PAUSE * 4).await;
    }
}

/// Splits an open shard, or merges two neighbours.
async fn reshape(run: &Run, channel: &Channel, generator: &mut StdRng) {
    let mut open = open_shards(run, channel).await;
    open.sort_by_key(|shard| shard.hash_key_start.parse::<u128>().unwrap_or_default());
    if open.is_empty() {
        return;
    }
    let at = generator.random_range(0..open.len());
    let (stream, shard) = (run.stream.clone(), open[at].shard);
    if open.len() >= OPEN_SHARDS_MAX {
        let at = at.min(open.len() - 2);
        let (shard, adjacent_shard) = (open[at].shard, open[at + 1].shard);
        drop(grpc::streams(channel).merge_shards(MergeShardsRequest { stream, shard, adjacent_shard }).await);
    } else {
        let request = SplitShardRequest { stream, shard, hash_key: String::new() };
        drop(grpc::streams(channel).split_shard(request).await);
    }
}
