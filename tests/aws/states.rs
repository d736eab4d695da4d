//! Servers in states that are seldom: rates used up, keys that cannot be used, a disk that is full.

use millrace_tests::python;
use serde_json::Value;

use crate::coverage::Coverage;
use crate::site::Site;
use crate::transit::Transit;

/// Every control-plane operation is called until its rate is used up.
pub(crate) fn rated() -> Coverage {
    let site = Site::with(&[("MILLRACE_AWS_CONTROL_RATES_MULTIPLE", "1")]);
    let told = python::run("aws/boto/rates.py", &[site.http()]);
    let metrics = site.server.http_get("/metrics").1;
    assert!(metrics.contains("millrace_aws_throttled_total{limit=\"control_rates\"}"), "{metrics}");
    site.stop_and_verify();
    Coverage::of(told)
}

/// A master key that is away, refuses, is wrong, and is not set at all.
pub(crate) fn locked() -> Coverage {
    let vault = Transit::start();
    let mut site =
        Site::with(&[("MILLRACE_ENCRYPTION_VAULT_URL", &vault.url()), ("MILLRACE_ENCRYPTION_VAULT_TOKEN", "token")]);
    let mut coverage = Coverage::of(state(&site, &["made"]));
    vault.answer_with(503);
    site.server.kill();
    site.server.restart();
    // A key that is away or refused is asked for again; one that is wrong is not.
    for (status, code) in
        [(503, "KMSThrottlingException"), (403, "KMSAccessDeniedException"), (400, "KMSInvalidStateException")]
    {
        vault.answer_with(status);
        coverage.add(Coverage::of(state(&site, &["locked", code])));
    }
    vault.answer_with(200);
    site.restart_with(&[]);
    coverage.add(Coverage::of(state(&site, &["locked", "KMSNotFoundException"])));
    site.stop_and_verify();
    coverage
}

/// A disk that has less room than the settings want.
pub(crate) fn full() -> Coverage {
    let site = Site::with(&[("MILLRACE_DISK_FREE_BYTES_MIN", "1000PiB")]);
    let told = state(&site, &["full"]);
    site.stop_and_verify();
    Coverage::of(told)
}

fn state(site: &Site, arguments: &[&str]) -> Value {
    python::run("aws/boto/states.py", &[&[site.http()], arguments].concat())
}
