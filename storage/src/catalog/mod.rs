//! The catalog: Iceberg tables, and the one commit that moves them.
//!
//! A table is a pointer in the meta store to an Iceberg metadata file in the object store. Everything that a commit writes
//! to the object store has a name of its own and is invisible until ONE meta commit swaps the pointer, compare-and-set,
//! together with whatever the caller must move at the same moment (a checkpoint, an intent). The catalog never writes or
//! reads data files, and never changes a file that a metadata file names.

mod error;
mod name;
mod storage;
mod schema;
mod summary;
mod create;
mod append;
mod overwrite;
mod repartition;
mod commit;
mod tidy;
mod partition_path;
mod files;
mod snapshots;
#[cfg(test)]
mod tests;

pub use append::Append;
pub use create::NewTable;
pub use error::{Error, Result};
pub use files::{FileEntry, TableFiles};
pub use name::{DEFAULT_NAMESPACE, TableName};
pub use overwrite::Overwrite;
pub use snapshots::{REBUILD, SnapshotEntry, ends, last_batch, snapshots};
pub use storage::file_io;
pub use summary::BatchSummary;

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::Runtime;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use parking_lot::Mutex;

use crate::lake::store::Store;
use crate::meta::MetaStore;
use crate::meta::keys::table::TableValue;
use crate::meta::keys::{self, Stored};

/// How often a load follows a pointer that moved while its old target was being removed.
const LOAD_ATTEMPTS_MAX: u32 = 5;

/// The tables of one meta store and one object store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    meta: Arc<dyn MetaStore>,
    store: Store,
    file_io: FileIO,
    slots: Arc<Mutex<HashMap<TableName, Arc<Slot>>>>,
}

/// What this process keeps for one table.
#[derive(Debug, Default)]
struct Slot {
    /// Held through an append: writers of one process take turns instead of colliding at the pointer.
    commit: tokio::sync::Mutex<()>,
    /// The newest state that was seen.
    loaded: Mutex<Option<Loaded>>,
    /// Planned files of manifests in use.
    manifests: files::ManifestCache,
}

/// A table and the exact pointer that it was read by.
#[derive(Debug, Clone)]
struct Loaded {
    pointer: Stored<TableValue>,
    table: Table,
}

impl Catalog {
    /// A catalog whose pointers lie in `meta` and whose files lie in `store`.
    #[must_use]
    pub fn new(meta: Arc<dyn MetaStore>, store: Store) -> Self {
        let file_io = file_io(&store);
        Self { meta, store, file_io, slots: Arc::default() }
    }

    /// The store that the tables lie in.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The names of all tables, in order.
    pub async fn list(&self) -> Result<Vec<TableName>> {
        let mut names = Vec::new();
        for (key, _) in keys::scan::<keys::table::TableKey>(&*self.meta).await? {
            names.push(TableName::from_key(key)?);
        }
        Ok(names)
    }

    /// The newest committed state of a table.
    pub async fn load(&self, name: &TableName) -> Result<Table> {
        Ok(self.load_with_pointer(name).await?.table)
    }

    /// The newest committed state of every table, by name; one that is dropped meanwhile is left out.
    pub async fn load_all(&self) -> Result<Vec<(TableName, Table)>> {
        let mut tables = Vec::new();
        for name in self.list().await? {
            match self.load(&name).await {
                Err(Error::NotFound { .. }) => {}
                table => tables.push((name, table?)),
            }
        }
        Ok(tables)
    }

    /// A table's declaration, as it was last set; empty where nobody declared it.
    pub async fn spec(&self, name: &TableName) -> Result<String> {
        let pointer = keys::get(&*self.meta, &name.key()).await?;
        pointer.map(|pointer| pointer.value.spec_toml).ok_or_else(|| Error::NotFound { table: name.clone() })
    }

    /// Sets a table's declaration.
    pub async fn set_spec(&self, name: &TableName, spec_toml: &str) -> Result<()> {
        loop {
            let Some(pointer) = keys::get(&*self.meta, &name.key()).await? else {
                return Err(Error::NotFound { table: name.clone() });
            };
            let value = TableValue { spec_toml: spec_toml.to_owned(), ..pointer.value.clone() };
            let condition = keys::unchanged(&name.key(), &pointer);
            match self.meta.commit(vec![condition], vec![keys::put(&name.key(), &value)]).await {
                // A commit of the table came between; each lost round is another writer's success.
                Err(crate::meta::Error::Conflict { .. }) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Forgets a table. Its files stay where they are.
    pub async fn drop(&self, name: &TableName) -> Result<()> {
        let Some(_pointer) = keys::get(&*self.meta, &name.key()).await? else {
            return Err(Error::NotFound { table: name.clone() });
        };
        self.meta.commit(vec![], vec![keys::delete(&name.key())]).await?;
        self.slots.lock().remove(name);
        Ok(())
    }

    /// Where a table lies: `<store root>/<namespace>/<table>`, as a URL.
    #[must_use]
    pub fn location(&self, name: &TableName) -> String {
        self.store.url(&self.store.path(&name.folder()))
    }

    fn slot(&self, name: &TableName) -> Arc<Slot> {
        Arc::clone(self.slots.lock().entry(name.clone()).or_default())
    }

    async fn load_with_pointer(&self, name: &TableName) -> Result<Loaded> {
        let slot = self.slot(name);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Some(pointer) = keys::get(&*self.meta, &name.key()).await? else {
                self.slots.lock().remove(name);
                return Err(Error::NotFound { table: name.clone() });
            };
            if let Some(loaded) = slot.at(&pointer) {
                return Ok(loaded);
            }
            match self.read(name, &pointer).await {
                Ok(table) => return Ok(slot.keep(Loaded { pointer, table })),
                Err(error) if attempt == LOAD_ATTEMPTS_MAX || !self.has_moved(name, &pointer).await? => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
    }

    async fn has_moved(&self, name: &TableName, pointer: &Stored<TableValue>) -> Result<bool> {
        Ok(keys::get(&*self.meta, &name.key()).await?.as_ref() != Some(pointer))
    }

    async fn read(&self, name: &TableName, pointer: &Stored<TableValue>) -> Result<Table> {
        let location = &pointer.value.metadata_location;
        let metadata = TableMetadata::read_from(&self.file_io, location).await;
        let metadata = metadata.map_err(|error| Error::iceberg(name, error))?;
        self.table(name, metadata, location)
    }

    /// A table handle for a metadata file of ours. It reads through the catalog's store and on the caller's runtime.
    fn table(&self, name: &TableName, metadata: TableMetadata, location: &str) -> Result<Table> {
        let runtime = Runtime::try_current().map_err(|error| Error::iceberg(name, error))?;
        Table::builder()
            .identifier(name.ident())
            .metadata(metadata)
            .metadata_location(location)
            .file_io(self.file_io.clone())
            .runtime(runtime)
            .build()
            .map_err(|error| Error::iceberg(name, error))
    }
}

impl Slot {
    /// The kept state where it is the one that `pointer` names.
    fn at(&self, pointer: &Stored<TableValue>) -> Option<Loaded> {
        let mut kept = self.loaded.lock();
        let loaded = kept.as_mut()?;
        if loaded.pointer.value.metadata_location != pointer.value.metadata_location {
            return None;
        }
        // Only the declaration may have changed, and with it the bytes that a commit must expect.
        loaded.pointer = pointer.clone();
        Some(loaded.clone())
    }

    fn keep(&self, loaded: Loaded) -> Loaded {
        *self.loaded.lock() = Some(loaded.clone());
        loaded
    }
}
