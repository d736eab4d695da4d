//! New fields become columns, wider numbers widen, and a conflict is kept beside the columns, by policy.

use millrace_tests::pipeline::Pipeline;
use serde_json::json;

use crate::site;

#[test]
fn new_fields_become_columns_and_old_rows_have_none() {
    let site = site::with_pipeline(&Pipeline::new("events"));
    let _said = site.put_lines("events", [r#"{"id":1}"#]);
    site.flush("events");
    let _said = site.put_lines("events", [r#"{"id":2,"name":"two","place":{"city":"Rome"}}"#]);
    assert_eq!(site.number("select count(name) from events"), 1, "an undelivered column is queried");
    site.flush("events");
    let _said = site.put_lines("events", [r#"{"id":3,"place":{"city":"Oslo","zip":7}}"#]);
    site.flush("events");
    let rows = site.sql("select id, name, place['city'] as city, place['zip'] as zip from events order by id");
    let wanted =
        [json!({"id": 1}), json!({"id": 2, "name": "two", "city": "Rome"}), json!({"id": 3, "city": "Oslo", "zip": 7})];
    for (row, wanted) in rows.iter().zip(&wanted) {
        let present: serde_json::Map<_, _> = row
            .as_object()
            .expect("a row")
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        assert_eq!(&serde_json::Value::Object(present), wanted);
    }
    assert_eq!(rows.len(), 3);
}

#[test]
fn whole_numbers_widen_to_fractions() {
    let site = site::with_pipeline(&Pipeline::new("events"));
    let _said = site.put_lines("events", [r#"{"id":1,"n":1}"#]);
    site.flush("events");
    let _said = site.put_lines("events", [r#"{"id":2,"n":1.5}"#]);
    site.flush("events");
    // A long cannot become a double in Iceberg, so the value may be rescued; it must not be lost or rounded.
    let rows = site.sql("select id, n, _rescued from events order by id");
    assert_eq!(rows.len(), 2);
    let second = rows[1].to_string();
    assert!(second.contains("1.5"), "the value is kept: {second}");
}

/// A table with two declared columns.
fn declared(schema_policy: &'static str) -> Pipeline {
    let mut pipeline = Pipeline::new("events");
    pipeline.schema_policy = schema_policy;
    for column in ["id", "n"] {
        pipeline.table_lines += &format!("[[table.column]]\nname = \"{column}\"\ntype = \"long\"\n");
    }
    pipeline
}

#[test]
fn a_conflict_is_rescued_not_lost() {
    let site = site::with_pipeline(&declared("rescue"));
    let _said = site.put_lines("events", [r#"{"id":1,"n":1}"#]);
    site.flush("events");
    let _said = site.put_lines("events", [r#"{"id":2,"n":"many","extra":true}"#]);
    site.flush("events");
    let rows = site.sql("select id, n, _rescued from events where id = 2");
    let rescued = rows[0]["_rescued"].as_str().expect("the conflict is rescued");
    assert!(rescued.contains("many") && rescued.contains("extra"), "{rescued}");
    assert!(rows[0]["n"].is_null(), "{rows:?}");
}

#[test]
fn the_first_batch_declares_where_nothing_else_does() {
    let mut pipeline = Pipeline::new("events");
    pipeline.schema_policy = "rescue";
    let site = site::with_pipeline(&pipeline);
    let _said = site.put_lines("events", [r#"{"id":1,"n":1}"#]);
    site.flush("events");
    let _said = site.put_lines("events", [r#"{"id":2,"n":"many"}"#]);
    site.flush("events");
    assert_eq!(site.number("select n from events where id = 1"), 1);
    assert_eq!(site.number("select count(*) from events where id = 2 and n is null and _rescued like '%many%'"), 1);
}

#[test]
fn a_rejecting_table_sets_the_record_aside() {
    let site = site::with_pipeline(&declared("reject"));
    let _said = site.put_lines("events", [r#"{"id":1,"n":1}"#]);
    site.flush("events");
    let _said = site.put_lines("events", [r#"{"id":2,"n":"many"}"#, r#"{"id":3,"n":3}"#]);
    site.flush("events");
    assert_eq!(site.number("select count(*) from events"), 2);
    let _proof = site.run(&["verify", "events"]).ok();
}

#[test]
fn declared_columns_have_their_types() {
    let mut pipeline = Pipeline::new("events");
    pipeline.table_lines = r#"
time = { field = "at", format = "rfc3339" }
[[table.column]]
name = "id"
type = "long"
[[table.column]]
name = "price"
type = "double"
"#
    .to_owned();
    let site = site::with_pipeline(&pipeline);
    let _said = site.put_lines(
        "events",
        [r#"{"id":1,"price":2,"at":"2013-01-01T10:30:00Z"}"#, r#"{"id":2,"price":2.5,"at":"2013-01-01T11:30:00Z"}"#],
    );
    site.flush("events");
    let rows = site.sql("select cast(sum(price) as double) as price from events where at < '2013-01-01T11:00:00Z'");
    assert_eq!(rows, [json!({"price": 2.0})]);
    let files = site.number("select count(*) from system.files");
    assert_eq!(files, 2, "a batch that spans two hours writes two files");
}
