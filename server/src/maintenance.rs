//! Backups and checks of what is on disk, while the server runs. One backup at a time; neither stops puts for long.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_storage::backup::{self, Backup, Progress, Pruned, Pruning};
use millrace_storage::lake::store::{Store, StoreSettings};
use millrace_storage::log::StreamId;
use millrace_storage::log::rocks::{RocksLog, Verified};
use millrace_storage::meta::rocks::RocksMeta;
use tokio::sync::Mutex;

use crate::error::{Error, Kind, Result};
use crate::streams::Streams;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Maintenance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Arc<RocksLog>,
    meta: RocksMeta,
    streams: Streams,
    data_dir: PathBuf,
    place: StoreSettings,
    /// Held while a backup is taken, or backups are pruned.
    taking: Mutex<()>,
    /// Held while the log is read.
    verifying: Mutex<()>,
}

impl Maintenance {
    /// The service for the stores in `data_dir`, with backups in `place`, which is not opened yet.
    #[must_use]
    pub fn new(log: Arc<RocksLog>, meta: RocksMeta, streams: Streams, data_dir: PathBuf, place: StoreSettings) -> Self {
        Self(Arc::new(Inner {
            log,
            meta,
            streams,
            data_dir,
            place,
            taking: Mutex::default(),
            verifying: Mutex::default(),
        }))
    }

    /// Where backups lie, as a URL.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.0.place.url
    }

    async fn open_place(&self) -> Result<Store> {
        let place = self.0.place.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&place)).await;
        let lost = |error| Error::new(Kind::Internal, format_args!("opening the backup's place ended early: {error}"));
        opened.map_err(lost)?.map_err(Error::invalid)
    }

    /// Takes a backup.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] while another is taken; what a disk or the place fails with.
    pub async fn take_backup(&self, progress: impl FnMut(Progress) + Send) -> Result<Backup> {
        let Ok(_one_at_a_time) = self.0.taking.try_lock() else {
            return Err(Error::new(Kind::FailedPrecondition, "a backup is being taken or pruned; wait for its end"));
        };
        let place = self.open_place().await?;
        let (backup, done) = backup::take(&self.0.log, &self.0.meta, &self.0.data_dir, &place, progress).await?;
        let (id, files) = (&backup.id, done.files);
        tracing::info!(id, files, bytes = done.bytes, bytes_copied = done.bytes_copied, "a backup was taken");
        Ok(backup)
    }

    /// Removes all backups but the newest `keep`, and what only they held.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] while a backup is taken, here or by another server; what the place fails with.
    pub async fn prune_backups(&self, keep: NonZeroU32, pruning: Pruning) -> Result<Pruned> {
        let Ok(_one_at_a_time) = self.0.taking.try_lock() else {
            return Err(Error::new(Kind::FailedPrecondition, "a backup is being taken or pruned; wait for its end"));
        };
        let pruned = backup::prune(&self.open_place().await?, keep, pruning).await?;
        if pruning == Pruning::Real {
            let Pruned { backups, objects, bytes, kept } = &pruned;
            tracing::info!(removed = ?backups, objects, bytes, kept, "backups were pruned");
        }
        Ok(pruned)
    }

    /// All backups, oldest first.
    ///
    /// # Errors
    /// What the place fails with.
    pub async fn list_backups(&self) -> Result<Vec<Backup>> {
        Ok(backup::list(&self.open_place().await?).await?)
    }

    /// Reads every block of the log.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] while another call reads it; what keeps the log from being read at all. What is wrong in it
    /// is in the answer.
    pub async fn verify_log(&self, progress: impl FnMut(&Verified) + Send + 'static) -> Result<Verified> {
        let Ok(_one_at_a_time) = self.0.verifying.try_lock() else {
            return Err(Error::new(Kind::FailedPrecondition, "the log is being verified; wait for its end"));
        };
        let verified = self.0.log.verify(progress).await?;
        for fault in &verified.faults {
            let (shard, from, to) = (fault.shard, fault.offsets.start, fault.offsets.end);
            tracing::error!(%shard, %from, %to, reason = fault.reason, "records of the log cannot be read");
        }
        Ok(verified)
    }

    /// The names of the streams that are there.
    #[must_use]
    pub fn stream_names(&self) -> HashMap<StreamId, String> {
        self.0.streams.list().iter().map(|stream| (stream.id(), stream.name().to_string())).collect()
    }
}
