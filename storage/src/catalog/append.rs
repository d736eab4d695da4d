//! Appending a batch: new files, more columns and the caller's own writes in one commit.

use iceberg::spec::{DataFile, SchemaRef};
use iceberg::table::Table;

use super::commit::{Along, Attempt, Done, Refused};
use super::{BatchSummary, Catalog, Error, Result, Slot, TableName};
use crate::meta::{Condition, Write};

/// How often a commit is tried while other engines move the table.
pub(super) const COMMIT_ATTEMPTS_MAX: u32 = 20;

/// A batch to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// The files, all durable in the store. There may be none: the snapshot then carries the summary alone.
    pub files: Vec<DataFile>,
    /// The schema that the files were written with: the table's own with columns added or widened. `None` where the files
    /// have no column that the table has not.
    pub schema: Option<SchemaRef>,
    /// The partition spec that the files were written for; `None` for the table's default.
    pub partition_spec_id: Option<i32>,
    /// What the batch holds.
    pub summary: BatchSummary,
    /// What must hold for the commit, such as the checkpoint that the batch began at.
    pub conditions: Vec<Condition>,
    /// What else the commit writes, such as the new checkpoint.
    pub writes: Vec<Write>,
}

impl Catalog {
    /// Appends a batch: swaps the table's pointer and applies the caller's conditions and writes, all or nothing.
    ///
    /// Where another writer moved the table meanwhile, it is tried again on the new state. [`Error::Conflict`] says that a
    /// condition of the caller failed, and [`Error::Schema`] that the table's columns have changed so that the rows must be
    /// converted anew. An error that [may have applied](Error::may_have_applied) is decided by reading the checkpoint.
    pub async fn append(&self, name: &TableName, append: Append) -> Result<Table> {
        let along = Along {
            schema: append.schema.as_ref(),
            partition_spec_id: append.partition_spec_id,
            conditions: &append.conditions,
            writes: &append.writes,
        };
        let slot = self.slot(name);
        let _turn = slot.commit.lock().await;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let base = self.load_with_pointer(name).await?;
            match Attempt::new(self, name, &base, along)?.append(&append).await {
                Ok(done) => return Ok(self.settle(&slot, done).await),
                Err(Refused::Moved) => tracing::debug!(table = %name, "another writer moved the table; trying again"),
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Contended { table: name.clone(), attempts: COMMIT_ATTEMPTS_MAX })
    }

    /// What follows a commit that applied.
    pub(super) async fn settle(&self, slot: &Slot, done: Done) -> Table {
        let loaded = slot.keep(done.loaded);
        self.write_version_hint(&loaded).await;
        self.delete_expired(&loaded, done.expired).await;
        loaded.table
    }
}
