//! A pipeline file: the streams, tables, deliveries and imports that it declares, checked and normalised.
//!
//! It must not know what exists already; that is `apply`'s.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::spec::{DeliverySpec, StreamSpec, TableSpec};
use crate::error::{Error, Result};
use crate::imports::ImportSpec;

/// The most bytes of a pipeline file.
pub const PIPELINE_BYTES_MAX: usize = 1 << 20;
/// The most objects of one kind in a pipeline file.
pub const OBJECTS_MAX: usize = 1000;

/// What a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// In the file's order.
    pub streams: Vec<StreamSpec>,
    /// In the file's order.
    pub tables: Vec<TableSpec>,
    /// In the file's order, normalised.
    pub deliveries: Vec<DeliverySpec>,
    /// In the file's order, normalised. Applying them is `imports`'.
    pub imports: Vec<ImportSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "stream")]
    streams: Vec<StreamSpec>,
    #[serde(default, rename = "table")]
    tables: Vec<TableSpec>,
    #[serde(default, rename = "delivery")]
    deliveries: Vec<DeliverySpec>,
    #[serde(default, rename = "import")]
    imports: Vec<ImportSpec>,
}

impl Pipeline {
    /// Reads a file. An error names the object, the field, the value and the limit.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > PIPELINE_BYTES_MAX {
            let bytes = text.len();
            return Err(Error::invalid(format_args!(
                "a pipeline of {bytes} bytes is past the limit of {PIPELINE_BYTES_MAX}"
            )));
        }
        let file: File =
            toml::from_str(text).map_err(|error| Error::invalid(format_args!("the pipeline is not valid: {error}")))?;
        check_names("stream", file.streams.iter().map(|stream| stream.name.as_str()))?;
        check_names(
            "table",
            file.tables.iter().map(|table| table.name.strip_prefix("default.").unwrap_or(&table.name)),
        )?;
        check_names("delivery", file.deliveries.iter().map(|delivery| delivery.name.as_str()))?;
        check_names("import", file.imports.iter().map(|import| import.name.as_str()))?;
        let imports = file.imports.into_iter().map(ImportSpec::normalised).collect::<Result<_>>()?;
        let deliveries = file.deliveries.into_iter().map(DeliverySpec::normalised).collect::<Result<_>>()?;
        Ok(Self { streams: file.streams, tables: file.tables, deliveries, imports })
    }
}

fn check_names<'a>(kind: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::invalid(format_args!("{kind} {name:?} is declared twice")));
        }
    }
    if seen.len() > OBJECTS_MAX {
        let count = seen.len();
        return Err(Error::invalid(format_args!("{count} objects of kind {kind} are past the limit of {OBJECTS_MAX}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::declaration::Declaration;
    use crate::delivery::spec::{Compression, Format, RateSpec, SchemaPolicy, Size};
    use crate::transform::TransformSpec;

    const DEMO: &str = r#"
        [[stream]]
        name = "flights"
        shards = 2
        retention = "168h"
        [stream.quota]
        in_bytes_per_second = "off"
        in_records_per_second = 5000
        out_bytes_per_second = "4MiB"

        [[table]]
        name = "flights"
        schema_policy = "rescue"
        time = { field = "time_hour", format = "rfc3339" }
        [[table.column]]
        name = "dep_time"
        type = "long"

        [[delivery]]
        name = "flights"
        stream = "flights"
        transforms = ["newline", { type = "newline", delimiter = "\r\n" }, "split"]
        buffer_size = "1MiB"
        buffer_interval = "0s"

        [[delivery]]
        name = "raw"
        stream = "flights"
        format = "json_lines"
        destination = "exports/flights"
        compression = "gzip"
    "#;

    #[test]
    fn a_file_is_read_with_its_defaults() {
        let pipeline = Pipeline::parse(DEMO).unwrap();
        let stream = &pipeline.streams[0];
        assert_eq!(stream.retention, Some(Duration::from_secs(168 * 3600)));
        assert_eq!(stream.quota.in_bytes_per_second, Some(RateSpec::Off));
        assert_eq!(stream.quota.in_records_per_second, Some(RateSpec::PerSecond(5000)));
        assert_eq!(stream.quota.out_bytes_per_second, Some(RateSpec::PerSecond(4 << 20)));
        let table = &pipeline.tables[0];
        assert_eq!((table.schema_policy, table.system_columns), (SchemaPolicy::Rescue, true));
        assert_eq!(table.columns[0].r#type, "long");
        let [flights, raw] = pipeline.deliveries.as_slice() else { panic!("two deliveries") };
        assert_eq!(flights.table_name(), Some("flights"));
        assert_eq!(flights.compression, Some(Compression::Snappy));
        assert_eq!(flights.buffer_size, Size(1 << 20));
        assert_eq!(flights.transforms.len(), 3);
        assert!(
            matches!(&flights.transforms[1], TransformSpec::Newline { delimiter } if delimiter.as_ref() == b"\r\n")
        );
        assert_eq!((raw.format, raw.buffer_interval), (Format::JsonLines, Duration::from_secs(60)));
        assert_eq!(raw.table_name(), None);
    }

    #[test]
    fn a_normalised_delivery_comes_back_from_its_text() {
        for delivery in Pipeline::parse(DEMO).unwrap().deliveries {
            let text = delivery.to_toml();
            let back = DeliverySpec::from_toml(&text).unwrap();
            assert_eq!(back, delivery);
            assert_eq!(back.normalised().unwrap().to_toml(), text);
        }
    }

    #[test]
    fn errors_name_object_field_value_and_limit() {
        let delivery = |lines: &str| format!("[[delivery]]\nname = \"d\"\nstream = \"s\"\n{lines}\n");
        let check = |text: &str, words: &[&str]| {
            let error = Pipeline::parse(text).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{text}\ngave: {error}\nwithout: {word}");
            }
        };
        check(&delivery("buffer_size = \"129MiB\""), &["delivery d", "buffer_size", "129MiB", "128MiB"]);
        check(&delivery("buffer_size = \"1MB\""), &["delivery d", "buffer_size", "1000000B", "1MiB"]);
        check(&delivery("buffer_interval = \"901s\""), &["delivery d", "buffer_interval", "15m 1s", "900s"]);
        check(&delivery("buffer_intervall = \"1s\""), &["buffer_intervall", "unknown field"]);
        check(&delivery("format = \"orc\""), &["orc", "parquet"]);
        check(&delivery("transforms = [\"upper\"]"), &["upper", "newline, registered, split"]);
        check(&delivery("transforms = [{ type = \"split\", delimiter = \"x\" }]"), &["split takes no delimiter"]);
        check(&delivery("transforms = [{ type = \"newline\", delimiter = \"\" }]"), &["0 bytes", "16"]);
        check(&delivery("destination = \"x\""), &["delivery d", "destination", "parquet"]);
        check(&delivery("format = \"json_lines\"\ntable = \"t\""), &["delivery d", "table", "json_lines"]);
        check(&delivery("format = \"raw\"\ntable = \"t\""), &["delivery d", "table", "raw"]);
        check(&delivery("format = \"raw\"\ncompression = \"snappy\""), &["delivery d", "compression", "xerial_snappy"]);
        check(
            &delivery("format = \"json_lines\"\ncompression = \"hadoop_snappy\""),
            &["delivery d", "compression", "hadoop_snappy", "zstd"],
        );
        let long = format!("format = \"raw\"\nextension = \".{}\"", "x".repeat(128));
        check(&delivery(&long), &["delivery d", "extension", "127"]);
        check(&delivery("format = \"raw\"\nextension = \"json\""), &["delivery d", "extension", "json", "127"]);
        check(&delivery("format = \"json_lines\"\nextension = \".x\""), &["delivery d", "extension", "json_lines"]);
        check(&delivery("format = \"json_lines\"\ncompression = \"lz4\""), &["delivery d", "compression", "lz4"]);
        check(&delivery("format = \"json_lines\"\nsort_by = [\"x\"]"), &["delivery d", "sort_by", "json_lines"]);
        check(&delivery("bloom_filters = [\"\"]"), &["delivery d", "bloom_filters", "32"]);
        check(&delivery("[delivery.backup]\ndestination = \"/x\""), &["delivery d", "backup.destination", "/x"]);
        check(&delivery("[delivery.backup]\ncompression = \"lz4\""), &["delivery d", "backup.compression"]);
        check(&delivery("prefix = \"../x/\""), &["delivery d", "prefix", "would leave"]);
        check(&delivery("prefix = \"c=!{partitionKeyFromQuery:c}/\""), &["delivery d", "prefix", "no query \"c\""]);
        check(
            &delivery("[delivery.partition_keys]\nc = \".c\""),
            &["delivery d", "partition_keys", "\"c\" is not used"],
        );
        check(
            &delivery("prefix = \"c=!{partitionKeyFromQuery:c}/\"\n[delivery.partition_keys]\nc = \"c\""),
            &["delivery d", "partition_keys", ".customer.id"],
        );
        check(
            &delivery("error_prefix = \"!{partitionKeyFromQuery:c}/\""),
            &["delivery d", "error_prefix", "set aside"],
        );
        check(&delivery("time_zone = \"Mars\""), &["delivery d", "time_zone", "Mars"]);
        check(&delivery("partitions_max = 0"), &["delivery d", "partitions_max", "100000"]);
        check(&delivery("partitions_max = 100001"), &["delivery d", "partitions_max", "100001"]);
        check(&delivery("format = \"json_lines\"\ndestination = \"../x\""), &["delivery d", "destination", "../x"]);
        check(&delivery("row_group_rows = 999"), &["delivery d", "row_group_rows", "999", "1000"]);
        check("[[delivery]]\nname = \"a/b\"\nstream = \"s\"", &["a/b", "name", "128"]);
        check("[[delivery]]\nname = \"d\"", &["stream"]);
        check("[[stream]]\nname = \"s\"\n[[stream]]\nname = \"s\"", &["stream", "\"s\"", "twice"]);
        check("[[table]]\nname = \"t\"\n[[table]]\nname = \"default.t\"", &["table", "\"t\"", "twice"]);
        check("[[stream]]\nname = \"s\"\nquota = { in_records_per_second = 0 }", &["rate", "0"]);
        check("streams = 1", &["streams", "unknown field"]);
    }

    #[test]
    fn limits_hold_at_the_limit() {
        for lines in [
            "buffer_size = \"128MiB\"",
            "buffer_size = \"1MiB\"",
            "buffer_interval = \"900s\"",
            "buffer_interval = \"0s\"",
            "format = \"raw\"\ncompression = \"hadoop_snappy\"\nextension = \".json\"",
            &format!("format = \"raw\"\nextension = \".{}\"", "x".repeat(127)),
        ] {
            let text = format!("[[delivery]]\nname = \"d\"\nstream = \"s\"\n{lines}\n");
            assert!(Pipeline::parse(&text).is_ok(), "{lines}");
        }
    }

    #[test]
    fn what_cannot_change_is_refused() {
        let parse = |lines: &str| {
            let text = format!("[[delivery]]\nname = \"d\"\n{lines}");
            Pipeline::parse(&text).unwrap().deliveries.remove(0)
        };
        let before = parse("stream = \"s\"");
        before.check_change(&parse("stream = \"s\"\nbuffer_size = \"1MiB\"")).unwrap();
        for (lines, field) in [
            ("stream = \"other\"", "stream"),
            ("stream = \"s\"\nformat = \"json_lines\"", "format"),
            ("stream = \"s\"\ntable = \"other\"", "table"),
        ] {
            let error = before.check_change(&parse(lines)).unwrap_err().to_string();
            assert!(error.contains("delivery d") && error.contains(field), "{error}");
        }
    }
}
