//! `deploy/metrics.md` and the dashboard against what a server really gives: neither can rot.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PAGE: &str = include_str!("../../../../deploy/metrics.md");
const DASHBOARD: &str = include_str!("../../../../deploy/grafana/millrace.json");

/// A metric's type and labels as the page has them.
type Listed = BTreeMap<String, (String, Vec<String>)>;

/// The rows of the page's tables whose first cell is a metric and whose second is its type.
fn listed() -> Listed {
    let mut listed = Listed::new();
    for row in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind @ ("counter" | "gauge" | "histogram"), labels, what] = cells[..] else { continue };
        assert!(!what.is_empty(), "{row}");
        let labels = labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect();
        let before = listed.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), labels));
        assert!(before.is_none(), "{name} is listed twice");
    }
    listed
}

/// Each metric's type, from the text that a server gives.
fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[tokio::test]
async fn the_page_of_metrics_is_what_a_server_gives() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    world.records.put(put("s", vec![record("k", "12345")])).await.unwrap();
    world.records.get(get("s")).await.unwrap();
    let listed = listed();
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for metric in world.running.metrics().described() {
        given.insert(metric.name, metric.labels);
    }
    let names = |of: &mut dyn Iterator<Item = &String>| of.cloned().collect::<BTreeSet<String>>();
    let (on_page, registered) = (names(&mut listed.keys()), names(&mut given.keys()));
    let missing: Vec<_> = registered.difference(&on_page).collect();
    assert!(missing.is_empty(), "deploy/metrics.md lacks a row for each of {missing:?}");
    let gone: Vec<_> = on_page.difference(&registered).collect();
    assert!(gone.is_empty(), "deploy/metrics.md tells of metrics that no server gives: {gone:?}");
    let sorted = |labels: &[String]| labels.iter().cloned().collect::<BTreeSet<_>>();
    for (name, labels) in &given {
        assert_eq!(sorted(&listed[name].1), sorted(labels), "the labels of {name} in deploy/metrics.md");
    }
    let text = world.http("/metrics").await.1;
    let types = types(&text);
    assert!(types.len() > 40, "{text}");
    for (name, kind) in types {
        let on_page = listed.get(name).map(|(kind, _)| kind.as_str());
        assert_eq!(on_page, Some(kind), "the type of {name} in deploy/metrics.md");
    }
    world.close().await;
}

#[test]
fn names_follow_the_conventions() {
    for (name, (kind, _)) in listed() {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(name.starts_with("millrace_") || name.starts_with("process_"), "{name}");
        for unit in ["_ms", "_millis", "_micros", "_kib", "_mib", "_percent"] {
            assert!(!name.ends_with(unit), "{name}: units are seconds and bytes");
        }
    }
}

/// All metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("millrace_")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let asked: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(asked.len() >= panels.len() && !panels.is_empty(), "each panel asks for something");
    let listed = listed();
    for expression in asked {
        let names = named(expression);
        assert!(!names.is_empty(), "{expression} names no metric");
        for name in names {
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let found = match histogram {
                Some(whole) => listed.get(whole).is_some_and(|(kind, _)| kind == "histogram"),
                None => listed.contains_key(&name),
            };
            assert!(found, "the dashboard asks for {name}, which deploy/metrics.md does not have: {expression}");
        }
    }
    // What the page recommends to alarm on exists too.
    for name in named(PAGE) {
        assert!(listed.contains_key(&name), "deploy/metrics.md names {name} and has no row for it");
    }
}
