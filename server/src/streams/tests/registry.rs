//! Creating, changing and deleting streams, and what a restart finds.

use std::time::Duration;

use millrace_storage::log::{Log, Offset};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::delivery::{DeliveryKey, DeliveryValue};
use millrace_storage::meta::keys::stream::{StreamKey, StreamValue};

use super::*;
use crate::error::Kind;

async fn declare_delivery(world: &World, delivery: &str, stream: &str) {
    let value = DeliveryValue { stream: stream.to_owned(), ..DeliveryValue::default() };
    let write = keys::put(&DeliveryKey { name: delivery.to_owned() }, &value);
    world.meta.commit(Vec::new(), vec![write]).await.unwrap();
}

#[tokio::test]
async fn a_restart_finds_every_stream_as_it_was() {
    let world = World::new().await;
    let options = StreamOptions {
        mode: None,
        shard_count: Some(3),
        retention: Some(Duration::from_secs(168 * 3600)),
        record_bytes_max: Some(4096),
        in_bytes_per_second: Some(1),
        in_records_per_second: Some(2),
        out_bytes_per_second: Some(3),
        burst: Some(Duration::from_millis(1500)),
        over_quota: Some(OverQuota::Delay),
        stored_bytes_max: Some(4),
        hold_for_deliveries: Some(false),
        encryption: None,
    };
    let made = world.streams.create(&name("s"), &options).await.unwrap();
    let longer = StreamOptions { retention: Some(Duration::from_secs(200 * 3600)), ..StreamOptions::default() };
    world.streams.update(&name("s"), &longer).await.unwrap();
    let world = world.restarted().await;
    let found = world.streams.get(&name("s")).unwrap();
    assert_eq!((found.id(), found.created_at()), (made.id(), made.created_at()));
    assert_eq!(found.spec(), made.spec());
    assert_eq!(found.spec().retention, Duration::from_secs(200 * 3600));
    let ranges =
        |stream: &StreamState| stream.topology().shards().iter().map(|shard| shard.range()).collect::<Vec<_>>();
    assert_eq!(ranges(&found), ranges(&made));
}

#[tokio::test]
async fn ids_are_not_used_again_so_a_new_stream_of_an_old_name_is_empty() {
    let world = World::new().await;
    let first = world.create("s", 1).await;
    world.streams.put(&name("s"), vec![record("a", "old")]).await.unwrap();
    world.streams.delete(&name("s")).await.unwrap();
    assert_eq!(*world.streams.get(&name("s")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(
        world.log.offsets(first.topology().shards()[0].key()),
        Offset(0)..Offset(0),
        "the log gave the records up"
    );
    let world = world.restarted().await;
    let second = world.create("s", 1).await;
    assert_ne!(first.id(), second.id());
    assert_eq!(world.log.offsets(second.topology().shards()[0].key()).end, Offset(0));
}

#[tokio::test]
async fn a_name_is_taken_once_and_the_count_is_limited() {
    let world = World::with(|settings| settings.count_max = 2).await;
    world.create("a", 1).await;
    let again = world.streams.create(&name("a"), &StreamOptions::default()).await.unwrap_err();
    assert_eq!(*again.kind(), Kind::AlreadyExists);
    world.create("b", 1).await;
    let third = world.streams.create(&name("c"), &StreamOptions::default()).await.unwrap_err();
    assert!(third.to_string().contains("2 streams exist, and the limit is 2"), "{third}");
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"stream_count_max\"}"), 1);
    world.streams.delete(&name("a")).await.unwrap();
    world.create("c", 1).await;
}

#[tokio::test]
async fn a_stream_that_a_delivery_reads_is_not_deleted() {
    let world = World::new().await;
    world.create("s", 1).await;
    declare_delivery(&world, "d", "s").await;
    let error = world.streams.delete(&name("s")).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("read by delivery d"), "{error}");
    assert!(world.streams.put(&name("s"), vec![record("a", "")]).await.unwrap()[0].is_ok());
    world.meta.commit(Vec::new(), vec![keys::delete(&DeliveryKey { name: "d".to_owned() })]).await.unwrap();
    world.streams.delete(&name("s")).await.unwrap();
    assert_eq!(*world.streams.delete(&name("s")).await.unwrap_err().kind(), Kind::NotFound);
}

/// A crash after the mark and before the end: the stream must not come back half empty.
#[tokio::test]
async fn a_restart_finishes_a_deletion_that_was_interrupted() {
    let world = World::new().await;
    let stream = world.create("s", 1).await;
    world.streams.put(&name("s"), vec![record("a", "old")]).await.unwrap();
    let key = StreamKey { name: "s".to_owned() };
    let stored = keys::get(&*world.meta, &key).await.unwrap().unwrap();
    let marked = StreamValue { deleting: true, ..stored.value.clone() };
    world.meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &marked)]).await.unwrap();
    let world = world.restarted().await;
    assert_eq!(*world.streams.get(&name("s")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(world.log.offsets(stream.topology().shards()[0].key()).end, Offset(0));
    assert!(keys::get(&*world.meta, &key).await.unwrap().is_none());
    world.create("s", 1).await;
}

/// The store said that a creation failed, and had stored it: the second try must find it rather than fail for ever.
#[tokio::test]
async fn a_creation_whose_outcome_was_unknown_is_found_by_the_next() {
    let world = World::new().await;
    let other = World { streams: open(&world.log, &world.meta, &world.settings).await.1, ..World::new().await };
    other.streams.create(&name("s"), &StreamOptions::default()).await.unwrap();
    let again = world.streams.create(&name("s"), &StreamOptions::default()).await.unwrap_err();
    assert_eq!(*again.kind(), Kind::AlreadyExists);
    assert!(world.streams.get(&name("s")).is_ok());
}

#[tokio::test]
async fn streams_are_listed_by_name_in_pages() {
    let world = World::new().await;
    for stream in ["c", "a", "b"] {
        world.create(stream, 1).await;
    }
    let names = |streams: Vec<Arc<StreamState>>| -> Vec<String> {
        streams.iter().map(|stream| stream.name().to_string()).collect()
    };
    assert_eq!(names(world.streams.list()), ["a", "b", "c"]);
    assert_eq!(names(world.streams.list_after("", 2)), ["a", "b"]);
    assert_eq!(names(world.streams.list_after("b", 2)), ["c"]);
}

#[tokio::test]
async fn a_deleted_stream_leaves_no_labels_in_the_metrics() {
    let world = World::with(|settings| settings.metric_shards_max = 2).await;
    world.create("gone", 4).await;
    let records: Vec<_> = (0..100).map(|n| record(&n.to_string(), "x")).collect();
    world.streams.put(&name("gone"), records).await.unwrap();
    assert!(world.count("millrace_streams_incoming_records_total{shard=\"other\",stream=\"gone\"}") > 0);
    assert!(!world.metrics.text().contains("shard=\"2\""), "the shard label is bounded");
    world.streams.delete(&name("gone")).await.unwrap();
    assert!(!world.metrics.text().contains("gone"), "{}", world.metrics.text());
}
