//! `millrace shards calc`: how many shards a load needs, and why.

use std::num::NonZeroU64;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Subcommand;
use serde::Serialize;

use super::Result;
use super::limit::Limit;
use super::output::{OutputArgs, bytes, count, table};

/// Work out shards.
#[derive(Debug, clap::Args)]
pub(super) struct ShardsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Calc(CalcArgs),
}

/// How many shards a load needs, and why.
///
/// A shard takes 1 MiB and 1,000 records a second and gives 2 MiB a second, which all its consumers share, unless the
/// stream's quotas are changed. The answer is the most that any of the three limits asks for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace shards calc --records-per-second 5000 --record-size 1KiB --consumers 3
  millrace shards calc --records-per-second 200 --record-size 40KiB --retention 168h --output json
  millrace shards calc --records-per-second 5000 --record-size 1KiB --in-bytes-per-second 8MiB \\
      --in-records-per-second off                   with the stream's quotas raised

The counts are averages: leave room for peaks, and spread partition keys evenly.")]
struct CalcArgs {
    /// Records put a second.
    #[arg(long, value_name = "COUNT")]
    records_per_second: NonZeroU64,
    /// A record's size: data plus partition key.
    #[arg(long, value_name = "SIZE", value_parser = record_size)]
    record_size: ByteSize,
    /// Consumers that each read the whole stream. A delivery is one.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    consumers: u64,
    /// How long records are kept, to work out the disk they need.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    retention: Duration,
    /// What each shard takes a second; "off" for no limit.
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    in_bytes_per_second: Limit<ByteSize>,
    /// Records that each shard takes a second; "off" for no limit.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    in_records_per_second: Limit<u64>,
    /// What each shard gives a second; "off" for no limit.
    #[arg(long, value_name = "SIZE", default_value = "2MiB")]
    out_bytes_per_second: Limit<ByteSize>,
    #[command(flatten)]
    output: OutputArgs,
}

fn record_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    match size.as_u64() {
        1..=RECORD_BYTES_MAX => Ok(size),
        _ => Err(format!("a record has 1 byte to {}", bytes(RECORD_BYTES_MAX))),
    }
}

/// The most that any stream lets a record hold.
const RECORD_BYTES_MAX: u64 = 10 << 20;

pub(super) fn run(args: ShardsArgs) -> Result<()> {
    let Command::Calc(args) = args.command;
    args.output.write(&Plan::of(&args), text)
}

/// How many shards, and what each limit asks for.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Plan {
    shards: u64,
    demands: Vec<Demand>,
    /// What the log holds when retention is full, before compression.
    retained_bytes: u64,
}

/// What one limit asks for. Zero in `shard_limit` is no limit.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Demand {
    limit: &'static str,
    load_per_second: u64,
    shard_limit_per_second: u64,
    shards: u64,
}

impl Plan {
    fn of(args: &CalcArgs) -> Self {
        let records = args.records_per_second.get();
        let bytes_in = records.saturating_mul(args.record_size.as_u64());
        let demands = vec![
            Demand::new("bytes in", bytes_in, args.in_bytes_per_second.on_wire()),
            Demand::new("records in", records, args.in_records_per_second.on_wire()),
            Demand::new("bytes out", bytes_in.saturating_mul(args.consumers), args.out_bytes_per_second.on_wire()),
        ];
        let shards = demands.iter().map(|demand| demand.shards).max().unwrap_or(1);
        Self { shards, demands, retained_bytes: bytes_in.saturating_mul(args.retention.as_secs()) }
    }
}

impl Demand {
    fn new(limit: &'static str, load_per_second: u64, shard_limit_per_second: u64) -> Self {
        let shards = match shard_limit_per_second {
            0 => 1,
            most => load_per_second.div_ceil(most).max(1),
        };
        Self { limit, load_per_second, shard_limit_per_second, shards }
    }

    fn quantity(&self, quantity: u64) -> String {
        match (self.limit, quantity) {
            (_, 0) => "off".to_owned(),
            ("records in", quantity) => format!("{}/s", count(quantity)),
            (_, quantity) => format!("{}/s", bytes(quantity)),
        }
    }
}

fn text(plan: &Plan) -> String {
    let row = |demand: &Demand| {
        let decides = if demand.shards == plan.shards { "<- decides" } else { "" };
        [
            demand.limit.to_owned(),
            demand.quantity(demand.load_per_second),
            demand.quantity(demand.shard_limit_per_second),
            count(demand.shards),
            decides.to_owned(),
        ]
    };
    let demands = table(["LIMIT", "LOAD", "A SHARD", "SHARDS", ""], plan.demands.iter().map(row));
    let noun = if plan.shards == 1 { "shard" } else { "shards" };
    let kept = bytes(plan.retained_bytes);
    format!("{} {noun}\n\n{demands}\n{kept} in the log when retention is full, before compression", count(plan.shards))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Calc {
        #[command(flatten)]
        args: CalcArgs,
    }

    fn parse(flags: &str) -> Result<CalcArgs, clap::Error> {
        Calc::try_parse_from(["calc"].into_iter().chain(flags.split_whitespace())).map(|calc| calc.args)
    }

    #[test]
    fn the_limit_that_asks_for_the_most_decides() {
        let check = |flags: &str, shards: [u64; 3]| {
            let plan = Plan::of(&parse(flags).unwrap());
            assert_eq!(plan.demands.iter().map(|demand| demand.shards).collect::<Vec<_>>(), shards, "{flags}");
            assert_eq!(plan.shards, *shards.iter().max().unwrap(), "{flags}");
        };
        check("--records-per-second 1 --record-size 1", [1, 1, 1]);
        // Exactly one shard's worth of each, and one past it.
        check("--records-per-second 1000 --record-size 1KiB", [1, 1, 1]);
        check("--records-per-second 1001 --record-size 1KiB", [1, 2, 1]);
        check("--records-per-second 1024 --record-size 1KiB", [1, 2, 1]);
        check("--records-per-second 1025 --record-size 1KiB", [2, 2, 1]);
        // Two consumers fit a shard's 2 MiB/s; a third asks for more.
        check("--records-per-second 1 --record-size 1MiB --consumers 2", [1, 1, 1]);
        check("--records-per-second 1 --record-size 1MiB --consumers 3", [1, 1, 2]);
        check("--records-per-second 100 --record-size 1MiB --consumers 0", [100, 1, 1]);
        check(
            "--records-per-second 5000 --record-size 1KiB --in-bytes-per-second off --in-records-per-second off",
            [1, 1, 3],
        );
    }

    #[test]
    fn retention_tells_the_disk() {
        let plan = Plan::of(&parse("--records-per-second 1000 --record-size 1KiB --retention 168h").unwrap());
        assert_eq!(plan.retained_bytes, 1000 * 1024 * 168 * 3600);
    }

    #[test]
    fn sizes_past_their_limits_are_refused() {
        for flags in [
            "--records-per-second 0 --record-size 1KiB",
            "--records-per-second 1 --record-size 0",
            "--records-per-second 1 --record-size 10485761",
            "--records-per-second 1 --record-size 1KiB --in-bytes-per-second 0",
            "--records-per-second 1 --record-size 1KiB --retention never",
        ] {
            assert!(parse(flags).is_err(), "{flags}");
        }
        assert!(parse("--records-per-second 1 --record-size 10MiB").is_ok());
    }

    #[test]
    fn the_answer_names_what_decides() {
        let plan = Plan::of(&parse("--records-per-second 3000 --record-size 512").unwrap());
        let text = text(&plan);
        assert!(text.starts_with("3 shards\n"), "{text}");
        let decides: Vec<_> = text.lines().filter(|line| line.ends_with("<- decides")).collect();
        assert!(decides.len() == 1 && decides[0].starts_with("records in"), "{text}");
    }
}
