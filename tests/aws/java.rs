//! The SDK for Java 2 with its Netty client: CBOR, HTTP/2 with prior knowledge, signatures, enhanced fan-out. The Kinesis
//! Producer Library: TLS, the Security Token Service, aggregates.

use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_tests::cli;
use millrace_tests::pipeline::Pipeline;

use crate::site::{Site, run};

/// Where `tests/run.sh` puts the SDK, unless `MILLRACE_TEST_JAVA` names another folder.
fn folder() -> PathBuf {
    let named = std::env::var_os("MILLRACE_TEST_JAVA").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home folder")).join(".cache/millrace/java");
    named.unwrap_or_else(home)
}

/// Java with a program of this folder, after what it needs is seen to be there.
fn java(program: &str) -> Command {
    let folder = folder();
    let is_there = folder.join(".sdk").exists();
    assert!(is_there, "./tests/run.sh puts the SDK for Java into {}, where there is Maven", folder.display());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/java").join(program);
    let mut java = Command::new("java");
    java.arg("-cp").arg(folder.join("*")).arg(source).env("AWS_EC2_METADATA_DISABLED", "true");
    java
}

#[test]
fn the_java_sdk_puts_reads_and_subscribes_in_cbor_over_http_2() {
    let (site, root) = Site::with_auth();
    let told = run(java("Sdk.java").args([site.http(), &root.access_key_id, &root.secret]));
    for (what, count) in [("read", 50), ("pushed", 50), ("delivered", 50)] {
        assert_eq!(told[what], count, "{told}");
    }
    // An answer is in the format that the server took the request in. A subscription is asked for in JSON, and refused in it.
    let formats: Vec<&str> =
        told["formats"].as_array().into_iter().flatten().filter_map(|each| each.as_str()).collect();
    let expected = [
        "SubscribeToShard gets application/vnd.amazon.eventstream",
        "SubscribeToShard gets application/x-amz-json-1.1",
        "SubscribeToShard sends application/x-amz-json-1.1",
        "firehose gets application/x-amz-json-1.1",
        "firehose sends application/x-amz-json-1.1",
        "kinesis gets application/x-amz-cbor-1.1",
        "kinesis sends application/x-amz-cbor-1.1",
    ];
    assert_eq!(formats, expected);
    site.stop_and_verify();
}

#[test]
fn the_java_producer_library_packs_records_that_are_records_again_in_the_table() {
    const RECORDS: i64 = 5_000;
    let (site, root, environment) = Site::with_auth_over_tls();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let millrace = |arguments: &[&str]| cli::millrace_with(&site.server, &environment, arguments).ok();
    let pipeline = Pipeline::new("events").toml().replace("[\"newline\", \"split\"]", "[\"deaggregate\", \"split\"]");
    let file = site.folder().join("events.toml");
    std::fs::write(&file, pipeline).expect("the test's folder can be written");
    let _said = millrace(&["apply", "-f", file.to_str().expect("a UTF-8 path")]);

    let (host, port) = site.http().trim_start_matches("https://").split_once(':').expect("a port");
    let keys = [root.access_key_id.as_str(), &root.secret];
    let told = run(java("Producer.java").args([host, port]).args(keys).args(["events", &RECORDS.to_string()]));
    assert_eq!(told["stored"], RECORDS, "{told}");
    assert!(told["places"].as_i64().is_some_and(|places| places < RECORDS / 2), "records are packed: {told}");

    let _said = millrace(&["delivery", "flush", "events"]);
    let query = "select count(*) as n, count(distinct number) as numbers, \
                 sum(case when _partition_key = 'key-' || cast(number % 100 as varchar) then 1 else 0 end) as keyed from events";
    let row = millrace(&["sql", "--output", "json", query]).json();
    let row = row.as_array().and_then(|rows| rows.first()).unwrap_or(&row);
    for column in ["n", "numbers", "keyed"] {
        assert_eq!(row[column], RECORDS, "{row}");
    }
    site.stop_and_verify();
}
