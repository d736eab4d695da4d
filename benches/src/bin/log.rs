//! What the log takes beside what its disk takes: durable appends without a server, against raw writes to a preallocated
//! file with one `fdatasync` for each group of the same size. It must measure both in one run, on one disk.
//!
//! `cargo run --release -p millrace-benches --bin log -- --seconds 10 --folder /data`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use millrace_benches::{disk, percentile};
use millrace_storage::encryption::{DataKey, KeyVersion, Keyring};
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::log::{Log, NewRecord, Offset, ReadLimit, Record, ShardId, ShardKey, StreamId};
use millrace_storage::time::Clock;
use rand::Rng;

#[derive(Debug, Parser)]
struct Args {
    /// How long each case appends.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the log and the raw file lie; a folder below it is made and removed.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Only this one: json, random or one.
    #[arg(long)]
    case: Option<String>,
    /// Encrypt the stream, as with a data key of its own.
    #[arg(long)]
    encrypted: bool,
}

struct Case {
    name: &'static str,
    producers: u32,
    records: usize,
    data: fn() -> Bytes,
}

const CASES: [Case; 3] = [
    Case { name: "json", producers: 8, records: 500, data: json },
    Case { name: "random", producers: 8, records: 500, data: random },
    Case { name: "one", producers: 1, records: 1, data: json },
];

/// About 1 KiB in the style of an event: names that repeat and numbers that do not.
fn json() -> Bytes {
    let mut rng = rand::rng();
    let mut text = String::from("{");
    while text.len() < 1000 {
        let (field, number, place) = (rng.random_range(0..40), rng.random::<u32>(), rng.random::<u16>());
        text += &format!("\"field_{field}\":{number},\"place\":\"{place:x}\",");
    }
    text.truncate(1023);
    text.push('}');
    Bytes::from(text)
}

/// 1 KiB that no codec makes smaller.
fn random() -> Bytes {
    let mut data = vec![0; 1024];
    rand::rng().fill(&mut data[..]);
    Bytes::from(data)
}

fn shard(number: u32) -> ShardKey {
    ShardKey { stream: StreamId(1), shard: ShardId(number % 2) }
}

/// The data key of an encrypted stream, or none.
fn keys(encrypted: bool) -> Arc<Keyring> {
    let keys = Keyring::default();
    if encrypted {
        keys.add(StreamId(1), DataKey::new(KeyVersion(1), &rand::random()));
        keys.seal_with(StreamId(1), Some(KeyVersion(1)));
    }
    Arc::new(keys)
}

fn open(folder: &Path, keys: &Arc<Keyring>) -> RocksLog {
    RocksLog::open_with_keys(LogSettings::new(folder), Clock::system(), Arc::clone(keys)).expect("open")
}

/// Appends one batch after the other; returns how long each took to be durable.
async fn produce(
    log: Arc<RocksLog>,
    shard: ShardKey,
    batches: Arc<Vec<Vec<NewRecord>>>,
    until: Instant,
) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let batch = batches[times.len() % batches.len()].clone();
        let start = Instant::now();
        log.append(shard, batch.into()).await.expect("append").durable().await.expect("durable");
        times.push(start.elapsed());
    }
    times
}

async fn append(case: &Case, folder: &Path, time: Duration, keys: &Arc<Keyring>) {
    let log = Arc::new(open(folder, keys));
    let record = |_| NewRecord { partition_key: Bytes::from_static(b"key-1234"), data: (case.data)() };
    let batches: Vec<Vec<NewRecord>> = (0..16).map(|_| (0..case.records).map(record).collect()).collect();
    let batches = Arc::new(batches);
    let start = Instant::now();
    let producers: Vec<_> = (0..case.producers)
        .map(|number| tokio::spawn(produce(Arc::clone(&log), shard(number), Arc::clone(&batches), start + time)))
        .collect();
    let mut times = Vec::new();
    for producer in producers {
        times.extend(producer.await.expect("a producer"));
    }
    let seconds = start.elapsed().as_secs_f64();
    let stats = log.stats();
    let rate = stats.bytes as f64 / seconds;
    let group_bytes = (stats.bytes / stats.groups) as usize;
    let groups = (stats.groups as usize).min((1 << 30) / group_bytes).min(2000);
    let mut raw = disk::synced_writes(folder, group_bytes, groups).expect("raw writes");
    let raw_rate = (group_bytes * groups) as f64 / raw.iter().sum::<Duration>().as_secs_f64();
    println!(
        "{}: {:.0} MB/s, {:.0} records/s, {} groups of {} KiB ({} KiB stored), {:.0} % of the time in writes, {:.0} % in syncs",
        case.name,
        rate / 1e6,
        stats.records as f64 / seconds,
        stats.groups,
        group_bytes >> 10,
        (stats.stored_bytes / stats.groups) >> 10,
        stats.write_micros.sum as f64 / 1e4 / seconds,
        stats.sync_micros.sum as f64 / 1e4 / seconds,
    );
    println!("  raw writes in such groups {:.0} MB/s: ratio {:.2}", raw_rate / 1e6, rate / raw_rate);
    println!("  append {}", percentile::line(&mut times));
    println!("  raw    {}", percentile::line(&mut raw));
}

/// Opens what was written, with a write-ahead log to replay as after a kill, and reads all of it.
async fn reopen(folder: &Path, keys: &Arc<Keyring>) {
    let start = Instant::now();
    let log = open(folder, keys);
    let (opened, disk_bytes) = (start.elapsed(), log.stats().disk_bytes);
    let (start, mut bytes) = (Instant::now(), 0);
    for shard in [shard(0), shard(1)] {
        let mut at = Offset::ZERO;
        while at < log.offsets(shard).end {
            let limit = ReadLimit { records_max: usize::MAX, bytes_max: 4 << 20 };
            let records = log.read(shard, at, limit).await.expect("read");
            bytes += records.iter().map(Record::bytes).sum::<usize>();
            at = records.last().expect("at least one record").offset + 1;
        }
    }
    let rate = bytes as f64 / start.elapsed().as_secs_f64();
    println!("  {:.2} GB on disk, open in {opened:.2?}, read at {:.0} MB/s", disk_bytes as f64 / 1e9, rate / 1e6);
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let keys = keys(args.encrypted);
    let folder = tempfile::tempdir_in(&args.folder).expect("a folder");
    for case in CASES.iter().filter(|case| args.case.as_deref().is_none_or(|name| name == case.name)) {
        let folder = folder.path().join(case.name);
        append(case, &folder, Duration::from_secs(args.seconds), &keys).await;
        reopen(&folder, &keys).await;
        std::fs::remove_dir_all(&folder).expect("remove");
    }
}
