//! Answers over delivered and undelivered flights equal what the events themselves say.

use std::collections::BTreeMap;

use millrace_tests::flights;
use serde_json::{Value, json};

use crate::site::{self, FLIGHTS};

fn events() -> Vec<Value> {
    flights::lines().take(FLIGHTS).map(|line| serde_json::from_str(&line).expect("a flight is JSON")).collect()
}

#[test]
fn aggregates_filters_and_joins_span_files_and_tail() {
    let site = site::with_flights();
    let events = events();
    let sum = |field: &str| events.iter().filter_map(|event| event[field].as_i64()).sum::<i64>();
    let count = |filter: &dyn Fn(&Value) -> bool| events.iter().filter(|event| filter(event)).count() as i64;
    let cases = [
        ("select count(*) from flights", FLIGHTS as i64),
        ("select count(*) from default.flights", FLIGHTS as i64),
        ("select sum(distance) from flights", sum("distance")),
        ("select count(dep_time) from flights", count(&|event| event["dep_time"].is_i64())),
        ("select count(*) from flights where carrier = 'UA'", count(&|event| event["carrier"] == "UA")),
        ("select count(*) from flights where dep_delay > 30", count(&|e| e["dep_delay"].as_i64() > Some(30))),
        ("select count(*) from flights where dep_time is null", count(&|event| event["dep_time"].is_null())),
        ("select count(*) from flights where month = 1 and hour = 5", count(&|e| e["month"] == 1 && e["hour"] == 5)),
        ("select count(*) from (select distinct _shard, _offset from flights)", FLIGHTS as i64),
        ("select count(*) from flights where _arrival_time < now() - interval '1 day'", 0),
        ("select count(*) from flights where _arrival_time > now() - interval '1 hour'", FLIGHTS as i64),
        (
            "select count(*) from flights a join flights b on a._shard = b._shard and a._offset = b._offset",
            FLIGHTS as i64,
        ),
    ];
    for (query, wanted) in cases {
        assert_eq!(site.number(query), wanted, "{query}");
    }
    // The same once all is in files.
    site.flush("flights");
    for (query, wanted) in cases {
        assert_eq!(site.number(query), wanted, "{query}, after delivery");
    }
}

#[test]
fn values_of_parameters_are_typed_by_their_place() {
    let site = site::with_flights();
    let events = events();
    // As text, 999 were more than 1000.
    let far = events.iter().filter(|e| e["carrier"] == "UA" && e["distance"].as_i64() > Some(999)).count();
    for (query, values) in [
        ("select count(*) as n from flights where carrier = $1 and distance > $2", ["2=999", "1=UA"]),
        ("select count(*) as n from flights where carrier = $carrier and distance > $far", ["far=999", "carrier=UA"]),
    ] {
        let said = site.run(&["sql", query, "--output", "json", "--param", values[0], "--param", values[1]]).ok();
        assert_eq!(said.json(), json!({"n": far}), "{query}");
    }
    let query = "select count(*) from flights where distance > $1";
    let said = site.run(&["sql", query, "--param", "1=far"]).failed();
    assert!(said.stderr.contains("the value of $1 is no Int64"), "{}", said.stderr);
}

#[test]
fn groups_and_orders_equal_the_events() {
    let site = site::with_flights();
    let mut carriers: BTreeMap<String, i64> = BTreeMap::new();
    for event in events() {
        *carriers.entry(event["carrier"].as_str().expect("a carrier").to_owned()).or_default() += 1;
    }
    let wanted: Vec<Value> =
        carriers.iter().map(|(carrier, flights)| json!({"carrier": carrier, "flights": flights})).collect();
    let rows = site.sql("select carrier, count(*) as flights from flights group by carrier order by carrier");
    assert_eq!(rows, wanted);
}

#[test]
fn a_wrong_query_is_told_what_is_wrong_and_the_server_goes_on() {
    let site = site::with_flights();
    for (query, wanted) in [
        ("selec 1", "selec"),
        ("select no_such_column from flights", "no_such_column"),
        ("select * from no_such_table", "no_such_table"),
        ("select 1/0", "zero"),
        ("drop table flights", ""),
        ("insert into flights (year) values (1)", ""),
        ("create table x as select 1", ""),
        ("copy flights to '/tmp/millrace-must-not-exist.csv'", ""),
        ("create external table t stored as csv location '/etc/passwd'", ""),
    ] {
        let said = site.run(&["sql", query]).failed();
        assert!(said.stderr.to_lowercase().contains(wanted), "{query}: {}", said.stderr);
    }
    assert!(!std::path::Path::new("/tmp/millrace-must-not-exist.csv").exists(), "a query wrote a file");
    assert_eq!(site.number("select count(*) from flights"), FLIGHTS as i64);
}
