//! `millrace restore`: writes a backup into a new data folder.

use std::path::PathBuf;

use millrace_storage::backup;
use millrace_storage::lake::store::Store;

use super::backup::{BackupView, bar, tell};
use super::output::{OutputArgs, bytes, count};
use super::{Failure, Result};
use crate::config::{BackupOptions, Layers};

/// Restore a backup into a new or empty data folder.
///
/// The manifest and the presence of every file are checked first, and each file's check sum when it was written. A restore that
/// was cut off is begun again by the same command. Credentials for s3:// are those of the settings' [store].
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace restore --from /mnt/backups --data-dir ./restored
  millrace restore --from s3://backups/millrace --id 20260102T030405.678Z --data-dir ./restored

The server that was backed up must not write to the same object store any more. What its deliveries committed after the backup
stays there; ARCHITECTURE.md, \"Backup and restore\", says what becomes of it.")]
pub(super) struct RestoreArgs {
    /// Where the backups are: a folder, or a URL as backup.url has it
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// The backup's id [default: the newest]
    #[arg(long)]
    id: Option<String>,
    /// The folder to restore into
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// The settings file, for credentials [env: MILLRACE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: RestoreArgs) -> Result<()> {
    let mut layers = Layers::of_process();
    layers.file = args.config.or(layers.file);
    let settings = layers.load().map_err(Failure::usage)?.settings;
    let url = if args.from.contains("://") {
        args.from
    } else {
        let folder = std::path::absolute(&args.from).map_err(|error| Failure::usage(format!("--from: {error}")))?;
        format!("file://{}", folder.display())
    };
    let place = BackupOptions { url: Some(url) }.settings(&settings.store, &args.data_dir);
    let place = Store::open(&place).map_err(Failure::usage)?;
    let bar = bar();
    let told = |at: backup::Progress| tell(&bar, at.bytes_done, at.bytes);
    let restored = backup::restore(&place, args.id.as_deref(), &args.data_dir, told).await.map_err(Failure::new)?;
    bar.finish_and_clear();
    args.output.write(&BackupView::restored(&restored, &place.root_url()), |_| {
        let (files, size) = (count(restored.files.len() as u64), bytes(restored.bytes()));
        format!("restored backup {} of {files} files, {size}, into {}", restored.id, args.data_dir.display())
    })
}
