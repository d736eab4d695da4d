//! The JavaScript SDK v3: HTTP/2 with prior knowledge, and a subscription by enhanced fan-out.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{NO_TAKEOVER, Site, run};

/// Where `tests/run.sh` installs the SDK, unless `MILLRACE_TEST_NODE` names another folder.
fn folder() -> PathBuf {
    let named = std::env::var_os("MILLRACE_TEST_NODE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home folder")).join(".cache/millrace/node");
    named.unwrap_or_else(home)
}

#[test]
fn the_javascript_sdk_puts_reads_and_subscribes_over_http_2() {
    let folder = folder();
    let is_there = folder.join("node_modules/@aws-sdk/client-kinesis").is_dir();
    assert!(is_there, "./tests/run.sh installs the JavaScript SDK into {}, where there is npm", folder.display());
    let site = Site::with(&[NO_TAKEOVER]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/javascript.cjs");
    let told = run(Command::new("node").arg(script).arg(&folder).arg(site.http()));
    assert_eq!((told["read"].as_u64(), told["pushed"].as_u64()), (Some(50), Some(50)));
    site.stop_and_verify();
}
