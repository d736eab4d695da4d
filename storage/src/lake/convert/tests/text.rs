//! CSV rows, lines and whole records: what their columns take, and what becomes of the rest.

use super::*;
use crate::lake::input::CsvFormat;

fn csv(names: &[&str]) -> Input {
    Input::Csv(CsvFormat::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap())
}

fn settings(columns: &[(&str, &str)], policy: SchemaPolicy, input: Input) -> ConvertSettings {
    ConvertSettings { columns: declare(columns), input, ..with_policy(policy) }
}

#[track_caller]
fn check_field(column_type: &str, fields: &[(&str, Option<&str>)]) {
    for (field, expected) in fields {
        let settings = settings(&[("v", column_type)], SchemaPolicy::Evolve, csv(&["v"]));
        let plain = field.trim_matches('"').replace("\"\"", "\"");
        let expected = match expected {
            Some(stored) => format!("{{\"v\":{stored}}}"),
            None => format!("{{\"_rescued\":{}}}", Value::from(format!("{{\"v\":{}}}", Value::from(plain)))),
        };
        check(settings, &[field], &[&expected], &[]);
    }
}

#[test]
fn fields_are_read_as_their_columns_are_declared() {
    check_field(
        "long",
        &[("1", Some("1")), (" -7 ", Some("-7")), ("+5", Some("5")), ("007", Some("7")), ("1e2", Some("100"))],
    );
    check_field("long", &[("9223372036854775808", None), ("1.5", None), ("x", None), ("1 000", None), ("0x1", None)]);
    check_field("double", &[("0.1", Some("0.1")), ("2", Some("2.0")), ("NaN", None), ("inf", None), ("1e400", None)]);
    check_field("double", &[("9007199254740993", None)]);
    check_field("decimal(5,2)", &[("1.25", Some("1.25")), ("+1.2", Some("1.20")), ("1.255", None)]);
    check_field("boolean", &[("TRUE", Some("true")), ("f", Some("false")), ("1", Some("true")), ("yes", None)]);
    check_field(
        "string",
        &[
            ("007", Some("\"007\"")),
            (" a ", Some("\" a \"")),
            ("\"\"", Some("\"\"")),
            ("\"a,\"\"b\"", Some("\"a,\\\"b\"")),
        ],
    );
    check_field("date", &[("2013-01-01", Some("\"2013-01-01\"")), ("01/01/2013", None)]);
    check_field(
        "timestamptz",
        &[("2013-01-01 10:00:00+00", Some("\"2013-01-01T10:00:00Z\"")), ("2013-01-01 10:00:00", None)],
    );
    check_field("list<long>", &[("\"[1, 2]\"", Some("[1,2]")), ("1;2", None), ("\"[1,true]\"", None)]);
    check_field("struct<a: long>", &[("\"{\"\"a\"\":1}\"", Some("{\"a\":1}"))]);
    check_field("binary", &[("AAE=", Some("\"0001\"")), ("?", None)]);
}

#[test]
fn an_int_widens_where_the_policy_lets_it() {
    let wide = |policy| settings(&[("v", "int")], policy, csv(&["v"]));
    check(wide(SchemaPolicy::Evolve), &["1", "2147483648"], &["{\"v\":1}", "{\"v\":2147483648}"], &[]);
    check(wide(SchemaPolicy::Rescue), &["2147483648"], &[r#"{"_rescued":"{\"v\":\"2147483648\"}"}"#], &[]);
}

#[test]
fn columns_that_nobody_declared_are_text_whatever_the_policy() {
    for policy in [SchemaPolicy::Evolve, SchemaPolicy::Rescue] {
        let settings = settings(&[("n", "long")], policy, csv(&["zip", "n"]));
        check(settings, &["007,7", ",", "\"\",1"], &["{\"n\":7,\"zip\":\"007\"}", "{}", "{\"n\":1,\"zip\":\"\"}"], &[]);
    }
}

#[test]
fn a_table_keeps_the_type_that_it_has() {
    let before = TableSchema::initial(&declare(&[("n", "long")]), &TimeSource::Arrival, SchemaPolicy::Evolve, true);
    let mut converter =
        Converter::new(settings(&[], SchemaPolicy::Evolve, csv(&["n", "m"])), "events", &before.unwrap()).unwrap();
    let converted = converter.convert(rows(&["1,a"])).unwrap();
    assert_eq!(read_back(&converted.batch), [serde_json::json!({"n": 1, "m": "a"})]);
    assert!(converter.is_evolved());
}

#[test]
fn a_row_that_is_none_is_set_aside() {
    let mut converter = converter(settings(&[("a", "long"), ("b", "string")], SchemaPolicy::Evolve, csv(&["a", "b"])));
    let converted = converter.convert(rows(&[b"1".as_slice(), b"1,x,y", b"2,\xFF", b"3,ok", b"4,\"open"])).unwrap();
    assert_eq!(read_back(&converted.batch), [serde_json::json!({"a": 3, "b": "ok"})]);
    let causes: Vec<_> = converted.set_aside.iter().map(|aside| (aside.row.offset.0, aside.cause)).collect();
    assert_eq!(causes, [0, 1, 2, 4].map(|offset| (offset, Cause::InvalidCsv)));
}

#[test]
fn with_the_policy_reject_what_does_not_fit_is_set_aside() {
    let settings = settings(&[("a", "long")], SchemaPolicy::Reject, csv(&["a"]));
    let converted = converter(settings).convert(rows(&["x", "5"])).unwrap();
    assert_eq!(converted.set_aside[0].cause, Cause::TypeConflict);
    assert!(converted.set_aside[0].message.contains("\"a\""), "{}", converted.set_aside[0].message);
    assert_eq!(converted.batch.num_rows(), 1);
}

#[test]
fn the_event_time_is_a_field_as_others() {
    let time = TimeSource::Field { field: "at".into(), format: TimeFormat::EpochSeconds };
    let settings = ConvertSettings { time, ..settings(&[], SchemaPolicy::Evolve, csv(&["at", "x"])) };
    let converted = converter(settings).convert(rows(&["1357034820,a", "never,b", ",c"])).unwrap();
    assert_eq!(read_back(&converted.batch), [serde_json::json!({"at": "2013-01-01T10:07:00Z", "x": "a"})]);
    assert!(converted.set_aside.iter().all(|aside| aside.cause == Cause::EventTime));
    assert_eq!(converted.set_aside.len(), 2);
}

#[test]
fn lines_and_records_are_values() {
    let lines = || settings(&[], SchemaPolicy::Reject, Input::Lines);
    let mut converter_of_lines = converter(lines());
    let converted = converter_of_lines.convert(rows(&[b"a \"b\"".as_slice(), b"", b"\xFF"])).unwrap();
    assert_eq!(
        read_back(&converted.batch),
        [serde_json::json!({"value": "a \"b\""}), serde_json::json!({"value": ""})]
    );
    assert_eq!(converted.set_aside[0].cause, Cause::NotText);
    let converted = converter(settings(&[], SchemaPolicy::Evolve, Input::Raw)).convert(rows(&[b"\xFF\n".as_slice()]));
    let batch = converted.unwrap().batch;
    assert_eq!(batch.column_by_name("value").unwrap().as_binary::<i64>().value(0), b"\xFF\n");
    let declared = settings(&[("value", "string")], SchemaPolicy::Evolve, Input::Raw);
    check(declared, &["{}"], &["{\"value\":\"{}\"}"], &[]);
    let wrong = settings(&[("value", "long")], SchemaPolicy::Evolve, Input::Lines);
    let table = TableSchema::initial(&wrong.columns, &wrong.time, wrong.policy, true).unwrap();
    let error = Converter::new(wrong, "events", &table).unwrap_err().to_string();
    assert!(error.contains("\"value\"") && error.contains("string or binary"), "{error}");
}
