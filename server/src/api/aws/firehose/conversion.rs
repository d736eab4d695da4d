//! Conversion to Parquet: which table's columns, and what of the options can be honoured. What cannot is refused, so that
//! nobody finds out from the data.

use serde_json::Value;

use super::destination::DataFormatConversion;
use crate::api::aws::protocol::AwsError;

/// What a delivery needs to know of a conversion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conversion {
    /// `database.table`.
    pub(super) table: String,
    pub(super) compression: &'static str,
    pub(super) dictionary: Option<bool>,
}

/// Members of a writer that only their defaults are taken for.
const FIXED: [(&str, &str); 4] = [
    ("BlockSizeBytes", "268435456"),
    ("PageSizeBytes", "1048576"),
    ("MaxPaddingBytes", "0"),
    ("WriterVersion", "\"V1\""),
];

impl Conversion {
    /// # Errors
    /// `InvalidArgumentException` where a part is missing or cannot be honoured.
    pub(super) fn of(declared: &DataFormatConversion) -> Result<Self, AwsError> {
        let missing = |member: &str| {
            AwsError::invalid(format!("DataFormatConversionConfiguration is enabled and has no {member}"))
        };
        let schema = declared.schema_configuration.as_ref().ok_or_else(|| missing("SchemaConfiguration"))?;
        let database = schema.database_name.as_deref().ok_or_else(|| missing("SchemaConfiguration.DatabaseName"))?;
        let table = schema.table_name.as_deref().ok_or_else(|| missing("SchemaConfiguration.TableName"))?;
        if let Some(version) = schema.version_id.as_deref().filter(|version| *version != "LATEST") {
            return Err(AwsError::invalid(format!(
                "SchemaConfiguration.VersionId {version} is not supported; LATEST is: a table's schema evolves in place"
            )));
        }
        let input = declared.input_format_configuration.as_ref().ok_or_else(|| missing("InputFormatConfiguration"))?;
        check_input(&input["Deserializer"])?;
        let output = declared.output_format_configuration.as_ref();
        let serializer = &output.ok_or_else(|| missing("OutputFormatConfiguration"))?["Serializer"];
        if !serializer["OrcSerDe"].is_null() {
            return Err(AwsError::invalid("OrcSerDe is not supported; ParquetSerDe is"));
        }
        let parquet = &serializer["ParquetSerDe"];
        if parquet.is_null() {
            return Err(missing("OutputFormatConfiguration.Serializer.ParquetSerDe"));
        }
        for (member, only) in FIXED {
            let given = &parquet[member];
            let written = given.to_string();
            if !given.is_null() && written != only {
                return Err(AwsError::invalid(format!(
                    "ParquetSerDe.{member} {given} is not supported; only {only} is"
                )));
            }
        }
        let compression = match parquet["Compression"].as_str() {
            Some("UNCOMPRESSED") => "none",
            Some("GZIP") => "gzip",
            _ => "snappy",
        };
        let dictionary = parquet["EnableDictionaryCompression"].as_bool();
        Ok(Self { table: format!("{database}.{table}"), compression, dictionary })
    }
}

fn check_input(deserializer: &Value) -> Result<(), AwsError> {
    let (open_x, hive) = (&deserializer["OpenXJsonSerDe"], &deserializer["HiveJsonSerDe"]);
    match (open_x.is_null(), hive.is_null()) {
        (true, true) => return Err(AwsError::invalid("Deserializer needs OpenXJsonSerDe or HiveJsonSerDe")),
        (false, false) => return Err(AwsError::invalid("Deserializer can have only one deserializer")),
        _ => {}
    }
    let is_filled = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        value => value == &Value::Bool(true),
    };
    for (name, given, words) in [
        ("OpenXJsonSerDe.CaseInsensitive", &open_x["CaseInsensitive"], "a field is a column of exactly its name"),
        (
            "OpenXJsonSerDe.ConvertDotsInJsonKeysToUnderscores",
            &open_x["ConvertDotsInJsonKeysToUnderscores"],
            "a field is a column of exactly its name",
        ),
        (
            "OpenXJsonSerDe.ColumnToJsonKeyMappings",
            &open_x["ColumnToJsonKeyMappings"],
            "a field is a column of exactly its name",
        ),
        (
            "HiveJsonSerDe.TimestampFormats",
            &hive["TimestampFormats"],
            "the table's own declaration says how times are written",
        ),
    ] {
        if is_filled(given) {
            return Err(AwsError::invalid(format!("{name} is not supported: {words}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conversion(input: Value, output: Value) -> Result<Conversion, AwsError> {
        let declared = json!({
            "SchemaConfiguration": {"DatabaseName": "default", "TableName": "flights", "RoleARN": "r"},
            "InputFormatConfiguration": {"Deserializer": input},
            "OutputFormatConfiguration": {"Serializer": output},
        });
        Conversion::of(&serde_json::from_value(declared).unwrap())
    }

    #[test]
    fn defaults_are_those_of_firehose() {
        let made = conversion(json!({"OpenXJsonSerDe": {}}), json!({"ParquetSerDe": {}})).unwrap();
        assert_eq!(made, Conversion { table: "default.flights".into(), compression: "snappy", dictionary: None });
        let output = json!({"ParquetSerDe": {
            "Compression": "GZIP", "EnableDictionaryCompression": true, "BlockSizeBytes": 268_435_456, "WriterVersion": "V1"
        }});
        let made = conversion(json!({"HiveJsonSerDe": {}}), output).unwrap();
        assert_eq!((made.compression, made.dictionary), ("gzip", Some(true)));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let (open_x, parquet) = (json!({"OpenXJsonSerDe": {}}), json!({"ParquetSerDe": {}}));
        for (input, output, words) in [
            (json!({}), parquet.clone(), "OpenXJsonSerDe or HiveJsonSerDe"),
            (json!({"OpenXJsonSerDe": {}, "HiveJsonSerDe": {}}), parquet.clone(), "only one"),
            (json!({"OpenXJsonSerDe": {"CaseInsensitive": true}}), parquet.clone(), "CaseInsensitive"),
            (
                json!({"OpenXJsonSerDe": {"ConvertDotsInJsonKeysToUnderscores": true}}),
                parquet.clone(),
                "ConvertDotsInJsonKeysToUnderscores",
            ),
            (
                json!({"OpenXJsonSerDe": {"ColumnToJsonKeyMappings": {"a": "b"}}}),
                parquet.clone(),
                "ColumnToJsonKeyMappings",
            ),
            (json!({"HiveJsonSerDe": {"TimestampFormats": ["millis"]}}), parquet, "TimestampFormats"),
            (open_x.clone(), json!({"OrcSerDe": {}}), "OrcSerDe"),
            (open_x.clone(), json!({}), "ParquetSerDe"),
            (open_x.clone(), json!({"ParquetSerDe": {"WriterVersion": "V2"}}), "WriterVersion"),
            (open_x, json!({"ParquetSerDe": {"PageSizeBytes": 65536}}), "PageSizeBytes"),
        ] {
            let error = conversion(input, output).unwrap_err();
            assert_eq!(error.code(), "InvalidArgumentException");
            assert!(error.message().contains(words), "{}", error.message());
        }
    }
}
