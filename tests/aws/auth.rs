//! Signature V4 and grants by boto3: what SDKs sign is taken, and what is wrong is told as AWS tells it.

use millrace_tests::{cli, python};

use crate::site::{Principal, Site, call};

#[test]
fn what_an_sdk_signs_is_taken_and_grants_hold() {
    let (site, root) = Site::with_auth();
    let grants = ["writer", "--grant", "put,describe_stream on stream/mine-*"];
    let writer = Principal::create(&site, &root.token, &grants);
    let (status, answer) = call(site.http(), "ListStreams", &serde_json::json!({}));
    assert_eq!((status, answer["__type"].as_str()), (400, Some("MissingAuthenticationTokenException")));
    let keys = [&root, &writer].map(|made| [made.access_key_id.as_str(), made.secret.as_str()]);
    let told = python::run("aws/boto/auth.py", &[&[site.http()][..], &keys.concat()].concat());
    assert_eq!(told["stored"], 6);
    let disabled = ["principal", "disable", "writer"];
    let _said = cli::millrace_with(&site.server, &[("MILLRACE_TOKEN", &root.token)], &disabled).ok();
    let told = python::run("aws/boto/auth.py", &[&[site.http()][..], &keys.concat(), &["disabled"]].concat());
    assert_eq!(told["stored"], 0);
    let metrics = site.server.http_get("/metrics").1;
    let counted = "millrace_principals_incoming_records_total{principal=\"writer\"} 6";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("millrace_auth_denied_total{action=\"get\"}"), "{metrics}");
    for secret in keys.map(|[_, secret]| secret) {
        assert!(!site.server.log().contains(secret), "the server's log has a secret");
    }
    site.stop_and_verify();
}
