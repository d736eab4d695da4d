//! `millrace stream copy`: the records of a time range of a stream into another one, each once.
//!
//! A batch has a name, and what it holds is on disk before it is sent: a batch whose fate nobody knows, after a crash of
//! either side, is sent again with the same records under the same name, which the server stores once. It must never send a
//! batch whose records it has not noted.

mod progress;
mod run;

use std::num::NonZeroU64;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Serialize;

use super::output::{OutputArgs, bytes, count, facts};
use super::rebuild::Time;
use super::{Endpoint, Result};

/// Copy the records of a time range of a stream into another stream, each once.
///
/// What is there when it begins is copied, shard by shard, so that the records of a partition key keep their order. Keys and
/// data stay as they are; records get new offsets and times of arrival, and belong to the shards that their partition keys
/// say. After an interruption, of this program or of the server, the same command goes on where it was, by the file of its
/// progress; do so within 24 hours, as long as the server knows what it stored.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace stream copy flights flights-again --from 2026-11-23T08:00:00Z --to 2026-11-23T12:00:00Z
  millrace stream copy flights trial --from 6h --records-per-second 5000")]
pub(super) struct CopyArgs {
    /// The stream that is read.
    source: String,
    /// The stream that records are put into; it must exist.
    destination: String,
    /// Records that arrived at or after a time, or so long ago [default: all from the first on]
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Records that arrived before a time, or so long ago [default: all that are there when it begins]
    #[arg(long, value_name = "TIME")]
    to: Option<Time>,
    /// The file with the progress; removed at the end [default: SOURCE-to-DESTINATION.copy.json]
    #[arg(long, value_name = "FILE")]
    progress: Option<PathBuf>,
    /// The most records a second.
    #[arg(long, value_name = "COUNT")]
    records_per_second: Option<NonZeroU64>,
    /// The most bytes a second.
    #[arg(long, value_name = "SIZE")]
    bytes_per_second: Option<ByteSize>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct CopyView {
    source: String,
    destination: String,
    shards: u64,
    records: u64,
    bytes: u64,
    lost: u64,
}

pub(super) async fn run(args: CopyArgs, endpoint: &Endpoint) -> Result<()> {
    let client = endpoint.client()?;
    let file = args.progress.unwrap_or_else(|| format!("{}-to-{}.copy.json", args.source, args.destination).into());
    let wanted = progress::Range {
        source: args.source,
        destination: args.destination,
        from_ms: args.from.map(|from| from.0),
        to_ms: args.to.map(|to| to.0),
    };
    let progress = match progress::Progress::load(&file, &wanted)? {
        Some(progress) => progress,
        None => run::begin(&client, wanted).await?,
    };
    let pace = run::Pace::new(args.records_per_second, args.bytes_per_second);
    let done = run::Copy::new(client, file, progress, pace)?.run().await?;
    let total = |of: fn(&progress::ShardProgress) -> u64| done.shards.values().map(of).sum();
    let view = CopyView {
        shards: done.shards.len() as u64,
        records: total(|shard| shard.records),
        bytes: total(|shard| shard.bytes),
        lost: total(|shard| shard.lost),
        source: done.range.source,
        destination: done.range.destination,
    };
    args.output.write(&view, |view| {
        facts([
            ("source", view.source.clone()),
            ("destination", view.destination.clone()),
            ("shards", count(view.shards)),
            ("records", count(view.records)),
            ("size", bytes(view.bytes)),
            ("past their retention", count(view.lost)),
        ])
    })
}
