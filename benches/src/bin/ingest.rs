//! Durable ingest through gRPC against what the same disk takes raw, and against the logs of others, each of which syncs
//! what it acknowledges: Redis Streams, NATS JetStream, Apache Kafka.
//!
//! 1 KiB records, batches of 500, 8 producers; client and server share the machine.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::time::Duration;

use clap::Parser;
use millrace_benches::discard::Discard;
use millrace_benches::disk;
use millrace_benches::load::{self, Acknowledged, Producers};
use millrace_benches::peers::kafka::Kafka;
use millrace_benches::peers::nats::Nats;
use millrace_benches::peers::redis::Redis;
use millrace_benches::place::Place;
use millrace_benches::site::{Site, metric};

#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each side.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    producers: Producers,
    #[arg(long, default_value_t = 4)]
    shards: u32,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let (millrace, group_bytes) = millrace(&arguments).await;
    for (limit, times) in [("writes to a preallocated file", Raw::Preallocated), ("appends", Raw::Appended)] {
        let raw = raw(&arguments, group_bytes, times)?;
        println!(
            "raw {limit}, one fdatasync per {} KiB group: {raw:.0} MB/s; ratio {:.2} (wanted: {} or more)",
            group_bytes / 1024,
            millrace.megabytes_per_second() / raw,
            times.wanted()
        );
    }
    let carried = discarded(&arguments).await?.megabytes_per_second();
    println!(
        "the same load to a gRPC server that discards it: {carried:.0} MB/s; ratio {:.2}",
        millrace.megabytes_per_second() / carried
    );
    peers(&arguments, millrace.records_per_second()).await
}

/// Millrace's side, and how many bytes it wrote per sync.
async fn millrace(arguments: &Arguments) -> (Acknowledged, usize) {
    let site = Site::start(&arguments.place.folder);
    site.create_stream("bench", arguments.shards).await;
    let done = load::run(&site.server.endpoint(), &arguments.producers.load(arguments.seconds)).await;
    let groups = metric(&site.server, "millrace_log_sync_seconds_count").unwrap_or_default();
    let appended = metric(&site.server, "millrace_log_bytes_total").unwrap_or(done.bytes as f64);
    let Producers { producers, batch_records, record_bytes } = arguments.producers;
    let fallback = producers * batch_records * record_bytes;
    let group_bytes = if groups > 0.0 { (appended / groups) as usize } else { fallback };
    report("millrace, gRPC, fsync before acknowledgement", &done);
    let source = if groups > 0.0 { "measured" } else { "ASSUMED: one batch of each producer" };
    println!(
        "  {} KiB per sync ({source}), {} MB resident",
        group_bytes / 1024,
        site.server.resident_bytes() / 1_000_000
    );
    (done, group_bytes)
}

async fn discarded(arguments: &Arguments) -> std::io::Result<Acknowledged> {
    let server = Discard::start()?;
    Ok(load::run(server.endpoint(), &arguments.producers.load(arguments.seconds)).await)
}

/// A limit that the disk sets.
#[derive(Debug, Clone, Copy)]
enum Raw {
    Preallocated,
    Appended,
}

impl Raw {
    const fn wanted(self) -> &'static str {
        match self {
            Self::Preallocated => "0.50",
            Self::Appended => "0.75",
        }
    }
}

/// Megabytes a second.
fn raw(arguments: &Arguments, group_bytes: usize, limit: Raw) -> std::io::Result<f64> {
    // As many groups as fit into the time at 400 MB/s, at most 8 GB.
    let groups = (400_000_000 * arguments.seconds as usize).min(8_000_000_000) / group_bytes;
    let times = match limit {
        Raw::Preallocated => disk::synced_writes(&arguments.place.folder, group_bytes, groups)?,
        Raw::Appended => disk::synced_appends(&arguments.place.folder, group_bytes, groups)?,
    };
    Ok((group_bytes * groups) as f64 / 1e6 / times.iter().sum::<Duration>().as_secs_f64())
}

/// The same records, batches and clients to the logs of others; each stores at least some seconds' worth.
async fn peers(arguments: &Arguments, ours: f64) -> std::io::Result<()> {
    let workload = arguments.producers;
    let against = |peer: &str, rate: Option<f64>| match rate {
        Some(rate) => println!("{peer}: {rate:.0} records/s; ratio {:.2} (wanted: more than 1.00)", ours / rate),
        None => println!("SKIPPED: {peer} is not installed (benches/peers.sh), so there is no comparison with it"),
    };
    let folder = tempfile::tempdir_in(&arguments.place.folder)?;
    let redis = match Redis::start(folder.path())? {
        Some(redis) => Some(redis.run(workload, Duration::from_secs(arguments.seconds)).await?.records_per_second()),
        None => None,
    };
    against("Redis Streams, appendfsync always", redis);
    for (way, messages_per_second) in [("async", 2_000), ("atomic", 40_000)] {
        let folder = tempfile::tempdir_in(&arguments.place.folder)?;
        let messages = messages_per_second * arguments.seconds as usize;
        let nats = match Nats::start(folder.path())? {
            Some(nats) => Some(nats.run(way, workload, messages).await?),
            None => None,
        };
        against(&format!("NATS JetStream, sync_interval always, {way} publish"), nats);
    }
    let folder = tempfile::tempdir_in(&arguments.place.folder)?;
    let kafka = match Kafka::start(folder.path()).await? {
        Some(kafka) => Some(kafka.run(workload, 4_000 * arguments.seconds as usize).await?),
        None => None,
    };
    against("Apache Kafka, flush.messages 1", kafka);
    Ok(())
}

fn report(side: &str, done: &Acknowledged) {
    println!("{side}: {:.0} records/s, {:.0} MB/s", done.records_per_second(), done.megabytes_per_second());
}
