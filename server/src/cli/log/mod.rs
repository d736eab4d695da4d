//! `millrace log`: looks at the log's files, and finds the way past damaged ones.

mod dump;
mod offline;
mod repair;
mod verify;

use clap::Subcommand;

use super::{Endpoint, Result};

/// Check, dump and repair the log's files.
///
/// With --data-dir a command opens the files itself, and the server must be stopped; without it the running server is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log verify                                  ask the running server to read every block
  millrace log verify --data-dir ./data                the same on the files of a stopped server
  millrace log dump flights 0 --data-dir ./data --from 1000 --to 1010
  millrace log repair --data-dir ./data                what a damaged write-ahead log would cost
  millrace log repair --data-dir ./data --accept-loss  repair it; the damaged files are kept aside")]
pub(super) struct LogArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::VerifyArgs),
    Dump(dump::DumpArgs),
    Repair(repair::RepairArgs),
}

pub(super) async fn run(args: LogArgs, endpoint: &Endpoint) -> Result<()> {
    match args.command {
        Command::Verify(args) => verify::run(args, endpoint).await,
        Command::Dump(args) => dump::run(args).await,
        Command::Repair(args) => repair::run(args).await,
    }
}
