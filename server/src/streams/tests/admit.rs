//! What a put passes before it is routed: quota that it waits for, room on the disk and in the stream, its stream's share.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytesize::ByteSize;
use futures::FutureExt;
use millrace_storage::log::{ReadLimit, ShardId};

use super::*;
use crate::disk::{Disk, DiskSettings, Space};
use crate::error::{Error, Kind};
use crate::streams::{Position, PutFailureKind, PutResult};

const ALL: ReadLimit = ReadLimit { records_max: 0, bytes_max: 0 };

/// A stream `s` of one shard, of 10 records a second, that delays what is over quota.
async fn delaying(change: impl FnOnce(&mut StreamSettings)) -> World {
    let world = World::with(|settings| {
        settings.in_records_per_second = 10;
        change(settings);
    })
    .await;
    let options = StreamOptions { over_quota: Some(OverQuota::Delay), ..StreamOptions::default() };
    world.streams.create(&name("s"), &options).await.unwrap();
    world
}

async fn put(world: &World, count: usize) -> Vec<PutResult> {
    world.streams.put(&name("s"), vec![record("k", "x"); count]).await.unwrap()
}

fn stored(fates: &[PutResult]) -> usize {
    fates.iter().filter(|fate| fate.is_ok()).count()
}

#[tokio::test]
async fn a_put_over_quota_waits_for_its_turn_and_is_stored() {
    let world = delaying(|_| {}).await;
    assert_eq!(stored(&put(&world, 10).await), 10);
    let began = std::time::Instant::now();
    assert_eq!(stored(&put(&world, 2).await), 2);
    assert!(began.elapsed() >= Duration::from_millis(150), "two records need a fifth of a second");
    let count = |name: &str| world.count(&format!("millrace_streams_{name}{{shard=\"0\",stream=\"s\"}}"));
    assert_eq!(count("write_delayed_records_total"), 2);
    assert_eq!(count("write_throttled_records_total"), 0);
    assert_eq!(world.count("millrace_streams_write_delay_seconds_count{stream=\"s\"}"), 1);
}

#[tokio::test]
async fn what_would_wait_too_long_is_refused_and_the_rest_of_the_put_is_stored() {
    let world = delaying(|settings| {
        settings.in_records_per_second = 2;
        settings.delay_time_max = Duration::from_millis(500);
    })
    .await;
    assert_eq!(stored(&put(&world, 2).await), 2);
    let fates = put(&world, 3).await;
    let at_the_bound = 1;
    assert_eq!(stored(&fates), at_the_bound);
    assert!(fates[..at_the_bound].iter().all(Result::is_ok), "order is kept");
    let failure = fates[at_the_bound].clone().unwrap_err();
    let PutFailureKind::Throttled { retry_after } = failure.kind else { panic!("{failure:?}") };
    assert!(retry_after <= Duration::from_millis(500), "{retry_after:?}");
    assert_eq!(world.count("millrace_streams_write_throttled_records_total{shard=\"0\",stream=\"s\"}"), 2);
}

#[tokio::test]
async fn the_memory_of_puts_that_wait_is_bounded() {
    let world = delaying(|settings| settings.delay_bytes_max = ByteSize::kib(2)).await;
    put(&world, 10).await;
    let kib = || vec![record("k", vec![0; 1000])];
    let s = name("s");
    let mut waiting = [(); 2].map(|()| Box::pin(world.streams.put(&s, kib())));
    for put in &mut waiting {
        assert!(put.now_or_never().is_none(), "at the bound they wait");
    }
    let refused = world.streams.put(&s, kib()).await.unwrap().remove(0).unwrap_err();
    assert!(matches!(refused.kind, PutFailureKind::Throttled { .. }), "{refused:?}");
    for put in waiting {
        assert_eq!(stored(&put.await.unwrap()), 1);
    }
}

#[tokio::test]
async fn a_put_that_waits_is_told_when_its_stream_is_deleted() {
    let world = delaying(|_| {}).await;
    put(&world, 10).await;
    let s = name("s");
    let mut waiting = Box::pin(world.streams.put(&s, vec![record("k", "x")]));
    assert!((&mut waiting).now_or_never().is_none());
    world.streams.delete(&s).await.unwrap();
    assert_eq!(*waiting.await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_stream_takes_what_it_may_store_and_not_a_byte_more() {
    let world = World::new().await;
    let options = StreamOptions { stored_bytes_max: Some(100), ..StreamOptions::default() };
    world.streams.create(&name("s"), &options).await.unwrap();
    let put = async |bytes: usize| {
        let record = record("k", vec![0; bytes - 1]);
        world.streams.put(&name("s"), vec![record]).await.unwrap().remove(0)
    };
    assert!(put(60).await.is_ok());
    assert!(put(40).await.is_ok(), "at the limit");
    let failure = put(1).await.unwrap_err();
    assert!(matches!(failure.kind, PutFailureKind::StreamFull { .. }), "{failure:?}");
    for words in ["stream s", "holds 100 bytes", "limit of 100", "raise it"] {
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    assert_eq!(
        *Error::from(failure).kind(),
        Kind::Exhausted { reason: "STREAM_FULL", retry_after: world.settings.retention_interval }
    );
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"stored_bytes_max\"}"), 1);
    assert_eq!(world.count("millrace_streams_stored_bytes{stream=\"s\"}"), 100);
    assert_eq!(world.count("millrace_streams_stored_bytes_max{stream=\"s\"}"), 100);
    let day = 24 * 3_600_000;
    world.streams.retain(Timestamp(NOON.as_millis() + day + 1)).await.unwrap();
    assert!(put(100).await.is_ok(), "the retention made room");
    let more = StreamOptions { stored_bytes_max: Some(0), ..StreamOptions::default() };
    world.streams.update(&name("s"), &more).await.unwrap();
    assert!(put(1000).await.is_ok(), "no limit");
}

#[tokio::test]
async fn puts_in_flight_count_towards_what_a_stream_stores() {
    let world = World::new().await;
    let options = StreamOptions { stored_bytes_max: Some(100), ..StreamOptions::default() };
    world.streams.create(&name("s"), &options).await.unwrap();
    let begin = async |bytes: usize| {
        let place = world.streams.try_enter(&name("s"), bytes).unwrap();
        let put = vec![record("k", vec![0; bytes - 1])];
        world.streams.begin_put(&name("s"), put.into(), place).await.unwrap()
    };
    let first = begin(60).await;
    // The reference log stores at once, so that the first counts as stored and as on its way: more than it is, never less.
    let refused = begin(41).await.durable().await.remove(0).unwrap_err();
    assert!(matches!(refused.kind, PutFailureKind::StreamFull { .. }), "{refused:?}");
    assert!(first.durable().await[0].is_ok());
    assert!(begin(40).await.durable().await[0].is_ok());
    assert_eq!(world.count("millrace_streams_in_flight_bytes{stream=\"s\"}"), 0);
}

#[tokio::test]
async fn a_full_disk_refuses_puts_while_reads_go_on_and_recovers_by_itself() {
    let world = World::new().await;
    world.create("s", 1).await;
    let free = Arc::new(AtomicU64::new(1000));
    let told = Arc::clone(&free);
    let settings = DiskSettings { free_bytes_min: ByteSize::b(1000), ..DiskSettings::default() };
    let space = move || Ok(Space { free: told.load(Ordering::Relaxed), size: 10_000 });
    world.streams.guard_disk(Disk::new(settings, space, &world.metrics));
    let put = async || world.streams.put(&name("s"), vec![record("k", "x"), record("k", "y")]).await.unwrap();
    assert_eq!(stored(&put().await), 2, "at the mark");
    free.store(999, Ordering::Relaxed);
    let fates = put().await;
    assert_eq!(stored(&fates), 0);
    let failure = fates[1].clone().unwrap_err();
    assert!(matches!(failure.kind, PutFailureKind::DiskFull { .. }), "{failure:?}");
    assert!(failure.message.contains("the disk of the data folder has 999 B free"), "{}", failure.message);
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"disk_free_bytes_min\"}"), 2);
    assert_eq!(world.count("millrace_disk_full"), 1);
    let read = world.streams.get_records(&name("s"), ShardId(0), Position::TrimHorizon, ALL).await.unwrap();
    assert_eq!(read.records.len(), 2, "reads go on");
}

#[tokio::test]
async fn one_busy_stream_leaves_room_to_the_others() {
    let world = World::with(|settings| {
        settings.put_in_flight_bytes_max = ByteSize::kib(30);
        settings.stream_in_flight_bytes_max = ByteSize::kib(10);
    })
    .await;
    world.create("busy", 1).await;
    world.create("calm", 1).await;
    let (busy, calm) = (name("busy"), name("calm"));
    let all_of_it = world.streams.enter(&busy, 10 << 10).await.unwrap();
    let refused = world.streams.try_enter(&busy, 1).unwrap_err();
    assert_eq!(*refused.kind(), Kind::Unavailable);
    assert!(refused.to_string().contains("into stream busy"), "{refused}");
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"stream_in_flight_bytes_max\"}"), 1);
    let mut waiting = Box::pin(world.streams.enter(&busy, 10 << 10));
    assert!((&mut waiting).now_or_never().is_none(), "what is past its share waits");
    for _ in 0..10 {
        assert!(world.streams.enter(&calm, 10 << 10).now_or_never().is_some(), "and holds up nobody else");
    }
    drop(all_of_it);
    assert!(waiting.now_or_never().is_some());
}
