//! Calls for backups and checks of the log.

use millrace_proto::v1::{
    Backup, BackupProgress, ListBackupsRequest, PruneBackupsRequest, PruneBackupsResponse, TakeBackupRequest,
    VerifyLogRequest, VerifyLogResponse,
};

use super::Admin;
use crate::{Error, Result};

impl Admin {
    /// Takes a backup to the place that the server's settings name, and tells how far it is.
    ///
    /// # Errors
    /// `FailedPrecondition` while another backup is taken; what the disk or the place fails with.
    pub async fn take_backup(&self, mut progress: impl FnMut(BackupProgress) + Send) -> Result<Backup> {
        let mut answers = self.maintenance.clone().take_backup(TakeBackupRequest {}).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            answer.progress.into_iter().for_each(&mut progress);
            if let Some(backup) = answer.backup {
                return Ok(backup);
            }
        }
        Err(Error::malformed("the backup"))
    }

    /// The backups in the place that the server's settings name, oldest first.
    ///
    /// # Errors
    /// What the place fails with.
    pub async fn list_backups(&self) -> Result<Vec<Backup>> {
        Ok(self.maintenance.clone().list_backups(ListBackupsRequest {}).await?.into_inner().backups)
    }

    /// Removes all backups but the newest `keep`, and what only they held; or only tells what that would be.
    ///
    /// # Errors
    /// `FailedPrecondition` while a backup is taken; what the place fails with.
    pub async fn prune_backups(&self, request: PruneBackupsRequest) -> Result<PruneBackupsResponse> {
        Ok(self.maintenance.clone().prune_backups(request).await?.into_inner())
    }

    /// Has the server read every block of its log, and tells how far it is. What is wrong is in the answer's faults.
    ///
    /// # Errors
    /// What keeps the log from being read at all.
    pub async fn verify_log(&self, mut progress: impl FnMut(&VerifyLogResponse) + Send) -> Result<VerifyLogResponse> {
        let mut answers = self.maintenance.clone().verify_log(VerifyLogRequest {}).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            progress(&answer);
            if answer.done {
                return Ok(answer);
            }
        }
        Err(Error::malformed("the end of the check"))
    }
}
