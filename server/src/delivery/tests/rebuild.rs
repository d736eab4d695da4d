//! Rebuilds: a range becomes other rows in one commit, whatever comes between, and nothing else changes.

use std::time::Duration;

use millrace_storage::log::{Offset, ShardId, ShardKey};
use millrace_storage::time::Timestamp;

use super::faults::Fault;
use super::site::{PIPELINE, Process, Site, event, settings};
use crate::delivery::{DeliverySettings, RebuildRequest, Rebuilt};
use crate::error::Kind;

/// Without `split`, a record of two events is set aside.
fn whole() -> String {
    PIPELINE.replace("\"newline\", \"split\"", "\"newline\"")
}

fn all() -> RebuildRequest {
    RebuildRequest { table: "t".to_owned(), delivery: None, from: None, to: None, transforms: None }
}

async fn rebuild(process: &Process, request: RebuildRequest) -> Rebuilt {
    process.deliveries.rebuild(request).await.unwrap()
}

/// Waits until the files that a rebuild replaced are gone.
async fn removed(process: &Process) {
    while process.deliveries.has_open_rebuild("d").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The table, by the catalog and by listing, and the delivery's proof.
async fn check(process: &Process, site: &Site, mut rows: Vec<i64>) {
    rows.sort_unstable();
    assert_eq!(process.table_ids(site).await, rows, "by the catalog");
    removed(process).await;
    assert_eq!(site.listed_ids("default/t/data").await, rows, "by listing files");
    assert_eq!(process.deliveries.verify("d").await.unwrap().faults, Vec::<String>::new());
}

/// Ids 0 to 59 in three batches by a chain that does not split; gives the rows, and those that splitting brings.
async fn unsplit(process: &Process) -> (Vec<i64>, Vec<i64>) {
    process.deliveries.apply(&whole(), false).await.unwrap();
    let (mut rows, mut split) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let (of_round, _) = process.put(round * 20..(round + 1) * 20).await;
        process.deliveries.flush("d").await.unwrap();
        // Records of two events give rows of ids from a million on, and were set aside whole.
        let is_double = |id: &i64| *id >= 1_000_000 || of_round.contains(&(id + 1_000_000));
        rows.extend(of_round.iter().copied().filter(|id| !is_double(id)));
        split.extend(of_round.iter().copied().filter(is_double));
    }
    (rows, split)
}

#[tokio::test]
async fn a_new_chain_makes_old_records_anew() {
    for site in [Site::memory(), Site::disk()] {
        let process = site.start().await;
        let (mut rows, split) = unsplit(&process).await;
        check(&process, &site, rows.clone()).await;
        let transforms = Some(vec![crate::transform::TransformSpec::Split { by: Default::default() }]);
        let done = rebuild(&process, RebuildRequest { transforms, ..all() }).await;
        assert_eq!((done.number, done.batches, done.removed_rows), (1, 3, rows.len() as u64));
        assert_eq!(done.totals.records, 60);
        rows.extend(&split);
        check(&process, &site, rows.clone()).await;

        // The delivery goes on, by its own chain; and all of it can be made anew once more.
        process.append(0, vec![event(100)]).await;
        process.deliveries.flush("d").await.unwrap();
        rows.push(100);
        check(&process, &site, rows.clone()).await;
        process.deliveries.apply(PIPELINE, false).await.unwrap();
        let done = rebuild(&process, all()).await;
        assert_eq!((done.number, done.batches, done.totals.rows), (2, 4, rows.len() as u64));
        check(&process, &site, rows).await;
    }
}

#[tokio::test]
async fn a_range_takes_whole_batches_and_leaves_the_others() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&whole(), false).await.unwrap();
    let mut rows = Vec::new();
    let mut times = Vec::new();
    for round in 0..3 {
        times.push(Timestamp(Timestamp::now().0 + 2));
        while Timestamp::now() < *times.last().unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let double = format!("{}{}", event(round * 10), event(round * 10 + 1));
        process.append(0, vec![double, event(round * 10 + 2)]).await;
        process.deliveries.flush("d").await.unwrap();
        rows.push(round * 10 + 2);
    }
    process.deliveries.apply(PIPELINE, false).await.unwrap();
    let done = rebuild(&process, RebuildRequest { from: Some(times[1]), to: Some(times[2]), ..all() }).await;
    assert_eq!((done.batches, done.totals.rows, done.removed_rows), (1, 3, 1));
    rows.extend([10, 11]);
    check(&process, &site, rows.clone()).await;
    let none = RebuildRequest { from: Some(Timestamp(Timestamp::now().0 + 3_600_000)), ..all() };
    assert_eq!(rebuild(&process, none).await.batches, 0);
    check(&process, &site, rows).await;
}

/// A record is in the table once whichever comes first: the replay of its output, or the rebuild of its batch.
#[tokio::test]
async fn replays_and_rebuilds_never_double_a_record() {
    for replay_first in [true, false] {
        let site = Site::memory();
        let process = site.start().await;
        let (mut rows, split) = unsplit(&process).await;
        process.deliveries.apply(PIPELINE, false).await.unwrap();
        if replay_first {
            process.deliveries.replay("d").await.unwrap();
        }
        rebuild(&process, all()).await;
        let again = process.deliveries.replay("d").await.unwrap();
        assert_eq!(again.rows, 0, "what was set aside has rows already");
        rows.extend(split);
        check(&process, &site, rows.clone()).await;
        // What the rebuild could not make rows of is open, and once.
        let described = process.deliveries.describe("d").await.unwrap();
        assert!(again.replayed > 0 && described.totals.replayed >= again.replayed);
        rebuild(&process, all()).await;
        check(&process, &site, rows).await;
    }
}

/// A crash at each write of a rebuild in turn: the next process ends it, and each record is there once.
#[tokio::test]
async fn a_crash_in_a_rebuild_loses_and_doubles_nothing() {
    for fault in [Fault::HangsLost, Fault::HangsApplied] {
        let mut writes = 0;
        loop {
            let site = Site::memory();
            let process = site.start().await;
            let (mut rows, split) = unsplit(&process).await;
            process.deliveries.apply(PIPELINE, false).await.unwrap();
            site.faults.at(writes, fault);
            let reached = tokio::select! {
                done = process.deliveries.rebuild(all()) => { done.unwrap(); false }
                () = site.faults.hung() => true,
            };
            process.deliveries.close().await;
            site.faults.none();

            let process = site.start().await;
            removed(&process).await;
            // At the very first write nothing is known of it yet.
            if process.table_ids(&site).await.len() == rows.len() {
                rebuild(&process, all()).await;
            }
            rows.extend(split);
            process.append(1, vec![event(200)]).await;
            process.deliveries.flush("d").await.unwrap();
            rows.push(200);
            check(&process, &site, rows).await;
            if !reached {
                break;
            }
            writes += 1;
            assert!(writes < 100, "a rebuild has fewer writes");
        }
        // Key, files of three batches, what failed, manifests, list, metadata, pointer.
        assert!(writes >= 15, "{fault:?} was tried at {writes} writes only");
    }
}

#[tokio::test]
async fn what_the_log_lost_comes_from_the_backup_or_is_refused() {
    for with_backup in [true, false] {
        let site = Site::memory();
        let process = site.start().await;
        let backup = if with_backup { "    [delivery.backup]\n" } else { "" };
        process.deliveries.apply(&format!("{}{backup}", whole()), false).await.unwrap();
        let (rows, _) = process.put(0..40).await;
        process.deliveries.flush("d").await.unwrap();
        let stream = process.streams.get(&"s".parse().unwrap()).unwrap().id();
        site.log.trim(ShardKey { stream, shard: ShardId(0) }, Offset(7)).await.unwrap();
        process.deliveries.apply(&format!("{PIPELINE}{backup}"), false).await.unwrap();
        if with_backup {
            rebuild(&process, all()).await;
            check(&process, &site, rows).await;
            continue;
        }
        let before = process.table_ids(&site).await;
        let error = process.deliveries.rebuild(all()).await.unwrap_err();
        assert_eq!(error.kind(), &Kind::FailedPrecondition);
        assert!(error.to_string().contains("batch 1") && error.to_string().contains("backup"), "{error}");
        let left = rows.len() - before.len();
        check(&process, &site, before).await;
        // It holds up nothing: what was set aside can be replayed.
        assert_eq!(process.deliveries.replay("d").await.unwrap().rows, left as u64);
        check(&process, &site, rows).await;
    }
}

#[tokio::test]
async fn a_rebuild_needs_a_table_and_one_delivery() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let of = |table: &str, delivery: Option<&str>| RebuildRequest {
        table: table.to_owned(),
        delivery: delivery.map(str::to_owned),
        ..all()
    };
    let kind = async |request| process.deliveries.rebuild(request).await.unwrap_err().kind().clone();
    assert_eq!(kind(of("unheard", None)).await, Kind::NotFound);
    assert_eq!(kind(of("t", Some("unheard"))).await, Kind::NotFound);
    let second = "[[stream]]\nname = \"s2\"\n[[delivery]]\nname = \"d2\"\nstream = \"s2\"\ntable = \"t\"\n";
    process.deliveries.apply(second, false).await.unwrap();
    assert_eq!(kind(of("t", None)).await, Kind::Invalid);
    assert_eq!(rebuild(&process, of("t", Some("d2"))).await.batches, 0);
    for (step, why) in [("\"upper\"", "upper"), ("[", "not valid")] {
        let error = crate::delivery::parse_transforms(&[step.to_owned()]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// A second rebuild came before the files that the first one replaced were removed, and forgot them: whoever lists the folder
/// saw their rows for ever.
#[tokio::test]
async fn a_rebuild_right_after_another_leaves_no_file_behind() {
    let site = Site::memory();
    let kept = DeliverySettings { replaced_files_kept: Duration::from_secs(3_600), ..settings() };
    let process = site.start_with(kept).await;
    let (mut rows, split) = unsplit(&process).await;
    process.deliveries.apply(PIPELINE, false).await.unwrap();
    rebuild(&process, all()).await;
    rebuild(&process, all()).await;
    rows.extend(split);
    rows.sort_unstable();
    assert_eq!(process.table_ids(&site).await, rows);
    assert!(site.listed_ids("default/t/data").await.len() > rows.len(), "readers of old snapshots have their time");
    process.deliveries.close().await;
    let process = site.start().await;
    check(&process, &site, rows).await;
}
