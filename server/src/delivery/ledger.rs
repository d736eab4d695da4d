//! What deliveries wrote that no table lists, for those who ask: records that were set aside, and backups of source records.
//!
//! It must never hold more than one object in memory for each reader.

use millrace_storage::lake::set_aside::SetAsideLine;
use millrace_storage::lake::source_backup::{self, BackupLine};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::batch::{BatchKey, BatchObject, BatchValue};

use super::Deliveries;
use super::worker::read_object;
use crate::error::{Error, Kind, Result};

/// An object of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerObject {
    /// The delivery.
    pub delivery: String,
    /// The batch that wrote it.
    pub batch: u64,
    object: BatchObject,
}

impl LedgerObject {
    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.object.url
    }

    /// Whether its records were taken up again.
    #[must_use]
    pub const fn is_taken_up(&self) -> bool {
        self.object.taken_up_by != 0
    }
}

impl Deliveries {
    /// The objects of records that were set aside, of all deliveries there are or were.
    pub async fn set_aside_objects(&self) -> Result<Vec<LedgerObject>> {
        self.ledger_objects(|value| value.all_set_aside().cloned().collect()).await
    }

    /// The objects of backups of source records, of all deliveries there are or were.
    pub async fn backup_objects(&self) -> Result<Vec<LedgerObject>> {
        self.ledger_objects(|value| value.backup_objects).await
    }

    async fn ledger_objects(&self, of: impl Fn(BatchValue) -> Vec<BatchObject>) -> Result<Vec<LedgerObject>> {
        let ledger = keys::scan::<BatchKey>(&*self.parts().meta).await?;
        let objects = ledger.into_iter().flat_map(|(key, stored)| {
            let of_batch = move |object| LedgerObject { delivery: key.delivery.clone(), batch: key.batch, object };
            of(stored.value).into_iter().map(of_batch)
        });
        Ok(objects.collect())
    }

    /// The records of an object of [`Deliveries::set_aside_objects`].
    pub async fn read_set_aside(&self, object: &LedgerObject) -> Result<Vec<SetAsideLine>> {
        read_object(self.parts(), &object.object).await
    }

    /// The records of an object of [`Deliveries::backup_objects`].
    pub async fn read_backup(&self, object: &LedgerObject) -> Result<Vec<BackupLine>> {
        let of_store = |error| Error::new(Kind::Unavailable, error);
        let store = &self.parts().store;
        let path = store.path_of_url(object.url()).map_err(of_store)?;
        let file = store.get(&path).await.map_err(of_store)?;
        let url = object.url().to_owned();
        let read = tokio::task::spawn_blocking(move || source_backup::read(&url, &file)).await;
        let lost = |error| Error::new(Kind::Internal, format_args!("reading a backup ended early: {error}"));
        read.map_err(lost)?.map_err(|error| Error::new(Kind::DataLoss, error))
    }
}
