//! What is declared, what is refused, and how older batches meet a newer schema.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::*;
use crate::lake::event_time::TimeFormat;

fn spec(name: &str, column_type: &str) -> ColumnSpec {
    ColumnSpec::parse(name, column_type).unwrap()
}

#[test]
fn types_are_read_by_their_iceberg_names() {
    for text in
        ["boolean", "int", "long", "float", "double", "date", "time", "timestamp", "timestamptz", "uuid", "binary"]
    {
        assert_eq!(parse_type(text).unwrap().to_string(), text);
    }
    assert_eq!(parse_type(" decimal( 9 , 2 ) ").unwrap().to_string(), "decimal(9, 2)");
    let nested = parse_type("struct<a: long, b: list<struct<c: string>>>").unwrap();
    let Type::Struct(fields) = nested else { panic!("not a struct") };
    assert_eq!(fields.fields().iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn unknown_types_say_what_is_allowed() {
    let deep = format!("{}long{}", "list<".repeat(100_000), ">".repeat(100_000));
    for text in [
        "",
        "bigint",
        "long long",
        "decimal(39,2)",
        "decimal(2,3)",
        "decimal(2)",
        "list<>",
        "list<long",
        "struct<>",
        "struct<a>",
        "struct<a: long, A: long>",
        "map<string,long>",
        "fixed(4)",
        "long>",
        &deep,
    ] {
        let error = parse_type(text).unwrap_err().to_string();
        assert!(error.contains("decimal(P,S)"), "{text}: {error}");
    }
}

#[test]
fn the_initial_schema_has_the_column_of_its_time() {
    let time = TimeSource::Field { field: "at".into(), format: TimeFormat::Rfc3339 };
    let table = TableSchema::initial(&[spec("a", "list<long>")], &time, SchemaPolicy::Evolve, true).unwrap();
    let fields: Vec<_> =
        table.schema.as_struct().fields().iter().map(|field| (field.id, field.name.clone(), field.required)).collect();
    assert_eq!(fields[0], (2, "a".into(), false));
    assert_eq!(fields[1], (3, "at".into(), false));
    assert_eq!(table.last_column_id, 9);
}

#[test]
fn declared_columns_are_checked() {
    let time = TimeSource::Arrival;
    let check = |columns: &[ColumnSpec], time: &TimeSource, why: &str| {
        let error = TableSchema::initial(columns, time, SchemaPolicy::Evolve, true).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    check(&[spec("a", "long"), spec("A", "long")], &time, "declared twice");
    let at = TimeSource::Field { field: "at".into(), format: TimeFormat::Rfc3339 };
    check(&[spec("at", "string")], &at, "needs a column of type timestamptz");
    check(&[], &TimeSource::Field { field: "_hour".into(), format: TimeFormat::Rfc3339 }, "reserved");
    for (name, why) in [("", "needs a name"), ("_Offset", "reserved"), (&"n".repeat(256), "256 bytes")] {
        let error = ColumnSpec::parse(name, "long").unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(ColumnSpec::parse(&"n".repeat(255), "long").is_ok());
    assert!("evolve".parse::<SchemaPolicy>().is_ok());
    assert!("drop".parse::<SchemaPolicy>().unwrap_err().to_string().contains("evolve, rescue and reject"));
}

fn field(name: &str, id: i32, data_type: DataType) -> Field {
    Field::new(name, data_type, true).with_metadata([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())].into())
}

#[test]
fn older_batches_are_matched_by_field_id_and_widened() {
    let old = Arc::new(ArrowSchema::new(vec![field("gone", 1, DataType::Int64), field("was", 2, DataType::Int32)]));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![7])), Arc::new(Int32Array::from(vec![8]))];
    let batch = RecordBatch::try_new(old, columns).unwrap();
    let new = Arc::new(ArrowSchema::new(vec![field("is", 2, DataType::Int64), field("new", 3, DataType::Utf8)]));
    let adapted = adapt(&batch, &new).unwrap();
    assert_eq!(adapted.column(0).as_primitive::<Int64Type>().values(), &[8]);
    assert_eq!(adapted.column(1).null_count(), 1);
}

#[test]
fn a_change_of_type_that_loses_a_value_fails() {
    let old = Arc::new(ArrowSchema::new(vec![field("a", 1, DataType::Int64)]));
    let batch = RecordBatch::try_new(old, vec![Arc::new(Int64Array::from(vec![i64::MAX]))]).unwrap();
    let new = Arc::new(ArrowSchema::new(vec![field("a", 1, DataType::Int32)]));
    assert!(adapt(&batch, &new).is_err());
}
