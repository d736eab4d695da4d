//! The command line: one file for each command.
//!
//! Answers go to stdout, everything else to stderr. Exit code 0 is success, 1 a failure, 2 wrong usage.
//! Commands other than `serve` and `doctor`, and those for the files of a stopped server (`log`, `restore`), are clients: they
//! know the server only by its endpoint.

mod serve;
mod apply;
mod stream;
mod stream_keys;
mod reshard;
mod copy;
mod put;
mod tail;
mod group;
mod transform;
mod delivery;
mod import;
mod replay;
mod rebuild;
mod table;
mod sql;
mod verify;
mod shards;
mod log;
mod backup;
mod principal;
mod restore;
mod doctor;
mod health;
mod completions;
mod endpoint;
mod input;
mod limit;
mod confirm;
mod output;
mod failure;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use endpoint::Endpoint;

pub use failure::{Failure, Result};

/// Takes events in, keeps them durably, and turns them into tables that SQL answers over.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, propagate_version = true, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "\
The whole way, in five commands:
  millrace serve --data-dir ./data &
  millrace apply -f pipeline.toml
  millrace put flights flights.json.zst
  millrace sql \"select count(*) from flights\"
  millrace verify flights")]
pub struct Cli {
    #[command(flatten)]
    endpoint: Endpoint,
    #[command(subcommand)]
    command: Command,
}

// Each command's help is on its flags' type.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::ServeArgs>),
    Apply(apply::ApplyArgs),
    Stream(stream::StreamArgs),
    Put(put::PutArgs),
    Tail(tail::TailArgs),
    Group(group::GroupArgs),
    Transform(transform::TransformArgs),
    Delivery(delivery::DeliveryArgs),
    Import(import::ImportArgs),
    Replay(replay::ReplayArgs),
    Rebuild(rebuild::RebuildArgs),
    Table(table::TableArgs),
    Sql(sql::SqlArgs),
    Verify(verify::VerifyArgs),
    Shards(shards::ShardsArgs),
    Log(log::LogArgs),
    Backup(backup::BackupArgs),
    Principal(principal::PrincipalArgs),
    Restore(restore::RestoreArgs),
    Doctor(doctor::DoctorArgs),
    Health(health::HealthArgs),
    Completions(completions::CompletionsArgs),
}

/// Parses the process's arguments, runs the command and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("the runtime does not start: {error}")).report(),
    };
    let outcome = runtime.block_on(cli.command.run(&cli.endpoint));
    // A read of stdin may be under way, and never end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.at(cli.endpoint.url()).report(),
    }
}

impl Command {
    async fn run(self, endpoint: &Endpoint) -> Result<()> {
        match self {
            Self::Serve(args) => serve::run(*args).await,
            Self::Apply(args) => apply::run(args, endpoint).await,
            Self::Stream(args) => stream::run(args, endpoint).await,
            Self::Put(args) => put::run(args, endpoint).await,
            Self::Tail(args) => tail::run(args, endpoint).await,
            Self::Group(args) => group::run(args, endpoint).await,
            Self::Transform(args) => transform::run(args, endpoint).await,
            Self::Delivery(args) => delivery::run(args, endpoint).await,
            Self::Import(args) => import::run(args, endpoint).await,
            Self::Replay(args) => replay::run(args, endpoint).await,
            Self::Rebuild(args) => rebuild::run(args, endpoint).await,
            Self::Table(args) => table::run(args, endpoint).await,
            Self::Sql(args) => sql::run(args, endpoint).await,
            Self::Verify(args) => verify::run(args, endpoint).await,
            Self::Shards(args) => shards::run(args),
            Self::Log(args) => log::run(args, endpoint).await,
            Self::Backup(args) => backup::run(args, endpoint).await,
            Self::Principal(args) => principal::run(args, endpoint).await,
            Self::Restore(args) => restore::run(args).await,
            Self::Doctor(args) => doctor::run(args).await,
            Self::Health(args) => health::run(args, endpoint).await,
            Self::Completions(args) => completions::run(&args),
        }
    }
}
