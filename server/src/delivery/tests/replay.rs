//! Replays: what was set aside becomes rows once, whatever comes between.

use super::faults::Fault;
use super::site::{PIPELINE, Process, Site, event};
use crate::error::Kind;

/// A table that takes no text for a number, and one that takes it.
const STRICT: &str = "schema_policy = \"reject\"\n    time";

fn pipeline(policy: &str) -> String {
    let columns = "[[table.column]]\n    name = \"id\"\n    type = \"long\"\n    [[table.column]]\n    name = \"name\"\n    type = \"string\"\n    [[delivery]]";
    PIPELINE.replace("time", policy).replace("[[delivery]]", columns)
}

/// Puts good records, and some that fail: with a field that the strict table does not know. Gives the ids of both.
async fn put(process: &Process, ids: std::ops::Range<i64>) -> (Vec<i64>, Vec<i64>) {
    let (mut good, mut failing) = (Vec::new(), Vec::new());
    for id in ids {
        let mut data = event(id);
        if id % 3 == 0 {
            data = data.replace("\"name\"", "\"other\"");
            failing.push(id);
        } else {
            good.push(id);
        }
        process.append(u32::try_from(id % 2).unwrap(), vec![data]).await;
    }
    (good, failing)
}

/// What is open: set aside and not taken up again.
async fn open(process: &Process) -> usize {
    let mut open = 0;
    for object in process.deliveries.set_aside_objects().await.unwrap() {
        if !object.is_taken_up() {
            open += process.deliveries.read_set_aside(&object).await.unwrap().len();
        }
    }
    open
}

#[tokio::test]
async fn what_was_set_aside_becomes_rows_once_it_is_mended() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&pipeline(STRICT), false).await.unwrap();
    let (mut rows, failing) = put(&process, 0..60).await;
    process.append(0, vec!["never json".to_owned()]).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows.clone(), failing.len() + 1).await;
    assert_eq!(open(&process).await, failing.len() + 1);

    // Nothing is mended: all of it fails once more, and is open once.
    let done = process.deliveries.replay("d").await.unwrap();
    let count = failing.len() as u64 + 1;
    assert_eq!((done.replayed, done.rows, done.set_aside), (count, 0, count));
    assert_eq!(open(&process).await, failing.len() + 1);

    process.deliveries.apply(&pipeline("time"), false).await.unwrap();
    let done = process.deliveries.replay("d").await.unwrap();
    assert_eq!((done.replayed, done.rows, done.set_aside), (count, count - 1, 1));
    rows.extend(&failing);
    rows.sort_unstable();
    assert_eq!(process.table_ids(&site).await, rows);
    assert_eq!(site.listed_ids("default/t/data").await, rows);
    assert_eq!(open(&process).await, 1);

    // The delivery goes on, and a third replay finds the one that no table takes, and nothing else.
    let (more, more_failing) = put(&process, 60..70).await;
    rows.extend(more.into_iter().chain(more_failing));
    process.deliveries.flush("d").await.unwrap();
    assert_eq!(process.deliveries.replay("d").await.unwrap().replayed, 1);
    rows.sort_unstable();
    assert_eq!(process.table_ids(&site).await, rows);
    let verified = process.deliveries.verify("d").await.unwrap();
    assert_eq!(verified.faults, Vec::<String>::new());
    assert_eq!(verified.totals.set_aside - verified.totals.replayed, 1);
    assert!(process.metrics.text().contains("millrace_delivery_replayed_total{delivery=\"d\"}"));
}

/// A crash at each write of a replay in turn, then another replay: each record is there once.
#[tokio::test]
async fn a_crash_in_a_replay_loses_and_doubles_nothing() {
    for fault in [Fault::HangsLost, Fault::HangsApplied] {
        let mut writes = 0;
        loop {
            let site = Site::memory();
            let process = site.start().await;
            process.deliveries.apply(&pipeline(STRICT), false).await.unwrap();
            let (mut rows, failing) = put(&process, 0..30).await;
            process.append(1, vec!["never json".to_owned()]).await;
            process.deliveries.flush("d").await.unwrap();
            process.deliveries.apply(&pipeline("time"), false).await.unwrap();
            let (more, more_failing) = put(&process, 30..40).await;
            rows.extend(more.into_iter().chain(more_failing));
            site.faults.at(writes, fault);
            let reached = tokio::select! {
                done = process.deliveries.replay("d") => { done.unwrap(); false }
                () = site.faults.hung() => true,
            };
            process.deliveries.close().await;
            site.faults.none();

            let process = site.start().await;
            process.deliveries.replay("d").await.unwrap();
            process.deliveries.flush("d").await.unwrap();
            rows.extend(failing);
            rows.sort_unstable();
            assert_eq!(process.table_ids(&site).await, rows, "{fault:?} at {writes}, by the catalog");
            assert_eq!(site.listed_ids("default/t/data").await, rows, "{fault:?} at {writes}, by listing");
            assert_eq!(process.deliveries.verify("d").await.unwrap().faults, Vec::<String>::new());
            assert_eq!(open(&process).await, 1);
            if !reached {
                break;
            }
            writes += 1;
        }
        // Intent, the file, what failed again, manifest, manifest list, metadata, pointer, hint.
        assert!(writes >= 8, "{fault:?} was tried at {writes} writes only");
    }
}

#[tokio::test]
async fn a_replay_of_lost_objects_fails_alone() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&pipeline(STRICT), false).await.unwrap();
    let (rows, _) = put(&process, 0..20).await;
    process.deliveries.flush("d").await.unwrap();
    for path in site.list("default/t/errors", ".jsonl").await {
        site.store.delete(&path).await.unwrap();
    }
    let error = process.deliveries.replay("d").await.unwrap_err();
    assert!(error.to_string().contains(".jsonl"), "{error}");
    process.append(0, vec![event(100)]).await;
    process.deliveries.flush("d").await.unwrap();
    assert_eq!(process.table_ids(&site).await, [rows, vec![100]].concat(), "the delivery goes on");
    process.deliveries.pause("d").await.unwrap();
    assert_eq!(process.deliveries.replay("d").await.unwrap_err().kind(), &Kind::FailedPrecondition);
    assert_eq!(process.deliveries.replay("unknown").await.unwrap_err().kind(), &Kind::NotFound);
}

/// Backups hold each source record once, as it came, also where the batch is done again.
#[tokio::test]
async fn source_records_are_backed_up_with_their_batch() {
    for skip in [None, Some(2), Some(5)] {
        let site = Site::memory();
        let process = site.start().await;
        let backup = format!("{PIPELINE}    [delivery.backup]\n    destination = \"raw/d\"\n");
        process.deliveries.apply(&backup, false).await.unwrap();
        let (rows, broken) = process.put(0..100).await;
        if let Some(skip) = skip {
            site.faults.at(skip, Fault::HangsApplied);
            tokio::select! {
                _ = process.deliveries.flush("d") => panic!("a write hangs"),
                () = site.faults.hung() => {}
            }
            process.deliveries.close().await;
            site.faults.none();
        }
        let process = site.start().await;
        process.deliveries.flush("d").await.unwrap();
        process.check_exactly_once(&site, rows, broken).await;
        let mut places = Vec::new();
        for object in process.deliveries.backup_objects().await.unwrap() {
            let lines = process.deliveries.read_backup(&object).await.unwrap();
            places.extend(lines.iter().map(|line| (line.shard, line.offset)));
        }
        places.sort_unstable();
        let expected: Vec<_> = (0..2).flat_map(|shard| (0..50).map(move |offset| (shard, offset))).collect();
        assert_eq!(places, expected);
        assert!(!site.list("raw/d", ".jsonl.gz").await.is_empty());
        assert_eq!(site.list("raw/d/ranges", ".json").await.len(), 1);
    }
}
