//! The built-in steps, through a delivery.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millrace_tests::grpc;
use millrace_tests::site::{Site, text};

use crate::site::{apply, set_aside, transform};

fn gzip(data: &str) -> Vec<u8> {
    let mut child =
        Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip runs");
    child.stdin.take().expect("piped").write_all(data.as_bytes()).expect("gzip reads");
    let output = child.wait_with_output().expect("gzip ends");
    assert!(output.status.success());
    output.stdout
}

/// The whole chain that carries CloudWatch Logs into a table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_events_become_rows() {
    let site = Site::start();
    let transforms = r#"[
        { type = "decompress", format = "cloudwatch_logs", extract = "messages" },
        "split",
        { type = "jq", query = "select(.level != \"debug\") | {id, level, n: (.n * 2), detail}" },
        { type = "fields", flatten = "_", drop = ["detail_secret"], rename = { n = "twice" }, cast = { id = "string" } },
    ]"#;
    let _said = apply(&site, "logs", transforms).ok();
    let message = |id: u64, level: &str| {
        let detail = "{\"host\":{\"name\":\"h\"},\"secret\":\"x\"}";
        format!("{{\"id\":{id},\"level\":\"{level}\",\"n\":{id},\"detail\":{detail}}}")
    };
    let event = |id: u64, message: &str| {
        let message = serde_json::to_string(message).expect("text is JSON");
        format!("{{\"id\":\"{id}\",\"timestamp\":{id},\"message\":{message}}}")
    };
    let events = [event(1, &message(1, "info")), event(2, &message(2, "debug")), event(3, &message(3, "warn"))];
    let envelope = |kind: &str, events: &str| {
        format!(
            "{{\"messageType\":\"{kind}\",\"owner\":\"o\",\"logGroup\":\"g\",\"logStream\":\"s\",\"logEvents\":[{events}]}}"
        )
    };
    let records = [
        gzip(&envelope("DATA_MESSAGE", &events.join(","))),
        gzip(&envelope("CONTROL_MESSAGE", "")),
        b"no envelope".to_vec(),
    ];
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let records = records.into_iter().map(|data| ("k".to_owned(), data));
    grpc::records(&channel).put(grpc::put_request("logs", records)).await.expect("any bytes are taken");
    site.flush("logs");
    assert_eq!(site.number("select count(*) from logs"), 2);
    assert_eq!(site.number("select sum(twice) from logs where id in ('1', '3') and detail_host_name = 'h'"), 8);
    let set_aside = set_aside(&site);
    assert_eq!(set_aside.len(), 1, "{set_aside:?}");
    let data = BASE64_STANDARD.decode(set_aside[0]["rawData"].as_str().expect("text")).expect("base64");
    assert_eq!(data, b"no envelope");
    let _proof = site.run(&["verify", "logs"]).ok();
}

#[test]
fn a_filter_without_an_end_sets_its_records_aside() {
    let site = Site::start_with(|settings| settings.env("MILLRACE_TRANSFORM_JQ_STEPS_MAX", 10_000));
    let query = "if .id % 10 == 3 then [range(1e18)] elif .id % 10 == 4 then (def f: f; f) else . end";
    let _said = apply(&site, "events", &format!("[{{ type = \"jq\", query = \"{query}\" }}]")).ok();
    let _said = site.put_lines("events", (0..100).map(|id| format!("{{\"id\":{id}}}")));
    site.flush("events");
    assert_eq!(site.number("select count(*) from events"), 80);
    let set_aside = set_aside(&site);
    assert_eq!(set_aside.len(), 20);
    assert!(set_aside.iter().all(|record| record["errorMessage"].as_str().is_some_and(|told| told.contains("steps"))));
}

#[test]
fn steps_of_a_file_are_tried_out_with_their_partition_keys() {
    let site = Site::start();
    let steps = site.write(
        "steps.toml",
        r#"transforms = ["split", { type = "jq", query = "{customer: .id}", to = "partition_keys" }, "newline"]"#,
    );
    let input = site.write("input", "{\"id\":\"c-1\"}{\"id\":\"c-2\"}\n{\"id\":null}\n");
    let tested = transform(&site, &["test", "--steps", text(&steps), "--input", text(&input)]);
    assert_eq!(tested[0]["after"][1]["data"], "{\"id\":\"c-2\"}\n", "{tested}");
    assert_eq!(tested[0]["after"][1]["partition_keys"]["customer"], "c-2", "{tested}");
    assert!(tested[1]["failure"].as_str().is_some_and(|told| told.contains("customer")), "{tested}");
    let wrong = site.write("wrong.toml", "transforms = [\"upper\"]");
    let refused = site.run(&["transform", "test", "--steps", text(&wrong), "--input", text(&input)]).failed();
    assert!(refused.stderr.contains("upper"), "{}", refused.stderr);
}
