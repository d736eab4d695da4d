//! Deliveries across a reshard: they take the children up by themselves, and each record is there once.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_storage::log::ShardId;
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::checkpoint::CheckpointKey;
use millrace_storage::time::Timestamp;

use super::site::{Process, Site, event, ids, table};
use crate::streams::{PutRecord, StreamName};

fn stream() -> StreamName {
    "s".parse().unwrap()
}

/// Puts events by the service, which routes them by their keys.
async fn put(process: &Process, numbers: std::ops::Range<i64>) -> Vec<i64> {
    let record = |number: i64| PutRecord {
        partition_key: format!("key-{}", number % 11),
        explicit_hash_key: None,
        data: Bytes::from(event(number)),
    };
    let records: Vec<_> = numbers.clone().map(record).collect();
    for records in records.chunks(500) {
        let fates = process.streams.put(&stream(), records.to_vec()).await.unwrap();
        assert!(fates.iter().all(Result::is_ok), "{fates:?}");
    }
    numbers.collect()
}

async fn reshards_exactly_once(site: Site, seed: u64) {
    println!("seed {seed}");
    let mut process = site.start_applied().await;
    let mut rows = Vec::new();
    for (round, count) in (0..).zip([5, 1, 4, 2, 3]) {
        site.faults.random(6, seed + round);
        let from = i64::try_from(round * 100).unwrap();
        rows.extend(put(&process, from..from + 40).await);
        let deliveries = process.deliveries.clone();
        let flushing = tokio::spawn(async move { deliveries.flush("d").await });
        // The meta store fails at times, also after it stored what it was asked to.
        while let Err(error) = process.streams.update_shard_count(&stream(), count).await {
            assert!(error.is_retryable(), "{error}");
        }
        rows.extend(put(&process, from + 40..from + 80).await);
        flushing.await.unwrap().unwrap();
        site.faults.none();
        let mut seen = process.table_ids(&site).await;
        let tail = process.deliveries.tail(&table(), &process.ends().await).await.unwrap();
        seen.extend(tail.parts.iter().flat_map(|part| ids(&part.batches)));
        seen.sort_unstable();
        assert_eq!(seen, rows, "table and tail together");
        if round == 2 {
            // What is not committed is delivered by the next process, by the lineage that it finds.
            process.deliveries.close().await;
            process = site.start().await;
        }
    }
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows, 0).await;
    let described = process.deliveries.describe("d").await.unwrap();
    assert!(described.shards.iter().all(|shard| shard.committed == shard.next));
}

#[tokio::test]
async fn a_delivery_follows_reshards_exactly_once_in_memory() {
    for seed in 0..4 {
        reshards_exactly_once(Site::memory(), seed * 10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_follows_reshards_exactly_once_on_disk() {
    reshards_exactly_once(Site::disk(), 77).await;
}

/// Shards that are gone leave the position with the next batch; what was delivered of them stays proven.
#[tokio::test]
async fn shards_that_are_gone_leave_the_position_and_the_proof_holds() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let mut rows = put(&process, 0..100).await;
    process.streams.update_shard_count(&stream(), 1).await.unwrap();
    rows.extend(put(&process, 100..150).await);
    process.deliveries.flush("d").await.unwrap();
    let far = Timestamp(Timestamp::now().as_millis() + 400 * 24 * 3_600_000);
    process.streams.retain(far).await.unwrap();
    let state = process.streams.get(&stream()).unwrap();
    assert_eq!(state.topology().shards().len(), 1, "the parents are gone");
    process.deliveries.flush("d").await.unwrap();
    rows.extend(put(&process, 150..170).await);
    process.deliveries.flush("d").await.unwrap();
    let key = CheckpointKey { delivery: "d".to_owned() };
    let checkpoint = keys::get(&*process.deliveries.parts().meta, &key).await.unwrap().unwrap().value;
    assert_eq!(checkpoint.offsets, BTreeMap::from([(2, 70)]));
    process.check_exactly_once(&site, rows.clone(), 0).await;
    // A flush and a query that come later do not wait for what is gone.
    process.streams.split_shard(&stream(), ShardId(2), None).await.unwrap();
    rows.extend(put(&process, 170..200).await);
    process.deliveries.tail(&table(), &process.ends().await).await.unwrap();
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows, 0).await;
}

/// A delivery that is deleted and declared again goes on where it ended, also over a reshard in between.
#[tokio::test]
async fn a_delivery_declared_again_goes_on_over_a_reshard() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let mut rows = put(&process, 0..50).await;
    process.deliveries.flush("d").await.unwrap();
    process.deliveries.delete("d").await.unwrap();
    rows.extend(put(&process, 50..80).await);
    process.streams.update_shard_count(&stream(), 3).await.unwrap();
    rows.extend(put(&process, 80..100).await);
    process.deliveries.apply(&super::site::PIPELINE.replace("shards = 2", "shards = 3"), false).await.unwrap();
    let described = process.deliveries.flush("d").await.unwrap();
    assert_eq!(described.totals.records, 100, "its proof went on");
    process.check_exactly_once(&site, rows, 0).await;
}

#[tokio::test]
async fn another_number_of_shards_in_a_pipeline_is_a_reshard() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let mut rows = put(&process, 0..50).await;
    let four = super::site::PIPELINE.replacen("shards = 2", "shards = 4", 1);
    let changes = process.deliveries.apply(&four, true).await.unwrap();
    assert!(changes[0].diff.contains("-shards = 2\n+shards = 4"), "{}", changes[0].diff);
    process.deliveries.apply(&four, false).await.unwrap();
    assert_eq!(process.streams.get(&stream()).unwrap().topology().open().len(), 4);
    rows.extend(put(&process, 50..100).await);
    let on_demand = four.replacen("shards = 4", "shards = 9\nmode = \"on_demand\"", 1);
    let changes = process.deliveries.apply(&on_demand, false).await.unwrap();
    assert!(changes[0].diff.contains("+mode = \"on_demand\""), "{}", changes[0].diff);
    assert_eq!(process.streams.get(&stream()).unwrap().topology().open().len(), 4, "the load decides");
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows, 0).await;
}
