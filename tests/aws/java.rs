//! The SDK for Java 2 with its Netty client: CBOR, HTTP/2 with prior knowledge, signatures, enhanced fan-out.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{Site, run};

/// Where `tests/run.sh` puts the SDK, unless `MILLRACE_TEST_JAVA` names another folder.
fn folder() -> PathBuf {
    let named = std::env::var_os("MILLRACE_TEST_JAVA").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home folder")).join(".cache/millrace/java");
    named.unwrap_or_else(home)
}

#[test]
fn the_java_sdk_puts_reads_and_subscribes_in_cbor_over_http_2() {
    let folder = folder();
    let is_there = folder.join(".sdk").exists();
    assert!(is_there, "./tests/run.sh puts the SDK for Java into {}, where there is Maven", folder.display());
    let (site, root) = Site::with_auth();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/java/Sdk.java");
    let mut java = Command::new("java");
    java.arg("-cp").arg(folder.join("*")).arg(source).args([site.http(), &root.access_key_id, &root.secret]);
    let told = run(&mut java);
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
