//! The whole way, put to committed table, with the server's memory over time.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use millrace_benches::load::{self, Load};
use millrace_benches::place::Place;
use millrace_benches::site::Site;
use millrace_proto::v1::{DescribeDeliveryRequest, FlushDeliveryRequest};
use millrace_tests::pipeline::Pipeline;
use millrace_tests::{cli, flights, grpc};

#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of load.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    place: Place,
    #[arg(long, default_value_t = 2)]
    producers: usize,
    /// The configured budget that memory is held against, in MB.
    #[arg(long, default_value_t = 512)]
    budget_megabytes: u64,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let site = Site::start(&arguments.place.folder);
    let pid = site.server.pid();
    println!("resident when idle: {} MB (wanted: under 80)", resident_megabytes(pid));
    let pipeline = Pipeline::new("flights").write(&site.folder());
    let applied = cli::millrace(&site.server, &["apply", "-f", &pipeline.display().to_string()]).ok();
    print!("{}", applied.stdout);

    let stop = Arc::new(AtomicBool::new(false));
    let watch = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || watch_memory(pid, &stop)
    });
    let load = Load {
        stream: "flights".to_owned(),
        producers: arguments.producers,
        in_flight: 4,
        batches: load::lines(flights::lines(), 500),
        duration: Duration::from_secs(arguments.seconds),
    };
    let start = Instant::now();
    let done = load::run(&site.server.endpoint(), &load).await;
    let put_seconds = start.elapsed().as_secs_f64();
    let channel = grpc::connect(&site.server.endpoint()).await.map_err(std::io::Error::other)?;
    let mut deliveries = grpc::deliveries(&channel);
    let request = DescribeDeliveryRequest { name: "flights".to_owned() };
    let described = deliveries.describe_delivery(request).await.map_err(std::io::Error::other)?.into_inner();
    let behind: u64 =
        described.delivery.iter().flat_map(|d| &d.shards).map(|s| s.next_offset - s.committed_offset).sum();
    let request = FlushDeliveryRequest { name: "flights".to_owned() };
    deliveries.flush_delivery(request).await.map_err(std::io::Error::other)?;
    let seconds = start.elapsed().as_secs_f64();
    stop.store(true, Ordering::SeqCst);
    let resident = watch.join().expect("the watcher does not panic");

    let megabytes = done.bytes as f64 / 1e6;
    println!(
        "{} flights, {megabytes:.0} MB of JSON, put in {put_seconds:.1} s ({behind} records behind then)",
        done.records
    );
    println!("committed after {seconds:.1} s: {:.1} MB/s (wanted: 40 or more)", megabytes / seconds);
    let each = resident.len().div_ceil(12).max(1);
    let series: Vec<String> = resident.iter().step_by(each).map(u64::to_string).collect();
    let most = resident.iter().max().copied().unwrap_or_default();
    println!("resident every {each} s: {} MB", series.join(" "));
    println!("most resident: {most} MB (wanted: within {} + 150)", arguments.budget_megabytes);
    let proof = cli::millrace(&site.server, &["verify", "flights"]).ok();
    print!("{}", proof.stdout);
    Ok(())
}

fn resident_megabytes(pid: u32) -> u64 {
    millrace_tests::server::resident_bytes(pid) / 1_000_000
}

/// The resident memory, a sample a second, until told to stop.
fn watch_memory(pid: u32, stop: &AtomicBool) -> Vec<u64> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        samples.push(resident_megabytes(pid));
        std::thread::sleep(Duration::from_secs(1));
    }
    samples
}
