//! Backups and checks over gRPC.

use std::collections::HashMap;
use std::num::NonZeroU32;

use millrace_proto::v1 as wire;
use millrace_proto::v1::maintenance_service_server::MaintenanceService;
use millrace_storage::backup::{Backup, Progress, Pruned, Pruning};
use millrace_storage::log::StreamId;
use millrace_storage::log::rocks::Verified;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::complete::complete;
use crate::error::Error;
use crate::maintenance::Maintenance;

/// Messages that wait for a caller; of progress, those that find no room are not sent.
const MESSAGES_MAX: usize = 16;

/// Answers about backups and the log's files.
#[derive(Debug, Clone)]
pub(super) struct MaintenanceHandler {
    maintenance: Maintenance,
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

impl MaintenanceHandler {
    pub(super) const fn new(maintenance: Maintenance) -> Self {
        Self { maintenance }
    }
}

#[tonic::async_trait]
impl MaintenanceService for MaintenanceHandler {
    type TakeBackupStream = Answers<wire::TakeBackupResponse>;
    type VerifyLogStream = Answers<wire::VerifyLogResponse>;

    /// The backup goes on to its end when the caller goes away: what was copied need not be copied again.
    async fn take_backup(
        &self,
        _request: Request<wire::TakeBackupRequest>,
    ) -> Result<Response<Self::TakeBackupStream>, Status> {
        let (sender, answers) = mpsc::channel(MESSAGES_MAX);
        let maintenance = self.maintenance.clone();
        tokio::spawn(async move {
            let told = sender.clone();
            let progress = move |at: Progress| {
                let progress = Some(progress(at));
                drop(told.try_send(Ok(wire::TakeBackupResponse { progress, backup: None })));
            };
            let taken = maintenance.take_backup(progress).await;
            let answer = taken.map(|backup| wire::TakeBackupResponse {
                progress: None,
                backup: Some(described(&backup, maintenance.place())),
            });
            // Who no longer waits for an answer needs none.
            drop(sender.send(answer.map_err(Status::from)).await);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn list_backups(
        &self,
        _request: Request<wire::ListBackupsRequest>,
    ) -> Result<Response<wire::ListBackupsResponse>, Status> {
        let backups = self.maintenance.list_backups().await?;
        let backups = backups.iter().map(|backup| described(backup, self.maintenance.place())).collect();
        Ok(Response::new(wire::ListBackupsResponse { backups }))
    }

    /// The prune goes on to its end when the caller goes away.
    async fn prune_backups(
        &self,
        request: Request<wire::PruneBackupsRequest>,
    ) -> Result<Response<wire::PruneBackupsResponse>, Status> {
        let wire::PruneBackupsRequest { keep, dry_run } = request.into_inner();
        let none = || Error::invalid("at least 1 backup is kept").in_field("keep");
        let keep = NonZeroU32::new(keep).ok_or_else(none)?;
        let pruning = if dry_run { Pruning::Dry } else { Pruning::Real };
        let maintenance = self.maintenance.clone();
        let pruned = complete("a prune", async move { maintenance.prune_backups(keep, pruning).await }).await?;
        let Pruned { backups: removed, objects, bytes, kept } = pruned;
        Ok(Response::new(wire::PruneBackupsResponse { removed, objects, bytes, kept }))
    }

    async fn verify_log(
        &self,
        _request: Request<wire::VerifyLogRequest>,
    ) -> Result<Response<Self::VerifyLogStream>, Status> {
        let (sender, answers) = mpsc::channel(MESSAGES_MAX);
        let maintenance = self.maintenance.clone();
        tokio::spawn(async move {
            let (told, names) = (sender.clone(), maintenance.stream_names());
            let progress = move |at: &Verified| drop(told.try_send(Ok(counted(at))));
            let verified = maintenance.verify_log(progress).await;
            let answer = verified.map(|verified| verified_log(&verified, &names));
            drop(sender.send(answer.map_err(Status::from)).await);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

fn progress(at: Progress) -> wire::BackupProgress {
    let Progress { files_done, files, bytes_done, bytes, bytes_copied } = at;
    wire::BackupProgress { files_done, files, bytes_done, bytes, bytes_copied }
}

fn described(backup: &Backup, place: &str) -> wire::Backup {
    wire::Backup {
        id: backup.id.clone(),
        created_at_ms: backup.created_at_ms,
        files: backup.files.len() as u64,
        bytes: backup.bytes(),
        place: place.to_owned(),
    }
}

fn counted(verified: &Verified) -> wire::VerifyLogResponse {
    wire::VerifyLogResponse {
        done: false,
        shards: verified.shards,
        blocks: verified.blocks,
        records: verified.records,
        stored_bytes: verified.stored_bytes,
        unauthenticated_blocks: verified.unauthenticated,
        fault_count: verified.fault_count,
        faults: Vec::new(),
    }
}

/// What a verification found, with the names of the streams that have faults.
pub(crate) fn verified_log(verified: &Verified, names: &HashMap<StreamId, String>) -> wire::VerifyLogResponse {
    wire::VerifyLogResponse { done: true, faults: faults(verified, names), ..counted(verified) }
}

fn faults(verified: &Verified, names: &HashMap<StreamId, String>) -> Vec<wire::LogFault> {
    let fault = |fault: &millrace_storage::log::rocks::Fault| wire::LogFault {
        stream: names.get(&fault.shard.stream).cloned().unwrap_or_default(),
        stream_id: fault.shard.stream.0,
        shard: fault.shard.shard.0,
        from_offset: fault.offsets.start.0,
        to_offset: fault.offsets.end.0,
        reason: fault.reason.clone(),
    };
    verified.faults.iter().map(fault).collect()
}
