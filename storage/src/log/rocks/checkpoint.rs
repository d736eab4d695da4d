//! A copy of the log at one moment, while it goes on.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::super::{Error, Result};
use super::queue::Entry;
use super::{RocksLog, blocking};
use crate::wal;

impl RocksLog {
    /// Copies the log as it is between two groups into a folder that is made. Every append that was acknowledged before is in
    /// it; appends wait while it is made, for less than a second as a rule. Files that never change are links, so the folder
    /// must lie on the log's file system.
    pub async fn checkpoint(&self, path: PathBuf) -> Result<()> {
        let db = self.0.db()?;
        // What is flushed here need not be flushed while appends wait.
        blocking(move || db.flush()).await?;
        let _room = self.0.shared.queue.room(0).await?;
        let (done, answer) = oneshot::channel();
        self.0.shared.queue.push(Entry::Checkpoint { path: path.clone(), done })?;
        answer.await.unwrap_or(Err(Error::Closed))?;
        blocking(move || {
            wal::cut_stale_ends(&path, wal::Framing::Recycled)
                .map_err(|error| Error::Storage(format!("{}: {error}", path.display())))
        })
        .await
    }
}
