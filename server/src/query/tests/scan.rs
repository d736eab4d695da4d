//! Scans: which files they read, how old files fit the new schema, and that folders are no columns.

use std::collections::HashMap;

use iceberg::spec::{ListType, NestedField, PrimitiveType, Schema, StructType, Type};
use serde_json::{Value, json};

use super::super::QuerySettings;
use super::fixture::{Lake, ask, text, time};

const LONG: Type = Type::Primitive(PrimitiveType::Long);
const STRING: Type = Type::Primitive(PrimitiveType::String);

/// Ten files of an hour and a hundred rows each.
async fn ten_hours(lake: &Lake) {
    let table = lake.create("t", &[("n", LONG), ("s", STRING)]).await;
    for hour in 0..10_u64 {
        let offsets = hour * 100..(hour + 1) * 100;
        let rows: Vec<Value> = offsets
            .clone()
            .map(|n| {
                let at = time(1000 + hour as i32, (n % 60) as i32);
                json!({"_arrival_time": at, "_offset": n, "n": n, "s": format!("a long common prefix {n:04}")})
            })
            .collect();
        lake.commit(&table, 1000 + hour as i32, offsets, &rows).await;
    }
}

#[tokio::test]
async fn files_are_left_out_by_time_and_by_bounds_and_the_answers_stay_right() {
    for (filter, rows, files_left_out) in [
        ("true", 1000, 0.0),
        ("n = 555", 1, 9.0),
        ("n >= 900", 100, 9.0),
        ("n < 250", 250, 7.0),
        ("n between 150 and 160 or n = 999", 12, 8.0),
        ("n in (3, 103, 5000)", 2, 8.0),
        ("n = 5000", 0, 10.0),
        ("n is null", 0, 10.0),
        ("s = 'a long common prefix 0007'", 1, 9.0),
        ("s > 'b'", 0, 10.0),
        ("_arrival_time >= timestamp '1970-02-11T23:00:00Z'", 300, 7.0),
        ("_arrival_time < timestamp '1970-02-11T17:00:00Z' and n > 50", 49, 9.0),
        ("n % 2 = 0", 500, 0.0),
    ] {
        let lake = Lake::new();
        ten_hours(&lake).await;
        let engine = lake.engine();
        let answer = ask(&engine, &format!("select count(*) c from t where {filter}")).await.unwrap();
        assert_eq!(answer, json!([{"c": rows}]), "{filter}");
        assert_eq!(lake.metric("millrace_query_files_pruned_total"), files_left_out, "{filter}");
    }
}

#[tokio::test]
async fn plans_show_the_files_that_are_read_and_the_predicate_in_the_parquet_source() {
    let lake = Lake::new();
    ten_hours(&lake).await;
    let plan = text(&lake.engine(), "explain select s from t where n = 555").await;
    assert!(plan.contains("1 group: ") || plan.contains("file_groups={1 group"), "{plan}");
    assert!(plan.contains("file_type=parquet, predicate=n@"), "{plan}");
    assert!(plan.contains("pruning_predicate="), "{plan}");
}

#[tokio::test]
async fn row_groups_are_left_out_within_a_file() {
    let lake = Lake::new();
    let table = lake.create("t", &[("n", LONG)]).await;
    let rows: Vec<Value> = (0..5000).map(|n| json!({"_arrival_time": time(7, 0), "n": n})).collect();
    lake.commit(&table, 7, 0..5000, &rows).await;
    let plan = text(&lake.engine(), "explain analyze select * from t where n = 4321").await;
    assert!(plan.contains("row_groups_pruned_statistics=5 total → 1 matched"), "{plan}");
}

#[tokio::test]
async fn counts_come_from_metadata_without_reading_a_file() {
    let lake = Lake::new();
    ten_hours(&lake).await;
    let engine = lake.engine();
    let answer = ask(&engine, "select count(*) c, count(n) n from t").await.unwrap();
    assert_eq!(answer, json!([{"c": 1000, "n": 1000}]));
    assert_eq!(lake.metric("millrace_query_scanned_bytes_total"), 0.0);
    let plan = text(&engine, "explain select count(*) from t").await;
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    ask(&engine, "select sum(n) from t").await.unwrap();
    assert!(lake.metric("millrace_query_scanned_bytes_total") > 0.0);
}

#[tokio::test]
async fn folders_named_like_columns_give_no_columns() {
    let lake = Lake::new();
    let table = lake.create("flights", &[("year", LONG), ("hour", LONG)]).await;
    // The file lies below year=1999/hour=20.
    lake.commit(&table, 20, 0..1, &[json!({"_arrival_time": time(20, 0), "year": 2013, "hour": 5})]).await;
    let engine = lake.engine();
    assert_eq!(ask(&engine, "select year, hour from flights").await.unwrap(), json!([{"year": 2013, "hour": 5}]));
    assert_eq!(ask(&engine, "select count(*) c from flights where year = 1999").await.unwrap(), json!([{"c": 0}]));
}

fn structure(fields: Vec<NestedField>) -> Type {
    Type::Struct(StructType::new(fields.into_iter().map(Into::into).collect()))
}

fn list(id: i32, element: Type) -> Type {
    Type::List(ListType { element_field: NestedField::list_element(id, element, false).into() })
}

#[tokio::test]
async fn files_of_an_older_schema_are_read_with_the_newer_one() {
    let int = Type::Primitive(PrimitiveType::Int);
    let lake = Lake::new();
    let old = [
        ("n", int.clone()),
        ("place", structure(vec![NestedField::optional(7, "x", int.clone())])),
        ("legs", list(8, structure(vec![NestedField::optional(9, "from", STRING)]))),
    ];
    let table = lake.create("t", &old).await;
    let first = json!({"_arrival_time": time(1, 0), "_offset": 0, "n": 1, "place": {"x": 10}, "legs": [{"from": "a"}, {"from": "b"}]});
    lake.commit(&table, 1, 0..1, &[first]).await;

    let held = lake.catalog.load(&table).await.unwrap().metadata().current_schema().clone();
    let ids: HashMap<&str, i32> = ["n", "place", "place.x", "legs", "legs.element", "legs.element.from"]
        .into_iter()
        .map(|name| (name, held.field_id_by_name(name).unwrap()))
        .collect();
    let last = lake.catalog.load(&table).await.unwrap().metadata().last_column_id();
    let fields = vec![
        held.field_by_name("_arrival_time").unwrap().clone(),
        held.field_by_name("_offset").unwrap().clone(),
        NestedField::optional(ids["n"], "n", LONG).into(),
        NestedField::optional(
            ids["place"],
            "place",
            structure(vec![
                NestedField::optional(ids["place.x"], "x", LONG),
                NestedField::optional(
                    last + 1,
                    "inner",
                    structure(vec![NestedField::optional(last + 2, "deep", STRING)]),
                ),
            ]),
        )
        .into(),
        NestedField::optional(
            ids["legs"],
            "legs",
            list(
                ids["legs.element"],
                structure(vec![
                    NestedField::optional(ids["legs.element.from"], "from", STRING),
                    NestedField::optional(last + 3, "to", STRING),
                ]),
            ),
        )
        .into(),
        NestedField::optional(last + 4, "added", STRING).into(),
    ];
    let new = Schema::builder().with_fields(fields).build().unwrap();
    let second = json!({
        "_arrival_time": time(2, 0), "_offset": 1, "n": 5_000_000_000_i64, "added": "new",
        "place": {"x": 6_000_000_000_i64, "inner": {"deep": "down"}}, "legs": [{"from": "c", "to": "d"}],
    });
    lake.commit_with(&table, Some(new), 2, 1..2, &[second]).await;

    let engine = lake.engine();
    let answer = ask(&engine, "select n, place, legs, added from t order by _offset").await.unwrap();
    let expected = json!([
        {"n": 1, "place": {"x": 10}, "legs": [{"from": "a"}, {"from": "b"}]},
        {"n": 5_000_000_000_i64, "place": {"x": 6_000_000_000_i64, "inner": {"deep": "down"}},
         "legs": [{"from": "c", "to": "d"}], "added": "new"},
    ]);
    assert_eq!(answer, expected);

    for (sql, expected) in [
        ("select count(*) c from t where added is null", json!([{"c": 1}])),
        ("select count(*) c from t where added = 'new'", json!([{"c": 1}])),
        ("select count(*) c from t where n = 1", json!([{"c": 1}])),
        ("select count(*) c from t where n > 4000000000", json!([{"c": 1}])),
        ("select sum(place['x']) s from t", json!([{"s": 6_000_000_010_i64}])),
        ("select place['inner']['deep'] d from t order by _offset", json!([{}, {"d": "down"}])),
        ("select count(added) a, count(*) c from t", json!([{"a": 1, "c": 2}])),
        ("select l['to'] t from (select unnest(legs) l, _offset o from t) order by o", json!([{}, {}, {"t": "d"}])),
    ] {
        assert_eq!(ask(&engine, sql).await.unwrap(), expected, "{sql}");
    }
}

#[tokio::test]
async fn a_big_file_is_read_by_more_than_one_partition_and_a_limit_reads_little() {
    let lake = Lake::new();
    ten_hours(&lake).await;
    let settings = QuerySettings { partitions: std::num::NonZeroUsize::new(4), ..QuerySettings::default() };
    let engine = lake.engine_with(std::sync::Arc::new(super::super::NoTail), settings);
    let plan = text(&engine, "explain select sum(n) from t").await;
    assert!(plan.contains("4 groups"), "{plan}");
    let answer = ask(&engine, "select n from t limit 7").await.unwrap();
    assert_eq!(answer.as_array().unwrap().len(), 7);
}
