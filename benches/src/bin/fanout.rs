//! Ten subscribers at the tail of one shard: what they take together beside what is put, and how long after its put a
//! record reaches them.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::StreamExt;
use millrace_benches::load::{self, Load};
use millrace_benches::percentile;
use millrace_benches::place::Place;
use millrace_benches::site::{Site, metric};
use millrace_proto::v1::{Position, PutRecord, PutRequest, SubscribeRequest, position};
use tokio::task::JoinSet;

const STREAM: &str = "bench";
/// What each subscriber is promised, and what the paced part puts: Kinesis' rate for a consumer.
const PACED_BYTES_PER_SECOND: usize = 2 << 20;
const PACED_RECORDS: usize = 20;

#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each part.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[command(flatten)]
    place: Place,
    #[arg(long, default_value_t = 10)]
    subscribers: usize,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    paced(&arguments).await;
    full(&arguments).await;
    Ok(())
}

/// Puts at a subscriber's rate; each record carries when it was put.
async fn paced(arguments: &Arguments) {
    let site = Site::start(&arguments.place.folder);
    site.create_stream(STREAM, 1).await;
    let endpoint = site.server.endpoint();
    let epoch = Instant::now();
    let mut subscribers = JoinSet::new();
    for _ in 0..arguments.subscribers {
        let mut records = subscribe(&endpoint).await;
        subscribers.spawn(async move {
            let mut delays = Vec::new();
            while let Some(Ok(pushed)) = records.next().await {
                let now = epoch.elapsed();
                for record in pushed.records {
                    let Some(put_at) = record.data.first_chunk().map(|nanos| u64::from_le_bytes(*nanos)) else {
                        continue;
                    };
                    if put_at == u64::MAX {
                        return delays;
                    }
                    delays.push(now.saturating_sub(Duration::from_nanos(put_at)));
                }
            }
            panic!("a subscription ended before the last record");
        });
    }
    let mut client = load::connect(&endpoint).await;
    let mut puts = Vec::new();
    let turn = Duration::from_secs_f64((PACED_RECORDS * arguments.record_bytes) as f64 / PACED_BYTES_PER_SECOND as f64);
    let mut turns = tokio::time::interval(turn);
    while epoch.elapsed() < Duration::from_secs(arguments.seconds) {
        turns.tick().await;
        let start = Instant::now();
        let records = stamped(start.duration_since(epoch), PACED_RECORDS, arguments.record_bytes);
        put(&mut client, records).await;
        puts.push(start.elapsed());
    }
    let put_for = epoch.elapsed().as_secs_f64();
    put(&mut client, stamped(Duration::from_nanos(u64::MAX), 1, arguments.record_bytes)).await;
    let mut delays = Vec::new();
    while let Some(own) = subscribers.join_next().await {
        delays.extend(own.expect("a subscriber runs to its end"));
    }
    let expected = puts.len() * PACED_RECORDS * arguments.subscribers;
    assert_eq!(delays.len(), expected, "every subscriber gets every record");
    println!(
        "{} subscribers, {:.1} MB/s put, {:.1} MB/s pushed",
        arguments.subscribers,
        (puts.len() * PACED_RECORDS * arguments.record_bytes) as f64 / 1e6 / put_for,
        (delays.len() * arguments.record_bytes) as f64 / 1e6 / epoch.elapsed().as_secs_f64()
    );
    println!("put to its answer:     {}", percentile::line(&mut puts));
    println!("put to its subscriber: {}", percentile::line(&mut delays));
    let ratio = percentile::of_sorted(&delays, 99.0).as_secs_f64() / percentile::of_sorted(&puts, 99.0).as_secs_f64();
    println!("ratio of p99: {ratio:.2} (wanted: under 2.00)");
}

/// Puts as fast as they are taken.
async fn full(arguments: &Arguments) {
    let site = Site::start(&arguments.place.folder);
    site.create_stream(STREAM, 1).await;
    let endpoint = site.server.endpoint();
    let pushed = Arc::new(AtomicU64::new(0));
    let mut subscribers = JoinSet::new();
    for _ in 0..arguments.subscribers {
        let mut records = subscribe(&endpoint).await;
        let pushed = Arc::clone(&pushed);
        subscribers.spawn(async move {
            while let Some(message) = records.next().await {
                let message = message.expect("a subscription holds");
                let bytes: usize = message.records.iter().map(|record| record.data.len()).sum();
                pushed.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        });
    }
    let load = Load {
        stream: STREAM.to_owned(),
        producers: 2,
        in_flight: 2,
        batches: load::noise(16, 500, arguments.record_bytes),
        duration: Duration::from_secs(arguments.seconds),
    };
    let done = load::run(&endpoint, &load).await;
    let out = pushed.load(Ordering::Relaxed) as f64 / 1e6 / done.elapsed.as_secs_f64();
    assert_eq!(subscribers.len(), arguments.subscribers, "no subscriber ended");
    subscribers.shutdown().await;
    let reads = |kind: &str| metric(&site.server, &format!("millrace_log_cache_{kind}_total")).unwrap_or_default();
    let (hits, misses) = (reads("hits"), reads("misses"));
    println!("reads from memory alone: {:.1} %", 100.0 * hits / (hits + misses).max(1.0));
    println!(
        "at full speed: {:.0} MB/s put, {out:.0} MB/s pushed: ratio {:.2} (wanted: 5.00 or more)",
        done.megabytes_per_second(),
        out / done.megabytes_per_second()
    );
}

async fn subscribe(endpoint: &str) -> tonic::Streaming<millrace_proto::v1::SubscribeResponse> {
    let mut client = load::connect(endpoint).await;
    let latest = Position { position: Some(position::Position::Latest(position::Latest {})) };
    let request = SubscribeRequest {
        stream: STREAM.to_owned(),
        shard: Some(0),
        position: Some(latest),
        ..SubscribeRequest::default()
    };
    client.subscribe(request).await.expect("the server takes subscribers").into_inner()
}

async fn put(
    client: &mut millrace_proto::v1::record_service_client::RecordServiceClient<tonic::transport::Channel>,
    records: Vec<PutRecord>,
) {
    let request = PutRequest { stream: STREAM.to_owned(), records, ..PutRequest::default() };
    let answer = client.put(request).await.expect("the server takes puts").into_inner();
    assert_eq!(answer.failed_count, 0, "a put was refused");
}

/// Records that begin with a time.
fn stamped(at: Duration, records: usize, record_bytes: usize) -> Vec<PutRecord> {
    let mut records = load::noise(1, records, record_bytes).remove(0);
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
    for record in &mut records {
        record.data = [&nanos, &record.data[nanos.len()..]].concat().into();
    }
    records
}
