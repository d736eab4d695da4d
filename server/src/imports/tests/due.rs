//! When imports run: by schedule, by arrival, and not while they are paused.

use std::time::Duration;

use millrace_storage::meta::keys;
use millrace_storage::meta::keys::import::{ImportPositionKey, ImportTrigger};

use super::site::{Process, Site, expected, lines, pipeline};
use crate::error::Kind;
use crate::imports::{ImportRun, RunState};

/// Waits until a run ended.
async fn ended(process: &Process) -> ImportRun {
    let mut progress = process.imports.entry("i").unwrap().progress.clone();
    let run = progress.wait_for(|progress| progress.last_run.is_some());
    let run = tokio::time::timeout(Duration::from_secs(30), run).await.expect("a run ends within 30 s").unwrap();
    run.last_run.clone().unwrap().into()
}

#[tokio::test]
async fn a_schedule_that_was_missed_runs_once_at_the_start() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("schedule = \"0 0 1 1 *\"")).await.unwrap();
    let next = process.imports.describe("i").unwrap().next_run_at.unwrap();
    process.close().await;
    site.write("a.jsonl", lines(0..3)).await;
    let key = ImportPositionKey { import: "i".into() };
    let mut position = keys::get(&*site.meta, &key).await.unwrap().unwrap().value;
    // Three years ago: three times were missed.
    position.scheduled_upto_ms -= 3 * 366 * 24 * 3_600_000;
    site.meta.commit(vec![], vec![keys::put(&key, &position)]).await.unwrap();
    let process = site.start().await;
    let run = ended(&process).await;
    assert_eq!((run.number, run.trigger, run.counts.imported), (1, ImportTrigger::Schedule, 1));
    let import = process.imports.describe("i").unwrap();
    assert_eq!((import.next_run_at, import.run), (Some(next), None));
    assert_eq!(process.records().await, expected(&[&lines(0..3)]));
}

#[tokio::test]
async fn what_arrives_is_imported_and_nothing_else_makes_a_run() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("on_arrival = { poll_interval = \"100ms\" }")).await.unwrap();
    site.write("a.jsonl", lines(0..3)).await;
    let run = ended(&process).await;
    assert_eq!((run.number, run.trigger, run.counts.imported), (1, ImportTrigger::Arrival, 1));
    // A run that is asked for comes after whatever arrival would have begun.
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.number, run.trigger, run.counts.skipped), (2, ImportTrigger::Manual, 1));
}

#[tokio::test]
async fn a_paused_import_does_nothing_until_it_is_resumed() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("paused = true\non_arrival = { poll_interval = \"100ms\" }")).await.unwrap();
    site.write("a.jsonl", lines(0..3)).await;
    assert_eq!(process.imports.describe("i").unwrap().state, RunState::Paused);
    let error = process.imports.run("i", false, false).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::FailedPrecondition);
    process.close().await;
    let process = site.start().await;
    assert_eq!(process.imports.describe("i").unwrap().state, RunState::Paused);
    assert_eq!(process.records().await.len(), 0);
    process.imports.resume("i").await.unwrap();
    assert_eq!(ended(&process).await.counts.imported, 1);
    assert_eq!(process.imports.pause("i").await.unwrap().state, RunState::Paused);
}

#[tokio::test]
async fn an_object_rests_for_its_age_before_it_is_read() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("min_age = \"300ms\"")).await.unwrap();
    site.write("a.jsonl", lines(0..3)).await;
    // The run that sees it waits until it has rested.
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!(run.counts.imported, 1);
    let took = run.ended_at.unwrap().as_millis() - run.begun_at.as_millis();
    assert!(took >= 250, "{took} ms");
}
