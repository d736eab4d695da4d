//! Valid requests, changed at random: every answer is one that the service model knows, and the log is whole afterwards.
//! `MILLRACE_AWS_MUTATIONS` is their number: 1,000 by default, 10,000 and more in the long run.

use std::collections::BTreeMap;

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
        ("MILLRACE_FIREHOSE_DELIVERY_STREAMS_MAX", "20"),
        ("MILLRACE_FIREHOSE_DELETE_FLUSH_TIMEOUT", "2s"),
    ]);
    let told = python::run("aws/boto/mutate.py", &[site.http(), &count, &seed]);
    let outcomes: BTreeMap<String, BTreeMap<String, u64>> =
        serde_json::from_value(told["outcomes"].clone()).expect("outcomes by service and code");
    let total: u64 = outcomes.values().flat_map(BTreeMap::values).sum();
    assert_eq!(total.to_string(), count, "{outcomes:?}");
    for service in ["kinesis", "firehose"] {
        for code in ["ok", "SerializationException", "ValidationException", "ResourceNotFoundException"] {
            assert!(outcomes[service].contains_key(code), "no answer of {service} was {code}: {outcomes:?}");
        }
    }
    site.stop_and_verify();
}
