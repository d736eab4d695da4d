//! Places within batches and aggregates. What a member does is tested against the real server, in `tests/e2e/groups.rs`.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use millrace_proto::aggregate::Aggregate;
use millrace_proto::v1;
use millrace_proto::v1::{GroupOffset, SubscribeResponse};

use super::membership::LeaseId;
use super::reader::Cursor;
use super::*;
use crate::{Client, Record};

fn at(offset: u64, sub: u32) -> GroupOffset {
    GroupOffset { offset, sub }
}

fn cursor(from: GroupOffset, deaggregate: bool) -> Cursor {
    let connector = Client::connect("127.0.0.1:1").unwrap().group_consumer("s", "g").connector;
    Cursor {
        records: connector.records(),
        stream: "s".into(),
        group: "g".to_owned(),
        shard: 0,
        next: from,
        call: None,
        settings: Arc::new(GroupSettings { deaggregate, ..GroupSettings::default() }),
    }
}

/// A plain record at offset 5, an aggregate of three at 6, a plain one at 7.
fn push() -> SubscribeResponse {
    let mut aggregate = Aggregate::new();
    for data in ["a", "b", "c"] {
        aggregate.push("k", None, data.as_bytes());
    }
    let data = ["x".into(), aggregate.finish(), "y".into()];
    let record = |(offset, data)| v1::Record { offset, data, partition_key: "p".to_owned(), arrival_time_ms: 1 };
    SubscribeResponse { records: (5..).zip(data).map(record).collect(), next_offset: 8, ..SubscribeResponse::default() }
}

#[tokio::test]
async fn reading_goes_on_within_an_aggregate() {
    let check = |from: GroupOffset, deaggregate: bool, expected: &[(u64, Option<u32>)]| {
        let mut cursor = cursor(from, deaggregate);
        let read = cursor.take(push()).unwrap();
        let places: Vec<_> = read.records.iter().map(|record| (record.offset, record.sub_sequence)).collect();
        assert_eq!(places, expected, "{from:?}");
        assert_eq!((read.end, cursor.next), (at(8, 0), at(8, 0)));
    };
    let all = [(5, None), (6, Some(0)), (6, Some(1)), (6, Some(2)), (7, None)];
    check(at(5, 0), true, &all);
    check(at(6, 0), true, &all[1..]);
    check(at(6, 2), true, &all[3..]);
    check(at(7, 0), true, &all[4..]);
    // Who does not take it apart gets the whole of what is not done as a whole.
    check(at(6, 2), false, &[(6, None), (7, None)]);
    assert!(cursor(at(8, 0), true).take(push()).is_none());
}

#[tokio::test]
async fn the_place_after_a_record_is_the_next_record() {
    let read = cursor(at(5, 0), true).take(push()).unwrap();
    let membership = membership::Membership::of_nobody(&Client::connect("127.0.0.1:1").unwrap());
    let batch = GroupBatch {
        records: read.records.into(),
        end: read.end,
        millis_behind_latest: 0,
        attempt: 1,
        lease: LeaseId { shard: 0, epoch: 1 },
        membership: Arc::new(membership),
        settings: Arc::default(),
    };
    let after: Vec<_> = (0..5).map(|index| batch.after(index)).collect();
    assert_eq!(after, [at(6, 0), at(6, 1), at(6, 2), at(7, 0), at(8, 0)]);
    let stranger = Record { offset: 9, arrival_time: UNIX_EPOCH, ..batch.records()[0].clone() };
    let error = batch.checkpoint(&stranger).await.unwrap_err();
    assert!(error.message().contains("offset 9 of shard 0 is not of this batch"), "{error}");
}

#[test]
fn an_aggregate_becomes_its_user_records_and_anything_else_stays() {
    let whole = Record::from_wire(&"s".into(), 3, push().records.remove(1));
    let parts = whole.clone().user_records();
    let seen: Vec<_> =
        parts.iter().map(|part| (part.sub_sequence, part.partition_key.as_str(), &part.data[..])).collect();
    assert_eq!(seen, [(Some(0), "k", &b"a"[..]), (Some(1), "k", b"b"), (Some(2), "k", b"c")]);
    assert!(parts.iter().all(|part| (part.shard, part.offset, part.arrival_time) == (3, 6, whole.arrival_time)));
    let mut data = whole.data.to_vec();
    data[10] ^= 1;
    let broken = Record { data: data.into(), ..whole };
    assert_eq!(broken.clone().user_records(), [broken]);
}
