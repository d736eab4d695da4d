//! Partitioning a table otherwise: files that come from then on have the new values, and those that it has keep theirs, as
//! Iceberg's partition evolution has it.

use iceberg::TableUpdate;
use iceberg::table::Table;

use super::append::COMMIT_ATTEMPTS_MAX;
use super::commit::{Along, Attempt, Refused};
use super::{Catalog, Error, Result, TableName};
use crate::lake::partition::Partitioning;

/// By convention of Iceberg, the spec that the same commit adds.
const LAST_ADDED: i32 = -1;

impl Catalog {
    /// Makes a partitioning a table's default. Changes nothing where it is.
    ///
    /// [`Error::Schema`] where the table has no column that it needs.
    pub async fn repartition(&self, name: &TableName, partitioning: &Partitioning) -> Result<Table> {
        let slot = self.slot(name);
        let _turn = slot.commit.lock().await;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let base = self.load_with_pointer(name).await?;
            let metadata = base.table.metadata();
            if partitioning.spec_id(metadata) == Some(metadata.default_partition_spec_id()) {
                return Ok(base.table);
            }
            let refused = |error: crate::lake::Error| Error::Schema { table: name.clone(), reason: error.to_string() };
            let spec = partitioning.unbound(metadata.current_schema()).map_err(refused)?;
            let updates = vec![TableUpdate::AddSpec { spec }, TableUpdate::SetDefaultSpec { spec_id: LAST_ADDED }];
            // The pointer is compared as a whole, which leaves nothing to require.
            match Attempt::new(self, name, &base, Along::default())?.swap(Vec::new(), updates).await {
                Ok(done) => return Ok(self.settle(&slot, done).await),
                Err(Refused::Moved) => tracing::debug!(table = %name, "another writer moved the table; trying again"),
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Contended { table: name.clone(), attempts: COMMIT_ATTEMPTS_MAX })
    }
}
