//! Resharding a stream that is written and read: nothing fails, nothing is lost, and each key keeps its order.

use std::collections::BTreeMap;

use futures::StreamExt;
use millrace_storage::log::{Log, NewRecord, Offset, ReadLimit, ShardId};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};
use millrace_storage::meta::keys::delivery::{DeliveryKey, DeliveryValue};
use millrace_storage::meta::keys::shard::scan_stream;
use millrace_storage::meta::keys::stream::StreamKey;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::error::Kind;
use crate::streams::{Position, StreamMode, Subscription};

const NO_LIMIT: ReadLimit = ReadLimit { records_max: 0, bytes_max: 0 };

fn ids(shards: &[Arc<crate::streams::ShardState>]) -> Vec<u32> {
    shards.iter().map(|shard| shard.id().0).collect()
}

async fn put(world: &World, records: Vec<PutRecord>) -> Vec<(ShardId, Offset)> {
    let fates = world.streams.put(&name("s"), records).await.unwrap();
    fates.into_iter().map(|fate| fate.unwrap()).map(|placed| (placed.shard, placed.offset)).collect()
}

fn keyed(numbers: std::ops::Range<u32>) -> Vec<PutRecord> {
    numbers.map(|number| record(&format!("key-{}", number % 7), number.to_string())).collect()
}

/// Reads until so many records came; checks that each key's numbers rise.
async fn drain(pushed: &mut Subscription, count: usize) -> BTreeMap<String, Vec<u32>> {
    let mut by_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut seen = 0;
    while seen < count {
        let read = pushed.next().await.unwrap().unwrap();
        seen += read.records.len();
        for record in read.records {
            let key = String::from_utf8(record.partition_key.to_vec()).unwrap();
            by_key.entry(key).or_default().push(std::str::from_utf8(&record.data).unwrap().parse().unwrap());
        }
    }
    for (key, numbers) in &by_key {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    assert_eq!(seen, count, "no record came twice");
    by_key
}

#[tokio::test]
async fn a_split_routes_to_its_children_and_keeps_the_lineage_over_a_restart() {
    let world = World::new().await;
    world.create("s", 2).await;
    put(&world, vec![record_for(0, "old"), record_for(1, "old")]).await;
    let resharded = world.streams.split_shard(&name("s"), ShardId(0), None).await.unwrap();
    assert_eq!((ids(&resharded.closed), ids(&resharded.children)), (vec![0], vec![2, 3]));
    assert_eq!(put(&world, vec![record_for(0, "new")]).await[0], (ShardId(2), Offset(0)));
    let check = |world: &World| {
        let stream = world.streams.get(&name("s")).unwrap();
        let topology = stream.topology();
        assert_eq!((ids(topology.shards()), ids(topology.open())), (vec![0, 1, 2, 3], vec![2, 3, 1]));
        let closed = topology.shard(ShardId(0)).unwrap().closed().unwrap().clone();
        assert_eq!((closed.end, &*closed.children), (Offset(1), &[ShardId(2), ShardId(3)][..]));
        assert_eq!(topology.shards()[2].parents(), [ShardId(0)]);
        assert_eq!(topology.shards()[2].reason(), "split of shard 0");
        assert_eq!(stream.spec().shard_count.get(), 3);
        closed
    };
    let before = check(&world);
    let world = world.restarted().await;
    assert_eq!(check(&world), before);
    assert_eq!(put(&world, vec![record_for(0, "newer")]).await[0], (ShardId(2), Offset(1)));
}

#[tokio::test]
async fn a_merge_takes_both_parents_and_refusals_change_nothing() {
    let world = World::new().await;
    world.create("s", 3).await;
    let error = world.streams.merge_shards(&name("s"), ShardId(0), ShardId(2)).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Invalid);
    let error = world.streams.split_shard(&name("s"), ShardId(7), None).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::NotFound);
    let error = world.streams.split_shard(&name("s"), ShardId(0), Some("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (&Kind::Invalid, Some("hash_key")));
    assert_eq!(*world.streams.update_shard_count(&name("s"), 0).await.unwrap_err().kind(), Kind::Invalid);
    let stream = world.streams.get(&name("s")).unwrap();
    assert!(scan_stream(&*world.meta, stream.id()).await.unwrap().is_empty(), "nothing was stored");
    let merged = world.streams.merge_shards(&name("s"), ShardId(1), ShardId(0)).await.unwrap();
    assert_eq!((ids(&merged.closed), ids(&merged.children)), (vec![0, 1], vec![3]));
    assert_eq!(ids(stream.topology().open()), [3, 2]);
    let again = world.streams.merge_shards(&name("s"), ShardId(1), ShardId(0)).await.unwrap_err();
    assert_eq!(*again.kind(), Kind::FailedPrecondition);
}

#[tokio::test]
async fn limits_on_shards_hold_at_their_edge() {
    let world = World::with(|settings| (settings.shard_count_max, settings.shards_max) = (4, 10)).await;
    world.create("s", 2).await;
    let error = world.streams.update_shard_count(&name("s"), 5).await.unwrap_err();
    assert!(error.to_string().contains("5 shards are past the limit of 4"), "{error}");
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"shard_count_max\"}"), 1);
    world.streams.update_shard_count(&name("s"), 4).await.unwrap();
    let error = world.streams.split_shard(&name("s"), ShardId(2), None).await.unwrap_err();
    assert!(error.to_string().contains("5 shards are past the limit of 4"), "{error}");
    // Two that are closed, four that are open: four more are ten.
    world.create("t", 4).await;
    let error = world.streams.merge_shards(&name("s"), ShardId(2), ShardId(3)).await.unwrap_err();
    assert!(error.to_string().contains("10 shards exist"), "{error}");
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"shards_max\"}"), 1);
    let options = StreamOptions { shard_count: Some(1), ..StreamOptions::default() };
    assert_eq!(*world.streams.create(&name("u"), &options).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn get_tells_at_the_end_of_a_closed_shard_where_to_go_on() {
    let world = World::new().await;
    world.create("s", 1).await;
    put(&world, keyed(0..3)).await;
    world.streams.split_shard(&name("s"), ShardId(0), None).await.unwrap();
    let get = async |offset: u64, records_max: usize| {
        let limit = ReadLimit { records_max, bytes_max: 0 };
        world.streams.get_records(&name("s"), ShardId(0), Position::Offset(Offset(offset)), limit).await.unwrap()
    };
    assert_eq!(get(0, 2).await.end, None, "a record is left");
    for offset in [2, 3] {
        let end = get(offset, 0).await.end.unwrap();
        let children: Vec<_> = end.children.iter().map(|child| (child.shard.0, child.parents.clone())).collect();
        assert_eq!(children, [(1, vec![ShardId(0)]), (2, vec![ShardId(0)])]);
    }
    let open = world.streams.get_records(&name("s"), ShardId(1), Position::TrimHorizon, NO_LIMIT).await.unwrap();
    assert_eq!(open.end, None);
}

/// From each position that a whole stream can be read from.
#[tokio::test]
async fn a_subscriber_reads_parents_before_children_wherever_it_starts() {
    let world = World::new().await;
    world.create("s", 3).await;
    put(&world, keyed(0..100)).await;
    world.streams.update_shard_count(&name("s"), 2).await.unwrap();
    world.set_now(Timestamp(NOON.as_millis() + 1000));
    put(&world, keyed(100..200)).await;
    let subscribe = async |position| world.streams.subscribe(&name("s"), None, position).await.unwrap();
    let mut horizon = subscribe(Position::TrimHorizon).await;
    let mut time = subscribe(Position::Time(Timestamp(NOON.as_millis() + 1000))).await;
    let mut latest = subscribe(Position::Latest).await;
    put(&world, keyed(200..300)).await;
    world.streams.update_shard_count(&name("s"), 5).await.unwrap();
    put(&world, keyed(300..400)).await;
    let shards = world.streams.get(&name("s")).unwrap().topology();
    world.streams.merge_shards(&name("s"), shards.open()[0].id(), shards.open()[1].id()).await.unwrap();
    put(&world, keyed(400..500)).await;
    for (pushed, first) in [(&mut horizon, 0), (&mut time, 100), (&mut latest, 200)] {
        let by_key = drain(pushed, 500 - first).await;
        let mut all: Vec<u32> = by_key.into_values().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (u32::try_from(first).unwrap()..500).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_subscription_to_one_shard_ends_with_it() {
    let world = World::new().await;
    world.create("s", 1).await;
    put(&world, keyed(0..3)).await;
    let mut pushed = world.streams.subscribe(&name("s"), Some(ShardId(0)), Position::TrimHorizon).await.unwrap();
    assert_eq!(pushed.next().await.unwrap().unwrap().records.len(), 3);
    world.streams.split_shard(&name("s"), ShardId(0), None).await.unwrap();
    let last = pushed.next().await.unwrap().unwrap();
    assert_eq!((last.records.len(), last.next_offset, last.end.unwrap().children.len()), (0, Offset(3), 2));
    assert!(pushed.next().await.is_none());
    assert_eq!(world.count("millrace_streams_subscribers"), 1);
}

/// Puts run while shards are split and merged: each is placed, each key's records lie in the order of its puts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_never_fail_because_of_a_reshard() {
    let world = Arc::new(World::new().await);
    world.create("s", 2).await;
    let mut pushed = world.streams.subscribe(&name("s"), None, Position::Latest).await.unwrap();
    let streams = world.streams.clone();
    let (put, mut begun) = tokio::sync::watch::channel(0);
    let resharding = CancellationToken::new();
    let putting = tokio::spawn({
        let resharding = resharding.clone();
        async move {
            let mut turn = 0;
            while turn < 300 || !resharding.is_cancelled() {
                let fates = streams.put(&name("s"), keyed(turn * 10..turn * 10 + 10)).await.unwrap();
                assert!(fates.iter().all(Result::is_ok), "{fates:?}");
                turn += 1;
                put.send_replace(turn);
            }
            turn as usize * 10
        }
    });
    for count in [5, 1, 3, 8, 2, 7] {
        begun.changed().await.unwrap();
        world.streams.update_shard_count(&name("s"), count).await.unwrap();
    }
    resharding.cancel();
    let records = putting.await.unwrap();
    let by_key = drain(&mut pushed, records).await;
    assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), records);
    let topology = world.streams.get(&name("s")).unwrap().topology();
    for shard in topology.shards().iter().filter(|shard| shard.closed().is_some()) {
        assert_eq!(world.log.offsets(shard.key()).end, shard.closed().unwrap().end, "nothing came after the end");
    }
}

/// A stream on demand is its load's matter.
#[tokio::test]
async fn users_do_not_reshard_a_stream_on_demand() {
    let world = World::new().await;
    world.create("s", 1).await;
    let on_demand = StreamOptions { mode: Some(StreamMode::OnDemand), ..StreamOptions::default() };
    world.streams.update(&name("s"), &on_demand).await.unwrap();
    let world = world.restarted().await;
    assert_eq!(world.streams.get(&name("s")).unwrap().spec().mode, StreamMode::OnDemand);
    for outcome in [
        world.streams.split_shard(&name("s"), ShardId(0), None).await,
        world.streams.update_shard_count(&name("s"), 2).await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(*error.kind(), Kind::FailedPrecondition);
        assert!(error.to_string().contains("on demand"), "{error}");
    }
}

#[tokio::test]
async fn an_update_of_the_count_reshards() {
    let world = World::new().await;
    world.create("s", 2).await;
    let three = StreamOptions { shard_count: Some(3), ..StreamOptions::default() };
    let stream = world.streams.update(&name("s"), &three).await.unwrap();
    assert_eq!(stream.topology().open().len(), 3);
    let world = world.restarted().await;
    assert_eq!(world.streams.get(&name("s")).unwrap().topology().open().len(), 3);
}

#[tokio::test]
async fn a_deleted_stream_takes_its_shards_along() {
    let world = World::new().await;
    let stream = world.create("s", 2).await;
    world.streams.update_shard_count(&name("s"), 4).await.unwrap();
    assert_eq!(scan_stream(&*world.meta, stream.id()).await.unwrap().len(), 6);
    world.streams.delete(&name("s")).await.unwrap();
    assert!(scan_stream(&*world.meta, stream.id()).await.unwrap().is_empty());
    assert!(keys::get(&*world.meta, &StreamKey { name: "s".to_owned() }).await.unwrap().is_none());
}

/// A closed shard goes when its records are past their retention and delivered, and so are those of its ancestors.
#[tokio::test]
async fn closed_shards_go_oldest_first_once_they_are_past_retention_and_delivered() {
    let world = World::new().await;
    world.create("s", 1).await;
    put(&world, keyed(0..10)).await;
    world.streams.split_shard(&name("s"), ShardId(0), None).await.unwrap();
    put(&world, keyed(10..20)).await;
    world.streams.merge_shards(&name("s"), ShardId(1), ShardId(2)).await.unwrap();
    let value = DeliveryValue { stream: "s".to_owned(), ..DeliveryValue::default() };
    let checkpoint = async |offsets: &[(u32, u64)]| {
        let delivery = keys::put(&DeliveryKey { name: "d".to_owned() }, &value);
        let at = CheckpointValue { offsets: BTreeMap::from_iter(offsets.iter().copied()), ..Default::default() };
        let position = keys::put(&CheckpointKey { delivery: "d".to_owned() }, &at);
        world.meta.commit(Vec::new(), vec![delivery, position]).await.unwrap();
    };
    let stream = world.streams.get(&name("s")).unwrap();
    let left = async |now: Timestamp| {
        world.streams.retain(now).await.unwrap();
        ids(stream.topology().shards())
    };
    let end = |shard: u32| stream.shard(ShardId(shard)).unwrap().closed().unwrap().end.0;
    let (low, high) = (end(1), end(2));
    let later = Timestamp(Timestamp::now().as_millis() + 25 * 3_600_000);
    checkpoint(&[(1, low), (2, high)]).await;
    assert_eq!(left(Timestamp::now()).await, [0, 1, 2, 3], "they are closed for less than the retention");
    assert_eq!(left(later).await, [0, 1, 2, 3], "its first ancestor is not delivered");
    checkpoint(&[(0, 10), (1, low)]).await;
    assert_eq!(left(later).await, [2, 3], "one of its parents is not delivered");
    checkpoint(&[(0, 10), (1, low), (2, high)]).await;
    assert_eq!(left(later).await, [3]);
    let world = world.restarted().await;
    let topology = world.streams.get(&name("s")).unwrap().topology();
    assert_eq!((ids(topology.shards()), topology.shards()[0].parents()), (vec![3], &[ShardId(1), ShardId(2)][..]));
    let split = world.streams.split_shard(&name("s"), ShardId(3), None).await.unwrap();
    assert_eq!(ids(&split.children), [4, 5], "numbers are not used again");
}

/// A stream of before there were shards in the meta store, with records in its log.
#[tokio::test]
async fn a_stream_without_stored_shards_is_an_even_split() {
    let world = World::new().await;
    let stream = world.create("s", 3).await;
    assert!(scan_stream(&*world.meta, stream.id()).await.unwrap().is_empty());
    let record = NewRecord { partition_key: Bytes::from_static(b"k"), data: Bytes::from_static(b"old") };
    let key = stream.topology().shards()[2].key();
    world.log.append(key, vec![record].into()).await.unwrap().durable().await.unwrap();
    let world = world.restarted().await;
    let topology = world.streams.get(&name("s")).unwrap().topology();
    assert_eq!(topology.open().len(), 3);
    assert_eq!(world.log.offsets(topology.shards()[2].key()).end, Offset(1));
}

#[tokio::test]
async fn ten_thousand_shards_are_made_and_changed_at_once() {
    let world = World::new().await;
    let stream = world.create("s", 10_000).await;
    assert_eq!(stream.topology().open().len(), 10_000);
    world.streams.update_shard_count(&name("s"), 5_000).await.unwrap();
    assert_eq!(stream.topology().open().len(), 5_000);
    put(&world, keyed(0..500)).await;
    let world = world.restarted().await;
    assert_eq!(world.streams.get(&name("s")).unwrap().topology().shards().len(), 15_000);
}

/// The load decides: hot shards split, and merge again when the load is gone. Time is what the test says it is.
#[tokio::test]
async fn a_stream_on_demand_follows_its_load() {
    let world = World::with(|settings| {
        settings.in_records_per_second = 10;
        settings.quota_burst_default = std::time::Duration::from_secs(10);
        settings.on_demand_split_after = std::time::Duration::from_secs(5);
    })
    .await;
    let options = StreamOptions { mode: Some(StreamMode::OnDemand), ..StreamOptions::default() };
    let stream = world.streams.create(&name("s"), &options).await.unwrap();
    let (mut monitors, start) = (std::collections::HashMap::new(), std::time::Instant::now());
    let mut look = async |second: u64| {
        world.streams.balance(&mut monitors, start + std::time::Duration::from_secs(second)).await;
        ids(stream.topology().open())
    };
    assert_eq!(look(0).await, [0]);
    put(&world, keyed(0..40)).await;
    assert_eq!(look(4).await, [0], "hot, and not for long");
    put(&world, keyed(40..50)).await;
    assert_eq!(look(5).await, [1, 2]);
    let reason = stream.shard(ShardId(1)).unwrap().reason().to_owned();
    assert!(reason.contains("on demand: it took 100 % of its quota"), "{reason}");
    assert_eq!((look(6).await, look(905).await), (vec![1, 2], vec![1, 2]));
    assert_eq!(look(906).await, [3], "they were idle since they were first seen");
    assert_eq!(stream.spec().shard_count.get(), 1);
    let world = world.restarted().await;
    let merged = world.streams.get(&name("s")).unwrap().shard(ShardId(3)).unwrap();
    assert!(merged.reason().contains("together they took 0 %"), "{}", merged.reason());
}
