//! `millrace sql`: runs a statement and writes its answer as it comes.

mod parameter;
mod writer;

use std::time::Instant;

use super::input::read_text;
use super::output::{count, remark};
use super::{Endpoint, Failure, Result};
use parameter::Parameter;
use writer::Writer;

/// Run a SQL statement. The answer holds every record acknowledged before it.
///
/// The answer goes to stdout as it comes; the row count and the time go to stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace sql \"select carrier, count(*) from flights group by carrier\"
  millrace sql \"select * from flights limit 5\" --output json
  millrace sql - --output arrow < query.sql > answer.arrow
  millrace sql \"select count(*) from flights where carrier = $carrier\" --param carrier=UA
  millrace sql \"show tables\"
  millrace sql \"select * from system.deliveries\"")]
pub(super) struct SqlArgs {
    /// The statement; `-` reads it from stdin.
    statement: String,
    /// The value of a parameter: `carrier=UA` for $carrier, `1=UA` for $1. Values are text, and become what the statement
    /// wants in their place.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<Parameter>,
    /// How to write the answer: text, CSV with a header, JSON lines, or an Arrow IPC stream.
    #[arg(long, short, value_enum, default_value_t)]
    output: SqlFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum SqlFormat {
    #[default]
    Table,
    Csv,
    Json,
    Arrow,
}

pub(super) async fn run(args: SqlArgs, endpoint: &Endpoint) -> Result<()> {
    let statement = if args.statement == "-" { read_text("-")? } else { args.statement };
    if statement.trim().is_empty() {
        return Err(Failure::usage("the statement is empty"));
    }
    let started = Instant::now();
    let query = endpoint.client()?.query();
    let mut rows = match parameter::row(args.parameters)? {
        Some(row) => query.sql_with(&statement, row).await?,
        None => query.sql(&statement).await?,
    };
    let mut writer = Writer::new(args.output, &rows.schema())?;
    let mut total = 0;
    while let Some(batch) = rows.next().await? {
        total += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    let noun = if total == 1 { "row" } else { "rows" };
    remark(format!("{} {noun} in {:.3} s", count(total), started.elapsed().as_secs_f64()));
    Ok(())
}
