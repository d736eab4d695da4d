//! The table that a destination fills: it is there already, or it is made with the delivery stream, partitioned as the
//! destination says.

use iceberg::spec::{TableMetadata, Transform};
use millrace_storage::catalog::TableName;
use millrace_storage::meta::keys::delivery_stream::DeliveryStreamValue;

use super::Firehose;
use super::destination::Destination;
use super::target::told;
use crate::api::aws::protocol::AwsError;
use crate::error::{Error, Kind};

/// A table of the catalog, as a destination has it.
struct Filled {
    name: TableName,
    /// Whether it may be made.
    creates: bool,
    /// The columns whose values part it, where the destination says so.
    partitioned_by: Vec<String>,
}

impl Filled {
    fn of(value: &DeliveryStreamValue) -> Result<Option<Self>, AwsError> {
        let (database, table, creates, partitioned_by) = match Destination::from_json(&value.destination_json)? {
            Destination::S3(s3) => {
                let conversion = s3.data_format_conversion_configuration.as_ref().filter(|_| s3.converts());
                let Some(schema) = conversion.and_then(|conversion| conversion.schema_configuration.as_ref()) else {
                    return Ok(None);
                };
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                (part(&schema.database_name), part(&schema.table_name), false, Vec::new())
            }
            Destination::Iceberg(iceberg) => {
                let creates = iceberg.table_creation_configuration.is_some_and(|switch| switch.enabled);
                let Some(table) = iceberg.destination_table_configuration_list.first() else { return Ok(None) };
                let partitioned_by = table.partitioned_by().map(str::to_owned).collect();
                (table.destination_database_name.clone(), table.destination_table_name.clone(), creates, partitioned_by)
            }
        };
        let name = TableName::new(&database, &table).map_err(|error| AwsError::invalid(error.to_string()))?;
        Ok(Some(Self { name, creates, partitioned_by }))
    }
}

impl Firehose {
    /// Checks that the table of a destination is there, partitioned as the destination says, or may be made. Gives whether it is
    /// still to be made.
    ///
    /// # Errors
    /// `InvalidArgumentException` where it is not.
    pub(super) async fn check_table(&self, value: &DeliveryStreamValue) -> Result<bool, AwsError> {
        let Some(table) = Filled::of(value)? else { return Ok(false) };
        match self.catalog.load(&table.name).await.map_err(Error::from) {
            Ok(_) if table.partitioned_by.is_empty() => Ok(false),
            Ok(loaded) => check_partitions(&table, loaded.metadata()).map(|()| false),
            Err(error) if *error.kind() != Kind::NotFound => Err(told(error)),
            Err(_) if table.creates => Ok(true),
            Err(_) => Err(AwsError::invalid(format!(
                "the table {} does not exist; declare it in a pipeline file first",
                table.name
            ))),
        }
    }

    /// Whether the table of a destination is not there. One that is may have been changed since, and stays as it is.
    ///
    /// # Errors
    /// Where the meta store fails.
    pub(super) async fn lacks_table(&self, value: &DeliveryStreamValue) -> Result<bool, AwsError> {
        let Some(table) = Filled::of(value)? else { return Ok(false) };
        match self.catalog.spec(&table.name).await.map_err(Error::from) {
            Ok(_) => Ok(false),
            Err(error) if *error.kind() == Kind::NotFound => Ok(true),
            Err(error) => Err(told(error)),
        }
    }
}

/// What is told of a destination must hold.
fn check_partitions(table: &Filled, metadata: &TableMetadata) -> Result<(), AwsError> {
    let schema = metadata.current_schema();
    let column = |id: i32| schema.name_by_field_id(id).unwrap_or("?");
    let fields = metadata.default_partition_spec().fields();
    let found = fields.iter().map(|field| (field.transform, column(field.source_id)));
    if found.eq(table.partitioned_by.iter().map(|column| (Transform::Identity, column.as_str()))) {
        return Ok(());
    }
    let words: Vec<String> =
        fields.iter().map(|field| format!("{}({})", field.transform, column(field.source_id))).collect();
    Err(AwsError::invalid(format!(
        "PartitionSpec is for a table that is made with the delivery stream; {} exists and is partitioned by {}: leave \
         PartitionSpec out, or change partition_by of the table in a pipeline file first",
        table.name,
        words.join(", ")
    )))
}
