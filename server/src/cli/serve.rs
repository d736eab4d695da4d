//! `millrace serve`: runs the server until a signal.

use super::{Failure, Result};

/// Run the server.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {}

/// Runs the server until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// What kept the server from starting, or from closing cleanly.
pub(super) async fn run(_args: ServeArgs) -> Result<()> {
    Err(Failure::new("this build has no server"))
}
