//! `millrace rebuild`: makes rows of a table anew from the stream.

use std::str::FromStr;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use millrace_client::proto::RebuildTableRequest;
use serde::Serialize;

use super::delivery::TotalsView;
use super::output::{OutputArgs, count, facts};
use super::{Endpoint, Result};

/// Make a range of a table anew from its stream, by the delivery's transforms and schema of now.
///
/// Change the pipeline first, then rebuild. The new files take the place of the old ones in one commit: a reader of the table
/// sees the old rows or the new, never both. Whole batches are made anew: all that have a record of the range. Records come from
/// the log, or from the delivery's backup of source records where the log does not keep them any more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace rebuild flights --from 2026-11-23T08:00:00Z --to 2026-11-23T12:00:00Z
  millrace rebuild flights --from 6h --transform newline --transform split")]
pub(super) struct RebuildArgs {
    /// The table's name: NAME, in the namespace "default", or NAMESPACE.NAME.
    table: String,
    /// Records that arrived at or after a time, or so long ago [default: all from the first on]
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Records that arrived before a time, or so long ago [default: all up to the last committed]
    #[arg(long, value_name = "TIME")]
    to: Option<Time>,
    /// A step of the transform chain, by its name or as in a pipeline file; may be given several times [default: the delivery's]
    #[arg(long = "transform", value_name = "STEP")]
    transforms: Vec<String>,
    /// The delivery whose rows are made anew, where the table has several
    #[arg(long, value_name = "NAME")]
    delivery: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A time, or how long ago, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) i64);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(time.timestamp_millis()));
        }
        let ago = humantime::parse_duration(text)
            .map_err(|_| "want a time like 2026-11-23T08:00:00Z, or how long ago, like 15m".to_owned())?;
        let time = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self(DateTime::<Utc>::from(time).timestamp_millis()))
    }
}

#[derive(Serialize)]
struct RebuildView {
    delivery: String,
    number: u64,
    batches: u64,
    totals: TotalsView,
    removed_rows: u64,
    removed_files: u64,
}

pub(super) async fn run(args: RebuildArgs, endpoint: &Endpoint) -> Result<()> {
    let request = RebuildTableRequest {
        table: args.table,
        delivery: args.delivery.unwrap_or_default(),
        from_ms: args.from.map(|from| from.0),
        to_ms: args.to.map(|to| to.0),
        transforms_toml: args.transforms.iter().map(|step| step_toml(step)).collect(),
    };
    let done = endpoint.client()?.admin().rebuild_table(request).await?;
    let view = RebuildView {
        delivery: done.delivery,
        number: done.number,
        batches: done.batches,
        totals: done.totals.unwrap_or_default().into(),
        removed_rows: done.removed_rows,
        removed_files: done.removed_files,
    };
    args.output.write(&view, |view| {
        let facts = facts([
            ("delivery", view.delivery.clone()),
            ("rebuild", view.number.to_string()),
            ("batches", count(view.batches)),
            ("replaced", format!("{} rows in {} files", count(view.removed_rows), count(view.removed_files))),
        ]);
        format!("{facts}\n{}", view.totals.text())
    })
}

/// A step by its name is a string of TOML.
fn step_toml(step: &str) -> String {
    if step.starts_with(['{', '"', '\'']) { step.to_owned() } else { format!("{step:?}") }
}
