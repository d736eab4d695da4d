//! The SDK for Rust: typed errors, signatures, HTTP/2 with prior knowledge, enhanced fan-out.

use std::path::PathBuf;
use std::process::Command;

use crate::site::{Site, run};

/// Where `tests/run.sh` builds the program, unless `MILLRACE_TEST_AWS_SDK_RUST` names another.
fn program() -> PathBuf {
    let named = std::env::var_os("MILLRACE_TEST_AWS_SDK_RUST").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home folder"));
    named.unwrap_or_else(|| home().join(".cache/millrace/aws-sdk-rust/debug/millrace-aws-sdk"))
}

#[test]
fn the_rust_sdk_puts_reads_and_subscribes_over_http_2() {
    let program = program();
    assert!(program.exists(), "./tests/run.sh builds tests/aws/rust into {}", program.display());
    let (site, root) = Site::with_auth();
    let told = run(Command::new(program).args([site.http(), &root.access_key_id, &root.secret]));
    for (what, count) in [("read", 50), ("pushed", 50), ("delivered", 50)] {
        assert_eq!(told[what], count, "{told}");
    }
    site.stop_and_verify();
}
