//! Putting: routes, fates, limits and quotas.

use millrace_storage::log::{Log, Offset, ReadLimit, ShardId};

use super::*;
use crate::error::Kind;
use crate::streams::hash_key;
use crate::streams::{Placed, PutFailureKind};

const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

#[tokio::test]
async fn records_go_to_the_shard_of_their_hash_key_in_order() {
    let world = World::new().await;
    let stream = world.create("s", 4).await;
    let records: Vec<_> = (0..400).map(|n| record(&format!("key-{n}"), n.to_string())).collect();
    let fates = world.streams.put(&name("s"), records.clone()).await.unwrap();
    for shard in stream.topology().shards() {
        let stored = world.log.read(shard.key(), Offset::ZERO, ALL).await.unwrap();
        let sent = records.iter().zip(&fates).filter(|(record, _)| {
            let key = hash_key::of_partition_key(&record.partition_key);
            (shard.range().start..=shard.range().end).contains(&key)
        });
        assert!(!stored.is_empty());
        assert_eq!(stored.len(), sent.clone().count());
        for (stored, (sent, fate)) in stored.iter().zip(sent) {
            assert_eq!((&stored.data, &*stored.partition_key), (&sent.data, sent.partition_key.as_bytes()));
            assert_eq!(*fate, Ok(Placed { shard: shard.id(), offset: stored.offset, duplicate: false }));
        }
    }
    assert_eq!(world.count("millrace_streams_incoming_records_total{shard=\"0\",stream=\"s\"}") as usize, {
        world.log.read(stream.topology().shards()[0].key(), Offset::ZERO, ALL).await.unwrap().len()
    });
}

#[tokio::test]
async fn an_explicit_hash_key_overrides_the_partition_key() {
    let world = World::new().await;
    world.create("s", 2).await;
    let half = (u128::MAX / 2).to_string();
    let keys = ["0", &half, "170141183460469231731687303715884105728", "340282366920938463463374607431768211455"];
    let records = keys.map(|key| PutRecord { explicit_hash_key: Some(key.to_owned()), ..record("same", "x") }).to_vec();
    let fates = world.streams.put(&name("s"), records).await.unwrap();
    let shards: Vec<u32> = fates.into_iter().map(|fate| fate.unwrap().shard.0).collect();
    assert_eq!(shards, [0, 0, 1, 1]);
}

#[tokio::test]
async fn a_bad_record_does_not_keep_the_others_out() {
    let world = World::new().await;
    world.create("s", 1).await;
    let long = "ü".repeat(256);
    let records = vec![
        record("a", "1"),
        record("", "2"),
        record(&long, "3"),
        record(&format!("{long}ü"), "4"),
        PutRecord { explicit_hash_key: Some("340282366920938463463374607431768211456".to_owned()), ..record("a", "5") },
        record("b", vec![0; (1 << 20) - 1]),
        record("b", vec![0; 1 << 20]),
        record("c", ""),
    ];
    let fates = world.streams.put(&name("s"), records).await.unwrap();
    let offsets: Vec<Option<u64>> = fates.iter().map(|fate| fate.as_ref().ok().map(|placed| placed.offset.0)).collect();
    assert_eq!(offsets, [Some(0), None, Some(1), None, None, Some(2), None, Some(3)]);
    for (index, words, limit) in [
        (1, "is empty", "partition_key_empty"),
        (3, "257 characters is past the limit of 256", "partition_key_chars_max"),
        (4, "below 2^128", "explicit_hash_key"),
        (6, "1048577 bytes (data and partition key) is past the stream's limit of 1048576", "record_bytes_max"),
    ] {
        let failure = fates[index].clone().unwrap_err();
        assert_eq!(failure.kind, PutFailureKind::Invalid);
        assert!(failure.message.contains(words), "{}", failure.message);
        assert_eq!(world.count(&format!("millrace_streams_rejected_total{{limit=\"{limit}\"}}")), 1, "{limit}");
    }
}

#[tokio::test]
async fn a_put_is_taken_whole_at_its_limits_and_refused_one_past_them() {
    let world = World::with(|settings| settings.put_bytes_max = bytesize::ByteSize::b(1000)).await;
    world.create("s", 1).await;
    let check = async |records: Vec<PutRecord>, words: &str, limit: &str| {
        let error = world.streams.put(&name("s"), records).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(world.count(&format!("millrace_streams_rejected_total{{limit=\"{limit}\"}}")), 1, "{limit}");
    };
    check(Vec::new(), "at least 1 record", "put_records_min").await;
    check(vec![record("a", ""); 501], "501 records is past the limit of 500", "put_records_max").await;
    check(vec![record("a", vec![0; 1000])], "1001 bytes", "put_bytes_max").await;
    assert_eq!(world.streams.put(&name("s"), vec![record("a", ""); 500]).await.unwrap().len(), 500);
    assert!(world.streams.put(&name("s"), vec![record("a", vec![0; 999])]).await.unwrap()[0].is_ok());
    let missing = world.streams.put(&name("nowhere"), vec![record("a", "")]).await.unwrap_err();
    assert_eq!(*missing.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_throttled_shard_keeps_its_order_and_does_not_hold_up_the_others() {
    let world = World::with(|settings| settings.in_records_per_second = 2).await;
    world.create("s", 2).await;
    let shards = [0, 1, 0, 0, 1, 0];
    let records = shards.map(|shard| record_for(shard, "x")).to_vec();
    let fates = world.streams.put(&name("s"), records).await.unwrap();
    let placed: Vec<bool> = fates.iter().map(Result::is_ok).collect();
    assert_eq!(placed, [true, true, true, false, true, false]);
    let failure = fates[3].clone().unwrap_err();
    assert_eq!(failure.shard, Some(ShardId(0)));
    let PutFailureKind::Throttled { retry_after } = failure.kind else { panic!("{failure:?}") };
    assert!(retry_after.as_millis() <= 500, "{retry_after:?}");
    assert!(failure.message.contains("shard 0 of stream s is over its quota"), "{}", failure.message);
    assert_eq!(world.count("millrace_streams_write_throttled_records_total{shard=\"0\",stream=\"s\"}"), 2);
    assert_eq!(world.count("millrace_streams_write_throttled_records_total{shard=\"1\",stream=\"s\"}"), 0);
}

#[tokio::test]
async fn a_changed_quota_counts_at_once() {
    let world = World::with(|settings| settings.in_bytes_per_second = bytesize::ByteSize::b(10)).await;
    world.create("s", 1).await;
    let options = StreamOptions { record_bytes_max: Some(10), ..StreamOptions::default() };
    world.streams.update(&name("s"), &options).await.unwrap();
    let put = async || world.streams.put(&name("s"), vec![record("a", "123456789")]).await.unwrap().remove(0);
    assert!(put().await.is_ok());
    assert!(matches!(put().await.unwrap_err().kind, PutFailureKind::Throttled { .. }));
    let off = StreamOptions { in_bytes_per_second: Some(0), ..StreamOptions::default() };
    world.streams.update(&name("s"), &off).await.unwrap();
    assert!(put().await.is_ok());
}

#[tokio::test]
async fn puts_past_the_room_in_memory_are_refused_for_now() {
    let world = World::with(|settings| settings.put_in_flight_bytes_max = bytesize::ByteSize::kib(4)).await;
    world.create("s", 1).await;
    let held = world.streams.room().enter(3 << 10).await;
    let put = async |bytes: usize| world.streams.put(&name("s"), vec![record("k", vec![0; bytes - 1])]).await;
    assert!(put(1 << 10).await.is_ok());
    let error = put((1 << 10) + 1).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("4.0 KiB"), "{error}");
    assert_eq!(world.count("millrace_streams_rejected_total{limit=\"put_in_flight_bytes_max\"}"), 1);
    drop(held);
    assert!(put((1 << 10) + 1).await.is_ok());
}

#[tokio::test]
async fn a_log_that_refuses_is_each_records_fate() {
    let world = World::new().await;
    world.create("s", 1).await;
    world.log.close().await.unwrap();
    let fates = world.streams.put(&name("s"), vec![record("a", ""), record("", "")]).await.unwrap();
    assert_eq!(fates[0].clone().unwrap_err().kind, PutFailureKind::Unavailable);
    assert_eq!(fates[1].clone().unwrap_err().kind, PutFailureKind::Invalid);
}
