//! Reading: positions, limits, quotas and subscriptions.

use std::time::Duration;

use futures::StreamExt;
use millrace_storage::log::{Offset, ReadLimit, ShardId};

use super::*;
use crate::error::Kind;
use crate::streams::{ConsumerName, Position, ShardRecords};

const NO_LIMIT: ReadLimit = ReadLimit { records_max: 0, bytes_max: 0 };
const SHARD: ShardId = ShardId(0);

/// A stream `s` whose records arrive a second apart.
async fn seconds(count: i64) -> World {
    let world = World::new().await;
    world.create("s", 1).await;
    for second in 0..count {
        world.set_now(Timestamp(NOON.as_millis() + second * 1000));
        put(&world, &second.to_string()).await;
    }
    world
}

async fn put(world: &World, data: &str) {
    world.streams.put(&name("s"), vec![record("k", data.to_owned())]).await.unwrap().remove(0).unwrap();
}

async fn read(world: &World, position: Position, limit: ReadLimit) -> ShardRecords {
    world.streams.get_records(&name("s"), SHARD, position, limit).await.unwrap()
}

fn offsets(read: &ShardRecords) -> Vec<u64> {
    read.records.iter().map(|record| record.offset.0).collect()
}

#[tokio::test]
async fn each_position_starts_where_it_says() {
    let world = seconds(4).await;
    let at = |ms: i64| Position::Time(Timestamp(NOON.as_millis() + ms));
    for (position, first) in [
        (Position::TrimHorizon, Some(0)),
        (Position::Latest, None),
        (Position::Offset(Offset(2)), Some(2)),
        (Position::Offset(Offset(4)), None),
        (at(-1), Some(0)),
        (at(1000), Some(1)),
        (at(1001), Some(2)),
        (at(3001), None),
    ] {
        let read = read(&world, position, NO_LIMIT).await;
        assert_eq!(offsets(&read).first().copied(), first, "{position:?}");
        assert_eq!(read.next_offset, Offset(4), "{position:?}");
    }
}

#[tokio::test]
async fn an_offset_that_was_trimmed_means_the_trim_horizon_and_one_past_the_tip_is_an_error() {
    let world = seconds(4).await;
    let stream = world.streams.get(&name("s")).unwrap();
    world.streams.log().trim(stream.topology().shards()[0].key(), Offset(2)).await.unwrap();
    assert_eq!(offsets(&read(&world, Position::Offset(Offset(0)), NO_LIMIT).await), [2, 3]);
    let past = Position::Offset(Offset(5));
    let error = world.streams.get_records(&name("s"), SHARD, past, NO_LIMIT).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("offset 5 is past the next offset 4"), "{error}");
    let error = world.streams.get_records(&name("s"), ShardId(1), past, NO_LIMIT).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_reader_behind_is_told_how_far() {
    let world = seconds(3).await;
    let behind = read(&world, Position::TrimHorizon, ReadLimit { records_max: 1, bytes_max: 0 }).await;
    assert_eq!(behind.next_offset, Offset(1));
    let since_noon = Timestamp::now().as_millis() - NOON.as_millis();
    assert!(behind.millis_behind_latest.abs_diff(since_noon as u64) < 60_000, "{}", behind.millis_behind_latest);
    assert_eq!(read(&world, Position::Offset(Offset(1)), NO_LIMIT).await.millis_behind_latest, 0);
}

#[tokio::test]
async fn a_read_stays_within_its_limits_and_asks_for_no_more_than_allowed() {
    let world = seconds(3).await;
    let limit = |records_max, bytes_max| ReadLimit { records_max, bytes_max };
    assert_eq!(offsets(&read(&world, Position::TrimHorizon, limit(2, 0)).await), [0, 1]);
    assert_eq!(offsets(&read(&world, Position::TrimHorizon, limit(0, 1)).await), [0], "one record is always given");
    assert_eq!(offsets(&read(&world, Position::TrimHorizon, limit(10_000, 10 << 20)).await), [0, 1, 2]);
    for (limit, name_of_limit) in [(limit(10_001, 0), "get_records_max"), (limit(0, (10 << 20) + 1), "get_bytes_max")] {
        let asked = world.streams.get_records(&name("s"), SHARD, Position::TrimHorizon, limit).await;
        assert_eq!(*asked.unwrap_err().kind(), Kind::Invalid);
        assert_eq!(world.count(&format!("millrace_streams_rejected_total{{limit=\"{name_of_limit}\"}}")), 1);
    }
}

#[tokio::test]
async fn an_out_quota_throttles_the_read_after_it_is_used_up() {
    let world = seconds(3).await;
    let quota = StreamOptions { out_bytes_per_second: Some(1), ..StreamOptions::default() };
    world.streams.update(&name("s"), &quota).await.unwrap();
    assert_eq!(read(&world, Position::TrimHorizon, NO_LIMIT).await.records.len(), 3);
    let error = world.streams.get_records(&name("s"), SHARD, Position::TrimHorizon, NO_LIMIT).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Throttled { retry_after } if retry_after.as_secs() >= 4), "{error:?}");
    assert!(error.objects().contains(&("shard", "0".to_owned())));
    assert_eq!(world.count("millrace_streams_read_throttled_total{shard=\"0\",stream=\"s\"}"), 1);
}

#[tokio::test]
async fn a_subscription_gives_what_is_there_and_then_what_comes() {
    let world = seconds(2).await;
    let mut pushed = world.streams.subscribe(&name("s"), None, Position::TrimHorizon).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(offsets(&pushed.next().await.unwrap().unwrap()));
    }
    put(&world, "later").await;
    let later = pushed.next().await.unwrap().unwrap();
    assert_eq!(seen, [0, 1]);
    assert_eq!(later.records[0].data, "later");
    assert_eq!((later.shard, later.next_offset, later.millis_behind_latest), (SHARD, Offset(3), 0));
    assert_eq!(world.count("millrace_streams_subscribers"), 1);
    drop(pushed);
    assert_eq!(world.count("millrace_streams_subscribers"), 0);
}

#[tokio::test]
async fn a_subscription_covers_all_shards() {
    let world = World::new().await;
    world.create("s", 8).await;
    let mut pushed = world.streams.subscribe(&name("s"), None, Position::Latest).await.unwrap();
    let records: Vec<_> = (0..200).map(|n| record(&n.to_string(), n.to_string())).collect();
    world.streams.put(&name("s"), records).await.unwrap();
    let mut shards = std::collections::BTreeSet::new();
    let mut count = 0;
    while count < 200 {
        let read = pushed.next().await.unwrap().unwrap();
        count += read.records.len();
        shards.insert(read.shard.0);
    }
    assert_eq!((count, shards.len()), (200, 8));
    let offset = Position::Offset(Offset(0));
    let error = world.streams.subscribe(&name("s"), None, offset).await.unwrap_err();
    assert!(error.to_string().contains("name the shard"), "{error}");
}

/// A slow subscriber must hold back reading, not memory: only the queue and one read per shard may be ahead of it.
#[tokio::test]
async fn a_slow_subscriber_bounds_what_is_read_for_it() {
    let world = World::with(|settings| {
        settings.subscribe_bytes_max = bytesize::ByteSize::b(1);
        settings.subscribe_messages_max = 2;
    })
    .await;
    world.create("s", 1).await;
    for _ in 0..50 {
        put(&world, "x").await;
    }
    let mut pushed = world.streams.subscribe(&name("s"), None, Position::TrimHorizon).await.unwrap();
    for turn in 0..50 {
        let read_so_far = world.count("millrace_streams_outgoing_records_total{shard=\"0\",stream=\"s\"}");
        assert!(read_so_far <= turn + 3, "{read_so_far} records were read when {turn} were taken");
        assert_eq!(offsets(&pushed.next().await.unwrap().unwrap()), [turn]);
    }
}

#[tokio::test]
async fn a_subscription_ends_with_its_stream_and_with_the_server() {
    let world = seconds(1).await;
    let mut pushed = world.streams.subscribe(&name("s"), None, Position::Latest).await.unwrap();
    world.streams.delete(&name("s")).await.unwrap();
    let error = pushed.next().await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), Kind::NotFound);
    assert!(pushed.next().await.is_none());

    world.create("s", 1).await;
    let mut pushed = world.streams.subscribe(&name("s"), None, Position::Latest).await.unwrap();
    world.streams.stop();
    assert_eq!(*pushed.next().await.unwrap().unwrap_err().kind(), Kind::Unavailable);
    assert!(pushed.next().await.is_none());
}

#[tokio::test]
async fn a_read_after_an_offset_begins_at_the_next() {
    let world = seconds(3).await;
    for (position, expected) in [(0, &[1, 2][..]), (1, &[2]), (2, &[])] {
        assert_eq!(offsets(&read(&world, Position::After(Offset(position)), NO_LIMIT).await), expected);
    }
    for past in [3, u64::MAX] {
        let past = world.streams.get_records(&name("s"), SHARD, Position::After(Offset(past)), NO_LIMIT).await;
        assert_eq!(*past.unwrap_err().kind(), Kind::Invalid);
    }
}

const LONG: Duration = Duration::from_secs(30);

/// A read from the tip that waits, already on its way.
fn waiting(world: &World, wait: Duration) -> tokio::task::JoinHandle<crate::error::Result<ShardRecords>> {
    let streams = world.streams.clone();
    tokio::spawn(async move { streams.get_waiting(&name("s"), SHARD, Position::Latest, NO_LIMIT, wait, None).await })
}

/// Polls the task once at least, so that it waits.
async fn begun(task: &mut tokio::task::JoinHandle<crate::error::Result<ShardRecords>>) {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_read_that_waits_is_answered_by_the_next_record() {
    let world = seconds(1).await;
    let mut read = waiting(&world, LONG);
    begun(&mut read).await;
    put(&world, "next").await;
    assert_eq!(offsets(&read.await.unwrap().unwrap()), [1]);
}

#[tokio::test]
async fn a_read_that_waits_ends_with_its_time_the_shard_the_stream_and_the_server() {
    let world = seconds(1).await;
    let after_its_time = waiting(&world, Duration::from_millis(1)).await.unwrap().unwrap();
    assert_eq!((offsets(&after_its_time), after_its_time.next_offset), (vec![], Offset(1)));

    let mut read = waiting(&world, LONG);
    begun(&mut read).await;
    world.streams.split_shard(&name("s"), SHARD, None).await.unwrap();
    let ended = read.await.unwrap().unwrap();
    assert_eq!(ended.end.map(|end| end.children.len()), Some(2));

    world.streams.delete(&name("s")).await.unwrap();
    world.create("s", 1).await;
    let mut read = waiting(&world, LONG);
    begun(&mut read).await;
    world.streams.delete(&name("s")).await.unwrap();
    assert_eq!(*read.await.unwrap().unwrap_err().kind(), Kind::NotFound);

    world.create("s", 1).await;
    let mut read = waiting(&world, LONG);
    begun(&mut read).await;
    world.streams.stop();
    assert_eq!(offsets(&read.await.unwrap().unwrap()), [] as [u64; 0]);
}

#[tokio::test]
async fn a_wait_is_limited() {
    let world = seconds(1).await;
    let oldest = Position::TrimHorizon;
    assert!(world.streams.get_waiting(&name("s"), SHARD, oldest, NO_LIMIT, LONG, None).await.is_ok());
    let past = LONG + Duration::from_millis(1);
    let error = world.streams.get_waiting(&name("s"), SHARD, oldest, NO_LIMIT, past, None).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (&Kind::Invalid, Some("wait_ms")));
}

fn consumer(text: &str) -> ConsumerName {
    ConsumerName::try_from(text.to_owned()).unwrap()
}

#[tokio::test]
async fn a_named_reader_has_a_quota_of_its_own() {
    let world = seconds(3).await;
    let quota = StreamOptions { out_bytes_per_second: Some(1), ..StreamOptions::default() };
    world.streams.update(&name("s"), &quota).await.unwrap();
    let read_as = async |consumer: Option<&ConsumerName>| {
        let oldest = Position::TrimHorizon;
        world.streams.get_waiting(&name("s"), SHARD, oldest, NO_LIMIT, Duration::ZERO, consumer).await
    };
    let (a, b) = (consumer("a"), consumer("b"));
    // Each is served once, and then owes: nobody for another, and all without a name together.
    for reader in [Some(&a), None, Some(&b)] {
        assert_eq!(read_as(reader).await.unwrap().records.len(), 3, "{reader:?}");
        assert!(matches!(read_as(reader).await.unwrap_err().kind(), Kind::Throttled { .. }), "{reader:?}");
    }
    // Other quotas begin anew.
    let quota = StreamOptions { out_bytes_per_second: Some(2), ..StreamOptions::default() };
    world.streams.update(&name("s"), &quota).await.unwrap();
    assert!(read_as(Some(&a)).await.is_ok());
}

#[tokio::test]
async fn a_slow_or_greedy_reader_slows_no_named_one() {
    let world = seconds(200).await;
    let quota = StreamOptions { out_bytes_per_second: Some(400), ..StreamOptions::default() };
    world.streams.update(&name("s"), &quota).await.unwrap();
    // One takes nothing of what is pushed to it, the other has used up the shared quota for long.
    let slow = consumer("slow");
    let _slow = world.streams.subscribe_as(&name("s"), None, Position::TrimHorizon, Some(&slow)).await.unwrap();
    for _ in 0..2 {
        let _throttled = world.streams.get_records(&name("s"), SHARD, Position::TrimHorizon, NO_LIMIT).await;
    }
    let named = consumer("named");
    let mut pushed = world.streams.subscribe_as(&name("s"), None, Position::TrimHorizon, Some(&named)).await.unwrap();
    let first = pushed.next().await.unwrap().unwrap();
    assert_eq!(first.records.len(), 200);
}

#[tokio::test]
async fn names_are_limited_while_they_are_read_under() {
    let world = World::with(|settings| settings.consumers_max = 2).await;
    world.create("s", 1).await;
    let subscribe =
        async |text: &str| world.streams.subscribe_as(&name("s"), None, Position::Latest, Some(&consumer(text))).await;
    let a = subscribe("a").await.unwrap();
    let _b = subscribe("b").await.unwrap();
    let _again = subscribe("b").await.unwrap();
    let error = subscribe("c").await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (&Kind::Invalid, Some("consumer")));
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"consumers_max\"}"), 1);
    drop(a);
    // The tasks of a subscription end a moment after it.
    while subscribe("c").await.is_err() {
        tokio::task::yield_now().await;
    }
}
