//! What rows become: columns, rescued values, set-aside rows; and that nothing else can happen to them.

mod evolve;
mod limits;
mod random;
mod text;
mod typed;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::lake::event_time::TimeFormat;
use crate::log::{Offset, ShardId};
use crate::time::Timestamp;

const ARRIVAL: Timestamp = Timestamp(1_357_034_820_123);

fn row(offset: u64, data: impl AsRef<[u8]>) -> Row {
    Row {
        shard: ShardId(3),
        offset: Offset(offset),
        sub: 0,
        arrival_time: ARRIVAL,
        partition_key: Bytes::from_static(b"key"),
        data: Bytes::copy_from_slice(data.as_ref()),
        keys: None,
        source: None,
    }
}

fn rows<T: AsRef<[u8]>>(data: &[T]) -> Vec<Row> {
    data.iter().enumerate().map(|(offset, data)| row(offset as u64, data)).collect()
}

fn with_policy(policy: SchemaPolicy) -> ConvertSettings {
    ConvertSettings { policy, system_columns: true, ..ConvertSettings::default() }
}

fn declare(columns: &[(&str, &str)]) -> Vec<ColumnSpec> {
    columns.iter().map(|(name, column_type)| ColumnSpec::parse(name, column_type).unwrap()).collect()
}

fn converter(settings: ConvertSettings) -> Converter {
    let table =
        TableSchema::initial(&settings.columns, &settings.time, settings.policy, settings.system_columns).unwrap();
    Converter::new(settings, "events", &table).unwrap()
}

/// The rows of a batch as JSON objects, without the system columns but `_rescued`, and without nulls.
fn read_back(batch: &RecordBatch) -> Vec<Value> {
    let names = batch.schema();
    let wanted: Vec<usize> = (0..batch.num_columns())
        .filter(|index| {
            let name = names.field(*index).name();
            name == schema::RESCUED || !schema::is_system(name)
        })
        .collect();
    let batch = batch.project(&wanted).unwrap();
    let mut writer = arrow::json::WriterBuilder::new().build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let text = writer.into_inner();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Converts rows under a policy and compares with what becomes of them.
#[track_caller]
fn check(settings: ConvertSettings, data: &[&str], expected: &[&str], causes: &[Cause]) -> Converted {
    let converted = converter(settings).convert(rows(data)).unwrap();
    let expected: Vec<Value> = expected.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(read_back(&converted.batch), expected);
    assert_eq!(converted.set_aside.iter().map(|aside| aside.cause).collect::<Vec<_>>(), causes);
    converted
}

#[test]
fn objects_become_columns_in_order_with_system_columns_behind() {
    let converted = check(
        with_policy(SchemaPolicy::Evolve),
        &[r#"{"b":1,"a":"x","c":true,"d":1.5}"#, r#" {"a":"ü\n","e":null} "#],
        &[r#"{"b":1,"a":"x","c":true,"d":1.5}"#, r#"{"a":"ü\n"}"#],
        &[],
    );
    let batch = converted.batch;
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names,
        ["b", "a", "c", "d", "_arrival_time", "_stream", "_shard", "_offset", "_partition_key", "_rescued"]
    );
    assert_eq!(batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().values(), &[0, 1]);
    assert_eq!(batch.column_by_name("_stream").unwrap().as_string::<i32>().value(1), "events");
    assert_eq!(batch.column_by_name("_partition_key").unwrap().as_string::<i32>().value(0), "key");
    let arrival = batch.column_by_name("_arrival_time").unwrap();
    let arrival = arrival.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(arrival.value(0), ARRIVAL.0 * 1000);
}

#[test]
fn the_arrow_schema_is_what_iceberg_makes_of_the_schema() {
    let mut converter = converter(ConvertSettings {
        columns: declare(&[
            ("u", "uuid"),
            ("dec", "decimal(9,2)"),
            ("bin", "binary"),
            ("day", "date"),
            ("time", "time"),
            ("ts", "timestamp"),
            ("tz", "timestamptz"),
            ("f", "float"),
        ]),
        ..with_policy(SchemaPolicy::Evolve)
    });
    let converted = converter.convert(rows(&[r#"{"a":{"b":[{"c":1}],"d":[[1.5]]},"e":["x"]}"#])).unwrap();
    let of_iceberg = iceberg::arrow::schema_to_arrow_schema(&converter.schema().schema).unwrap();
    assert_eq!(**converter.arrow_schema(), of_iceberg);
    assert_eq!(*converted.batch.schema(), of_iceberg);
    assert!(converter.is_evolved());
    assert_eq!(converter.schema().last_column_id, converter.schema().schema.highest_field_id());
}

#[test]
fn what_is_not_one_json_object_is_set_aside_with_its_cause() {
    let policy = with_policy(SchemaPolicy::Evolve);
    let data: Vec<(&[u8], Cause)> = vec![
        (b"", Cause::InvalidJson),
        (b" \n", Cause::InvalidJson),
        (b"{", Cause::InvalidJson),
        (b"{\"a\":1", Cause::InvalidJson),
        (b"{\"a\":1,}", Cause::InvalidJson),
        (b"{\"a\":01}", Cause::InvalidJson),
        (b"{\"a\":NaN}", Cause::InvalidJson),
        (b"{\"a\":Infinity}", Cause::InvalidJson),
        (b"{a:1}", Cause::InvalidJson),
        (b"{\"a\":\"\xe2\x82\"}", Cause::InvalidJson),
        (b"{\"a\":\"\\ud800\"}", Cause::InvalidJson),
        (b"{\"a\":\"line\nend\"}", Cause::InvalidJson),
        (b"{\"a\":1}{\"a\":2}", Cause::InvalidJson),
        (b"{\"a\":1} {\"a\":2}", Cause::InvalidJson),
        (b"{\"a\":1}\n{\"a\":2}\n", Cause::InvalidJson),
        (b"{\"a\":1},", Cause::InvalidJson),
        (b"\xef\xbb\xbf{\"a\":1}", Cause::InvalidJson),
        (b"[{\"a\":1}]", Cause::NotAnObject),
        (b"1", Cause::NotAnObject),
        (b"\"a\"", Cause::NotAnObject),
        (b"null", Cause::NotAnObject),
        (b"[1", Cause::InvalidJson),
        (b"[1] 2", Cause::InvalidJson),
    ];
    let mut converter = converter(policy);
    for (bytes, cause) in data {
        let good = row(1, "{\"good\":1}");
        let converted = converter.convert(vec![good.clone(), row(2, bytes), good]).unwrap();
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(converted.batch.num_rows(), 2, "{text}");
        assert_eq!(converted.set_aside.len(), 1, "{text}");
        assert_eq!(converted.set_aside[0].cause, cause, "{text}: {}", converted.set_aside[0].message);
        assert_eq!(converted.set_aside[0].row.data, bytes);
        assert!(!converted.set_aside[0].message.is_empty());
    }
    assert!(converter.schema().schema.field_by_name("a").is_none(), "a row that fails brings no column");
}

#[test]
fn a_bad_row_among_many_costs_only_itself() {
    let mut data: Vec<String> = (0..10_000).map(|number| format!("{{\"n\":{number},\"s\":\"{number}\"}}")).collect();
    data[7_777] = "{\"n\":1,\"new\":[1,2,{\"x\":".into();
    let converted = converter(with_policy(SchemaPolicy::Evolve)).convert(rows(&data)).unwrap();
    assert_eq!(converted.batch.num_rows(), 9_999);
    assert_eq!(converted.set_aside[0].row.offset, Offset(7_777));
    let numbers = converted.batch.column_by_name("n").unwrap();
    assert_eq!(numbers.as_primitive::<Int64Type>().values().iter().sum::<i64>(), 9_999 * 5_000 - 7_777);
    assert!(converted.batch.column_by_name("new").is_none());
}

#[test]
fn no_rows_make_an_empty_batch() {
    let mut converter = converter(with_policy(SchemaPolicy::Evolve));
    let converted = converter.convert(Vec::new()).unwrap();
    assert_eq!(converted.batch.num_rows(), 0);
    assert_eq!(converted.batch.num_columns(), 6);
    let converted = converter.convert(rows(&["{}"])).unwrap();
    assert_eq!(converted.batch.num_rows(), 1);
    assert_eq!(converted.rescued, 0);
}

#[test]
fn system_columns_can_be_switched_off() {
    let settings = ConvertSettings { system_columns: false, ..with_policy(SchemaPolicy::Evolve) };
    let names = |settings: ConvertSettings| {
        let schema = converter(settings).convert(rows(&[r#"{"a":1,"t":0}"#])).unwrap().batch.schema();
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(settings.clone()), ["a", "t", "_arrival_time", "_rescued"]);
    let time = TimeSource::Field { field: "t".into(), format: TimeFormat::EpochSeconds };
    assert_eq!(names(ConvertSettings { time: time.clone(), ..settings.clone() }), ["t", "a", "_rescued"]);
    let reject = ConvertSettings { time, policy: SchemaPolicy::Reject, columns: declare(&[("a", "long")]), ..settings };
    assert_eq!(names(reject), ["a", "t"]);
}

#[test]
fn the_event_time_is_a_column_and_its_lack_sets_aside() {
    let time = TimeSource::Field { field: "at".into(), format: TimeFormat::Rfc3339 };
    let converted = check(
        ConvertSettings { time, ..with_policy(SchemaPolicy::Evolve) },
        &[
            r#"{"at":"2013-01-01 10:00:00+00","a":1}"#,
            r#"{"a":2}"#,
            r#"{"at":null}"#,
            r#"{"at":"soon","b":1}"#,
            r#"{"at":12}"#,
            r#"{"at":["2013-01-01T10:00:00Z"]}"#,
            r#"{"at":"2013-01-01T12:00:00.5+01:00"}"#,
        ],
        &[r#"{"at":"2013-01-01T10:00:00Z","a":1}"#, r#"{"at":"2013-01-01T11:00:00.500Z"}"#],
        &[Cause::EventTime; 5],
    );
    assert!(converted.set_aside[0].message.contains("\"at\"") && converted.set_aside[0].message.contains("rfc3339"));
    assert!(converted.batch.column_by_name("b").is_none());
}
