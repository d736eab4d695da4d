//! Durable ingest through gRPC against what the same disk takes raw, and against Redis Streams with `appendfsync always`.
//!
//! 1 KiB records, batches of 500, 8 producers; client and server share the machine.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use millrace_benches::load::{self, Acknowledged, Load};
use millrace_benches::redis::Redis;
use millrace_benches::site::{Site, metric};
use millrace_benches::{disk, machine};

#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each side.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// A folder on the disk to measure.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    #[arg(long, default_value_t = 8)]
    producers: usize,
    #[arg(long, default_value_t = 500)]
    batch_records: usize,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    #[arg(long, default_value_t = 4)]
    shards: u32,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.folder)?;
    println!("{}", machine::describe(&arguments.folder));
    let (millrace, group_bytes) = millrace(&arguments).await;
    let raw = raw(&arguments, group_bytes)?;
    println!(
        "ratio to raw writes with one fdatasync per {} KiB group: {:.2} (wanted: 0.50 or more)",
        group_bytes / 1024,
        millrace.megabytes_per_second() / raw
    );
    match redis(&arguments).await? {
        Some(redis) => println!(
            "ratio to Redis Streams, appendfsync always: {:.2} (wanted: more than 1.00)",
            millrace.records_per_second() / redis.records_per_second()
        ),
        None => println!("SKIPPED: redis-server is not installed, so there is no comparison with Redis Streams"),
    }
    Ok(())
}

/// Millrace's side, and how many bytes it wrote per sync.
async fn millrace(arguments: &Arguments) -> (Acknowledged, usize) {
    let site = Site::start(&arguments.folder);
    site.create_stream("bench", arguments.shards).await;
    let load = Load {
        stream: "bench".to_owned(),
        producers: arguments.producers,
        in_flight: 2,
        batches: load::noise(64, arguments.batch_records, arguments.record_bytes),
        duration: Duration::from_secs(arguments.seconds),
    };
    let done = load::run(&site.server.endpoint(), &load).await;
    let groups = metric(&site.server, "millrace_log_sync_seconds_count").unwrap_or_default();
    let appended = metric(&site.server, "millrace_log_bytes_total").unwrap_or(done.bytes as f64);
    let fallback = arguments.producers * arguments.batch_records * arguments.record_bytes;
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

fn raw(arguments: &Arguments, group_bytes: usize) -> std::io::Result<f64> {
    // As many groups as fit into the time at 400 MB/s, at most 8 GB.
    let groups = (400_000_000 * arguments.seconds as usize).min(8_000_000_000) / group_bytes;
    let times = disk::synced_writes(&arguments.folder, group_bytes, groups)?;
    let rate = (group_bytes * groups) as f64 / 1e6 / times.iter().sum::<Duration>().as_secs_f64();
    println!("raw writes to a preallocated file: {rate:.0} MB/s");
    Ok(rate)
}

async fn redis(arguments: &Arguments) -> std::io::Result<Option<Acknowledged>> {
    let folder = tempfile::tempdir_in(&arguments.folder)?;
    let Some(server) = Redis::start(folder.path())? else { return Ok(None) };
    let duration = Duration::from_secs(arguments.seconds);
    let done = server.run(arguments.producers, arguments.batch_records, arguments.record_bytes, duration).await?;
    report("Redis Streams, appendfsync always", &done);
    Ok(Some(done))
}

fn report(side: &str, done: &Acknowledged) {
    println!("{side}: {:.0} records/s, {:.0} MB/s", done.records_per_second(), done.megabytes_per_second());
}
