//! New fields, conflicts and names, by policy.

use serde_json::json;

use super::*;

#[test]
fn new_fields_become_columns_nested_ones_too() {
    let mut converter = converter(with_policy(SchemaPolicy::Evolve));
    let first = converter.convert(rows(&[r#"{"a":1,"n":{"x":1}}"#])).unwrap();
    let second = converter
        .convert(rows(&[r#"{"b":"new","n":{"y":[{"z":true}]}}"#, r#"{"n":{"y":[{"w":2},null,{"z":false}]}}"#]))
        .unwrap();
    assert_eq!(read_back(&first.batch), [serde_json::json!({"a":1,"n":{"x":1}})]);
    let expected = [
        serde_json::json!({"b":"new","n":{"y":[{"z":true}]}}),
        serde_json::json!({"n":{"y":[{"w":2},null,{"z":false}]}}),
    ];
    // Arrow's JSON writer shows the null within a list of structs, and so does this.
    assert_eq!(read_back(&second.batch), expected);
    let padded = schema::adapt(&first.batch, converter.arrow_schema()).unwrap();
    assert_eq!(padded.schema(), second.batch.schema());
    assert_eq!(read_back(&padded), [serde_json::json!({"a":1,"n":{"x":1}})]);
}

#[test]
fn conflicts_are_rescued_in_the_shape_of_the_record() {
    let converted = check(
        ConvertSettings {
            columns: declare(&[("n", "long"), ("o", "struct<a: long, b: struct<c: string>>"), ("l", "list<long>")]),
            ..with_policy(SchemaPolicy::Evolve)
        },
        &[
            r#"{"n":"1","o":{"a":1}}"#,
            r#"{"n":1.5,"o":{"a":"x","b":{"c":2}}}"#,
            r#"{"n":[1, 2],"l":[1,"x",{"y":[]}],"o":5}"#,
            r#"{"n":9223372036854775808,"l":{"a":1}}"#,
            r#"{"n":true,"l":[1,[2]]}"#,
            r#"{"n":2.0,"l":[]}"#,
        ],
        &[
            r#"{"o":{"a":1},"_rescued":"{\"n\":\"1\"}"}"#,
            r#"{"o":{"b":{}},"_rescued":"{\"n\":1.5,\"o\":{\"a\":\"x\",\"b\":{\"c\":2}}}"}"#,
            r#"{"_rescued":"{\"n\":[1, 2],\"l\":[1,\"x\",{\"y\":[]}],\"o\":5}"}"#,
            r#"{"_rescued":"{\"n\":9223372036854775808,\"l\":{\"a\":1}}"}"#,
            r#"{"_rescued":"{\"n\":true,\"l\":[1,[2]]}"}"#,
            r#"{"n":2,"l":[]}"#,
        ],
        &[],
    );
    assert_eq!(converted.rescued, 5);
}

#[test]
fn rescue_keeps_the_schema() {
    check(
        ConvertSettings {
            columns: declare(&[("a", "long"), ("o", "struct<x: long>")]),
            ..with_policy(SchemaPolicy::Rescue)
        },
        &[r#"{"a":1,"b":[1],"o":{"x":1,"y":2},"z":null}"#, r#"{"a":"x"}"#],
        &[r#"{"a":1,"o":{"x":1},"_rescued":"{\"b\":[1],\"o\":{\"y\":2}}"}"#, r#"{"_rescued":"{\"a\":\"x\"}"}"#],
        &[],
    );
}

#[test]
fn the_first_batch_gives_the_schema_where_nothing_is_declared() {
    for (policy, rows_kept, set_aside) in [(SchemaPolicy::Rescue, 1, 0), (SchemaPolicy::Reject, 0, 1)] {
        let mut converter = converter(with_policy(policy));
        let nothing = converter.convert(rows(&["no JSON"])).unwrap();
        assert_eq!((nothing.batch.num_rows(), nothing.set_aside.len()), (0, 1));
        let first = converter.convert(rows(&[r#"{"a":1}"#, r#"{"a":2,"b":"x"}"#])).unwrap();
        assert_eq!(read_back(&first.batch), [json!({"a": 1}), json!({"a": 2, "b": "x"})]);
        let second = converter.convert(rows(&[r#"{"a":3,"c":true}"#])).unwrap();
        assert_eq!((second.batch.num_rows(), second.set_aside.len()), (rows_kept, set_aside), "{policy:?}");
        assert!(second.batch.column_by_name("c").is_none());
    }
}

#[test]
fn reject_sets_aside_and_names_the_field() {
    let converted = check(
        ConvertSettings {
            columns: declare(&[("a", "long"), ("l", "list<struct<x: long>>")]),
            ..with_policy(SchemaPolicy::Reject)
        },
        &[
            r#"{"a":1,"later":null}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":"1"}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"l":[{"x":1},{"y":1}]}"#,
            r#"{"l":[{"x":1},7]}"#,
            r#"{"l":[{"x":1}]}"#,
        ],
        &[r#"{"a":1}"#, r#"{"l":[{"x":1}]}"#],
        &[Cause::UnknownField, Cause::TypeConflict, Cause::FieldName, Cause::UnknownField, Cause::TypeConflict],
    );
    assert_eq!(converted.set_aside[0].message, "the field \"b\" is not in the schema");
    assert!(converted.batch.column_by_name("_rescued").is_none());
}

#[test]
fn empty_and_null_values_bring_no_column_but_are_kept() {
    check(
        with_policy(SchemaPolicy::Evolve),
        &[
            r#"{"a":null,"b":{},"c":[],"d":[null],"e":{"f":{}},"g":[{}],"h":[[]]}"#,
            r#"{"b":{"x":1},"c":["s"],"e":{"f":{"y":1}},"h":[[],[1]]}"#,
            r#"{"b":{},"c":[],"e":{"f":{}},"h":[[]]}"#,
        ],
        &[
            r#"{"_rescued":"{\"b\":{},\"c\":[],\"d\":[null],\"e\":{\"f\":{}},\"g\":[{}],\"h\":[[]]}"}"#,
            r#"{"b":{"x":1},"c":["s"],"e":{"f":{"y":1}},"h":[[],[1]]}"#,
            r#"{"b":{},"c":[],"e":{"f":{}},"h":[[]]}"#,
        ],
        &[],
    );
}

#[test]
fn names_that_no_column_can_have_are_rescued() {
    let long = "n".repeat(schema::NAME_BYTES_MAX);
    let longer = "n".repeat(schema::NAME_BYTES_MAX + 1);
    let record = format!(
        r#"{{"":1,"Foo":2,"foo":3,"_OFFSET":4,"_hour":5,"_file":6,"_mine":7,"a.b":8,"a":{{"B":9,"c":10}},"ü ñ":11,"{long}":12,"{longer}":13}}"#
    );
    let expected = format!(
        r#"{{"Foo":2,"_mine":7,"a.b":8,"a":{{"c":10}},"ü ñ":11,"{long}":12,"_rescued":"{}"}}"#,
        format!(r#"{{"":1,"foo":3,"_OFFSET":4,"_hour":5,"_file":6,"a":{{"B":9}},"{longer}":13}}"#).replace('"', "\\\"")
    );
    check(with_policy(SchemaPolicy::Evolve), &[&record], &[&expected], &[]);
}

#[test]
fn a_field_that_is_there_twice_keeps_its_first_value_and_the_others_are_rescued() {
    check(
        with_policy(SchemaPolicy::Evolve),
        &[r#"{"a":1,"a":2,"o":{"x":1,"x":[2]},"a":null}"#, r#"{"l":[{"x":1,"x":2}]}"#, r#"{"a":3}"#],
        &[
            r#"{"a":1,"o":{"x":1},"_rescued":"{\"a\":2,\"o\":{\"x\":[2]},\"a\":null}"}"#,
            r#"{"_rescued":"{\"l\":[{\"x\":1,\"x\":2}]}"}"#,
            r#"{"a":3}"#,
        ],
        &[],
    );
}

#[test]
fn numbers_widen_until_a_batch_has_the_column() {
    let mut converter = converter(with_policy(SchemaPolicy::Evolve));
    let records = [r#"{"price":10,"l":[1],"n":1}"#, r#"{"price":10.5,"l":[2,2.5]}"#];
    let first = converter.convert(rows(&records)).unwrap().batch;
    let expected = [serde_json::json!({"price":10.0,"l":[1.0],"n":1}), serde_json::json!({"price":10.5,"l":[2.0,2.5]})];
    assert_eq!(read_back(&first), expected);

    let second = converter.convert(rows(&[r#"{"n":0.5,"price":9007199254740993}"#])).unwrap().batch;
    let expected = serde_json::json!({"_rescued":"{\"n\":0.5,\"price\":9007199254740993}"});
    assert_eq!(read_back(&second), [expected]);

    assert!(converter.is_evolved());
    let table = converter.schema().clone();
    converter.settle(&table).unwrap();
    assert!(!converter.is_evolved());
}

#[test]
fn a_long_that_is_no_exact_double_keeps_its_column() {
    check(
        with_policy(SchemaPolicy::Evolve),
        &[r#"{"n":9007199254740993}"#, r#"{"n":0.5}"#],
        &[r#"{"n":9007199254740993}"#, r#"{"_rescued":"{\"n\":0.5}"}"#],
        &[],
    );
}

#[test]
fn a_long_of_the_table_never_widens_to_double() {
    let settings = ConvertSettings { columns: declare(&[("n", "long")]), ..with_policy(SchemaPolicy::Evolve) };
    let mut converter = converter(settings);
    let converted = converter.convert(rows(&[r#"{"n":0.5}"#])).unwrap();
    assert_eq!(read_back(&converted.batch), [serde_json::json!({"_rescued":"{\"n\":0.5}"})]);
    assert!(!converter.is_evolved());
}

#[test]
fn an_int_widens_to_long_under_evolve_only() {
    let columns = declare(&[("n", "int")]);
    let record = r#"{"n":2147483648}"#;
    let settings = ConvertSettings { columns, ..with_policy(SchemaPolicy::Evolve) };
    check(settings.clone(), &[r#"{"n":1}"#, record], &[r#"{"n":1}"#, record], &[]);
    let rescue = ConvertSettings { policy: SchemaPolicy::Rescue, ..settings };
    check(rescue, &[record], &[r#"{"_rescued":"{\"n\":2147483648}"}"#], &[]);
}

#[test]
fn a_row_that_fails_takes_its_widening_back() {
    let mut converter =
        converter(ConvertSettings { columns: declare(&[("i", "int")]), ..with_policy(SchemaPolicy::Evolve) });
    let converted =
        converter.convert(rows(&[r#"{"i":1,"n":1}"#, r#"{"i":2147483648,"n":1.5,"m":1"#, r#"{"i":3,"n":3}"#])).unwrap();
    assert_eq!(converted.set_aside.len(), 1);
    let types: Vec<_> = ["i", "n"].map(|name| converted.batch.column_by_name(name).unwrap().data_type().clone()).into();
    assert_eq!(types, [arrow::datatypes::DataType::Int32, arrow::datatypes::DataType::Int64]);
    let expected = [serde_json::json!({"i":1,"n":1}), serde_json::json!({"i":3,"n":3})];
    assert_eq!(read_back(&converted.batch), expected);
}

#[test]
fn settling_with_another_schema_fails() {
    let mut one = converter(with_policy(SchemaPolicy::Evolve));
    one.convert(rows(&[r#"{"a":1}"#])).unwrap();
    let mut other = converter(with_policy(SchemaPolicy::Evolve));
    other.convert(rows(&[r#"{"b":1}"#])).unwrap();
    assert!(one.settle(&other.schema().clone()).unwrap_err().to_string().contains("another writer"));
}

#[test]
fn a_table_that_lacks_columns_gets_them_with_new_ids() {
    let bare = ConvertSettings { system_columns: false, ..with_policy(SchemaPolicy::Reject) };
    let table = TableSchema::initial(&bare.columns, &bare.time, bare.policy, bare.system_columns).unwrap();
    let settings = ConvertSettings { columns: declare(&[("a", "list<long>")]), ..with_policy(SchemaPolicy::Evolve) };
    let converter = Converter::new(settings, "events", &table).unwrap();
    assert!(converter.is_evolved());
    let schema = &converter.schema().schema;
    let ids: Vec<_> = schema.as_struct().fields().iter().map(|field| (field.name.as_str(), field.id)).collect();
    assert_eq!(
        ids,
        [
            ("a", 3),
            ("_arrival_time", 1),
            ("_stream", 4),
            ("_shard", 5),
            ("_offset", 6),
            ("_partition_key", 7),
            ("_rescued", 8)
        ]
    );
}

#[test]
fn a_declared_type_that_is_not_the_tables_is_an_error() {
    let of =
        |column_type| ConvertSettings { columns: declare(&[("a", column_type)]), ..with_policy(SchemaPolicy::Evolve) };
    let settings = of("string");
    let table =
        TableSchema::initial(&settings.columns, &settings.time, settings.policy, settings.system_columns).unwrap();
    let error = Converter::new(of("long"), "events", &table).unwrap_err().to_string();
    assert!(error.contains("\"a\" is declared as long, but it is string"), "{error}");
}
