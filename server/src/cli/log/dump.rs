//! `millrace log dump`: the records of a shard from the files of a stopped server, one JSON object a line.

use std::ops::Range;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use millrace_storage::log::{Log, Offset, ReadLimit, Record, ShardId, ShardKey};

use super::offline::Offline;
use crate::cli::output::{line, remark};
use crate::cli::{Failure, Result};

const LIMIT: ReadLimit = ReadLimit { records_max: 10_000, bytes_max: 4 << 20 };

/// Write the records of a shard as JSON lines, from the files of a stopped server.
///
/// Data that is not UTF-8 stands in `data_base64`. Records that cannot be read are named on stderr and left out; exit code 1
/// then.
#[derive(Debug, clap::Args)]
pub(super) struct DumpArgs {
    /// The stream's name.
    stream: String,
    /// The shard's number.
    shard: u32,
    /// The data folder of the stopped server
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// The settings file of that server, where the stream is encrypted [env: MILLRACE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The first offset [default: the oldest that is kept]
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// The offset to stop before [default: the end]
    #[arg(long, value_name = "OFFSET")]
    to: Option<u64>,
}

pub(super) async fn run(args: DumpArgs) -> Result<()> {
    let stores = Offline::open(&args.data_dir, args.config).await?;
    let names = stores.names().await?;
    let Some((stream, _)) = names.iter().find(|(_, name)| **name == args.stream) else {
        return Err(Failure::new(format!("there is no stream {} in {}", args.stream, args.data_dir.display())));
    };
    let shard = ShardKey { stream: *stream, shard: ShardId(args.shard) };
    let kept = stores.log.offsets(shard);
    let from = args.from.map_or(kept.start, Offset).max(kept.start);
    let lost = dump(&stores, shard, from..args.to.map_or(kept.end, Offset).min(kept.end)).await?;
    if lost > 0 {
        return Err(Failure::new(format!("{lost} records cannot be read")));
    }
    Ok(())
}

/// Gives how many records could not be read.
async fn dump(stores: &Offline, shard: ShardKey, offsets: Range<Offset>) -> Result<u64> {
    let (mut at, mut lost) = (offsets.start, 0);
    while at < offsets.end {
        match stores.log.read(shard, at, LIMIT).await {
            Ok(records) => {
                for record in records.iter().filter(|record| record.offset < offsets.end) {
                    line(json(record))?;
                }
                at = records.last().map_or(offsets.end, |record| record.offset + 1);
            }
            Err(error) => {
                let Some(next) = error.next_readable().filter(|next| *next > at) else {
                    return Err(Failure::new(error));
                };
                remark(format!("offsets {at} to {next} cannot be read: {error}"));
                lost += next.min(offsets.end).since(at);
                at = next;
            }
        }
    }
    Ok(lost)
}

fn json(record: &Record) -> serde_json::Value {
    let mut json = serde_json::json!({
        "offset": record.offset.0,
        "arrival_time": record.arrival_time.to_string(),
        "partition_key": String::from_utf8_lossy(&record.partition_key),
    });
    let (name, data) = match std::str::from_utf8(&record.data) {
        Ok(text) => ("data", text.to_owned()),
        Err(_) => ("data_base64", BASE64_STANDARD.encode(&record.data)),
    };
    json[name] = data.into();
    json
}
