//! `millrace delivery`: shows and steers deliveries.

use clap::Subcommand;
use millrace_client::proto::delivery::State;
use millrace_client::proto::{Delivery, DeliveryTotals};
use serde::Serialize;

use super::confirm::{ConfirmArgs, confirm};
use super::output::{NamedArgs, OutputArgs, bytes, count, facts, table, time};
use super::{Endpoint, Result};

/// Show and steer deliveries: workers that carry a stream into a table, each record once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace delivery list
  millrace delivery flush flights     commit all that was acknowledged, and wait for it
  millrace delivery describe flights  position, totals, and why it retries where it does

Deliveries are declared in a pipeline file: see `millrace apply --help`.")]
pub(super) struct DeliveryArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List deliveries.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a delivery: declaration, position, totals, last error.
    Describe(NamedArgs),
    /// Commit all that was acknowledged before now; returns when it is committed.
    Flush(NamedArgs),
    /// Stop after the batch in flight; the position is kept.
    Pause(NamedArgs),
    /// Go on where the delivery was paused.
    Resume(NamedArgs),
    /// Remove a delivery and its position; what it delivered stays.
    Delete {
        /// The delivery's name.
        name: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

pub(super) async fn run(args: DeliveryArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    let (delivery, output) = match args.command {
        Command::List { output } => {
            let deliveries: Vec<_> = admin.list_deliveries().await?.into_iter().map(DeliveryView::of).collect();
            return output.write(&deliveries, |deliveries| listed(deliveries));
        }
        Command::Delete { name, confirm: flags } => {
            confirm(flags, &format!("delete delivery {name} and its position"))?;
            return Ok(admin.delete_delivery(&name).await?);
        }
        Command::Describe(NamedArgs { name, output }) => (admin.describe_delivery(&name).await?, output),
        Command::Flush(NamedArgs { name, output }) => (admin.flush_delivery(&name).await?, output),
        Command::Pause(NamedArgs { name, output }) => (admin.pause_delivery(&name).await?, output),
        Command::Resume(NamedArgs { name, output }) => (admin.resume_delivery(&name).await?, output),
    };
    output.write(&DeliveryView::of(delivery), described)
}

#[derive(Serialize)]
struct DeliveryView {
    name: String,
    stream: String,
    state: &'static str,
    last_error: String,
    retries: u64,
    next_batch: u64,
    last_commit_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldView>,
    /// Records that are acknowledged and not yet committed.
    behind: u64,
    shards: Vec<ShardView>,
    totals: TotalsView,
    version: String,
    spec_toml: String,
}

/// What the stream keeps past its retention because this delivery has not committed it.
#[derive(Serialize)]
struct HeldView {
    records: u64,
    bytes: u64,
    since: String,
}

impl HeldView {
    fn text(&self) -> String {
        format!("{} records ({}), since {}", count(self.records), bytes(self.bytes), self.since)
    }
}

#[derive(Serialize)]
struct ShardView {
    shard: u32,
    committed_offset: u64,
    next_offset: u64,
}

/// What a delivery took and made; `verify` shows the same.
#[derive(Serialize)]
pub(super) struct TotalsView {
    records: u64,
    outputs: u64,
    rows: u64,
    set_aside: u64,
    dropped: u64,
    files: u64,
    bytes_in: u64,
    bytes_out: u64,
    lost: u64,
    replayed: u64,
}

impl From<DeliveryTotals> for TotalsView {
    fn from(totals: DeliveryTotals) -> Self {
        let DeliveryTotals { records, outputs, rows, set_aside, dropped, files, bytes_in, bytes_out, lost, replayed } =
            totals;
        Self { records, outputs, rows, set_aside, dropped, files, bytes_in, bytes_out, lost, replayed }
    }
}

impl TotalsView {
    pub(super) fn text(&self) -> String {
        facts([
            ("records", count(self.records)),
            ("outputs", count(self.outputs)),
            ("rows", count(self.rows)),
            ("set aside", count(self.set_aside)),
            ("dropped", count(self.dropped)),
            ("files", count(self.files)),
            ("bytes in", bytes(self.bytes_in)),
            ("bytes out", bytes(self.bytes_out)),
            ("lost", count(self.lost)),
            ("replayed", count(self.replayed)),
        ])
    }
}

impl DeliveryView {
    fn of(delivery: Delivery) -> Self {
        let state = match delivery.state() {
            State::Unspecified => "unknown",
            State::Running => "running",
            State::Paused => "paused",
            State::Retrying => "retrying",
        };
        let shards: Vec<_> = delivery
            .shards
            .into_iter()
            .map(|shard| ShardView {
                shard: shard.shard,
                committed_offset: shard.committed_offset,
                next_offset: shard.next_offset,
            })
            .collect();
        Self {
            name: delivery.name,
            stream: delivery.stream,
            state,
            last_error: delivery.last_error,
            retries: delivery.retries,
            next_batch: delivery.next_batch,
            last_commit_at: time(delivery.last_commit_at_ms),
            held: delivery.held.map(|held| HeldView {
                records: held.records,
                bytes: held.bytes,
                since: time(held.since_ms),
            }),
            behind: shards.iter().map(ShardView::behind).sum(),
            shards,
            totals: delivery.totals.unwrap_or_default().into(),
            version: delivery.version,
            spec_toml: delivery.spec_toml,
        }
    }
}

impl ShardView {
    fn behind(&self) -> u64 {
        self.next_offset.saturating_sub(self.committed_offset)
    }
}

fn listed(deliveries: &[DeliveryView]) -> String {
    let heading = ["NAME", "STREAM", "STATE", "BEHIND", "RECORDS", "ROWS", "SET ASIDE", "LAST COMMIT"];
    table(
        heading,
        deliveries.iter().map(|delivery| {
            [
                delivery.name.clone(),
                delivery.stream.clone(),
                delivery.state.to_owned(),
                count(delivery.behind),
                count(delivery.totals.records),
                count(delivery.totals.rows),
                count(delivery.totals.set_aside),
                delivery.last_commit_at.clone(),
            ]
        }),
    )
}

fn described(delivery: &DeliveryView) -> String {
    let mut state = delivery.state.to_owned();
    if !delivery.last_error.is_empty() {
        state += &format!(" ({} failed tries): {}", delivery.retries, delivery.last_error);
    }
    let facts = facts([
        ("name", delivery.name.clone()),
        ("stream", delivery.stream.clone()),
        ("state", state),
        ("version", delivery.version.clone()),
        ("next batch", delivery.next_batch.to_string()),
        ("last commit", delivery.last_commit_at.clone()),
        ("behind", format!("{} records", count(delivery.behind))),
        ("held past retention", delivery.held.as_ref().map_or_else(|| "nothing".to_owned(), HeldView::text)),
    ]);
    let shards = table(
        ["SHARD", "COMMITTED", "NEXT", "BEHIND"],
        delivery.shards.iter().map(|shard| {
            [
                shard.shard.to_string(),
                shard.committed_offset.to_string(),
                shard.next_offset.to_string(),
                count(shard.behind()),
            ]
        }),
    );
    format!("{facts}\n{shards}\n{}\n{}", delivery.totals.text(), delivery.spec_toml.trim_end())
}
