//! A delivery stream as a pipeline file: the hidden stream, where records are put directly, and the delivery.
//!
//! Buckets are folders below one folder of the store, so that no bucket's name and no prefix reaches anything else there.

use millrace_storage::meta::keys::delivery_stream::DeliveryStreamValue;
use toml::{Table, Value};

use super::conversion::Conversion;
use super::destination::{BufferingHints, Destination, DestinationTable, IcebergDestination, S3Destination};
use super::name::Name;
use super::prefix;
use super::processors::Steps;
use super::put::RECORD_BYTES_MAX;
use crate::api::aws::arn::{Arns, Resource};
use crate::api::aws::protocol::AwsError;
use crate::api::aws::settings::FirehoseSettings;

/// MiB a second that the default rates are for.
const HINT_MIB: u32 = 5;
/// What follows the folder of buckets for backups, so that no object of data has a backup's name.
const BACKUP: &str = "-backup";

/// Writes pipeline files.
#[derive(Debug)]
pub(super) struct Pipelines<'f> {
    pub(super) arns: &'f Arns,
    pub(super) settings: &'f FirehoseSettings,
}

impl Pipelines<'_> {
    /// What carries out a declaration; whether its table is still to be made, nothing in it tells.
    ///
    /// # Errors
    /// `InvalidArgumentException` where a part of it means nothing here.
    pub(super) fn of(&self, name: &Name, value: &DeliveryStreamValue, makes_table: bool) -> Result<String, AwsError> {
        let mut delivery = Table::new();
        let destination = Destination::from_json(&value.destination_json)?;
        let mut file = Table::new();
        set(&mut delivery, "name", name.as_str());
        let mut first_steps = Vec::new();
        if value.source_stream_arn.is_empty() {
            set(&mut delivery, "stream", name.stream()?.as_str());
            file.insert("stream".to_owned(), Value::Array(vec![Value::Table(self.hidden_stream(name, value)?)]));
        } else {
            let Resource::Stream(stream) = self.arns.parse(&value.source_stream_arn)? else {
                return Err(AwsError::invalid(format!("{} is not the ARN of a stream", value.source_stream_arn)));
            };
            set(&mut delivery, "stream", stream.as_str());
            set(&mut delivery, "start", "latest");
            first_steps.push(Value::from("deaggregate"));
        }
        let steps = match &destination {
            Destination::S3(s3) => self.objects(s3, &mut delivery)?,
            Destination::Iceberg(iceberg) => {
                let steps = table(iceberg, &mut delivery)?;
                let declared = iceberg.destination_table_configuration_list.first().and_then(partitioned_table);
                if let Some(declared) = declared.filter(|_| makes_table) {
                    file.insert("table".to_owned(), Value::Array(vec![Value::Table(declared)]));
                }
                steps
            }
        };
        let steps = first_steps.into_iter().chain(steps);
        delivery.insert("transforms".to_owned(), Value::Array(steps.collect()));
        file.insert("delivery".to_owned(), Value::Array(vec![Value::Table(delivery)]));
        toml::to_string(&file).map_err(|error| AwsError::internal(format!("a delivery cannot be written: {error}")))
    }

    fn hidden_stream(&self, name: &Name, value: &DeliveryStreamValue) -> Result<Table, AwsError> {
        let mut stream = Table::new();
        set(&mut stream, "name", name.stream()?.as_str());
        // One shard keeps the order of puts.
        stream.insert("shards".to_owned(), Value::from(1));
        stream.insert("record_size_max".to_owned(), Value::from(RECORD_BYTES_MAX as i64 + 1));
        stream.insert("encryption".to_owned(), Value::from(!value.key_type.is_empty()));
        let mut quota = Table::new();
        let times = u64::from(value.throughput_hint_mib.max(HINT_MIB));
        let rates = [
            ("in_bytes_per_second", self.settings.in_bytes_per_second.as_u64()),
            ("in_records_per_second", self.settings.in_records_per_second),
        ];
        for (field, rate) in rates {
            let rate = rate.saturating_mul(times) / u64::from(HINT_MIB);
            let rate = i64::try_from(rate).unwrap_or(i64::MAX);
            quota.insert(field.to_owned(), if rate == 0 { Value::from("off") } else { Value::from(rate) });
        }
        stream.insert("quota".to_owned(), Value::Table(quota));
        Ok(stream)
    }

    fn objects(&self, s3: &S3Destination, delivery: &mut Table) -> Result<Vec<Value>, AwsError> {
        prefix::check(s3.prefix.as_deref(), s3.error_output_prefix.as_deref())?;
        check_partitioning(s3)?;
        set_buffer(s3.buffering_hints, delivery);
        if let Some(zone) = s3.custom_time_zone.as_deref().filter(|zone| !zone.is_empty()) {
            set(delivery, "time_zone", zone);
        }
        if s3.s3_backup_mode.as_deref() == Some("Enabled") {
            delivery.insert("backup".to_owned(), Value::Table(self.backup(s3)?));
        }
        let converts = s3.converts();
        // A table's files lie in its own folder.
        let bucket = if converts { "" } else { s3.bucket() };
        let data_prefix = prefix::of_data(bucket, s3.prefix.as_deref());
        let mut steps = Steps::of(s3.processing_configuration.as_ref(), &data_prefix)?;
        let data_prefix = if steps.keys_of_step { prefix::of_transform(&data_prefix) } else { data_prefix };
        set(delivery, "prefix", &data_prefix);
        set(delivery, "error_prefix", &prefix::of_errors(bucket, s3.error_output_prefix.as_deref()));
        if converts {
            convert(s3, delivery)?;
            steps.transforms.push(Value::from("split"));
        } else {
            set(delivery, "format", "raw");
            set(delivery, "destination", &self.settings.folder);
            set(delivery, "compression", compression(s3.compression_format.as_deref())?);
            if let Some(extension) = s3.file_extension.as_deref().filter(|extension| !extension.is_empty()) {
                set(delivery, "extension", extension);
            }
        }
        let keys = steps.partition_keys.into_iter().map(|(name, path)| (name, Value::from(path)));
        delivery.insert("partition_keys".to_owned(), Value::Table(keys.collect()));
        Ok(steps.transforms)
    }

    fn backup(&self, s3: &S3Destination) -> Result<Table, AwsError> {
        let backup = s3
            .s3_backup_configuration
            .as_ref()
            .ok_or_else(|| AwsError::invalid("S3BackupMode is Enabled, and there is no S3BackupConfiguration"))?;
        let mut table = Table::new();
        set(&mut table, "destination", &format!("{}{BACKUP}", self.settings.folder));
        set(&mut table, "prefix", &prefix::of_data(backup.bucket(), backup.prefix.as_deref()));
        let compression = match backup.compression_format.as_deref().unwrap_or("UNCOMPRESSED") {
            "UNCOMPRESSED" => "none",
            "GZIP" => "gzip",
            other => {
                return Err(AwsError::invalid(format!(
                    "S3BackupConfiguration.CompressionFormat {other} is not supported; UNCOMPRESSED and GZIP are"
                )));
            }
        };
        set(&mut table, "compression", compression);
        Ok(table)
    }
}

fn convert(s3: &S3Destination, delivery: &mut Table) -> Result<(), AwsError> {
    let declared = s3.data_format_conversion_configuration.as_ref();
    let declared = declared.ok_or_else(|| AwsError::internal("there is nothing to convert by"))?;
    let conversion = Conversion::of(declared)?;
    if s3.compression_format.as_deref() != Some("UNCOMPRESSED") {
        return Err(AwsError::invalid(
            "CompressionFormat must be UNCOMPRESSED where DataFormatConversionConfiguration is enabled; ParquetSerDe says \
             how columns are compressed",
        ));
    }
    if s3.file_extension.as_deref().is_some_and(|extension| !matches!(extension, "" | ".parquet")) {
        return Err(AwsError::invalid("FileExtension is not supported with conversion but .parquet"));
    }
    set(delivery, "format", "parquet");
    set(delivery, "table", &conversion.table);
    set(delivery, "compression", conversion.compression);
    if let Some(dictionary) = conversion.dictionary {
        delivery.insert("dictionary".to_owned(), Value::from(dictionary));
    }
    Ok(())
}

fn compression(declared: Option<&str>) -> Result<&'static str, AwsError> {
    match declared.unwrap_or("UNCOMPRESSED") {
        "UNCOMPRESSED" => Ok("none"),
        "GZIP" => Ok("gzip"),
        "Snappy" => Ok("xerial_snappy"),
        "HADOOP_SNAPPY" => Ok("hadoop_snappy"),
        other => Err(AwsError::invalid(format!(
            "CompressionFormat {other} is not supported; UNCOMPRESSED, GZIP, Snappy and HADOOP_SNAPPY are"
        ))),
    }
}

fn check_partitioning(s3: &S3Destination) -> Result<(), AwsError> {
    let is_on = s3.dynamic_partitioning_configuration.as_ref().is_some_and(|given| given.enabled == Some(true));
    let has_keys = s3.prefix.as_deref().is_some_and(prefix::has_keys);
    match (is_on, has_keys) {
        (true, false) => Err(AwsError::invalid(
            "DynamicPartitioningConfiguration is enabled, and Prefix has no !{partitionKeyFromQuery:…} or \
             !{partitionKeyFromLambda:…}",
        )),
        (false, true) => {
            Err(AwsError::invalid("Prefix has partition keys, and DynamicPartitioningConfiguration is not enabled"))
        }
        _ => Ok(()),
    }
}

fn table(iceberg: &IcebergDestination, delivery: &mut Table) -> Result<Vec<Value>, AwsError> {
    let [table] = iceberg.destination_table_configuration_list.as_slice() else {
        return Err(AwsError::invalid(
            "DestinationTableConfigurationList must have exactly one table: records are not routed to several",
        ));
    };
    if !table.unique_keys.is_empty() {
        return Err(AwsError::invalid("UniqueKeys are not supported: rows are appended"));
    }
    if iceberg.s3_backup_mode.as_deref() == Some("AllData") {
        return Err(AwsError::invalid("S3BackupMode AllData is not supported; FailedDataOnly is"));
    }
    set(delivery, "format", "parquet");
    set(delivery, "table", &table_name(table));
    let s3 = &iceberg.s3_configuration;
    let errors = table.error_output_prefix.as_deref().or(s3.error_output_prefix.as_deref());
    set(delivery, "error_prefix", &prefix::of_errors("", errors));
    set_buffer(iceberg.buffering_hints, delivery);
    let mut steps = Steps::of(iceberg.processing_configuration.as_ref(), "")?;
    if steps.keys_of_step {
        return Err(AwsError::invalid("MetadataExtraction is not supported with the Iceberg destination"));
    }
    steps.transforms.push(Value::from("split"));
    Ok(steps.transforms)
}

/// A table as it is made where its partitions are told. Nothing tells the types of their columns, so they are text.
fn partitioned_table(table: &DestinationTable) -> Option<Table> {
    let columns: Vec<&str> = table.partitioned_by().collect();
    let text = |column: &&str| {
        let column = [("name".to_owned(), Value::from(*column)), ("type".to_owned(), Value::from("string"))];
        Value::Table(column.into_iter().collect())
    };
    let transforms = columns.iter().map(|column| Value::from(format!("identity({column})")));
    let mut declared = Table::new();
    set(&mut declared, "name", &table_name(table));
    declared.insert("partition_by".to_owned(), Value::Array(transforms.collect()));
    declared.insert("column".to_owned(), Value::Array(columns.iter().map(text).collect()));
    (!columns.is_empty()).then_some(declared)
}

fn table_name(table: &DestinationTable) -> String {
    format!("{}.{}", table.destination_database_name, table.destination_table_name)
}

fn set_buffer(hints: Option<BufferingHints>, delivery: &mut Table) {
    let hints = hints.unwrap_or_default();
    if let Some(size) = hints.size_mib {
        set(delivery, "buffer_size", &format!("{size}MiB"));
    }
    if let Some(seconds) = hints.interval_seconds {
        set(delivery, "buffer_interval", &format!("{seconds}s"));
    }
}

fn set(table: &mut Table, field: &str, value: &str) {
    table.insert(field.to_owned(), Value::from(value));
}
