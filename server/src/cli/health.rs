//! `millrace health`: whether the server serves, for supervisors.

use serde::Serialize;

use super::output::OutputArgs;
use super::{Endpoint, Failure, Result};

/// Say whether the server serves. Exit code 1 where it does not answer, or drains.
///
/// Needs no token and changes nothing: made for health checks of containers and supervisors. Whether it can also store and
/// deliver is what /readyz on its HTTP port tells.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace health
  until millrace health; do sleep 1; done")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct HealthView {
    serving: bool,
}

pub(super) async fn run(args: HealthArgs, endpoint: &Endpoint) -> Result<()> {
    let serving = endpoint.client()?.is_serving().await?;
    args.output.write(&HealthView { serving }, |view| if view.serving { "serving" } else { "draining" }.to_owned())?;
    // What there is to say is on stdout.
    if serving { Ok(()) } else { Err(Failure::silent(1)) }
}
