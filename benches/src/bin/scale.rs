//! The same load over more and more shards, and what shards and idle streams cost in memory and files.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::path::Path;

use clap::Parser;
use millrace_benches::load::{self, Producers};
use millrace_benches::place::Place;
use millrace_benches::site::Site;
use millrace_tests::server::ServerSettings;

#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of load for each number of shards.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(flatten)]
    place: Place,
    /// The numbers of shards.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    shards: Vec<u32>,
    /// How many streams lie idle.
    #[arg(long, default_value_t = 1000)]
    idle_streams: u32,
    #[command(flatten)]
    producers: Producers,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let mut rates = Vec::new();
    for shards in &arguments.shards {
        rates.push(loaded(&arguments, *shards).await?);
    }
    let best = rates.iter().copied().fold(f64::MIN, f64::max);
    let worst = rates.iter().copied().fold(f64::MAX, f64::min);
    println!("from best to worst throughput falls by {:.0} % (wanted: under 20 %)", 100.0 * (1.0 - worst / best));
    idle(&arguments).await;
    Ok(())
}

fn start(arguments: &Arguments) -> Site {
    let count = arguments.idle_streams.max(1) + 1;
    let most = arguments.shards.iter().copied().max().unwrap_or(1);
    Site::start_with(&arguments.place.folder, |settings: ServerSettings| {
        settings.env("MILLRACE_STREAMS_SHARD_COUNT_MAX", most).env("MILLRACE_STREAMS_COUNT_MAX", count)
    })
}

/// Megabytes a second.
async fn loaded(arguments: &Arguments, shards: u32) -> std::io::Result<f64> {
    let site = start(arguments);
    let before = site.server.resident_bytes();
    site.create_stream("bench", shards).await;
    let created = site.server.resident_bytes();
    let load = arguments.producers.load(arguments.seconds);
    let done = load::run(&site.server.endpoint(), &load).await;
    println!(
        "{shards} shards: {:.0} MB/s, {:.0} records/s; {} MB resident, {} files open, {} on disk; an idle shard takes {:.1} KB",
        done.megabytes_per_second(),
        done.records_per_second(),
        site.server.resident_bytes() / 1_000_000,
        std::fs::read_dir(format!("/proc/{}/fd", site.server.pid()))?.count(),
        files_below(&site.settings.data_dir)?,
        created.saturating_sub(before) as f64 / 1e3 / f64::from(shards),
    );
    Ok(done.megabytes_per_second())
}

fn files_below(folder: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        count += if path.is_dir() { files_below(&path)? } else { 1 };
    }
    Ok(count)
}

async fn idle(arguments: &Arguments) {
    let site = start(arguments);
    site.create_stream("first", 1).await;
    let before = site.server.resident_bytes();
    for number in 0..arguments.idle_streams {
        site.create_stream(&format!("idle-{number}"), 1).await;
    }
    let megabytes = site.server.resident_bytes().saturating_sub(before) as f64 / 1e6;
    println!("{} idle streams: {megabytes:.1} MB (wanted: under 20)", arguments.idle_streams);
}
