//! Producers on the wire: batches built once, many in flight, each answer counted when it is there.

use std::time::{Duration, Instant};

use futures::StreamExt;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::{PutRecord, PutRequest};
use rand::RngCore;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

/// What a load consists of.
#[derive(Debug, Clone)]
pub struct Load {
    /// The stream that it goes to.
    pub stream: String,
    /// Connections at once.
    pub producers: usize,
    /// Batches of one producer that may be unanswered.
    pub in_flight: usize,
    /// The batches that producers send in turn, over and over.
    pub batches: Vec<Vec<PutRecord>>,
    /// How long.
    pub duration: Duration,
}

/// The producers of a bench, as its arguments say.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Producers {
    /// Connections at once.
    #[arg(long, default_value_t = 8)]
    pub producers: usize,
    /// Records of a batch.
    #[arg(long, default_value_t = 500)]
    pub batch_records: usize,
    /// Data of a record.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
}

impl Producers {
    /// Their load on the stream `bench`: noise, two batches in flight each.
    #[must_use]
    pub fn load(&self, seconds: u64) -> Load {
        Load {
            stream: "bench".to_owned(),
            producers: self.producers,
            in_flight: 2,
            batches: noise(64, self.batch_records, self.record_bytes),
            duration: Duration::from_secs(seconds),
        }
    }
}

/// What was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Acknowledged {
    /// Records.
    pub records: u64,
    /// Data of these records.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Acknowledged {
    /// Records a second.
    #[must_use]
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }

    /// Megabytes (10^6) a second.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }
}

/// Batches of records whose data no codec shrinks.
#[must_use]
pub fn noise(batches: usize, records: usize, record_bytes: usize) -> Vec<Vec<PutRecord>> {
    let mut random = rand::rng();
    let mut record = || {
        let mut data = vec![0; record_bytes];
        random.fill_bytes(&mut data);
        PutRecord { partition_key: format!("{:016x}", random.next_u64()), explicit_hash_key: None, data: data.into() }
    };
    (0..batches).map(|_| (0..records).map(|_| record()).collect()).collect()
}

/// Batches of lines, each a record of its own.
#[must_use]
pub fn lines(lines: impl Iterator<Item = String>, records: usize) -> Vec<Vec<PutRecord>> {
    let mut batches = vec![Vec::with_capacity(records)];
    for (i, line) in lines.enumerate() {
        if batches.last().is_some_and(|batch| batch.len() == records) {
            batches.push(Vec::with_capacity(records));
        }
        let record =
            PutRecord { partition_key: i.to_string(), explicit_hash_key: None, data: line.into_bytes().into() };
        batches.last_mut().expect("there is always a last batch").push(record);
    }
    batches
}

/// Runs the load against a server.
///
/// # Panics
/// When the server refuses a record or breaks a connection: a load that is not taken in full measures nothing.
pub async fn run(endpoint: &str, load: &Load) -> Acknowledged {
    let start = Instant::now();
    let mut producers = Vec::new();
    for number in 0..load.producers {
        producers.push(tokio::spawn(produce(endpoint.to_owned(), load.clone(), number, start + load.duration)));
    }
    let mut total = Acknowledged::default();
    for producer in producers {
        let own = producer.await.expect("a producer runs to its end");
        total.records += own.records;
        total.bytes += own.bytes;
    }
    total.elapsed = start.elapsed();
    total
}

/// A connection to the server.
///
/// # Panics
/// When there is none to be had.
pub async fn connect(endpoint: &str) -> RecordServiceClient<Channel> {
    let channel = Endpoint::from_shared(endpoint.to_owned()).expect("an endpoint is a URL").connect().await;
    RecordServiceClient::new(channel.expect("the server listens"))
}

async fn produce(endpoint: String, load: Load, number: usize, until: Instant) -> Acknowledged {
    let mut client = connect(&endpoint).await;
    let (requests, queue) = mpsc::channel::<PutRequest>(1);
    let queue = futures::stream::unfold(queue, |mut queue| async { queue.recv().await.map(|next| (next, queue)) });
    let mut answers = client.put_stream(queue).await.expect("the server takes puts").into_inner();
    let mut turn = load.batches.iter().cycle().skip(number * load.batches.len() / load.producers);
    let (mut sent, mut answered) = (0, 0);
    let mut acknowledged = Acknowledged::default();
    let mut in_flight = std::collections::VecDeque::with_capacity(load.in_flight);
    loop {
        while Instant::now() < until && sent - answered < load.in_flight {
            let batch = turn.next().expect("a load has batches");
            in_flight.push_back((batch.len() as u64, batch.iter().map(|record| record.data.len() as u64).sum::<u64>()));
            let request = PutRequest { stream: load.stream.clone(), records: batch.clone(), ..PutRequest::default() };
            requests.send(request).await.expect("the connection holds");
            sent += 1;
        }
        let Some((records, bytes)) = in_flight.pop_front() else { return acknowledged };
        let answer = answers.next().await.expect("each put is answered").expect("the server takes puts");
        assert_eq!(answer.failed_count, 0, "a put was refused: {:?}", answer.results.first());
        answered += 1;
        acknowledged.records += records;
        acknowledged.bytes += bytes;
    }
}
