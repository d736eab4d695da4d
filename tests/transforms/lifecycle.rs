//! Versions of modules: pushed, swapped at the border of a batch, run as a canary, rolled back, kept over restarts and crashes.

use std::time::Duration;

use millrace_tests::site::{Site, text};
use millrace_tests::{templates, wait};
use serde_json::Value;

use crate::site::{apply, transform};

const DEADLINE: Duration = Duration::from_secs(60);

/// A module that puts its version in front of each object's fields.
fn marking(site: &Site, version: u32) -> String {
    let source = format!(
        r#"
#include "millrace.h"
static millrace_outcome millrace_transform(const millrace_record *record) {{
  static const char mark[] = "{{\"version\":{version},";
  size_t len = sizeof mark - 1;
  uint8_t *made = millrace_alloc(record->data.len + len, 1);
  __builtin_memcpy(made, mark, len);
  __builtin_memcpy(made + len, record->data.bytes + 1, record->data.len - 1);
  return millrace_ok(made, record->data.len + len - 1);
}}
"#
    );
    let module = templates::build_c(&source);
    // A name of its own for each, so that a test says what it pushes.
    let file = site.write(&format!("version-{version}.wasm"), std::fs::read(module).expect("it was built"));
    text(&file).to_owned()
}

fn put(site: &Site, ids: std::ops::Range<u64>) {
    let _said = site.put_lines("events", ids.map(|id| format!("{{\"id\":{id}}}")));
}

fn rows_of(site: &Site, version: u32) -> i64 {
    site.number(&format!("select count(*) from events where version = {version}"))
}

const CALL: &str = r#"[{ type = "wasm", module = "mark" }]"#;

#[test]
fn a_new_version_runs_from_the_next_batch_on_and_an_older_one_again() {
    let site = Site::start();
    let unknown = apply(&site, "events", CALL).failed();
    assert!(unknown.stderr.contains("no transform module is named mark"), "{}", unknown.stderr);
    let _pushed = transform(&site, &["push", "mark", &marking(&site, 1)]);
    let _said = apply(&site, "events", CALL).ok();
    put(&site, 0..100);
    site.flush("events");
    assert_eq!(rows_of(&site, 1), 100);

    // What is read and not committed is read again by the new version: a batch is of one version.
    put(&site, 100..150);
    assert_eq!(site.number("select count(*) from events"), 150, "the tail is read");
    let pushed = transform(&site, &["push", "mark", &marking(&site, 2)]);
    assert_eq!((pushed["current_version"].as_u64(), &pushed["deliveries"]), (Some(2), &Value::from(vec!["events"])));
    put(&site, 150..200);
    site.flush("events");
    assert_eq!((rows_of(&site, 1), rows_of(&site, 2)), (100, 100));

    let _back = transform(&site, &["rollback", "mark"]);
    put(&site, 200..250);
    site.flush("events");
    assert_eq!((rows_of(&site, 1), rows_of(&site, 2)), (150, 100));
    assert_eq!(site.number("select count(distinct id) from events"), 250, "each once");
    let _proof = site.run(&["verify", "events"]).ok();

    let refused = site.run(&["transform", "delete", "mark", "--yes"]).failed();
    assert!(refused.stderr.contains("used by the deliveries events"), "{}", refused.stderr);
    let _said = site.run(&["delivery", "delete", "events", "--yes"]).ok();
    let _said = site.run(&["transform", "delete", "mark", "--yes"]).ok();
    assert_eq!(transform(&site, &["list"]), Value::Array(Vec::new()));
}

#[test]
fn a_canary_runs_in_its_share_of_batches() {
    let site = Site::start();
    let _pushed = transform(&site, &["push", "mark", &marking(&site, 1)]);
    let _said = apply(&site, "events", CALL).ok();
    let pushed = transform(&site, &["push", "mark", &marking(&site, 2), "--canary", "50"]);
    assert_eq!((pushed["canary_version"].as_u64(), pushed["canary_percent"].as_u64()), (Some(2), Some(50)));
    for batch in 0..8 {
        put(&site, batch * 10..(batch + 1) * 10);
        site.flush("events");
    }
    assert_eq!((rows_of(&site, 1), rows_of(&site, 2)), (40, 40), "every other batch");
    let _said = transform(&site, &["canary", "mark", "100"]);
    put(&site, 80..100);
    site.flush("events");
    assert_eq!((rows_of(&site, 1), rows_of(&site, 2)), (40, 60));
    assert_eq!(site.number("select count(distinct id) from events"), 100);
    let _proof = site.run(&["verify", "events"]).ok();
}

/// The story: a batch's intent was written by version 1, version 2 was pushed while the store was away, and the server died.
/// The batch that is done again must have the rows of version 1, under the same names.
#[test]
fn a_batch_that_is_done_again_runs_the_version_that_it_was_begun_with() {
    let mut site = Site::start();
    let _pushed = transform(&site, &["push", "mark", &marking(&site, 1)]);
    let _said = apply(&site, "events", CALL).ok();
    // A file where the folder of the data should be: the store takes nothing.
    let data = site.lake.join("default/events/data");
    std::fs::write(&data, "in the way").expect("the table's folder is there");
    put(&site, 0..50);
    let flushing = std::thread::scope(|scope| {
        let flush = scope.spawn(|| site.run(&["delivery", "flush", "events"]));
        wait::until("the batch to be held up", DEADLINE, || {
            let described = site.run(&["delivery", "describe", "events", "--output", "json"]).ok().json();
            (described["state"] == "retrying").then_some(())
        });
        let _pushed = transform(&site, &["push", "mark", &marking(&site, 2)]);
        millrace_tests::server::signal(site.server.pid(), "KILL");
        flush.join().expect("the flush ends with the server")
    });
    assert_ne!(flushing.code, Some(0));
    site.server.kill();
    std::fs::remove_file(&data).expect("it is in the way no more");
    site.server.restart();
    put(&site, 50..100);
    site.flush("events");
    assert_eq!((rows_of(&site, 1), rows_of(&site, 2)), (50, 50));
    assert_eq!(site.number("select count(distinct id) from events"), 100);
    let _proof = site.run(&["verify", "events"]).ok();
}

#[test]
fn modules_and_their_compiled_code_outlive_the_process() {
    let mut site = Site::start();
    let _pushed = transform(&site, &["push", "mark", &marking(&site, 1)]);
    let _pushed = transform(&site, &["push", "mark", &marking(&site, 2)]);
    let _said = apply(&site, "events", CALL).ok();
    let before = transform(&site, &["describe", "mark"]);
    assert!(site.server.stop().success());
    site.server.restart();
    assert_eq!(transform(&site, &["describe", "mark"]), before);
    put(&site, 0..10);
    site.flush("events");
    assert_eq!(rows_of(&site, 2), 10);
    let metrics = site.server.http_get("/metrics").1;
    assert!(metrics.contains("millrace_transform_wasm_loads_total{from=\"disk\"} 1"), "{metrics}");
    let counted = "millrace_transform_records_total{delivery=\"events\",outcome=\"ok\",step=\"1.wasm\"} 10";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_test_on_live_records_delivers_nothing() {
    let site = Site::start();
    let _pushed = transform(&site, &["push", "mark", &marking(&site, 1)]);
    let _said = apply(&site, "events", CALL).ok();
    put(&site, 0..30);
    let before = site.run(&["delivery", "describe", "events", "--output", "json"]).ok().json();
    for chain in [&["mark"][..], &["--delivery", "events"]] {
        let arguments = [&["test"], chain, &["--stream", "events", "--count", "5"]].concat();
        let tested = transform(&site, &arguments);
        let tested = tested.as_array().expect("records");
        assert_eq!(tested.len(), 5);
        assert_eq!(tested[4]["before"], "{\"id\":29}", "the newest, in order");
        assert_eq!(tested[4]["after"][0]["data"], "{\"version\":1,\"id\":29}");
    }
    let shown = site.run(&["transform", "test", "mark", "--stream", "events", "--count", "1"]).ok().stdout;
    assert!(shown.contains("ok       {\"version\":1,\"id\":29}"), "{shown}");
    let after = site.run(&["delivery", "describe", "events", "--output", "json"]).ok().json();
    assert_eq!(after["shards"], before["shards"]);
    assert_eq!(after["totals"], before["totals"]);
    let too_many = site.run(&["transform", "test", "mark", "--stream", "events", "--count", "1001"]).failed();
    assert!(too_many.stderr.contains("1001"), "{}", too_many.stderr);
}

#[test]
fn what_is_no_transform_is_refused() {
    let site = Site::start();
    let nonsense = site.write("nonsense.wasm", "not a module");
    let refused = site.run(&["transform", "push", "bad", text(&nonsense)]).failed();
    assert!(refused.stderr.contains("module bad"), "{}", refused.stderr);
    let named = site.run(&["transform", "push", "a/b", text(&nonsense)]).failed();
    assert!(named.stderr.contains("a/b"), "{}", named.stderr);
    let gone = site.run(&["transform", "describe", "bad"]).failed();
    assert!(gone.stderr.contains("no transform module is named bad"), "{}", gone.stderr);
}
