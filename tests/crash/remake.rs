//! The server dies while it replays, rebuilds or writes under another prefix: what was made anew is there once.
//!
//! A sample runs with the other tests. `MILLRACE_CRASH_RUNS=1000` runs so many crashes, from one seed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::{cli, listing, wait};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::crashes::{self, REACH_MAX};

/// Where the server dies, how many times it may come by before, and what it does then.
const FAILPOINTS: [(&str, u32, &[Step]); 11] = [
    ("meta.intent.before", 2, &[Step::Replay, Step::Repartition]),
    ("meta.intent.after", 2, &[Step::Replay, Step::Repartition]),
    ("meta.checkpoint.before", 1, &[Step::Replay, Step::Repartition]),
    ("meta.checkpoint.after", 1, &[Step::Replay, Step::Repartition]),
    ("meta.table.before", 1, &[Step::Replay, Step::Rebuild, Step::Repartition]),
    ("meta.table.after", 1, &[Step::Replay, Step::Rebuild, Step::Repartition]),
    ("meta.rebuild.before", 3, &[Step::Rebuild]),
    ("meta.rebuild.after", 3, &[Step::Rebuild]),
    ("meta.batch.before", 1, &[Step::Replay, Step::Rebuild]),
    ("meta.batch.after", 1, &[Step::Replay, Step::Rebuild]),
    // When it answered, and perhaps is not done with all that follows.
    ("", 0, &[Step::Replay, Step::Rebuild, Step::Repartition]),
];
/// Crashes on one data folder; then what is left is checked.
const CRASHES_PER_FOLDER: usize = 11;

/// What the server does when it dies.
#[derive(Debug, Clone, Copy)]
enum Step {
    Replay,
    Rebuild,
    Repartition,
}

#[test]
fn what_is_made_anew_over_crashes_is_there_once() {
    crashes::over("remake", &FAILPOINTS, CRASHES_PER_FOLDER, one_folder);
}

/// Gives how many crashes were at their failpoints.
fn one_folder(plan: &[&(&'static str, u32, &[Step])], generator: &mut StdRng) -> usize {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let settings = ServerSettings::new(&folder.path().join("data"))
        .env("MILLRACE_STORE_URL", format!("file://{}", lake.display()))
        .env("MILLRACE_DELIVERY_REPLACED_FILES_KEPT", "0s");
    let mut server = Server::start(&settings);
    let mut expected = BTreeSet::new();
    let mut reached = 0;
    for (round, (failpoint, hits, steps)) in (0..).zip(plan) {
        // Records of two events are set aside, because nothing splits them.
        apply(&server, folder.path(), "\"newline\"", round);
        let ids = round * 100..round * 100 + 40;
        put(&server, folder.path(), ids.clone());
        expected.extend(ids);
        let _said = cli::millrace(&server, &["delivery", "flush", "events"]).ok();
        // Not delivered yet: what the first batch under another prefix has.
        let ids = round * 100 + 40..round * 100 + 48;
        put(&server, folder.path(), ids.clone());
        expected.extend(ids);
        apply(&server, folder.path(), "\"newline\", \"split\"", round);
        server.kill();

        let (armed, at) = crashes::armed(&settings, failpoint, *hits, generator);
        let step = *steps.choose(generator).expect("there are steps");
        if server.try_restart_with(&armed) {
            // Its answer does not matter: the server may be gone before it.
            run(&server, folder.path(), step, round);
            eprintln!("{failpoint}:{at} in {step:?}");
            let patience = if failpoint.is_empty() { Duration::ZERO } else { REACH_MAX };
            reached += usize::from(server.dies_before(Instant::now() + patience, |_| false));
        } else {
            reached += 1;
        }
        server.kill();
        server.restart_with(&settings);
    }
    let _said = cli::millrace(&server, &["delivery", "flush", "events"]).ok();
    // A rebuild that a crash left is finished in the background, and holds up replays until then.
    wait::until("a replay", Duration::from_secs(60), || {
        (cli::millrace(&server, &["replay", "events"]).code == Some(0)).then_some(())
    });
    prove(&server, &lake, &expected);
    assert!(server.stop().success(), "the drained server exits well");
    reached
}

fn apply(server: &Server, folder: &Path, transforms: &str, prefix: i64) {
    let said = cli::millrace(server, &["apply", "-f", &pipeline(folder, transforms, prefix)]);
    let _said = said.ok();
}

fn pipeline(folder: &Path, transforms: &str, prefix: i64) -> String {
    let file = folder.join("events.toml");
    let toml = format!(
        r#"
[[stream]]
name = "events"
shards = 2
[[table]]
name = "events"
[[delivery]]
name = "events"
stream = "events"
transforms = [{transforms}]
buffer_interval = "900s"
prefix = "p{prefix}/k=!{{partitionKeyFromQuery:k}}/!{{millrace:random-string}}/"
[delivery.partition_keys]
k = ".k"
"#
    );
    std::fs::write(&file, toml).expect("the test's folder can be written");
    file.to_str().expect("a UTF-8 path").to_owned()
}

/// Puts events with these ids: single ones, and every fourth with its neighbour in one record.
fn put(server: &Server, folder: &Path, ids: std::ops::Range<i64>) {
    let event = |id: i64| format!("{{\"id\":{id},\"k\":\"k{}\"}}", id % 7);
    let records = ids.filter(|id| id % 4 != 1).map(|id| match id % 4 {
        0 => format!("{}{}", event(id), event(id + 1)),
        _ => event(id),
    });
    let file = folder.join("records.jsonl");
    let lines = records.collect::<Vec<_>>().join("\n") + "\n";
    std::fs::write(&file, lines).expect("the test's folder can be written");
    let _said = cli::millrace(server, &["put", "events", file.to_str().expect("a UTF-8 path")]).ok();
}

fn run(server: &Server, folder: &Path, step: Step, round: i64) {
    let arguments: Vec<&str> = match step {
        Step::Replay => vec!["replay", "events"],
        Step::Rebuild => vec!["rebuild", "events"],
        Step::Repartition => {
            let file = pipeline(folder, "\"newline\", \"split\"", 1_000 + round);
            let _applied = cli::millrace(server, &["apply", "-f", &file]);
            vec!["delivery", "flush", "events"]
        }
    };
    let _said = cli::millrace(server, &arguments);
}

/// By SQL, by a listing of the files and by the delivery's own proof, each event is there once.
fn prove(server: &Server, lake: &Path, expected: &BTreeSet<i64>) {
    let by_sql = cli::sql(server, "select id from events");
    let mut by_sql: Vec<i64> = by_sql.iter().map(|row| row["id"].as_i64().expect("an id")).collect();
    by_sql.sort_unstable();
    let expected: Vec<i64> = expected.iter().copied().collect();
    assert_eq!(by_sql, expected, "by sql");
    // The files that the last rebuild replaced go a moment later.
    wait::until("a listing to have each event once", Duration::from_secs(30), || {
        let ids = |batch: &arrow::record_batch::RecordBatch| {
            batch.column_by_name("id").expect("a column of ids").as_primitive::<Int64Type>().values().to_vec()
        };
        let mut found: Vec<i64> = listing::read(&lake.join("default/events/data")).iter().flat_map(ids).collect();
        found.sort_unstable();
        (found == expected).then_some(())
    });
    let _proof = cli::millrace(server, &["verify", "events"]).ok();
    let open = "select count(*) from system.failed_records where not replayed";
    assert_eq!(cli::sql_number(server, open), 0, "nothing is set aside any more");
}
