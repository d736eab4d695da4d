//! Puts that are stored once, and puts that are stored only where they are expected.

use std::time::Duration;

use futures::FutureExt;
use millrace_storage::log::{Append, Log, NewRecord, Offset, ProducerSequence, ReadLimit, ShardId};

use super::*;
use crate::error::Kind;
use crate::streams::{Expect, Placed, Put, PutConditions, PutFailure, PutFailureKind};

/// A put of records with these keys, as the first try of a producer's sequence.
fn named(sequence: u64, keys: &[&str]) -> Put {
    let producer = Some(ProducerSequence { producer: 7, sequence, age: Duration::ZERO });
    let records = keys.iter().map(|key| record(key, key.to_string())).collect();
    Put { records, conditions: PutConditions { producer, expect: None } }
}

/// The same, sent again.
fn again(put: &Put) -> Put {
    let mut put = put.clone();
    put.conditions.producer.as_mut().unwrap().age = Duration::from_secs(5);
    put
}

async fn places(world: &World, put: Put) -> Vec<Placed> {
    world.streams.put(&name("s"), put).await.unwrap().into_iter().map(Result::unwrap).collect()
}

async fn stored(world: &World, stream: &StreamState) -> usize {
    let all = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };
    let mut count = 0;
    for shard in stream.topology().shards() {
        count += world.log.read(shard.key(), Offset::ZERO, all).await.unwrap().len();
    }
    count
}

#[tokio::test]
async fn a_put_that_is_sent_again_is_stored_once_in_every_shard() {
    let world = World::new().await;
    let stream = world.create("s", 4).await;
    let put = named(0, &["a", "b", "c", "d", "e", "f", "g"]);
    let first = places(&world, put.clone()).await;
    assert!(first.iter().all(|placed| !placed.duplicate));
    let second = places(&world, again(&put)).await;
    assert!(second.iter().all(|placed| placed.duplicate));
    let at = |placed: &Placed| (placed.shard, placed.offset);
    assert!(first.iter().map(at).eq(second.iter().map(at)));
    assert_eq!(stored(&world, &stream).await, 7);
    let counted: u64 = (0..4)
        .map(|shard| world.count(&format!("millrace_streams_incoming_records_total{{shard=\"{shard}\",stream=\"s\"}}")))
        .sum();
    assert_eq!(counted, 7, "a duplicate is not counted as a record that came in");
    let other = world.streams.put(&name("s"), again(&named(0, &["a", "a", "a"]))).await.unwrap();
    assert!(
        other.iter().all(|fate| fate.as_ref().is_err_and(|f| f.kind == PutFailureKind::SequenceReused)),
        "{other:?}"
    );
}

#[tokio::test]
async fn a_put_that_is_sent_again_after_a_reshard_is_stored_once() {
    let world = World::new().await;
    let stream = world.create("s", 2).await;
    let keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let put = named(0, &keys);
    let first = places(&world, put.clone()).await;
    let unsent = named(1, &keys);
    for shard in [0, 1] {
        world.streams.split_shard(&name("s"), ShardId(shard), None).await.unwrap();
    }
    let second = places(&world, again(&put)).await;
    let duplicate = |placed: &Placed| Placed { duplicate: true, ..*placed };
    assert_eq!(second, first.iter().map(duplicate).collect::<Vec<_>>(), "the parents have it");
    // What never arrived goes to the children, though it comes as if sent before.
    let late = places(&world, again(&unsent)).await;
    assert!(late.iter().all(|placed| !placed.duplicate && placed.shard.0 >= 2), "{late:?}");
    // And is known there again.
    assert_eq!(places(&world, again(&unsent)).await, late.iter().map(duplicate).collect::<Vec<_>>());
    assert_eq!(stored(&world, &stream).await, 80);
}

#[tokio::test]
async fn a_named_put_takes_quota_for_all_records_of_a_shard_or_for_none() {
    let world = World::with(|settings| settings.in_records_per_second = 10).await;
    world.create("s", 1).await;
    let eight = ["k"; 8];
    assert!(places(&world, named(0, &eight)).await.iter().all(|placed| !placed.duplicate));
    let denied = world.streams.put(&name("s"), named(1, &eight)).await.unwrap();
    for fate in denied {
        assert!(matches!(fate.unwrap_err().kind, PutFailureKind::Throttled { .. }));
    }
    // Without a name, as many go as there is quota for.
    let records = eight.iter().map(|key| record(key, "x")).collect::<Vec<_>>();
    let fates = world.streams.put(&name("s"), records).await.unwrap();
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 2);
}

#[tokio::test]
async fn a_named_put_larger_than_the_burst_goes_when_the_account_is_full() {
    let world = World::with(|settings| settings.in_records_per_second = 10).await;
    world.create("s", 1).await;
    assert_eq!(places(&world, named(0, &["k"; 25])).await.len(), 25);
    let fate = world.streams.put(&name("s"), named(1, &["k"])).await.unwrap().remove(0).unwrap_err();
    let PutFailureKind::Throttled { retry_after } = fate.kind else { panic!("{fate:?}") };
    assert!(retry_after > Duration::from_millis(1400), "the account owes 15: {retry_after:?}");
}

fn expecting(shard: u32, next_offset: u64, keys: &[&str]) -> Put {
    let expect = Some(Expect { shard: ShardId(shard), next_offset: Offset(next_offset) });
    let records = keys.iter().map(|key| record(key, key.to_string())).collect();
    Put { records, conditions: PutConditions { producer: None, expect } }
}

#[tokio::test]
async fn a_put_at_another_offset_than_expected_stores_nothing_and_says_which_is_next() {
    let world = World::new().await;
    let stream = world.create("s", 1).await;
    let placed = places(&world, expecting(0, 0, &["a", "b"])).await;
    assert_eq!(placed.iter().map(|placed| placed.offset.0).collect::<Vec<_>>(), [0, 1]);
    for wrong in [0, 1, 3, u64::MAX] {
        for fate in world.streams.put(&name("s"), expecting(0, wrong, &["a", "b"])).await.unwrap() {
            let expected = PutFailureKind::ExpectationFailed { next_offset: Offset(2) };
            assert_eq!(fate.unwrap_err().kind, expected);
        }
    }
    assert_eq!(stored(&world, &stream).await, 2);
    assert_eq!(places(&world, expecting(0, 2, &["c"])).await[0].offset, Offset(2));
}

#[tokio::test]
async fn a_put_at_an_expected_offset_is_refused_whole_where_a_record_does_not_fit_it() {
    let world = World::new().await;
    let stream = world.create("s", 2).await;
    let check = async |put: Put, kind: Kind, words: &str| {
        let error = world.streams.put(&name("s"), put).await.unwrap_err();
        assert_eq!(*error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let topology = stream.topology();
    let of = |shard: usize| {
        let in_shard = |n: &u32| topology.route(crate::streams::hash_key::of_partition_key(&n.to_string())) == shard;
        (0..).find(in_shard).unwrap().to_string()
    };
    let (zero, one) = (of(0), of(1));
    check(expecting(0, 0, &[&zero, &one]), Kind::Invalid, "another shard").await;
    check(expecting(0, 0, &[&zero, ""]), Kind::Invalid, "partition key").await;
    check(expecting(7, 0, &[&zero]), Kind::NotFound, "no shard 7").await;
    world.streams.split_shard(&name("s"), ShardId(0), None).await.unwrap();
    check(expecting(0, 0, &[&zero]), Kind::FailedPrecondition, "is closed").await;
    assert_eq!(stored(&world, &stream).await, 0);
    assert_eq!(places(&world, expecting(1, 0, &[&one])).await[0].offset, Offset::ZERO);
}

/// A put waits for one shard's quota, and another's refuses it; before it goes on, the two are merged. Its records of the one
/// must not be stored under its name without the others, for the same put sent again would be another one.
#[tokio::test]
async fn a_named_put_that_a_merge_overtakes_is_taken_whole_or_refused_whole() {
    // Ten at once, and two a second from then on.
    let world = World::with(|settings| {
        settings.in_records_per_second = 2;
        settings.quota_burst_default = Duration::from_secs(5);
        settings.delay_time_max = Duration::from_secs(2);
    })
    .await;
    let options =
        StreamOptions { shard_count: Some(2), over_quota: Some(OverQuota::Delay), ..StreamOptions::default() };
    let stream = world.streams.create(&name("s"), &options).await.unwrap();
    let records = |zero: usize, one: usize| [vec![record_for(0, "x"); zero], vec![record_for(1, "y"); one]].concat();
    let all = world.streams.put(&name("s"), records(10, 10)).await.unwrap();
    assert!(all.iter().all(Result::is_ok));
    let producer = Some(ProducerSequence { producer: 7, sequence: 0, age: Duration::ZERO });
    let put = Put { records: records(2, 20), conditions: PutConditions { producer, expect: None } };
    let s = name("s");
    let mut waiting = Box::pin(world.streams.put(&s, put.clone()));
    assert!((&mut waiting).now_or_never().is_none(), "it waits for the quota of shard 0");
    world.streams.merge_shards(&s, ShardId(0), ShardId(1)).await.unwrap();
    for fate in waiting.await.unwrap() {
        assert!(matches!(fate, Err(PutFailure { kind: PutFailureKind::Throttled { .. }, .. })), "{fate:?}");
    }
    assert_eq!(stored(&world, &stream).await, 20);
    let unlimited = StreamOptions { in_records_per_second: Some(0), ..StreamOptions::default() };
    world.streams.update(&s, &unlimited).await.unwrap();
    let placed = places(&world, again(&put)).await;
    assert!(placed.iter().all(|placed| placed.shard == ShardId(2) && !placed.duplicate), "{placed:?}");
    assert!(places(&world, again(&put)).await.iter().all(|placed| placed.duplicate));
    assert_eq!(stored(&world, &stream).await, 42);
}

/// Of a put, one shard stored its part and the other did not; its child has the rest. Sent again, each part is found where
/// it lies, for as long as all are known; when the parent is gone, nobody can tell where its records went.
#[tokio::test]
async fn a_put_whose_parts_lie_in_a_parent_and_in_its_child_is_found_until_the_parent_is_gone() {
    let world = World::new().await;
    let stream = world.create("s", 2).await;
    let of = ProducerSequence { producer: 7, sequence: 0, age: Duration::ZERO };
    let records = [vec![record_for(0, "x"); 2], vec![record_for(1, "y"); 3]].concat();
    let put = Put { records, conditions: PutConditions { producer: Some(of), expect: None } };
    let new = NewRecord { partition_key: "key".into(), data: "x".into() };
    let append = Append { records: vec![new; 2], producer: Some(of), expected_next: None };
    let key = stream.shard(ShardId(0)).unwrap().key();
    world.log.append(key, append).await.unwrap().durable().await.unwrap();
    world.streams.merge_shards(&name("s"), ShardId(0), ShardId(1)).await.unwrap();
    let at = |placed: Vec<Placed>| {
        placed.iter().map(|placed| (placed.shard.0, placed.offset.0, placed.duplicate)).collect::<Vec<_>>()
    };
    let first = at(places(&world, again(&put)).await);
    assert_eq!(first, [(0, 0, true), (0, 1, true), (2, 0, false), (2, 1, false), (2, 2, false)]);
    world.streams.split_shard(&name("s"), ShardId(2), None).await.unwrap();
    let second = at(places(&world, again(&put)).await);
    assert_eq!(second, [(0, 0, true), (0, 1, true), (2, 0, true), (2, 1, true), (2, 2, true)]);

    let old = async |shard: u32| {
        let shard = stream.shard(ShardId(shard)).unwrap();
        world.log.trim(shard.key(), shard.closed().unwrap().end).await.unwrap();
    };
    old(0).await;
    world.streams.drop_closed_shards(&stream, Timestamp(i64::MAX), |_| Offset(u64::MAX)).await.unwrap();
    assert_eq!(stream.topology().shards()[0].id(), ShardId(2), "its parents are gone");
    for fate in world.streams.put(&name("s"), again(&put)).await.unwrap() {
        let failure = fate.unwrap_err();
        assert_eq!(failure.kind, PutFailureKind::SequenceTooOld, "{}", failure.message);
        assert!(failure.message.contains("shard 2 has 3 of 5 records of sequence 0"), "{}", failure.message);
    }
    assert_eq!(stored(&world, &stream).await, 3);
}
