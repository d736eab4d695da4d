//! Tables that are partitioned in Iceberg's terms: one value a file, and each row once when the table is partitioned otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::Fault;
use super::site::{PIPELINE, Process, Site, event, table};
use crate::delivery::RebuildRequest;
use crate::error::Kind;

const BY_DAY_AND_NAME: &str = "partition_by = [\"day(at)\", \"truncate(2,name)\"]";
const BY_BUCKET: &str = "partition_by = [\"bucket( 4, name )\"]";

/// The pipeline of all tests with more said of its table.
fn pipeline(lines: &str) -> String {
    let column = "column = [{ name = \"name\", type = \"string\" }]";
    PIPELINE.replace("time =", &format!("{lines}\n    {column}\n    time ="))
}

/// How many rows the table has by partition.
async fn partitions(process: &Process) -> BTreeMap<String, u64> {
    let loaded = process.catalog.load(&table()).await.unwrap();
    let mut rows = BTreeMap::new();
    for file in &process.catalog.files(&loaded).await.unwrap().entries {
        let path = file.partition_path(loaded.metadata().current_schema());
        *rows.entry(path).or_default() += file.rows();
    }
    rows
}

#[tokio::test]
async fn a_file_has_one_value_and_lies_where_its_prefix_says() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&pipeline(BY_DAY_AND_NAME), false).await.unwrap();
    let (rows, broken) = process.put(0..100).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows.clone(), broken).await;
    let found = partitions(&process).await;
    let (mut expected, mut folders) = (BTreeMap::new(), BTreeSet::new());
    for id in rows {
        let name = &format!("n{id}")[..2];
        folders.insert((id % 3, name.to_owned()));
        *expected.entry(format!("_by_day_at=2013-01-01/_by_truncate_2_name={name}")).or_default() += 1;
    }
    assert_eq!(found, expected);
    // Beginnings of names in each of three hours, whose folders they lie in.
    let files = site.list("default/t/data", ".parquet").await;
    assert_eq!(files.len(), folders.len());
    assert!(files.iter().all(|path| path.as_ref().contains("/year=2013/month=01/date=01/hour=1")), "{files:?}");
}

#[tokio::test]
async fn a_batch_is_cut_when_its_values_reach_the_limit() {
    let site = Site::memory();
    let process = site.start().await;
    let limited = pipeline("partition_by = [\"identity(name)\"]");
    let limited = limited.replace("buffer_interval", "partitions_max = 20\n    buffer_interval");
    process.deliveries.apply(&limited, false).await.unwrap();
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    // All of one hour, and of one folder: one short of the limit waits, and the last one cuts.
    let ids: Vec<i64> = (0..20).map(|id| id * 3).collect();
    process.append(0, ids[..19].iter().map(|id| event(*id)).collect()).await;
    progress.wait_for(|progress| progress.open_partitions == 19).await.unwrap();
    process.append(0, vec![event(ids[19])]).await;
    progress.wait_for(|progress| progress.totals.rows == 20).await.unwrap();
    process.check_exactly_once(&site, ids, 0).await;
    assert_eq!(partitions(&process).await.len(), 20);
}

/// A crash at each write in turn, then a table that is partitioned otherwise: the batch that was begun is finished as it was
/// begun, so that who lists files sees each row once as well.
#[tokio::test]
async fn a_crash_before_a_change_doubles_nothing() {
    for fault in [Fault::HangsLost, Fault::HangsApplied] {
        let mut writes = 0;
        loop {
            let site = Site::memory();
            let process = site.start().await;
            process.deliveries.apply(&pipeline(BY_DAY_AND_NAME), false).await.unwrap();
            let (mut rows, mut broken) = process.put(0..30).await;
            site.faults.at(writes, fault);
            let reached = tokio::select! {
                done = process.deliveries.flush("d") => { done.unwrap(); false }
                () = site.faults.hung() => true,
            };
            process.deliveries.close().await;
            site.faults.none();
            let process = site.start().await;
            process.deliveries.apply(&pipeline(BY_BUCKET), false).await.unwrap();
            let (more, more_broken) = process.put(30..60).await;
            rows.extend(more);
            broken += more_broken;
            process.deliveries.flush("d").await.unwrap();
            process.check_exactly_once(&site, rows, broken).await;
            let found = partitions(&process).await;
            assert!(found.keys().any(|path| path.starts_with("_by_bucket_4_name=")), "{found:?}");
            if !reached {
                break;
            }
            writes += 1;
        }
        assert!(writes >= 8, "{fault:?} was tried at {writes} writes only");
    }
}

#[tokio::test]
async fn a_rebuild_partitions_old_rows_as_the_table_is_now() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&pipeline(""), false).await.unwrap();
    let (rows, broken) = process.put(0..60).await;
    process.deliveries.flush("d").await.unwrap();
    assert_eq!(partitions(&process).await.len(), 3, "by the hour");
    process.deliveries.apply(&pipeline(BY_BUCKET), false).await.unwrap();
    assert_eq!(partitions(&process).await.len(), 3, "files that are there stay");
    let request = RebuildRequest { table: "t".to_owned(), delivery: None, from: None, to: None, transforms: None };
    let done = process.deliveries.rebuild(request).await.unwrap();
    assert_eq!((done.totals.rows, done.totals.set_aside), (rows.len() as u64, broken as u64));
    let found = partitions(&process).await;
    assert_eq!(found.len(), 4);
    assert!(found.keys().all(|path| path.starts_with("_by_bucket_4_name=")), "{found:?}");
    let mut rows = rows;
    rows.sort_unstable();
    assert_eq!(process.table_ids(&site).await, rows);
    assert_eq!(process.deliveries.verify("d").await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_partition_the_table_is_refused_before_anything_changes() {
    let site = Site::memory();
    let process = site.start().await;
    for (lines, why) in [
        ("partition_by = [\"week(at)\"]", "week(at)"),
        ("partition_by = [\"identity(other)\"]", "\"other\""),
        ("partition_by = [\"day(name)\"]", "\"name\" is string"),
    ] {
        let error = process.deliveries.apply(&pipeline(lines), false).await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Invalid);
        assert!(
            error.to_string().contains("table default.t: partition_by") && error.to_string().contains(why),
            "{error}"
        );
    }
    // What means the hour is the hour.
    process.deliveries.apply(&pipeline("partition_by = [\"hour( at )\"]"), false).await.unwrap();
    let changes = process.deliveries.apply(&pipeline(""), false).await.unwrap();
    assert!(changes.iter().all(|change| change.action == crate::delivery::Action::Unchanged), "{changes:?}");
    // A column that the table has not yet comes with a batch.
    let declared = pipeline("partition_by = [\"identity(new)\"]")
        .replace("column = [", "column = [{ name = \"new\", type = \"string\" }, ");
    let error = process.deliveries.apply(&declared, false).await.unwrap_err().to_string();
    assert!(error.contains("after the next batch"), "{error}");
    process.deliveries.apply(&declared.replace("partition_by = [\"identity(new)\"]", ""), false).await.unwrap();
    process.append(0, vec![event(1)]).await;
    process.deliveries.flush("d").await.unwrap();
    process.deliveries.apply(&declared, false).await.unwrap();
    process.append(0, vec![event(2), event(3).replace("\"name\"", "\"new\"")]).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, vec![1, 2, 3], 0).await;
    let found = partitions(&process).await;
    assert_eq!(found.get("new=null").copied(), Some(1), "{found:?}");
    assert_eq!(found.get("new=n3").copied(), Some(1), "{found:?}");
}
