//! Declared columns take what is theirs, exactly, and refuse the rest.

use super::*;

#[track_caller]
fn check_type(column_type: &str, values: &[(&str, Option<&str>)]) {
    for (value, expected) in values {
        let settings = ConvertSettings { columns: declare(&[("v", column_type)]), ..with_policy(SchemaPolicy::Rescue) };
        let record = format!("{{\"v\":{value}}}");
        let expected = match expected {
            Some(stored) => format!("{{\"v\":{stored}}}"),
            None => format!("{{\"_rescued\":{}}}", Value::from(record.as_str())),
        };
        check(settings, &[&record], &[&expected], &[]);
    }
}

#[test]
fn numbers_are_taken_exactly() {
    check_type("int", &[("1", Some("1")), ("-2147483648", Some("-2147483648")), ("2147483648", None), ("\"1\"", None)]);
    check_type("long", &[("1e2", Some("100")), ("1.5", None), ("9223372036854775807", Some("9223372036854775807"))]);
    check_type("double", &[("1", Some("1.0")), ("1e400", None), ("true", None), ("0.1", Some("0.1"))]);
    check_type("float", &[("0.5", Some("0.5")), ("1e39", None)]);
    check_type("decimal(5,2)", &[("1.25", Some("1.25")), ("\"1.2\"", Some("1.20")), ("1.255", None), ("1000", None)]);
    check_type("boolean", &[("true", Some("true")), ("0", None), ("\"true\"", None)]);
}

#[test]
fn texts_become_what_was_declared() {
    check_type("string", &[("\"\"", Some("\"\"")), ("1", None), ("{}", None)]);
    check_type("date", &[("\"2013-01-01\"", Some("\"2013-01-01\"")), ("\"01/01/2013\"", None), ("15706", None)]);
    check_type("time", &[("\"10:00:01.5\"", Some("\"10:00:01.500\"")), ("\"25:00:00\"", None)]);
    check_type(
        "timestamp",
        &[("\"2013-01-01T10:00:00\"", Some("\"2013-01-01T10:00:00\"")), ("\"2013-01-01T10:00:00Z\"", None)],
    );
    check_type(
        "timestamptz",
        &[
            ("\"2013-01-01T11:00:00+01:00\"", Some("\"2013-01-01T10:00:00Z\"")),
            ("\"2013-01-01T10:00:00\"", None),
            ("1357034400", None),
        ],
    );
    check_type(
        "uuid",
        &[
            ("\"67e55044-10b1-426f-9247-bb680e5fe0c8\"", Some("\"67e5504410b1426f9247bb680e5fe0c8\"")),
            ("\"67e55044\"", None),
        ],
    );
    check_type("binary", &[("\"aGk=\"", Some("\"6869\"")), ("\"hi!\"", None)]);
}

#[test]
fn nested_types_are_taken() {
    check_type(
        "list<struct<a: long, b: list<string>>>",
        &[
            ("[]", Some("[]")),
            ("[{\"a\":1,\"b\":[\"x\"]},null,{\"b\":[null]}]", Some("[{\"a\":1,\"b\":[\"x\"]},null,{\"b\":[null]}]")),
            ("[{\"a\":1,\"c\":2}]", None),
            ("[1]", None),
        ],
    );
}
