//! Every Kinesis operation by boto3.

use millrace_tests::python;

use crate::coverage::Coverage;
use crate::site::{MASTER_KEY, Site};

/// On two servers: one with a master key, and one with short lifetimes and few streams.
pub(crate) fn called() -> Coverage {
    let site = Site::with(&[("MILLRACE_ENCRYPTION_MASTER_KEY", MASTER_KEY)]);
    let short = Site::with(&[
        ("MILLRACE_STREAMS_COUNT_MAX", "3"),
        ("MILLRACE_KINESIS_TOKEN_LIFETIME", "1s"),
        ("MILLRACE_KINESIS_SUBSCRIPTION_TIME_MAX", "2s"),
        ("MILLRACE_KINESIS_HEARTBEAT_INTERVAL", "200ms"),
    ]);
    let told = python::run("aws/boto/operations.py", &[site.http(), short.http()]);
    metrics_have_bounded_labels(&site);
    site.stop_and_verify();
    short.stop_and_verify();
    Coverage::of(told)
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
