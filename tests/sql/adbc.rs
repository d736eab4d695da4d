//! A driver that is not ours, ADBC's for Flight SQL, binds parameters and lists tables.

use millrace_tests::{flights, python};
use serde_json::{Value, json};

use crate::site::{self, FLIGHTS};

#[test]
fn adbc_asks_with_parameters() {
    let site = site::with_flights();
    let answers = python::run("sql/adbc.py", &[&site.server.endpoint()]);
    let events: Vec<Value> =
        flights::lines().take(FLIGHTS).map(|line| serde_json::from_str(&line).expect("a flight is JSON")).collect();
    let united = events.iter().filter(|event| event["carrier"] == "UA");
    let (all, far) = (united.clone().count(), united.filter(|e| e["distance"].as_i64() > Some(1000)).count());
    assert_eq!(answers["plain"], json!([[FLIGHTS]]));
    assert_eq!(answers["by_mark"], json!([[far]]));
    assert_eq!(answers["by_number"], json!([[far]]));
    assert_eq!(answers["injected"], json!([[0]]), "a value is never part of the text");
    assert_eq!(answers["null"], json!([[all]]));
    let refusal = answers["too_few"].as_str().expect("it is refused");
    assert!(refusal.contains("parameters of the statement: 2 ($1, $2); values bound: 1"), "{refusal}");
    assert_eq!(answers["tables"], json!(["flights"]));
    assert_eq!(answers["columns"].as_array().map(Vec::len), Some(3));
}
