//! `millrace backup`: takes a backup of the running server, lists those that there are, and removes old ones.

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use millrace_client::proto::{Backup, BackupProgress, PruneBackupsRequest, PruneBackupsResponse};
use serde::Serialize;

use super::confirm::{ConfirmArgs, confirm};
use super::output::{OutputArgs, bytes, count, table, time};
use super::{Endpoint, Result};

/// Back up log and meta store of the running server.
///
/// The backup goes to the place that the server's setting `backup.url` names; files that are there already are not copied
/// again. Tables and exports lie in the object store and are no part of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace backup take
  millrace backup list
  millrace backup prune --keep 7                     removes all but the seven newest
  millrace restore --from file:///mnt/backups --data-dir ./restored")]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take a backup.
    Take {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List backups, oldest first.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove all backups but the newest, and what only they held.
    Prune {
        /// How many stay.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
        /// Only tell what would be removed.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Serialize)]
struct PruneView {
    removed: Vec<String>,
    objects: u64,
    bytes: u64,
    kept: u64,
    dry_run: bool,
}

impl PruneView {
    fn text(&self) -> String {
        let (removed, kept) = (count(self.removed.len() as u64), count(self.kept));
        let (objects, size) = (count(self.objects), bytes(self.bytes));
        let done = if self.dry_run { "would remove" } else { "removed" };
        format!("{done} {removed} backups with {objects} objects, {size}; {kept} backups are left")
    }
}

#[derive(Serialize)]
pub(super) struct BackupView {
    id: String,
    created_at_ms: i64,
    files: u64,
    bytes: u64,
    place: String,
}

pub(super) async fn run(args: BackupArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    match args.command {
        Command::Take { output } => {
            let bar = bar();
            let backup = admin.take_backup(|at: BackupProgress| tell(&bar, at.bytes_done, at.bytes)).await?;
            bar.finish_and_clear();
            output.write(&BackupView::of(backup), |backup| {
                let (files, size) = (count(backup.files), bytes(backup.bytes));
                format!("backup {} of {files} files, {size}, in {}", backup.id, backup.place)
            })
        }
        Command::List { output } => {
            let backups: Vec<_> = admin.list_backups().await?.into_iter().map(BackupView::of).collect();
            let row = |backup: &BackupView| {
                [backup.id.clone(), time(backup.created_at_ms), count(backup.files), bytes(backup.bytes)]
            };
            output.write(&backups, |backups| table(["ID", "TAKEN", "FILES", "SIZE"], backups.iter().map(row)))
        }
        Command::Prune { keep, dry_run, confirm: flags, output } => {
            if !dry_run {
                confirm(flags, &format!("remove all backups but the newest {keep}"))?;
            }
            let pruned = admin.prune_backups(PruneBackupsRequest { keep, dry_run }).await?;
            let PruneBackupsResponse { removed, objects, bytes, kept } = pruned;
            output.write(&PruneView { removed, objects, bytes, kept, dry_run }, PruneView::text)
        }
    }
}

/// A bar over bytes, on a terminal only.
pub(super) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {binary_bytes} of {binary_total_bytes}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

pub(super) fn tell(bar: &ProgressBar, done: u64, all: u64) {
    bar.set_length(all);
    bar.set_position(done);
}

impl BackupView {
    fn of(backup: Backup) -> Self {
        let Backup { id, created_at_ms, files, bytes, place } = backup;
        Self { id, created_at_ms, files, bytes, place }
    }

    pub(super) fn restored(backup: &millrace_storage::backup::Backup, place: &str) -> Self {
        Self {
            id: backup.id.clone(),
            created_at_ms: backup.created_at_ms,
            files: backup.files.len() as u64,
            bytes: backup.bytes(),
            place: place.to_owned(),
        }
    }
}
