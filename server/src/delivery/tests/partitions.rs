//! Partitions by keys of the records: each row is once in the folder of its own, whatever the keys are and whatever fails.

use super::faults::Fault;
use super::site::{Process, Site, event, settings};
use crate::delivery::{DeliverySettings, MEMORY_BYTES_MIN};

const KEYED: &str = r#"
    [[stream]]
    name = "s"
    shards = 2
    [[table]]
    name = "t"
    time = { field = "at" }
    [[delivery]]
    name = "d"
    stream = "s"
    table = "t"
    transforms = ["newline", "split"]
    buffer_interval = "900s"
    prefix = "k=!{partitionKeyFromQuery:k}/!{timestamp:yyyy-MM-dd}/!{millrace:random-string}/"
    [delivery.partition_keys]
    k = ".name"
"#;

/// Puts so many records; `key` says which key each has.
async fn put(process: &Process, ids: std::ops::Range<i64>, key: impl Fn(i64) -> String) {
    for shard in 0..2 {
        let of_shard = ids.clone().filter(|id| id % 2 == i64::from(shard));
        let data = of_shard.map(|id| {
            let (key, hour) = (serde_json::Value::from(key(id)), 10 + id % 3);
            format!("{{\"id\":{id},\"at\":\"2013-01-01T{hour}:00:00Z\",\"name\":{key}}}")
        });
        process.append(shard, data.collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_partitions_of_one_batch_hold_each_record_once() {
    for (site, failures) in [(Site::memory(), 40), (Site::disk(), 0)] {
        let tight = DeliverySettings { memory_bytes_max: MEMORY_BYTES_MIN, ..settings() };
        let process = site.start_with(tight).await;
        process.deliveries.apply(KEYED, false).await.unwrap();
        site.faults.random(failures, 11);
        put(&process, 0..4_000, |id| format!("key {}", id % 1_000)).await;
        process.deliveries.flush("d").await.unwrap();
        site.faults.none();
        process.check_exactly_once(&site, (0..4_000).collect(), 0).await;
        let files = site.list("default/t/data", ".parquet").await;
        // The keys of three hours each: hours of one folder are its parts.
        assert_eq!(files.len(), 3_000);
        assert!(files.iter().all(|file| file.as_ref().contains("/data/k=key ")), "{}", files[0]);
        let described = process.deliveries.describe("d").await.unwrap();
        assert_eq!(described.next_batch, 2, "all of it is one batch");
    }
}

/// What comes out of a crash is in the same folders, also where these have names like a throw of dice.
#[tokio::test]
async fn a_crash_among_the_files_doubles_none() {
    for skip in [3, 17, 40] {
        let site = Site::memory();
        let process = site.start().await;
        process.deliveries.apply(KEYED, false).await.unwrap();
        put(&process, 0..120, |id| format!("k{}", id % 20)).await;
        site.faults.at(skip, Fault::HangsApplied);
        tokio::select! {
            _ = process.deliveries.flush("d") => panic!("a write hangs"),
            () = site.faults.hung() => {}
        }
        process.deliveries.close().await;
        site.faults.none();
        let process = site.start().await;
        // A new prefix is for new batches: the one that was begun keeps its own.
        let changed = KEYED.replace("k=!{partitionKeyFromQuery:k}/", "later/!{partitionKeyFromQuery:k}/");
        process.deliveries.apply(&changed, false).await.unwrap();
        put(&process, 120..180, |id| format!("k{}", id % 20)).await;
        process.deliveries.flush("d").await.unwrap();
        process.check_exactly_once(&site, (0..180).collect(), 0).await;
        let later = site.list("default/t/data/later", ".parquet").await;
        assert!(!later.is_empty() && site.list("default/t/data", ".parquet").await.len() > later.len());
    }
}

#[tokio::test]
async fn keys_that_no_name_takes_are_set_aside_and_others_stay_in_their_folder() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(KEYED, false).await.unwrap();
    let odd = ["../../../etc/passwd", "..", ".", "a/b", "line\nfeed", "nul\u{0}", "", &"x".repeat(1_000), "ü", "a=b"];
    put(&process, 0..odd.len() as i64, |id| odd[usize::try_from(id).unwrap()].to_owned()).await;
    process.append(0, vec!["{\"id\":90,\"at\":\"2013-01-01T10:00:00Z\"}".to_owned(), "{\"id\":".to_owned()]).await;
    process.deliveries.flush("d").await.unwrap();
    // The empty one, the long one, the one without a key, and what is no JSON.
    let mut ids: Vec<i64> = (0..10).collect();
    ids.retain(|id| ![6, 7].contains(id));
    process.check_exactly_once(&site, ids, 4).await;
    let all = site.list("", ".parquet").await;
    assert_eq!(all, site.list("default/t/data", ".parquet").await, "nothing lies elsewhere");
    let errors = site.lines("default/t/errors/partition_key").await;
    assert_eq!(errors.len(), 3);
    assert!(errors.iter().all(|line| line.contains("\"errorCode\":\"partition_key\"")), "{errors:?}");
    assert_eq!(site.lines("default/t/errors/transform").await.len(), 1);
    // The stream goes on.
    process.append(0, vec![event(100)]).await;
    process.deliveries.flush("d").await.unwrap();
    assert_eq!(process.deliveries.describe("d").await.unwrap().totals.rows, 9);
}

#[tokio::test]
async fn a_batch_is_cut_when_its_partitions_reach_the_limit() {
    let site = Site::memory();
    let process = site.start().await;
    let limited = KEYED.replace("buffer_interval", "partitions_max = 100\n    buffer_interval");
    process.deliveries.apply(&limited, false).await.unwrap();
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    // One short of the limit waits; the last one cuts, without being asked.
    put(&process, 0..99, |id| format!("k{id}")).await;
    progress.wait_for(|progress| progress.open_partitions == 99).await.unwrap();
    let open = "millrace_delivery_open_partitions{delivery=\"d\"} 99";
    assert!(process.metrics.text().contains(open), "{}", process.metrics.text());
    assert_eq!(process.deliveries.describe("d").await.unwrap().next_batch, 1);
    put(&process, 99..100, |id| format!("k{id}")).await;
    progress.wait_for(|progress| progress.totals.rows == 100).await.unwrap();
    assert!(process.metrics.text().contains("millrace_delivery_partition_cuts_total{delivery=\"d\"} 1"));
    process.check_exactly_once(&site, (0..100).collect(), 0).await;
}

const LINES: &str = r#"
    [[stream]]
    name = "s"
    shards = 2
    [[delivery]]
    name = "raw"
    stream = "s"
    format = "json_lines"
    destination = "exports"
    compression = "gzip"
    transforms = ["split"]
    prefix = "k=!{partitionKeyFromQuery:k}/"
    error_prefix = "failed/!{firehose:error-output-type}/"
    time_zone = "Europe/Berlin"
    buffer_interval = "900s"
    [delivery.partition_keys]
    k = ".name"
"#;

#[tokio::test]
async fn lines_are_parted_by_key_and_errors_lie_where_they_are_told() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(LINES, false).await.unwrap();
    site.faults.random(10, 3);
    put(&process, 0..3_000, |id| format!("k{}", id % 1_500)).await;
    process.append(0, vec!["{\"id\":1}".to_owned()]).await;
    process.deliveries.flush("raw").await.unwrap();
    site.faults.none();
    assert_eq!(site.list("exports", ".jsonl.gz").await.len(), 1_500);
    assert_eq!(site.lines("exports/failed/partitioning-failed").await.len(), 1);
    let verified = process.deliveries.verify("raw").await.unwrap();
    assert_eq!((verified.faults, verified.totals.rows, verified.totals.set_aside), (vec![], 3_000, 1));
}
