//! Backups of log and meta store: taken while the server runs, restored into an empty folder.
//!
//! ```text
//! objects/<SHA-256>          the files' bytes, each once however many backups hold it
//! backups/<time>.json        one backup: which files, under what names; written last, and only this makes it one
//! taking/, pruning/          who is at work here at present
//! ```
//!
//! **Why a backup is consistent.** No meta commit happens while both copies are made: first of the meta store, then of the log,
//! between two of its groups. So all that the meta store refers to is in the log: every stream and shard that was declared,
//! every position that a delivery or a group committed, every data key that a block was sealed by. Appends go on and need no
//! meta commit. A trim that comes in between is one that the copied positions allow, because retention trims below what is
//! committed, and nothing is committed meanwhile.
//!
//! Nothing here runs a server or knows what the bytes mean. A backup is never changed after it was written; a prune removes it
//! as a whole.

mod manifest;
mod marker;
mod take;
mod restore;
mod prune;
#[cfg(test)]
mod tests;

pub use manifest::{Backup, BackupFile};
pub use prune::{Pruned, Pruning, prune};
pub use restore::{RESTORING, list, restore};
pub use take::{Progress, remove_remains, take};

use crate::{lake, log, meta};

/// A backup result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backup's place cannot be read or written.
    #[error(transparent)]
    Store(#[from] lake::Error),
    /// The log cannot be copied.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The meta store cannot be copied.
    #[error(transparent)]
    Meta(#[from] meta::Error),
    /// This machine's disk failed.
    #[error("{path}: {error}")]
    Disk {
        /// The file or folder.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A backup is not as it was written.
    #[error("{object} is not as it was written: {reason}")]
    Damaged {
        /// The object in the backup's place.
        object: String,
        /// What was found.
        reason: String,
    },
    /// There is no such backup.
    #[error("{place} holds no backup {id}")]
    NotFound {
        /// Where it was looked for.
        place: String,
        /// Its id, or "at all".
        id: String,
    },
    /// Work that does not go with this is under way in the backup's place.
    #[error("{work} in {place}; try again later, or after an hour where that process ended in the middle")]
    Busy {
        /// Where.
        place: String,
        /// In words.
        work: &'static str,
    },
    /// This work took so long between two steps that another one took it for dead.
    #[error("{marker} is gone: this stood still for so long that another process went on without it; do it again")]
    Overtaken {
        /// The marker.
        marker: String,
    },
    /// A restore would overwrite what is there.
    #[error("{path} is not empty; restore into an empty or a new folder")]
    NotEmpty {
        /// The folder.
        path: String,
    },
    /// A task of this process was lost.
    #[error("a task of the backup ended early: {0}")]
    Lost(String),
}

/// A disk's error with the path that it is about.
fn disk(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| Error::Disk { path: path.display().to_string(), error }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Lost(error.to_string())))
}
