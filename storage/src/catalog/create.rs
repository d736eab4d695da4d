//! New tables: Iceberg v2, partitioned by the hour of the time column.

use std::collections::HashMap;

use iceberg::spec::{
    FormatVersion, PrimitiveType, Schema, SortOrder, TableMetadataBuilder, TableProperties, Transform,
};
use iceberg::spec::{Type, UnboundPartitionSpec};
use iceberg::table::Table;
use iceberg::{MetadataLocation, Result as IcebergResult};

use super::{Catalog, Error, Loaded, Result, TableName};
use crate::lake::schema::PARTITION_FIELD;
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
    /// The top-level timestamp column whose hour partitions the table.
    pub time_column: String,
    /// The declaration, in TOML; may be empty.
    pub spec_toml: String,
}

impl Catalog {
    /// Creates a table at [`Catalog::location`]. [`Error::Exists`] where there is one.
    pub async fn create(&self, name: &TableName, new: NewTable) -> Result<Table> {
        if keys::get(&*self.meta, &name.key()).await?.is_some() {
            return Err(Error::Exists { table: name.clone() });
        }
        let NewTable { schema, time_column, spec_toml } = new;
        let partitioning = partitioning(name, &schema, &time_column)?;
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

fn partitioning(name: &TableName, schema: &Schema, time_column: &str) -> Result<UnboundPartitionSpec> {
    let refuse = |reason: String| Error::Schema { table: name.clone(), reason };
    let field = schema.as_struct().field_by_name(time_column);
    let field = field.ok_or_else(|| refuse(format!("the time column {time_column} is not among the columns")))?;
    let is_time = match &*field.field_type {
        Type::Primitive(primitive) => {
            use PrimitiveType::{Timestamp, TimestampNs, Timestamptz, TimestamptzNs};
            matches!(primitive, Timestamp | TimestampNs | Timestamptz | TimestamptzNs)
        }
        _ => false,
    };
    if !is_time {
        return Err(refuse(format!("the time column {time_column} is {}, not a timestamp", field.field_type)));
    }
    if schema.field_by_name(PARTITION_FIELD).is_some() {
        return Err(refuse(format!("no column may be named {PARTITION_FIELD}")));
    }
    let hour = UnboundPartitionSpec::builder().add_partition_field(field.id, PARTITION_FIELD, Transform::Hour);
    Ok(hour.map_err(|error| Error::iceberg(name, error))?.build())
}

fn properties() -> HashMap<String, String> {
    HashMap::from([
        (TableProperties::PROPERTY_METADATA_PREVIOUS_VERSIONS_MAX.to_owned(), METADATA_FILES_KEPT.to_string()),
        (DELETE_AFTER_COMMIT.to_owned(), "true".to_owned()),
    ])
}
