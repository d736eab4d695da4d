//! Each version of each object is in the stream once, whatever comes in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_storage::log::ProducerLimits;
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::import::{
    ImportCounts, ImportCurrent, ImportObjectState, ImportPositionKey, ImportRunValue, scan_objects,
};

use super::site::{Process, Site, expected, lines, pipeline};
use crate::delivery::Action;
use crate::error::Kind;
use crate::streams::{Put, PutConditions, PutRecord};

#[tokio::test]
async fn a_run_takes_what_is_new_also_after_a_restart() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", lines(0..10)).await;
    site.write("x/b.jsonl", lines(10..21)).await;
    let import = process.imports.run("i", false, true).await.unwrap();
    let run = import.last_run.unwrap();
    assert_eq!((run.number, run.counts.seen, run.counts.imported, run.counts.records), (1, 2, 2, 21));
    assert_eq!(process.records().await, expected(&[&lines(0..21)]));
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.number, run.counts.imported, run.counts.skipped, run.counts.records), (2, 0, 2, 0));
    process.close().await;

    let process = site.start().await;
    site.write("c.jsonl", lines(21..25)).await;
    let import = process.imports.run("i", false, true).await.unwrap();
    let run = import.last_run.unwrap();
    assert_eq!((run.number, run.counts.imported, run.counts.skipped), (3, 1, 2));
    assert_eq!((import.totals.imported, import.totals.records), (3, 25));
    assert_eq!(process.records().await, expected(&[&lines(0..25)]));
    let runs = process.imports.history("i", 2).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.number).collect::<Vec<_>>(), [3, 2]);
}

#[tokio::test]
async fn another_version_of_an_object_is_another_object() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", lines(0..5)).await;
    process.imports.run("i", false, true).await.unwrap();
    site.write("a.jsonl", lines(5..7)).await;
    process.imports.run("i", false, true).await.unwrap();
    assert_eq!(process.records().await, expected(&[&lines(0..7)]));
    let objects = process.imports.objects("i").await.unwrap();
    assert_eq!(objects.iter().map(|object| object.records).sum::<u64>(), 7);
    assert!(objects.len() == 2 && objects.iter().all(|object| object.state == ImportObjectState::Imported));
}

/// Puts the position back to before the chunk that was put last, as a crash between the put and its commit leaves it.
async fn rewind(site: &Site, chunk: u64, rows: u64, text_bytes: u64) {
    let key = ImportPositionKey { import: "i".into() };
    let mut position = keys::get(&*site.meta, &key).await.unwrap().unwrap().value;
    let (object, stored) = scan_objects(&*site.meta, "i").await.unwrap().remove(0);
    let mut value = stored.value;
    // One sequence for the end of the object, one for each chunk that is put again.
    position.next_sequence -= 1 + (value.next_chunk - chunk);
    position.current = Some(ImportCurrent { url: object.url.clone(), version: object.version });
    let counts = Some(ImportCounts::default());
    position.run = Some(ImportRunValue { number: position.next_run, counts, ..ImportRunValue::default() });
    position.next_run += 1;
    value.state = ImportObjectState::Open.into();
    value.ended_at_ms = 0;
    (value.next_chunk, value.rows, value.text_bytes) = (chunk, rows, text_bytes);
    value.options_json = OPTIONS.into();
    site.meta.commit(vec![], vec![keys::put(&key, &position), keys::put(&object, &value)]).await.unwrap();
}

const OPTIONS: &str = r#"{"format":"json_lines","compression":"auto","csv":{"delimiter":44,"columns":[],"values":"text"},
    "partition_key":null,"partition_key_chars_max":256,"record_bytes_max":1048576,"chunk_rows":4,"chunk_bytes":1048576}"#;

async fn run_to_end(process: &Process) {
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.error.as_str(), run.counts.failed), ("", 0));
}

#[tokio::test]
async fn a_chunk_that_was_put_before_a_crash_is_known_again() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", lines(0..10)).await;
    run_to_end(&process).await;
    process.close().await;
    // Back to before its last chunk, of two rows.
    rewind(&site, 2, 8, lines(0..8).len() as u64).await;
    let process = site.start().await;
    run_to_end(&process).await;
    assert_eq!(process.records().await, expected(&[&lines(0..10)]));
    assert_eq!(process.metric("millrace_import_known_records_total"), 2);
}

#[tokio::test]
async fn a_chunk_is_known_again_although_the_log_forgot_its_producer_since_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let producers = ProducerLimits { producers_max: 3, ..ProducerLimits::default() };
        RocksLog::open(LogSettings { producers, ..LogSettings::new(folder.path()) }).unwrap()
    };
    let site = Site::over(Arc::new(open()));
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    process.create_stream("other").await;
    site.write("a.jsonl", lines(0..10)).await;
    run_to_end(&process).await;
    process.close().await;
    site.log.close().await.unwrap();
    rewind(&site, 2, 8, lines(0..8).len() as u64).await;
    let site = Site { log: Arc::new(open()), ..site };
    // Paused until others have put, so that the log certainly forgot.
    let process = site.start_paused().await;
    for producer in 1..20 {
        let record = PutRecord { partition_key: "k".into(), explicit_hash_key: None, data: "x".into() };
        let age = Duration::ZERO;
        let producer = Some(millrace_storage::log::ProducerSequence { producer, sequence: 1, age });
        let put = Put { records: vec![record], conditions: PutConditions { producer, expect: None } };
        process.streams.put(&"other".parse().unwrap(), put).await.unwrap().remove(0).unwrap();
    }
    process.imports.resume("i").await.unwrap();
    run_to_end(&process).await;
    assert_eq!(process.records().await, expected(&[&lines(0..10)]));
    assert_eq!(process.metric("millrace_import_known_records_total"), 2);
}

#[tokio::test]
async fn what_was_never_put_before_a_crash_is_put_although_the_log_forgot() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", lines(0..3)).await;
    run_to_end(&process).await;
    process.close().await;
    // As if the object had just been taken up under the next sequence.
    let key = ImportPositionKey { import: "i".into() };
    let before = keys::get(&*site.meta, &key).await.unwrap().unwrap().value.next_sequence;
    rewind(&site, 1, 3, lines(0..3).len() as u64).await;
    site.write("b.jsonl", lines(3..9)).await;
    let process = site.start().await;
    run_to_end(&process).await;
    assert_eq!(process.records().await, expected(&[&lines(0..9)]));
    assert!(keys::get(&*site.meta, &key).await.unwrap().unwrap().value.next_sequence > before);
    assert_eq!(process.metric("millrace_import_known_records_total"), 0);
}

#[tokio::test]
async fn an_object_that_changed_while_it_was_read_is_told_and_its_new_version_imported() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", lines(0..10)).await;
    run_to_end(&process).await;
    process.close().await;
    rewind(&site, 2, 8, lines(0..8).len() as u64).await;
    site.write("a.jsonl", lines(100..103)).await;
    let process = site.start().await;
    process.imports.run("i", false, true).await.unwrap();
    let runs = process.imports.history("i", usize::MAX).await.unwrap();
    let gone_on = runs.iter().find(|run| run.number == 2).unwrap();
    assert_eq!((gone_on.counts.imported, gone_on.counts.failed), (1, 1));
    let objects = process.imports.objects("i").await.unwrap();
    let changed = objects.iter().find(|object| object.state == ImportObjectState::Changed).unwrap();
    assert!(changed.error.contains("written over") && changed.error.contains("chunk after them"), "{}", changed.error);
    assert_eq!(process.records().await, expected(&[&lines(0..10), &lines(100..103)]));
}

#[tokio::test]
async fn an_import_that_is_declared_again_goes_on_unless_it_forgets() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", lines(0..3)).await;
    run_to_end(&process).await;
    process.imports.delete("i", false).await.unwrap();
    assert_eq!(process.imports.describe("i").unwrap_err().kind(), &Kind::NotFound);
    process.apply(&pipeline("")).await.unwrap();
    run_to_end(&process).await;
    assert_eq!(process.records().await.len(), 3);
    process.imports.delete("i", true).await.unwrap();
    process.apply(&pipeline("")).await.unwrap();
    run_to_end(&process).await;
    assert_eq!(process.records().await.len(), 6);
    process.imports.delete("i", true).await.unwrap();
    assert!(site.meta.scan(b"import").await.unwrap().is_empty());
}

#[tokio::test]
async fn applying_again_changes_nothing_and_versions_are_heeded() {
    let site = Site::new();
    let process = site.start().await;
    let changes = process.apply(&pipeline("")).await.unwrap();
    let actions: Vec<_> = changes.iter().map(|change| (change.kind, change.action)).collect();
    assert_eq!(actions, [("stream", Action::Created), ("import", Action::Created)]);
    assert!(process.apply(&pipeline("")).await.unwrap().iter().all(|change| change.action == Action::Unchanged));
    let version = process.imports.describe("i").unwrap().version;
    let changed = pipeline("records_per_second_max = 7");
    let other = BTreeMap::from([("import/i".to_owned(), "0000000000000000".to_owned())]);
    let error = process.apply_expecting(&changed, &other, false).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Conflict);
    let right = BTreeMap::from([("import/i".to_owned(), version.clone())]);
    let planned = process.apply_expecting(&changed, &right, true).await.unwrap();
    assert!(planned[1].diff.contains("+records_per_second_max = 7"), "{}", planned[1].diff);
    assert_eq!(process.imports.describe("i").unwrap().version, version);
    process.apply_expecting(&changed, &right, false).await.unwrap();
    assert_ne!(process.imports.describe("i").unwrap().version, version);
    let error = process.streams.delete(&"s".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("import i"), "{error}");
    let elsewhere = pipeline("").replace("memory:///lake/in", "memory:///lakes");
    let error = process.apply(&elsewhere).await.unwrap_err();
    assert!(error.to_string().contains("import.sources"), "{error}");
}
