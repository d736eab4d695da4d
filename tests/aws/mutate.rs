//! Valid requests, changed at random: every answer is one that the service model knows, and the log is whole afterwards.
//! `MILLRACE_AWS_MUTATIONS` is their number: 1,000 by default, 10,000 and more in the long run.

use millrace_tests::{python, seed};
use rand::Rng;

use crate::site::Site;

#[test]
fn changed_requests_get_declared_errors_and_leave_the_log_whole() {
    let count = std::env::var("MILLRACE_AWS_MUTATIONS").unwrap_or_else(|_| "1000".to_owned());
    let seed = seed::generator("changed requests").random::<u32>().to_string();
    // Reads and iterators are not to run dry, so that what lies behind their limits is met too.
    let site = Site::with(&[
        ("MILLRACE_KINESIS_GET_RECORDS_PER_SECOND", "0"),
        ("MILLRACE_KINESIS_SHARD_ITERATORS_PER_SECOND", "0"),
        ("MILLRACE_KINESIS_SHARD_COUNT_UPDATES_PER_DAY", "1000000"),
    ]);
    let told = python::run("aws/boto/mutate.py", &[site.http(), &count, &seed]);
    let outcomes = told["outcomes"].as_object().expect("outcomes by code");
    let total: u64 = outcomes.values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(total.to_string(), count, "{outcomes:?}");
    for code in ["ok", "SerializationException", "ValidationException", "ResourceNotFoundException"] {
        assert!(outcomes.contains_key(code), "no answer was {code}: {outcomes:?}");
    }
    site.stop_and_verify();
}
