//! `PutRecords` as signed JSON over HTTP against puts over gRPC, at equal batches, and against emulators of Kinesis; and what
//! idle connections cost.
//!
//! 1 KiB records, batches of 500, 8 producers with two batches in flight each; client and server share the machine. The
//! emulators keep records in memory and sync nothing.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use clap::Parser;
use millrace_benches::aws::Kinesis;
use millrace_benches::load::{self, Acknowledged, Producers};
use millrace_benches::peers::emulator::Emulator;
use millrace_benches::place::Place;
use millrace_benches::site::Site;
use millrace_tests::cli;
use serde_json::json;

/// The server needs one to keep secrets.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const IDLE_CONNECTIONS: usize = 2000;

#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each side; at most 240.
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
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let grpc = grpc(&arguments).await;
    report("millrace, gRPC, authentication off", &grpc);
    let http = http(&arguments).await?;
    report("millrace, PutRecords as JSON over HTTP/1.1, Signature V4 checked", &http);
    println!("  ratio {:.2} (wanted: 0.60 or more)", http.records_per_second() / grpc.records_per_second());
    for (name, emulator) in [("kinesalite", Emulator::kinesalite()?), ("moto", Emulator::moto()?)] {
        let Some(emulator) = emulator else {
            println!("SKIPPED: {name} is not installed (benches/peers.sh), so there is no comparison with it");
            continue;
        };
        emulator.kinesis.create_stream("bench", arguments.shards).await?;
        let done = emulator.kinesis.run(arguments.producers, Duration::from_secs(arguments.seconds)).await?;
        report(name, &done);
        println!("  ratio {:.1} (wanted: 5.0 or more)", http.records_per_second() / done.records_per_second());
    }
    idle(&arguments)
}

async fn grpc(arguments: &Arguments) -> Acknowledged {
    let site = Site::start(&arguments.place.folder);
    site.create_stream("bench", arguments.shards).await;
    load::run(&site.server.endpoint(), &arguments.producers.load(arguments.seconds)).await
}

async fn http(arguments: &Arguments) -> io::Result<Acknowledged> {
    let site = Site::start_with(&arguments.place.folder, |settings| {
        settings.env("MILLRACE_AUTH", "on").env("MILLRACE_ENCRYPTION_MASTER_KEY", MASTER_KEY)
    });
    let create = ["principal", "create", "--output", "json", "root"];
    let principal = cli::millrace_with(&site.server, &[("MILLRACE_TOKEN", "")], &create).ok().json();
    let text = |key: &str| principal[key].as_str().expect("a new principal has it").to_owned();
    let shards = arguments.shards.to_string();
    let off = ["--in-bytes-per-second", "off", "--in-records-per-second", "off"];
    let create = [&["stream", "create", "bench", "--shards", &shards], &off[..]].concat();
    let _said = cli::millrace_with(&site.server, &[("MILLRACE_TOKEN", &text("token"))], &create).ok();
    let kinesis = Kinesis::new(site.server.http_endpoint(), &text("access_key_id"), &text("secret_access_key"));
    kinesis.run(arguments.producers, Duration::from_secs(arguments.seconds)).await
}

/// What connections cost that have had an answer and are kept.
fn idle(arguments: &Arguments) -> io::Result<()> {
    let site = Site::start(&arguments.place.folder);
    let before = site.server.resident_bytes();
    let mut connections = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        connections.push(answered(site.server.http_endpoint())?);
    }
    let after = site.server.resident_bytes();
    let cost = after.saturating_sub(before);
    println!(
        "{} idle connections after a call each: {:.1} MB more resident, {} KiB each, {:.0} MB in all (wanted: under 60 MB)",
        connections.len(),
        cost as f64 / 1e6,
        cost / 1024 / connections.len() as u64,
        after as f64 / 1e6,
    );
    Ok(())
}

/// A connection over which one call was answered.
fn answered(endpoint: &str) -> io::Result<TcpStream> {
    use std::io::{Read, Write};
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    let body = json!({}).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.DescribeLimits\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    let said = String::from_utf8_lossy(&answer[..length]);
    if said.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(io::Error::other(said.into_owned())) }
}

fn report(side: &str, done: &Acknowledged) {
    println!("{side}: {:.0} records/s, {:.0} MB/s", done.records_per_second(), done.megabytes_per_second());
}
