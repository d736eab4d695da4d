//! Deliveries into plain objects: lines under a prefix, for readers that know neither Parquet nor Iceberg.

use std::collections::BTreeSet;

use millrace_tests::listing;
use millrace_tests::site::{Site, text};
use serde_json::Value;

const PIPELINE: &str = r#"
[[stream]]
name = "events"
shards = 2
[stream.quota]
in_bytes_per_second = "off"
in_records_per_second = "off"
out_bytes_per_second = "off"

[[delivery]]
name = "raw"
stream = "events"
format = "json_lines"
destination = "exports/events"
prefix = "day=!{timestamp:yyyy-MM-dd}/"
transforms = ["newline"]
compression = "none"
buffer_interval = "900s"
"#;

#[test]
fn lines_lie_under_their_prefix_each_record_once() {
    let site = Site::start();
    let file = site.folder().join("raw.toml");
    std::fs::write(&file, PIPELINE).expect("the test's folder can be written");
    let _said = site.run(&["apply", "-f", text(&file)]).ok();
    for batch in 0..3 {
        site.put_lines("events", (batch * 500..(batch + 1) * 500).map(|id| format!("{{\"id\":{id}}}")));
        site.flush("raw");
    }
    let files = listing::files(&site.lake.join("exports/events"), "jsonl");
    assert!(files.len() >= 3, "three batches are three files at least: {files:?}");
    assert!(files.iter().all(|file| text(file).contains("/day=20")), "the prefix is there: {files:?}");
    let lines = files.iter().flat_map(|file| {
        let content = std::fs::read_to_string(file).expect("an export is text");
        content.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON")).collect::<Vec<_>>()
    });
    let ids: Vec<i64> = lines.map(|line| line["id"].as_i64().expect("an id")).collect();
    assert_eq!(ids.len(), 1500);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), (0..1500).collect());
    let _proof = site.run(&["verify", "raw"]).ok();
}
