//! What boto3 calls in the tests, and the page that says so: each operation, each error that it declares, and why one is not
//! brought about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::thread;

use serde::Deserialize;
use serde_json::Value;

use crate::{firehose, operations, states};

/// What one operation answered.
#[derive(Debug, Deserialize)]
struct Told {
    ok: u64,
    errors: BTreeSet<String>,
    declared: BTreeSet<String>,
}

/// What each operation of each service answered.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Coverage(BTreeMap<String, BTreeMap<String, Told>>);

impl Coverage {
    /// What a script printed.
    pub(crate) fn of(told: Value) -> Self {
        serde_json::from_value(told).expect("a table of services and operations")
    }

    /// Adds what another run saw.
    pub(crate) fn add(&mut self, other: Self) {
        for (service, operations) in other.0 {
            let known = self.0.entry(service).or_default();
            for (operation, told) in operations {
                match known.get_mut(&operation) {
                    Some(known) => {
                        known.ok += told.ok;
                        known.errors.extend(told.errors);
                    }
                    None => drop(known.insert(operation, told)),
                }
            }
        }
    }
}

#[test]
fn every_operation_is_called_by_boto3_and_the_page_says_what_came() {
    let runs: [fn() -> Coverage; 5] =
        [operations::called, firehose::called, states::rated, states::locked, states::full];
    let mut all = Coverage::default();
    thread::scope(|scope| {
        for run in runs.map(|run| scope.spawn(run)) {
            all.add(run.join().expect("a run passes"));
        }
    });
    let counts = all.0.iter().map(|(service, operations)| (service.as_str(), operations.len()));
    assert_eq!(counts.collect::<Vec<_>>(), [("firehose", 12), ("kinesis", 39)]);
    for (service, operations) in &all.0 {
        let never: Vec<_> =
            operations.iter().filter(|(_, told)| told.ok == 0).map(|(operation, _)| operation).collect();
        assert!(never.is_empty(), "these operations of {service} never succeeded: {never:?}");
    }
    compare(&page(&all));
}

fn page(coverage: &Coverage) -> String {
    let mut page = String::from(
        "# What boto3 calls in the tests\n\n\
         Written by `tests/aws` with `MILLRACE_TEST_WRITE=1`, and compared by each run. Every operation succeeds at least once. \
         A code in\nparentheses is declared by the service model and not brought about; its number is why. Names are without \
         `Exception`.\n",
    );
    let mut reasons: Vec<&'static str> = Vec::new();
    let (mut seen, mut declared) = (0, 0);
    // Writing to a String cannot fail.
    for (service, operations) in &coverage.0 {
        let _ = write!(page, "\n## {service}\n\n| operation | errors seen | declared, not seen |\n|---|---|---|\n");
        for (operation, told) in operations {
            let short = |error: &String| error.trim_end_matches("Exception").to_owned();
            let missing = told.declared.difference(&told.errors).map(|error| {
                let reason = reason(operation, error);
                let number = reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
                    reasons.push(reason);
                    reasons.len() - 1
                });
                format!("({} {})", short(error), number + 1)
            });
            let missing: Vec<String> = missing.collect();
            let errors: Vec<String> = told.errors.iter().map(short).collect();
            (seen, declared) = (seen + told.declared.len() - missing.len(), declared + told.declared.len());
            let _ = writeln!(page, "| {operation} | {} | {} |", errors.join(" "), missing.join(" "));
        }
    }
    let _ = write!(page, "\n{seen} of {declared} declared pairs of operation and error are brought about.\n\n");
    page.push_str("| number | because |\n|---|---|\n");
    for (number, reason) in (1..).zip(reasons) {
        let _ = writeln!(page, "| {number} | {reason} |");
    }
    page
}

/// Why no test brings about an error that an operation declares.
fn reason(operation: &str, error: &str) -> &'static str {
    match (operation, error) {
        (_, "KMSDisabledException" | "KMSOptInRequired") => "a master key has no such state",
        (_, "ResourceInUseException") => {
            "changes are done when they are answered, so that none is under way for others to meet"
        }
        ("ListShards", "LimitExceededException") => {
            "1,000 calls a second are more than one client makes; `control_rates` tests it by itself"
        }
        ("SubscribeToShard", "LimitExceededException") => {
            "a second call within five seconds is told as ResourceInUseException"
        }
        ("PutRecords", "InternalFailureException" | "ProvisionedThroughputExceededException") => {
            "it is told for each record"
        }
        ("GetRecords", "InternalFailureException") => "it needs a block that the disk lost; `e2e` has one, over gRPC",
        (_, "InternalFailureException") => "it needs a meta store that fails",
        ("UpdateAccountSettings" | "ListTagsForDeliveryStream" | "UntagDeliveryStream", "InvalidArgumentException") => {
            "nothing of the request can be wrong that its model does not refuse"
        }
        (operation, other) => panic!("no reason is known why {other} of {operation} was not seen"),
    }
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
