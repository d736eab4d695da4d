//! `millrace replay`: takes up again what a delivery has set aside.

use serde::Serialize;

use super::output::{OutputArgs, count, facts};
use super::{Endpoint, Result};

/// Replay the records that a delivery has set aside, after what made them fail was mended.
///
/// They go through the delivery as it is declared now. Each is taken up once, whatever crashes come between; what fails again is
/// set aside again, and can be replayed again. `select * from system.failed_records` shows what is open, with its cause and bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace sql \"select error_code, count(*) from system.failed_records where not replayed group by error_code\"
  millrace apply -f pipeline.toml && millrace replay flights")]
pub(super) struct ReplayArgs {
    /// The delivery's name.
    delivery: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct ReplayView {
    delivery: String,
    replayed: u64,
    rows: u64,
    set_aside: u64,
    dropped: u64,
}

pub(super) async fn run(args: ReplayArgs, endpoint: &Endpoint) -> Result<()> {
    let done = endpoint.client()?.admin().replay_delivery(&args.delivery).await?;
    let view = ReplayView {
        delivery: args.delivery,
        replayed: done.replayed,
        rows: done.rows,
        set_aside: done.set_aside,
        dropped: done.dropped,
    };
    args.output.write(&view, |view| {
        facts([
            ("delivery", view.delivery.clone()),
            ("replayed", count(view.replayed)),
            ("rows", count(view.rows)),
            ("set aside again", count(view.set_aside)),
            ("dropped", count(view.dropped)),
        ])
    })
}
