//! Destinations as clients declare them: the members that mean something here, and those that are kept to be told again.
//!
//! What is stored is what `DescribeDeliveryStream` tells: a declaration with its defaults written out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::aws::protocol::AwsError;

/// The size of a buffer in MiB where none is declared.
const BUFFER_MIB: u32 = 5;
/// The same with a conversion to columns.
const CONVERSION_BUFFER_MIB: u32 = 128;
/// The least that a buffer with a conversion to columns may have.
const CONVERSION_BUFFER_MIB_MIN: u32 = 64;
const BUFFER_SECONDS: u32 = 300;

/// Where a delivery stream delivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Destination {
    /// Objects, or files of a table.
    S3(Box<S3Destination>),
    /// A table.
    Iceberg(Box<IcebergDestination>),
}

/// `BufferingHints`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct BufferingHints {
    #[serde(rename = "SizeInMBs")]
    pub(super) size_mib: Option<u32>,
    #[serde(rename = "IntervalInSeconds")]
    pub(super) interval_seconds: Option<u32>,
}

/// `ExtendedS3DestinationConfiguration`; of the plain one, `IcebergDestinationConfiguration`'s and a backup's, the first
/// members.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct S3Destination {
    #[serde(rename = "RoleARN")]
    pub(super) role_arn: String,
    #[serde(rename = "BucketARN")]
    pub(super) bucket_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_output_prefix: Option<String>,
    pub(super) buffering_hints: Option<BufferingHints>,
    pub(super) compression_format: Option<String>,
    pub(super) encryption_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cloud_watch_logging_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) processing_configuration: Option<ProcessingConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) s3_backup_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) s3_backup_configuration: Option<Box<S3Destination>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data_format_conversion_configuration: Option<DataFormatConversion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dynamic_partitioning_configuration: Option<DynamicPartitioning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_extension: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom_time_zone: Option<String>,
}

/// `ProcessingConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ProcessingConfiguration {
    pub(super) enabled: Option<bool>,
    #[serde(default)]
    pub(super) processors: Vec<Processor>,
}

/// `Processor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Processor {
    pub(super) r#type: String,
    #[serde(default)]
    pub(super) parameters: Vec<ProcessorParameter>,
}

/// `ProcessorParameter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ProcessorParameter {
    pub(super) parameter_name: String,
    pub(super) parameter_value: String,
}

/// `DynamicPartitioningConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DynamicPartitioning {
    pub(super) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_options: Option<Value>,
}

/// `DataFormatConversionConfiguration`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataFormatConversion {
    pub(super) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema_configuration: Option<SchemaConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_format_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_format_configuration: Option<Value>,
}

/// `SchemaConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SchemaConfiguration {
    #[serde(rename = "RoleARN", skip_serializing_if = "Option::is_none")]
    pub(super) role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) catalog_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) database_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version_id: Option<String>,
}

/// `IcebergDestinationConfiguration`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IcebergDestination {
    #[serde(default)]
    pub(super) destination_table_configuration_list: Vec<DestinationTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema_evolution_configuration: Option<Switch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table_creation_configuration: Option<Switch>,
    pub(super) buffering_hints: Option<BufferingHints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cloud_watch_logging_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) processing_configuration: Option<ProcessingConfiguration>,
    pub(super) s3_backup_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_options: Option<Value>,
    #[serde(rename = "RoleARN")]
    pub(super) role_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) append_only: Option<bool>,
    pub(super) catalog_configuration: Value,
    pub(super) s3_configuration: S3Destination,
}

/// `DestinationTableConfiguration`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DestinationTable {
    pub(super) destination_table_name: String,
    pub(super) destination_database_name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unique_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition_spec: Option<PartitionSpec>,
    #[serde(rename = "S3ErrorOutputPrefix", skip_serializing_if = "Option::is_none")]
    pub(super) error_output_prefix: Option<String>,
}

/// `PartitionSpec`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartitionSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<Vec<PartitionField>>,
}

/// `PartitionField`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartitionField {
    pub(super) source_name: String,
}

impl DestinationTable {
    /// The columns whose values part the table; none where nothing is said.
    pub(super) fn partitioned_by(&self) -> impl Iterator<Item = &str> {
        let fields = self.partition_spec.iter().flat_map(|spec| spec.identity.iter().flatten());
        fields.map(|field| field.source_name.as_str())
    }
}

/// A structure of one `Enabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Switch {
    pub(super) enabled: bool,
}

impl Destination {
    /// Reads what is stored.
    ///
    /// # Errors
    /// Where it is not what this build writes.
    pub(super) fn from_json(text: &str) -> Result<Self, AwsError> {
        serde_json::from_str(text)
            .map_err(|error| AwsError::internal(format!("a stored destination cannot be read: {error}")))
    }

    /// What is stored.
    pub(super) fn to_json(&self) -> Result<String, AwsError> {
        serde_json::to_string(self)
            .map_err(|error| AwsError::internal(format!("a destination cannot be written: {error}")))
    }

    /// The destination with its defaults.
    ///
    /// # Errors
    /// `InvalidArgumentException` where members do not fit together.
    pub(super) fn with_defaults(self) -> Result<Self, AwsError> {
        match self {
            Self::S3(mut s3) => {
                let converts = s3.converts();
                s3.set_defaults(converts)?;
                s3.s3_backup_mode.get_or_insert_with(|| "Disabled".to_owned());
                if let Some(backup) = &mut s3.s3_backup_configuration {
                    backup.set_defaults(false)?;
                }
                Ok(Self::S3(s3))
            }
            Self::Iceberg(mut iceberg) => {
                iceberg.buffering_hints = Some(hints(iceberg.buffering_hints, false)?);
                iceberg.s3_backup_mode.get_or_insert_with(|| "FailedDataOnly".to_owned());
                iceberg.s3_configuration.set_defaults(false)?;
                Ok(Self::Iceberg(iceberg))
            }
        }
    }
}

impl S3Destination {
    /// Whether records become columns.
    pub(super) fn converts(&self) -> bool {
        // A configuration is on unless it says otherwise.
        self.data_format_conversion_configuration.as_ref().is_some_and(|conversion| conversion.enabled != Some(false))
    }

    /// The bucket's name.
    pub(super) fn bucket(&self) -> &str {
        self.bucket_arn.rsplit(':').next().unwrap_or_default()
    }

    fn set_defaults(&mut self, converts: bool) -> Result<(), AwsError> {
        self.buffering_hints = Some(hints(self.buffering_hints, converts)?);
        self.compression_format.get_or_insert_with(|| "UNCOMPRESSED".to_owned());
        self.encryption_configuration.get_or_insert_with(|| serde_json::json!({"NoEncryptionConfig": "NoEncryption"}));
        if self.encryption_configuration.as_ref().is_some_and(|given| !given["KMSEncryptionConfig"].is_null()) {
            return Err(AwsError::invalid(
                "EncryptionConfiguration.KMSEncryptionConfig is not supported: the store's own settings encrypt objects \
                 (store.encryption)",
            ));
        }
        Ok(())
    }

    /// The destination with the members that an update has.
    ///
    /// # Errors
    /// Where the result is no destination.
    pub(super) fn updated(&self, update: Map<String, Value>) -> Result<Self, AwsError> {
        let mut members = members_of(self)?;
        for (name, value) in update.into_iter().filter(|(_, value)| !value.is_null()) {
            match (name.as_str(), value) {
                ("S3BackupUpdate", Value::Object(update)) => {
                    let backup = members.entry("S3BackupConfiguration").or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(backup) = backup {
                        backup.extend(update);
                    }
                }
                (_, value) => drop(members.insert(name, value)),
            }
        }
        read("the destination", Value::Object(members))
    }
}

impl IcebergDestination {
    /// As [`S3Destination::updated`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn updated(&self, update: Map<String, Value>) -> Result<Self, AwsError> {
        let mut members = members_of(self)?;
        members.extend(update.into_iter().filter(|(_, value)| !value.is_null()));
        read("the destination", Value::Object(members))
    }
}

fn members_of<T: Serialize>(destination: &T) -> Result<Map<String, Value>, AwsError> {
    match serde_json::to_value(destination) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(AwsError::internal("a destination is not an object")),
    }
}

/// Reads a structure that the model has checked.
///
/// # Errors
/// `InvalidArgumentException` where a member that it needs is missing.
pub(super) fn read<T: serde::de::DeserializeOwned>(what: &str, value: Value) -> Result<T, AwsError> {
    serde_json::from_value(value).map_err(|error| AwsError::invalid(format!("{what} is not whole: {error}")))
}

fn hints(declared: Option<BufferingHints>, converts: bool) -> Result<BufferingHints, AwsError> {
    let declared = declared.unwrap_or_default();
    if declared.size_mib.is_some() != declared.interval_seconds.is_some() {
        return Err(AwsError::invalid(
            "BufferingHints must have both SizeInMBs and IntervalInSeconds, or neither of them",
        ));
    }
    let size_mib = declared.size_mib.unwrap_or(if converts { CONVERSION_BUFFER_MIB } else { BUFFER_MIB });
    if converts && size_mib < CONVERSION_BUFFER_MIB_MIN {
        return Err(AwsError::invalid(format!(
            "BufferingHints.SizeInMBs is {size_mib}, and must be at least {CONVERSION_BUFFER_MIB_MIN} where \
             DataFormatConversionConfiguration is enabled"
        )));
    }
    Ok(BufferingHints {
        size_mib: Some(size_mib),
        interval_seconds: Some(declared.interval_seconds.unwrap_or(BUFFER_SECONDS)),
    })
}

/// Refuses members of a request that name what means nothing here.
///
/// # Errors
/// `InvalidArgumentException`.
pub(super) fn refuse_unknown_places(others: &BTreeMap<String, Value>) -> Result<(), AwsError> {
    const PLACES: [(&str, &str); 9] = [
        ("Redshift", "Redshift is no destination here"),
        ("Elasticsearch", "Elasticsearch is no destination here"),
        ("Amazonopensearchservice", "OpenSearch is no destination here"),
        ("AmazonOpenSearchServerless", "OpenSearch is no destination here"),
        ("Splunk", "Splunk is no destination here"),
        ("HttpEndpoint", "an HTTP endpoint is no destination here"),
        ("Snowflake", "Snowflake is no destination here"),
        ("MSKSource", "a Kafka cluster is no source here"),
        ("DatabaseSource", "a database is no source here"),
    ];
    let given = others.iter().filter(|(_, value)| !value.is_null());
    for (member, _) in given {
        if let Some((_, words)) = PLACES.iter().find(|(place, _)| member.starts_with(place)) {
            return Err(AwsError::invalid(format!(
                "{member}: {words}; destinations are ExtendedS3, S3 and Iceberg, sources are DirectPut and \
                 KinesisStreamAsSource"
            )));
        }
    }
    Ok(())
}
