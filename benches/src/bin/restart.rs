//! From a kill to ready, with gigabytes of log.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::time::{Duration, Instant};

use clap::Parser;
use millrace_benches::load::{self, Load};
use millrace_benches::place::Place;
use millrace_benches::site::Site;

#[derive(Debug, Parser)]
struct Arguments {
    /// The log's size, in gigabytes.
    #[arg(long, default_value_t = 5.0)]
    gigabytes: f64,
    #[command(flatten)]
    place: Place,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let mut site = Site::start(&arguments.place.folder);
    println!("resident when idle: {} MB (wanted: under 80)", site.server.resident_bytes() / 1_000_000);
    site.create_stream("bench", 4).await;
    let load = Load {
        stream: "bench".to_owned(),
        producers: 8,
        in_flight: 2,
        batches: load::noise(64, 500, 1024),
        duration: Duration::from_secs(2),
    };
    let mut bytes = 0;
    while (bytes as f64) < arguments.gigabytes * 1e9 {
        bytes += load::run(&site.server.endpoint(), &load).await.bytes;
    }
    println!("log: {:.1} GB, resident {} MB", bytes as f64 / 1e9, site.server.resident_bytes() / 1_000_000);
    for how in ["kill", "drain"] {
        if how == "kill" {
            site.server.kill();
        } else {
            assert!(site.server.stop().success(), "the drained server exits well");
        }
        let start = Instant::now();
        site.server.restart();
        let seconds = start.elapsed().as_secs_f64();
        let resident = site.server.resident_bytes() / 1_000_000;
        println!("after a {how}: ready in {seconds:.2} s (wanted: under 3), resident {resident} MB");
    }
    Ok(())
}
