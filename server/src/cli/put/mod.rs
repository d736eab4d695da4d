//! `millrace put`: streams the lines of a file, or of stdin, as records.

mod lines;
mod key;
mod reader;
mod pump;
mod tally;

use std::num::NonZeroU32;
use std::time::Instant;

use serde::Serialize;
use tokio::signal::ctrl_c;

use super::input::named;
use super::output::{OutputArgs, bytes, count, rates, remark};
use super::{Endpoint, Failure, Result};
use key::Keys;
use pump::{End, Pump};
use tally::{Bar, Tally};

/// Exit code of a command that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Put the lines of a file, or of stdin, into a stream.
///
/// Each line is a record; its bytes are sent as they are, without the newline, and empty lines are left out. Files
/// compressed by zstd or gzip are known by their first bytes. A record counts once the server has it on disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace put flights flights.json.zst --key-field carrier
  tail -F app.log | millrace put logs
  millrace put flights flights.json --rate 500     at most 500 records a second

Should the server be killed and come back meanwhile, what may have been stored is sent again and stored once.
A line that lacks the key's field, or is no JSON object, gets a random key; the last line says how many.
Exit code 1 when any record failed; the message names the first.")]
pub(super) struct PutArgs {
    /// The stream's name.
    stream: String,
    /// The file; `-` reads stdin.
    #[arg(default_value = "-")]
    file: String,
    /// Take the partition key from this top-level field of a line's JSON, so that records with one value keep their
    /// order. Without it keys are random, which spreads records over all shards.
    #[arg(long, value_name = "FIELD")]
    key_field: Option<String>,
    /// Put at most so many records a second.
    #[arg(long, value_name = "COUNT")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct Summary {
    stream: String,
    records: u64,
    bytes: u64,
    failed: u64,
    /// Of those that failed: how many may be stored nevertheless.
    unknown: u64,
    seconds: f64,
    megabytes_per_second: f64,
    /// Lines without the key's field.
    random_keys: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
}

pub(super) async fn run(args: PutArgs, endpoint: &Endpoint) -> Result<()> {
    let client = endpoint.client()?;
    // Asked first: a wrong name fails before anything is read, and the limit is the stream's own.
    let described = client.admin().describe_stream(&args.stream).await?;
    let input =
        lines::open(&args.file).map_err(|error| Failure::new(format!("cannot read {}: {error}", named(&args.file))))?;
    let bar = Bar::new(input.bytes, std::sync::Arc::clone(&input.progress));
    let line_bytes_max = usize::try_from(described.record_bytes_max).unwrap_or(usize::MAX);
    let started = Instant::now();
    let lines = reader::start(input, Keys::new(args.key_field.clone()), line_bytes_max);
    let (tally, counting) = Tally::start(bar);
    let mut pump = Pump::new(client.producer(&args.stream), tally, args.rate, line_bytes_max);
    let end = tokio::select! {
        end = pump.run(lines) => end,
        () = interrupted() => End::Interrupted,
    };
    // What was accepted is still sent; a second interrupt leaves at once.
    let random_keys = tokio::select! {
        random_keys = pump.finish() => random_keys,
        () = interrupted() => return Err(Failure::silent(INTERRUPTED)),
    };
    let counts = counting.await.map_err(|error| Failure::new(format!("counting results: {error}")))?;
    let took = started.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
    let megabytes_per_second = counts.bytes as f64 / 1e6 / took.as_secs_f64().max(1e-9);
    let summary = Summary {
        stream: args.stream,
        records: counts.stored,
        bytes: counts.bytes,
        failed: counts.failed,
        unknown: counts.unknown,
        seconds: took.as_secs_f64(),
        megabytes_per_second,
        random_keys,
        first_failure: counts.first_failure,
    };
    args.output.write(&summary, |summary| text(summary, took))?;
    judge(&summary, end, &args.file)
}

async fn interrupted() {
    if ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

fn text(summary: &Summary, took: std::time::Duration) -> String {
    let mut text = format!(
        "{} records, {} in {:.2} s: {}, {} failed",
        count(summary.records),
        bytes(summary.bytes),
        summary.seconds,
        rates(summary.records, summary.bytes, took),
        count(summary.failed),
    );
    if summary.random_keys > 0 {
        text += &format!("; {} lines without the key's field got random keys", count(summary.random_keys));
    }
    text
}

fn judge(summary: &Summary, end: End, file: &str) -> Result<()> {
    if let End::Broken(error) = end {
        return Err(Failure::new(format!("cannot read {} to its end: {error}", named(file)))
            .with_hint("what came before the fault was put, as counted above"));
    }
    if let Some(first) = &summary.first_failure {
        let all = summary.records + summary.failed;
        let failed = format!("{} of {} records failed", count(summary.failed), count(all));
        let failure = Failure::new(format!("{failed}, the first so: {first}"));
        if summary.unknown == 0 {
            return Err(failure);
        }
        return Err(failure.with_hint(format!(
            "{} of them were on their way when the connection broke and may be stored; putting them again may double them",
            count(summary.unknown)
        )));
    }
    if matches!(end, End::Interrupted) {
        remark("interrupted; what is counted above is durable");
        return Err(Failure::silent(INTERRUPTED));
    }
    Ok(())
}
