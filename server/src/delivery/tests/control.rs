//! Pausing, resuming, deleting, and proofs that fail.

use millrace_storage::log::{Offset, ShardId, ShardKey};
use object_store::ObjectStoreExt;

use super::site::{PIPELINE, Site, event};
use crate::delivery::{Pipeline, State};
use crate::error::Kind;

#[tokio::test]
async fn a_pause_holds_over_a_restart() {
    let site = Site::memory();
    let process = site.start_applied().await;
    assert_eq!(process.deliveries.pause("d").await.unwrap().state, State::Paused);
    let (rows, broken) = process.put(0..20).await;
    assert_eq!(process.deliveries.flush("d").await.unwrap_err().kind(), &Kind::FailedPrecondition);
    process.deliveries.close().await;
    let process = site.start().await;
    assert_eq!(process.deliveries.describe("d").await.unwrap().state, State::Paused);
    assert_eq!(process.deliveries.resume("d").await.unwrap().state, State::Running);
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows, broken).await;
}

#[tokio::test]
async fn a_delivery_that_is_declared_again_goes_on_where_it_ended() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let (mut rows, mut broken) = process.put(0..20).await;
    process.deliveries.flush("d").await.unwrap();
    process.deliveries.delete("d").await.unwrap();
    assert_eq!(process.deliveries.describe("d").await.unwrap_err().kind(), &Kind::NotFound);
    assert_eq!(process.deliveries.delete("d").await.unwrap_err().kind(), &Kind::NotFound);
    let (more, more_broken) = process.put(20..40).await;
    rows.extend(more);
    broken += more_broken;
    process.deliveries.apply(PIPELINE, false).await.unwrap();
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows, broken).await;
}

#[tokio::test]
async fn a_namesake_over_another_stream_overwrites_nothing() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let (mut rows, mut broken) = process.put(0..20).await;
    process.deliveries.flush("d").await.unwrap();
    process.deliveries.delete("d").await.unwrap();
    process.streams.delete(&"s".parse().unwrap()).await.unwrap();
    process.deliveries.apply(PIPELINE, false).await.unwrap();
    let (more, more_broken) = process.put(20..40).await;
    rows.extend(more);
    let described = process.deliveries.flush("d").await.unwrap();
    assert_eq!((described.next_batch, described.totals.records), (3, 20));
    rows.sort_unstable();
    assert_eq!(site.listed_ids("default/t/data").await, rows);
    assert_eq!(process.deliveries.verify("d").await.unwrap().faults, Vec::<String>::new());
    broken += more_broken;
    assert_eq!(site.lines("default/t/errors").await.len(), broken);
}

#[tokio::test]
async fn a_stream_that_is_read_cannot_be_deleted() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let error = process.streams.delete(&"s".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::FailedPrecondition);
}

/// Somebody trimmed the log by hand past what was delivered.
#[tokio::test]
async fn records_that_were_trimmed_unread_are_counted_as_lost() {
    let site = Site::memory();
    let process = site.start_applied().await;
    process.deliveries.pause("d").await.unwrap();
    process.append(0, (0..10).map(|id| event(id * 2)).collect()).await;
    let stream = process.streams.get(&"s".parse().unwrap()).unwrap().id();
    site.log.trim(ShardKey { stream, shard: ShardId(0) }, Offset(4)).await.unwrap();
    process.deliveries.resume("d").await.unwrap();
    let described = process.deliveries.flush("d").await.unwrap();
    assert_eq!((described.totals.records, described.totals.lost), (6, 4));
    assert_eq!(process.table_ids(&site).await, [8, 10, 12, 14, 16, 18]);
    let verified = process.deliveries.verify("d").await.unwrap();
    assert_eq!(
        verified.faults,
        ["batch 1: 4 records were lost before they were delivered: trimmed, or in a corrupt block"]
    );
    assert!(process.metrics.text().contains("millrace_delivery_lost_records_total{delivery=\"d\"} 4"));
}

#[tokio::test]
async fn a_proof_names_the_file_that_is_gone_or_cut() {
    let site = Site::memory();
    let process = site.start_applied().await;
    process.put(0..30).await;
    process.deliveries.flush("d").await.unwrap();
    let data = site.list("default/t/data", ".parquet").await;
    let errors = site.list("default/t/errors", ".jsonl").await;
    let store = site.store.object_store();
    store.delete(&data[0]).await.unwrap();
    store.put(&data[1], "short".into()).await.unwrap();
    store.delete(&errors[0]).await.unwrap();
    let faults = process.deliveries.verify("d").await.unwrap().faults.join("\n");
    for object in [&data[0], &data[1], &errors[0]] {
        let name = object.filename().unwrap();
        assert!(faults.contains(object.as_ref()) || faults.contains(name), "{object} is not in {faults}");
    }
}

/// Two who change a delivery at once: the second learns that it looked at what is no more.
#[tokio::test]
async fn a_change_of_what_was_not_looked_at_is_refused() {
    use std::collections::BTreeMap;
    let site = Site::memory();
    let process = site.start().await;
    let expect = |version: &str| BTreeMap::from([("d".to_owned(), version.to_owned())]);
    let apply = async |toml: &str, version: &str| {
        process.deliveries.apply_allowed(&Pipeline::parse(toml).unwrap(), false, &expect(version), &|_| Ok(())).await
    };
    assert_eq!(apply(PIPELINE, "0123").await.unwrap_err().kind(), &Kind::Conflict, "it is absent");
    apply(PIPELINE, "").await.unwrap();
    assert_eq!(apply(PIPELINE, "").await.unwrap_err().kind(), &Kind::Conflict, "it is there");
    let first = process.deliveries.describe("d").await.unwrap().version;
    let changed = PIPELINE.replace("900s", "800s");
    apply(&changed, &first).await.unwrap();
    let second = process.deliveries.describe("d").await.unwrap().version;
    assert_ne!(first, second);
    let error = apply(PIPELINE, &first).await.unwrap_err();
    assert!(error.to_string().contains(&first) && error.to_string().contains(&second), "{error}");
    assert_eq!(process.deliveries.describe("d").await.unwrap().version, second, "nothing was changed");
    let unknown = BTreeMap::from([("other".to_owned(), String::new())]);
    let error = process
        .deliveries
        .apply_allowed(&Pipeline::parse(PIPELINE).unwrap(), false, &unknown, &|_| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &Kind::Invalid);
}
