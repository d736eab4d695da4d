//! Every operation by boto3, and the page that says what was called.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use millrace_tests::python;
use serde::Deserialize;

use crate::site::Site;

/// 32 bytes in base64.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What one operation answered.
#[derive(Debug, Deserialize)]
struct Told {
    ok: u64,
    errors: Vec<String>,
    declared: Vec<String>,
}

/// Declared errors that no test brings about, and why.
fn reason(error: &str) -> &'static str {
    match error {
        "AccessDeniedException" => "auth is off here; `auth.rs` brings it about",
        "KMSAccessDeniedException" | "KMSDisabledException" | "KMSOptInRequired" => "a master key has no such state",
        "KMSInvalidStateException" | "KMSThrottlingException" | "KMSNotFoundException" => "a key that is locked",
        "InternalFailureException" => "a failing disk",
        "LimitExceededException" => "no rate of control-plane calls is limited",
        "ResourceInUseException" => "changes are done when they are answered, so that no stream is UPDATING",
        "ExpiredNextTokenException" | "ExpiredIteratorException" => "lifetime",
        "ProvisionedThroughputExceededException" => "told for each record",
        "InvalidArgumentException" | "ValidationException" | "ResourceNotFoundException" => {
            "nothing of the request can be so"
        }
        other => panic!("no reason is known why {other} was not seen"),
    }
}

#[test]
fn every_operation_is_called_by_boto3_and_the_page_says_so() {
    let site = Site::with(&[("MILLRACE_ENCRYPTION_MASTER_KEY", MASTER_KEY)]);
    let short = Site::with(&[
        ("MILLRACE_STREAMS_COUNT_MAX", "3"),
        ("MILLRACE_KINESIS_TOKEN_LIFETIME", "1s"),
        ("MILLRACE_KINESIS_SUBSCRIPTION_TIME_MAX", "2s"),
        ("MILLRACE_KINESIS_HEARTBEAT_INTERVAL", "200ms"),
    ]);
    let told = python::run("aws/boto/operations.py", &[site.http(), short.http()]);
    let told: BTreeMap<String, Told> = serde_json::from_value(told).expect("a table of operations");
    assert_eq!(told.len(), 39);
    let never: Vec<_> = told.iter().filter(|(_, told)| told.ok == 0).map(|(operation, _)| operation).collect();
    assert!(never.is_empty(), "these operations never succeeded: {never:?}");
    compare(&page(&told));
    metrics_have_bounded_labels(&site);
    site.stop_and_verify();
    short.stop_and_verify();
}

fn page(told: &BTreeMap<String, Told>) -> String {
    let mut page = String::from(
        "# Kinesis operations that boto3 calls in the tests\n\n\
         Written by `tests/aws` with `MILLRACE_TEST_WRITE=1`, and compared by each run. Every operation succeeds at least once. \
         An error in\nparentheses is declared by the service model and not brought about by this suite; below is why.\n\n\
         | operation | errors seen | declared, not seen |\n|---|---|---|\n",
    );
    let mut unseen = std::collections::BTreeSet::new();
    for (operation, Told { errors, declared, .. }) in told {
        let missing: Vec<&String> = declared.iter().filter(|error| !errors.contains(error)).collect();
        let short = |error: &String| error.trim_end_matches("Exception").to_owned();
        let seen: Vec<String> = errors.iter().map(short).collect();
        let listed: Vec<String> = missing.iter().map(|error| format!("({})", short(error))).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {operation} | {} | {} |", seen.join(" "), listed.join(" "));
        unseen.extend(missing);
    }
    page.push_str("\n| not seen somewhere | because |\n|---|---|\n");
    for error in unseen {
        let _ = writeln!(page, "| {error} | {} |", reason(error));
    }
    page
}

/// Compares with the page in the repository, or writes it.
fn compare(page: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("aws/coverage.md");
    if std::env::var_os("MILLRACE_TEST_WRITE").is_some() {
        std::fs::write(&path, page).expect("the page can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, page, "{} is not what the tests called; MILLRACE_TEST_WRITE=1 writes it", path.display());
}

fn metrics_have_bounded_labels(site: &Site) {
    let (status, text) = site.server.http_get("/metrics");
    assert_eq!(status, 200);
    for line in [
        r#"millrace_aws_requests_total{operation="CreateStream",outcome="ok",service="kinesis"}"#,
        r#"millrace_aws_requests_total{operation="CreateStream",outcome="ValidationException",service="kinesis"}"#,
        r#"millrace_aws_throttled_total{limit="get_records_per_second"}"#,
        r#"millrace_aws_request_latency_seconds_count{operation="PutRecords",service="kinesis"}"#,
    ] {
        assert!(text.lines().any(|each| each.starts_with(line)), "/metrics has no {line}");
    }
    assert!(text.contains("millrace_aws_subscriptions 0"), "every subscription has ended");
}
