//! The AWS CLI as a user types it.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_tests::python;
use serde_json::{Value, json};

use crate::site::Site;

/// Runs `aws kinesis ARGUMENTS…`; gives its JSON, or what it complained of.
fn aws(site: &Site, arguments: &[&str]) -> Result<Value, String> {
    let program = python::interpreter().expect("./tests/run.sh makes the Python environment").with_file_name("aws");
    let output = Command::new(&program)
        .args(["kinesis", "--endpoint-url", site.http(), "--region", "us-east-1", "--output", "json"])
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()));
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(if said.trim().is_empty() { Value::Null } else { serde_json::from_str(&said).expect("the CLI prints JSON") })
}

#[test]
fn a_stream_from_creation_to_deletion() {
    let site = Site::with(&[]);
    let ok = |arguments: &[&str]| aws(&site, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    ok(&["create-stream", "--stream-name", "cli", "--shard-count", "1"]);
    ok(&["wait", "stream-exists", "--stream-name", "cli"]);
    // The first version of the CLI takes data as text, and prints base64.
    let data = "from the shell";
    let stored = ok(&["put-record", "--stream-name", "cli", "--partition-key", "k", "--data", data]);
    let records = json!([{"Data": data, "PartitionKey": "a"}, {"Data": data, "PartitionKey": "b"}]).to_string();
    let batch = ok(&["put-records", "--stream-name", "cli", "--records", &records]);
    assert_eq!(batch["FailedRecordCount"], 0);
    let shard = stored["ShardId"].as_str().expect("a shard's id");
    let kind = ["--shard-iterator-type", "TRIM_HORIZON"];
    let iterator = ok(&[&["get-shard-iterator", "--stream-name", "cli", "--shard-id", shard], &kind[..]].concat());
    let read = ok(&["get-records", "--shard-iterator", iterator["ShardIterator"].as_str().expect("an iterator")]);
    let read = read["Records"].as_array().expect("records");
    assert_eq!(read.len(), 3);
    assert_eq!(read[0]["SequenceNumber"], stored["SequenceNumber"]);
    assert_eq!(read[0]["Data"], json!(STANDARD.encode(data)));
    ok(&["add-tags-to-stream", "--stream-name", "cli", "--tags", "team=ops"]);
    let tags = ok(&["list-tags-for-stream", "--stream-name", "cli"]);
    assert_eq!(tags["Tags"], json!([{"Key": "team", "Value": "ops"}]));
    let update = ["update-shard-count", "--stream-name", "cli", "--target-shard-count", "2"];
    ok(&[&update[..], &["--scaling-type", "UNIFORM_SCALING"]].concat());
    let shards = ok(&["list-shards", "--stream-name", "cli", "--shard-filter", "Type=AT_LATEST"]);
    assert_eq!(shards["Shards"].as_array().map(Vec::len), Some(2));
    let summary = ok(&["describe-stream-summary", "--stream-name", "cli"]);
    assert_eq!(summary["StreamDescriptionSummary"]["OpenShardCount"], 2);
    assert_eq!(ok(&["list-streams"])["StreamNames"], json!(["cli"]));
    ok(&["delete-stream", "--stream-name", "cli"]);
    let error = aws(&site, &["describe-stream", "--stream-name", "cli"]).expect_err("it is gone");
    assert!(error.contains("ResourceNotFoundException"), "{error}");
    site.stop_and_verify();
}
