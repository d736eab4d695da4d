//! New tables: Iceberg v2, partitioned as their owner says.

use std::collections::HashMap;

use iceberg::spec::{FormatVersion, Schema, SortOrder, TableMetadataBuilder, TableProperties};
use iceberg::table::Table;
use iceberg::{MetadataLocation, Result as IcebergResult};

use super::{Catalog, Error, Loaded, Result, TableName};
use crate::lake::partition::Partitioning;
use crate::meta;
use crate::meta::keys::table::TableValue;
use crate::meta::keys::{self, Stored};

/// How many older metadata files a table keeps, for readers that hold one of them.
const METADATA_FILES_KEPT: u32 = 100;

/// Whether metadata files past those are deleted after a commit.
pub(super) const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// A table to create.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// Its columns. Their ids are assigned anew: read them from the table that comes back.
    pub schema: Schema,
    /// What of its columns partitions it.
    pub partitioning: Partitioning,
    /// The declaration, in TOML; may be empty.
    pub spec_toml: String,
}

impl Catalog {
    /// Creates a table at [`Catalog::location`]. [`Error::Exists`] where there is one.
    pub async fn create(&self, name: &TableName, new: NewTable) -> Result<Table> {
        if keys::get(&*self.meta, &name.key()).await?.is_some() {
            return Err(Error::Exists { table: name.clone() });
        }
        let NewTable { schema, partitioning, spec_toml } = new;
        let refused = |error: crate::lake::Error| Error::Schema { table: name.clone(), reason: error.to_string() };
        let partitioning = partitioning.unbound(&schema).map_err(refused)?;
        let location = self.location(name);
        let create = || -> IcebergResult<_> {
            let unsorted = SortOrder::unsorted_order();
            let version = FormatVersion::V2;
            let builder =
                TableMetadataBuilder::new(schema, partitioning, unsorted, location.clone(), version, properties())?;
            Ok(builder.build()?.metadata)
        };
        let metadata = create().map_err(|error| Error::iceberg(name, error))?;
        let metadata_location = MetadataLocation::new_with_metadata(&location, &metadata);
        let written = metadata.write_to(&self.file_io, &metadata_location).await;
        written.map_err(|error| Error::iceberg(name, error))?;

        let metadata_location = metadata_location.to_string();
        let table = self.table(name, metadata, &metadata_location)?;
        let pointer = keys::stored(&name.key(), TableValue { metadata_location, spec_toml });
        self.publish(name, &pointer).await?;
        let loaded = self.slot(name).keep(Loaded { pointer, table });
        self.write_version_hint(&loaded).await;
        Ok(loaded.table)
    }

    async fn publish(&self, name: &TableName, pointer: &Stored<TableValue>) -> Result<()> {
        let key = name.key();
        match self.meta.commit(vec![keys::absent(&key)], vec![keys::put(&key, &pointer.value)]).await {
            Err(meta::Error::Conflict { .. }) => Err(Error::Exists { table: name.clone() }),
            Err(error) if error.may_have_applied() => {
                let held = keys::get(&*self.meta, &key).await?;
                if held.as_ref() == Some(pointer) { Ok(()) } else { Err(error.into()) }
            }
            outcome => Ok(outcome?),
        }
    }
}

fn properties() -> HashMap<String, String> {
    HashMap::from([
        (TableProperties::PROPERTY_METADATA_PREVIOUS_VERSIONS_MAX.to_owned(), METADATA_FILES_KEPT.to_string()),
        (DELETE_AFTER_COMMIT.to_owned(), "true".to_owned()),
    ])
}
