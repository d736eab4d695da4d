//! Retention: what is trimmed, and what a delivery holds.

use std::collections::BTreeMap;

use millrace_storage::log::{Log, Offset};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};
use millrace_storage::meta::keys::delivery::{DeliveryKey, DeliveryValue};

use super::*;

const HOUR_MS: i64 = 3_600_000;

fn hours(hours: i64) -> Timestamp {
    Timestamp(NOON.as_millis() + hours * HOUR_MS)
}

/// A stream `s` of two shards with a retention of 24 h, and a record an hour in each.
async fn filled(count: i64) -> World {
    let world = World::new().await;
    world.create("s", 2).await;
    for hour in 0..count {
        world.set_now(hours(hour));
        let records = vec![record_for(0, "x"), record_for(1, "x")];
        world.streams.put(&name("s"), records).await.unwrap();
    }
    world
}

fn kept(world: &World) -> [std::ops::Range<u64>; 2] {
    let stream = world.streams.get(&name("s")).unwrap();
    [0, 1].map(|shard| {
        let offsets = world.log.offsets(stream.topology().shards()[shard].key());
        offsets.start.0..offsets.end.0
    })
}

async fn checkpoint(world: &World, delivery: &str, offsets: &[(u32, u64)]) {
    let value = CheckpointValue { offsets: BTreeMap::from_iter(offsets.iter().copied()), ..Default::default() };
    let write = keys::put(&CheckpointKey { delivery: delivery.to_owned() }, &value);
    world.meta.commit(Vec::new(), vec![write]).await.unwrap();
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes_and_nothing_else() {
    let world = filled(30).await;
    world.streams.retain(hours(24)).await.unwrap();
    assert_eq!(kept(&world), [0..30, 0..30], "a record is kept for the whole of its retention");
    world.streams.retain(Timestamp(hours(24).as_millis() + 1)).await.unwrap();
    assert_eq!(kept(&world), [1..30, 1..30]);
    world.streams.retain(hours(34)).await.unwrap();
    world.streams.retain(hours(34)).await.unwrap();
    assert_eq!(kept(&world), [10..30, 10..30]);
    assert_eq!(world.count("millrace_streams_retention_trimmed_records_total{stream=\"s\"}"), 20);
    world.streams.retain(hours(1000)).await.unwrap();
    assert_eq!(kept(&world), [30..30, 30..30]);
    world.streams.put(&name("s"), vec![record_for(0, "new")]).await.unwrap();
    assert_eq!(kept(&world)[0].end, 31, "offsets go on");
    assert_eq!(Offset(31), world.log.offsets(world.streams.get(&name("s")).unwrap().topology().shards()[0].key()).end);
}

#[tokio::test]
async fn what_a_delivery_has_not_committed_is_held() {
    let world = filled(30).await;
    for delivery in ["slow", "fast"] {
        let value = DeliveryValue { stream: "s".to_owned(), ..DeliveryValue::default() };
        let write = keys::put(&DeliveryKey { name: delivery.to_owned() }, &value);
        world.meta.commit(Vec::new(), vec![write]).await.unwrap();
    }
    let held = || world.count("millrace_streams_retention_held_records{stream=\"s\"}");
    checkpoint(&world, "fast", &[(0, 30), (1, 30)]).await;
    world.streams.retain(hours(34)).await.unwrap();
    assert_eq!(kept(&world), [0..30, 0..30], "a delivery that has committed nothing needs everything");
    assert_eq!(held(), 20);
    checkpoint(&world, "slow", &[(0, 4), (1, 20)]).await;
    world.streams.retain(hours(34)).await.unwrap();
    assert_eq!(kept(&world), [4..30, 10..30]);
    assert_eq!(held(), 6);
    let holding = world.streams.get(&name("s")).unwrap().holding();
    // A record is its data and the key "key".
    assert_eq!((holding.records, holding.bytes), (6, 6 * 4));
    let [by] = holding.by.as_slice() else { panic!("{holding:?}") };
    assert_eq!((by.delivery.as_str(), by.records, by.bytes), ("slow", 6, 24));
    assert_eq!(by.since, hours(34), "since the first pass that held for it");
    world.streams.retain(Timestamp(hours(34).as_millis() - 1)).await.unwrap();
    assert_eq!(world.streams.get(&name("s")).unwrap().holding().by[0].since, hours(34));
    let labels = "{delivery=\"slow\",stream=\"s\"}";
    assert_eq!(world.count(&format!("millrace_delivery_held_records{labels}")), 6);
    assert_eq!(world.count(&format!("millrace_delivery_held_bytes{labels}")), 24);
    assert_eq!(world.count("millrace_streams_retention_held_bytes{stream=\"s\"}"), 24);
    let since = world.metric("millrace_streams_retention_held_since_timestamp_seconds{stream=\"s\"}");
    assert_eq!(since, hours(34).as_millis() as f64 / 1000.0);
    checkpoint(&world, "slow", &[(0, 30), (1, 30)]).await;
    world.streams.retain(hours(34)).await.unwrap();
    assert_eq!(kept(&world), [10..30, 10..30]);
    assert_eq!(held(), 0);
    assert!(!world.metrics.text().contains("held_since_timestamp_seconds{"), "nothing is held, and no time is shown");
}

#[tokio::test]
async fn a_stream_that_does_not_hold_trims_what_a_delivery_has_not_committed() {
    let world = filled(30).await;
    let value = DeliveryValue { stream: "s".to_owned(), ..DeliveryValue::default() };
    let write = keys::put(&DeliveryKey { name: "slow".to_owned() }, &value);
    world.meta.commit(Vec::new(), vec![write]).await.unwrap();
    world.streams.retain(hours(34)).await.unwrap();
    assert_eq!(kept(&world), [0..30, 0..30]);
    let choice = StreamOptions { hold_for_deliveries: Some(false), ..StreamOptions::default() };
    world.streams.update(&name("s"), &choice).await.unwrap();
    let world = world.restarted().await;
    world.streams.retain(hours(34)).await.unwrap();
    assert_eq!(kept(&world), [10..30, 10..30]);
    assert_eq!(world.streams.get(&name("s")).unwrap().holding(), crate::streams::Holding::default());
}

#[tokio::test]
async fn a_longer_retention_keeps_what_is_still_there() {
    let world = filled(30).await;
    let longer = StreamOptions { retention: Some(std::time::Duration::from_secs(48 * 3600)), ..Default::default() };
    world.streams.update(&name("s"), &longer).await.unwrap();
    world.streams.retain(hours(34)).await.unwrap();
    assert_eq!(kept(&world), [0..30, 0..30]);
}

#[tokio::test]
async fn the_worker_trims_and_ends_when_it_is_told() {
    let world = World::with(|settings| settings.retention_interval = std::time::Duration::from_millis(1)).await;
    // Records of 2023: past any retention now.
    let stream = world.create("s", 1).await;
    world.streams.put(&name("s"), vec![record("a", "x")]).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn(world.streams.clone().run_retention(stop.clone()));
    while world.log.offsets(stream.topology().shards()[0].key()).start == Offset(0) {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    worker.await.unwrap();
}
