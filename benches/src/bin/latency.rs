//! One producer, one record a put, one put at a time: its time against one raw write and `fdatasync` of the same disk, into a
//! file that was written before. So are the write-ahead logs of a server that has run for a while, which this one does first.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::time::Instant;

use clap::Parser;
use millrace_benches::load::Producers;
use millrace_benches::place::Place;
use millrace_benches::site::Site;
use millrace_benches::{disk, load, percentile};
use millrace_proto::v1::PutRequest;

#[derive(Debug, Parser)]
struct Arguments {
    /// Puts, and raw writes.
    #[arg(long, default_value_t = 5000)]
    puts: usize,
    #[command(flatten)]
    place: Place,
    /// Seconds of a load of batches before; with 0 the write-ahead log is a file that grows with each put.
    #[arg(long, default_value_t = 3)]
    load_seconds: u64,
    #[command(flatten)]
    producers: Producers,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let site = Site::start(&arguments.place.folder);
    site.create_stream("bench", 1).await;
    if arguments.load_seconds > 0 {
        let done = load::run(&site.server.endpoint(), &arguments.producers.load(arguments.load_seconds)).await;
        println!("{} MB were put before", done.bytes / 1_000_000);
    }
    let mut client = load::connect(&site.server.endpoint()).await;
    let records = load::noise(1, 1, arguments.producers.record_bytes).remove(0);
    let mut puts = Vec::with_capacity(arguments.puts);
    let mut raw = Vec::with_capacity(arguments.puts);
    // In turns, so that a slow moment of the disk falls on both.
    for _ in 0..10 {
        for _ in 0..arguments.puts / 10 {
            let request = PutRequest { stream: "bench".to_owned(), records: records.clone(), ..PutRequest::default() };
            let start = Instant::now();
            let answer = client.put(request).await.map_err(std::io::Error::other)?;
            puts.push(start.elapsed());
            assert_eq!(answer.get_ref().failed_count, 0, "a put was refused");
        }
        raw.extend(disk::synced_writes(
            &arguments.place.folder,
            arguments.producers.record_bytes,
            arguments.puts / 10,
        )?);
    }
    println!("put of one record:    {}", percentile::line(&mut puts));
    println!("raw write, fdatasync: {}", percentile::line(&mut raw));
    let ratio = |percent| {
        percentile::of_sorted(&puts, percent).as_secs_f64() / percentile::of_sorted(&raw, percent).as_secs_f64()
    };
    println!("ratio: p50 {:.2}, p99 {:.2} (wanted: p99 of 3.00 or less)", ratio(50.0), ratio(99.0));
    Ok(())
}
