//! Firehose by boto3: every operation, and records from a put to the bytes of an object; and what a kill must not lose.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use millrace_tests::{cli, flights, python};
use serde_json::{Value, json};

use crate::coverage::Coverage;
use crate::site::{MASTER_KEY, Site, call_target};

const LINES: usize = 2_000;
const TABLES: &str = r#"
    [[table]]
    name = "default.flights"
    [[table.column]]
    name = "carrier"
    type = "string"
    [[table]]
    name = "default.ice"
"#;

/// On two servers: one with a master key and tables, and one with low limits.
pub(crate) fn called() -> Coverage {
    let site = Site::with(&[("MILLRACE_ENCRYPTION_MASTER_KEY", MASTER_KEY)]);
    let short = Site::with(&[
        ("MILLRACE_FIREHOSE_DELIVERY_STREAMS_MAX", "2"),
        ("MILLRACE_FIREHOSE_IN_RECORDS_PER_SECOND", "2"),
        ("MILLRACE_FIREHOSE_PUT_REQUESTS_PER_SECOND", "3"),
        ("MILLRACE_FIREHOSE_DELETE_FLUSH_TIMEOUT", "0s"),
    ]);
    let tables = site.folder().join("tables.toml");
    std::fs::write(&tables, TABLES).expect("the folder takes files");
    let _said = cli::millrace(&site.server, &["apply", "-f", text(&tables)]).ok();
    let file = site.folder().join("flights.jsonl");
    let lines: Vec<String> = flights::lines().take(LINES).collect();
    std::fs::write(&file, lines.join("\n")).expect("the folder takes files");
    let lake = site.folder().join("data/lake");
    let told = python::run("aws/boto/firehose.py", &[site.http(), short.http(), text(&lake), text(&file)]);
    site.stop_and_verify();
    short.stop_and_verify();
    Coverage::of(told)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A put is answered, the process is killed before anything is delivered, and the next one delivers it.
#[test]
fn what_was_acknowledged_before_a_kill_is_delivered_after_it() {
    let mut site = Site::with(&[]);
    let ok = |site: &Site, operation: &str, body: Value| {
        let (status, answer) = call_target(site.http(), &format!("Firehose_20150804.{operation}"), &body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    };
    let s3 = json!({
        "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::b",
        "BufferingHints": {"SizeInMBs": 5, "IntervalInSeconds": 3},
    });
    ok(&site, "CreateDeliveryStream", json!({"DeliveryStreamName": "kept", "S3DestinationConfiguration": s3}));
    ok(&site, "PutRecord", json!({"DeliveryStreamName": "kept", "Record": {"Data": "Zmlyc3Q="}}));
    site.server.kill();
    site.server.restart();
    let told = ok(&site, "DescribeDeliveryStream", json!({"DeliveryStreamName": "kept"}));
    assert_eq!(told["DeliveryStreamDescription"]["DeliveryStreamStatus"], "ACTIVE");
    ok(&site, "PutRecord", json!({"DeliveryStreamName": "kept", "Record": {"Data": "c2Vjb25k"}}));
    let bucket = site.folder().join("data/lake/firehose/b");
    let deadline = Instant::now() + Duration::from_secs(60);
    while content(&bucket) != "firstsecond" {
        assert!(Instant::now() < deadline, "{:?} is below {}", content(&bucket), bucket.display());
        std::thread::sleep(Duration::from_millis(50));
    }
    site.stop_and_verify();
}

/// What the files of a folder hold, in the order of their names.
fn content(folder: &Path) -> String {
    let mut folders = vec![folder.to_path_buf()];
    let mut files = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                files.insert(path.file_name().map(ToOwned::to_owned), bytes);
            }
        }
    }
    String::from_utf8(files.into_values().flatten().collect()).expect("the records are text")
}
