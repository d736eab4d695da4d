//! A log under load with retention at work for a long time: bytes that reach the disk for each byte appended, and what a trim
//! costs by the records that it covers. Without a server, so that the processor is the log's alone.
//!
//! `cargo run --release --workspace --bin endure -- --seconds 3600 --folder /data`
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use millrace_benches::place::Place;
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::log::{Log, NewRecord, Offset, ShardId, ShardKey, StreamId};
use rand::Rng;

const RECORD_BYTES: usize = 1024;
const BATCH_RECORDS: usize = 500;
const SHARDS: u32 = 8;

#[derive(Debug, Parser)]
struct Arguments {
    /// How long the log is appended to.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// What retention keeps, in MB; the oldest beyond it is trimmed every second.
    #[arg(long, default_value_t = 4000)]
    kept_megabytes: u64,
    /// The most that is appended, in MB a second.
    #[arg(long, default_value_t = 200)]
    megabytes_per_second: u64,
    #[command(flatten)]
    place: Place,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let folder = tempfile::tempdir_in(&arguments.place.folder)?;
    endure(&arguments, &folder.path().join("log")).await?;
    trim(&folder.path().join("small")).await;
    Ok(())
}

fn shard(number: u32) -> ShardKey {
    ShardKey { stream: StreamId(1), shard: ShardId(number) }
}

fn batch() -> Vec<NewRecord> {
    let mut random = rand::rng();
    let record = |_| {
        let mut data = vec![0; RECORD_BYTES];
        random.fill(&mut data[..]);
        NewRecord { partition_key: Bytes::from_static(b"key-1234"), data: Bytes::from(data) }
    };
    (0..BATCH_RECORDS).map(record).collect()
}

/// What this process has sent to the disk.
fn written_bytes() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok())
        .ok_or_else(|| std::io::Error::other("/proc/self/io tells no write_bytes"))
}

async fn endure(arguments: &Arguments, folder: &Path) -> std::io::Result<()> {
    let log = Arc::new(RocksLog::open(LogSettings::new(folder)).map_err(std::io::Error::other)?);
    let batches = Arc::new((0..16).map(|_| batch()).collect::<Vec<_>>());
    let kept_records = arguments.kept_megabytes * 1_000_000 / u64::from(SHARDS) / RECORD_BYTES as u64;
    let turn = Duration::from_secs_f64(
        f64::from(SHARDS) * (BATCH_RECORDS * RECORD_BYTES) as f64 / (arguments.megabytes_per_second * 1_000_000) as f64,
    );
    let (before, start) = (written_bytes()?, Instant::now());
    let until = start + Duration::from_secs(arguments.seconds);
    let producers: Vec<_> = (0..SHARDS)
        .map(|number| {
            let (log, batches) = (Arc::clone(&log), Arc::clone(&batches));
            tokio::spawn(async move {
                let mut turns = tokio::time::interval(turn);
                let mut trimmed_at = Instant::now();
                for batch in batches.iter().cycle() {
                    if Instant::now() >= until {
                        return;
                    }
                    turns.tick().await;
                    let ticket = log.append(shard(number), batch.clone().into()).await.expect("append");
                    ticket.durable().await.expect("durable");
                    let end = log.offsets(shard(number)).end;
                    if trimmed_at.elapsed() >= Duration::from_secs(1) && end.0 > kept_records {
                        log.trim(shard(number), Offset(end.0 - kept_records)).await.expect("trim");
                        trimmed_at = Instant::now();
                    }
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.map_err(std::io::Error::other)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let stats = log.stats();
    let disk_bytes = stats.disk_bytes;
    log.close().await.map_err(std::io::Error::other)?;
    let written = written_bytes()? - before;
    println!(
        "{:.0} s at {:.0} MB/s, {} MB kept: {:.2} bytes to the disk for each byte appended (wanted: 2.50 or less)",
        seconds,
        stats.bytes as f64 / 1e6 / seconds,
        arguments.kept_megabytes,
        written as f64 / stats.bytes as f64
    );
    println!("{:.1} GB appended, {:.1} GB on disk at the end", stats.bytes as f64 / 1e9, disk_bytes as f64 / 1e9);
    Ok(())
}

/// A trim of blocks and one of ten times as many: by range, its time does not grow tenfold.
async fn trim(folder: &Path) {
    let log = RocksLog::open(LogSettings::new(folder)).expect("open");
    let record = || NewRecord { partition_key: Bytes::from_static(b"k"), data: Bytes::from_static(b"small") };
    let mut times = Vec::new();
    for (number, blocks) in [(0, 2_000_u64), (1, 20_000)] {
        let shard = shard(number);
        for _ in 0..blocks / 100 {
            let mut tickets = Vec::new();
            // A block each, as a record of many bytes would make.
            for _ in 0..100 {
                tickets.push(log.append(shard, vec![record()].into()).await.expect("append"));
            }
            for ticket in tickets {
                ticket.durable().await.expect("durable");
            }
        }
        let start = Instant::now();
        log.trim(shard, log.offsets(shard).end).await.expect("trim");
        times.push(start.elapsed().as_secs_f64());
        println!("a trim of {blocks} records: {:.2} ms", times[times.len() - 1] * 1e3);
    }
    println!("ten times the records take {:.1} times as long (wanted: far under 10)", times[1] / times[0]);
}
