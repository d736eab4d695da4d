//! Subscriptions across broken connections.

use std::collections::HashMap;

use millrace_proto::v1::position::Position as Wire;
use millrace_proto::v1::{self, SubscribeResponse};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::Fake;
use crate::{Kind, Position};

fn push(offsets: std::ops::Range<u64>) -> Result<SubscribeResponse, Status> {
    let next_offset = offsets.end;
    let records = offsets.map(|offset| v1::Record { offset, ..v1::Record::default() }).collect();
    Ok(SubscribeResponse { shard: 0, records, next_offset, millis_behind_latest: 0, shard_end: None })
}

fn asked(fake: &Fake) -> Vec<Wire> {
    fake.subscribes().into_iter().map(|request| request.position.unwrap().position.unwrap()).collect()
}

#[tokio::test]
async fn a_broken_subscription_goes_on_at_the_record_after_its_last() {
    let fake = Fake::pushing(|number, _| match number {
        0 => vec![push(10..13), push(13..13), Err(Status::unavailable("the server closes"))],
        1 => vec![push(13..14)],
        _ => vec![push(14..16), Err(Status::not_found("the stream was deleted"))],
    });
    let mut records = fake.serve().consumer().subscribe("flights", Position::TrimHorizon).await.unwrap();
    for offset in 10..16 {
        assert_eq!(records.next().await.unwrap().unwrap().offset, offset);
    }
    assert_eq!(records.next().await.unwrap_err().kind(), Kind::NotFound);
    assert!(records.next().await.unwrap().is_none(), "an error is the last item");
    let trim_horizon = Wire::TrimHorizon(v1::position::TrimHorizon {});
    assert_eq!(asked(&fake), [trim_horizon, Wire::Offset(13), Wire::Offset(14)]);
}

#[tokio::test]
async fn latest_means_the_moment_of_subscribing_also_after_a_broken_connection() {
    let fake = Fake::pushing(|number, _| match number {
        0 => vec![Err(Status::unavailable("the server closes"))],
        _ => vec![push(20..21)],
    });
    let mut records = fake.serve().consumer().subscribe("flights", Position::Latest).await.unwrap();
    assert_eq!(records.next().await.unwrap().unwrap().offset, 20);
    assert_eq!(asked(&fake), [Wire::Offset(20), Wire::Offset(20)]);
}

#[tokio::test]
async fn a_shard_that_is_not_there_is_named() {
    let fake = Fake::pushing(|_, _| Vec::new());
    let consumer = fake.serve().consumer();
    let error = consumer.subscribe_shard("flights", 1, Position::Latest).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(error.message(), "stream \"flights\" has no shard 1");
}

/// The end of a shard came over one connection, its children's records over others; a broken one changes nothing.
#[tokio::test]
async fn children_are_read_when_their_parent_ended() {
    let end = || {
        let child = |shard| v1::ChildShard { shard, parents: vec![0], ..v1::ChildShard::default() };
        let shard_end = Some(v1::ShardEnd { children: vec![child(1), child(2)] });
        Ok(SubscribeResponse { shard_end, next_offset: 13, ..SubscribeResponse::default() })
    };
    let fake = Fake::pushing(move |number, request| match (number, request.shard) {
        (0, Some(0)) => vec![push(10..12), Err(Status::unavailable("the server closes"))],
        (_, Some(0)) => vec![push(12..13), end()],
        (_, Some(1)) => vec![push(0..2), Err(Status::not_found("the stream was deleted"))],
        _ => vec![],
    });
    let mut records = fake.serve().consumer().subscribe("flights", Position::Latest).await.unwrap();
    fake.has(None);
    let mut seen = Vec::new();
    while let Ok(Some(record)) = records.next().await {
        seen.push((record.shard, record.offset));
    }
    assert_eq!(seen, [(0, 10), (0, 11), (0, 12), (1, 0), (1, 1)]);
    let trim_horizon = Wire::TrimHorizon(v1::position::TrimHorizon {});
    let asked: Vec<_> =
        fake.subscribes().into_iter().map(|request| (request.shard, request.position.unwrap().position)).collect();
    assert_eq!(asked[..2], [(Some(0), Some(Wire::Offset(20))), (Some(0), Some(Wire::Offset(12)))]);
    assert!(asked.contains(&(Some(1), Some(trim_horizon))) && asked.contains(&(Some(2), Some(trim_horizon))));
}

#[tokio::test]
async fn a_subscription_to_one_shard_ends_with_it() {
    let fake = Fake::pushing(|_, _| {
        let shard_end = Some(v1::ShardEnd::default());
        vec![push(20..21), Ok(SubscribeResponse { shard_end, next_offset: 21, ..SubscribeResponse::default() })]
    });
    let mut records = fake.serve().consumer().subscribe_shard("flights", 0, Position::Latest).await.unwrap();
    assert_eq!(records.next().await.unwrap().unwrap().offset, 20);
    assert!(records.next().await.unwrap().is_none());
    assert_eq!(fake.subscribes().len(), 1);
}

/// As the server tells it: with where reading may go on.
fn unreadable(next_offset: u64) -> Result<SubscribeResponse, Status> {
    let about = HashMap::from([("next_offset".to_owned(), next_offset.to_string())]);
    let details = ErrorDetails::with_error_info("DATA_LOSS", "millrace", about);
    Err(Status::with_error_details(Code::DataLoss, "a block is corrupt", details))
}

#[tokio::test]
async fn what_nobody_can_read_ends_a_subscription_or_is_passed_by_as_the_reader_chose() {
    let script = |_: usize, request: &v1::SubscribeRequest| match request.position.unwrap().position.unwrap() {
        Wire::TrimHorizon(_) => vec![push(10..12), unreadable(15)],
        Wire::Offset(15) => vec![unreadable(16)],
        Wire::Offset(16) => vec![push(16..18), unreadable(18)],
        at => panic!("{at:?}"),
    };
    let consumer = Fake::pushing(script).serve().consumer();
    let mut records = consumer.subscribe("flights", Position::TrimHorizon).await.unwrap();
    for offset in [10, 11] {
        assert_eq!(records.next().await.unwrap().unwrap().offset, offset);
    }
    let error = records.next().await.unwrap_err();
    assert_eq!((error.kind(), error.next_offset()), (Kind::DataLoss, Some(15)));
    assert!(records.next().await.unwrap().is_none() && records.skipped().is_none());

    let skipping = consumer.skipping_unreadable();
    let mut records = skipping.subscribe("flights", Position::TrimHorizon).await.unwrap();
    for offset in [10, 11, 16, 17] {
        assert_eq!(records.next().await.unwrap().unwrap().offset, offset);
    }
    let skipped = records.skipped().unwrap();
    assert_eq!((skipped.count, skipped.last.next_offset()), (2, Some(16)));
    assert_eq!(records.next().await.unwrap_err().kind(), Kind::DataLoss, "it leads nowhere");
}

fn shard(shard: u32, parents: &[u32]) -> v1::Shard {
    v1::Shard { shard, parents: parents.to_vec(), ..v1::Shard::default() }
}

/// The connection broke, and for so long that the shard was split and its records went past their retention.
#[tokio::test]
async fn a_reader_that_was_away_for_too_long_is_led_to_the_children() {
    let fake = Fake::pushing(|number, request| match (number, request.shard) {
        (0, Some(0)) => vec![push(10..12), Err(Status::unavailable("the server closes"))],
        (_, Some(0)) => vec![Err(Status::not_found("stream flights has no shard 0"))],
        (_, Some(3)) => vec![push(0..2), Err(Status::not_found("the stream was deleted"))],
        _ => vec![Err(Status::not_found("the stream was deleted"))],
    });
    let mut records = fake.serve().consumer().subscribe("flights", Position::Latest).await.unwrap();
    fake.has(Some(vec![shard(3, &[1])]));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let record = records.next().await.unwrap().unwrap();
        seen.push((record.shard, record.offset));
    }
    assert_eq!(seen, [(0, 10), (0, 11), (3, 0), (3, 1)]);
    assert_eq!(records.next().await.unwrap_err().kind(), Kind::NotFound, "what is there and not found is an error");
    assert!(records.next().await.unwrap().is_none());
}

#[tokio::test]
async fn one_shard_that_is_read_alone_ends_when_it_is_gone() {
    let fake = Fake::pushing(|_, _| vec![Err(Status::not_found("stream flights has no shard 0"))]);
    let mut records = fake.serve().consumer().subscribe_shard("flights", 0, Position::TrimHorizon).await.unwrap();
    fake.has(Some(vec![shard(1, &[0]), shard(2, &[0])]));
    assert!(records.next().await.unwrap().is_none());
    let fake = Fake::pushing(|_, _| vec![Err(Status::not_found("the stream was deleted"))]);
    let mut records = fake.serve().consumer().subscribe_shard("flights", 0, Position::TrimHorizon).await.unwrap();
    fake.has(None);
    assert_eq!(records.next().await.unwrap_err().kind(), Kind::NotFound);
}
