//! One suite for every engine of [`Log`](super::Log). A case must rest on the contract alone, never on an engine.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::{
    Append, AppendLimits, Appended, Error, Log, NewRecord, Offset, ProducerSequence, ReadLimit, Record, Result,
    ShardId, ShardKey, StreamId,
};
use crate::time::{Clock, Timestamp};

/// An engine under test. What keeps its files alive travels along.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) _files: Option<tempfile::TempDir>,
}

/// A clock that stands where the test puts it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn set(&self, millis: i64) {
        self.0.store(millis, SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::new(move || Timestamp(time.load(SeqCst)))
    }
}

pub(crate) const LIMITS: AppendLimits =
    AppendLimits { records_max: 1000, bytes_max: 1 << 20, partition_key_bytes_max: 1024 };

/// More than any test holds.
pub(crate) const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

pub(crate) fn shard(stream: u32, shard: u32) -> ShardKey {
    ShardKey { stream: StreamId(stream), shard: ShardId(shard) }
}

pub(crate) fn range(start: u64, end: u64) -> Range<Offset> {
    Offset(start)..Offset(end)
}

pub(crate) fn record(key: &str, data: &str) -> NewRecord {
    NewRecord { partition_key: Bytes::copy_from_slice(key.as_bytes()), data: Bytes::copy_from_slice(data.as_bytes()) }
}

/// `count` records whose data tell their number, beginning at `first`.
pub(crate) fn numbered(first: u64, count: u64) -> Vec<NewRecord> {
    (first..first + count).map(|number| record(&format!("key-{number}"), &format!("event {number}"))).collect()
}

pub(crate) async fn put(log: &dyn Log, shard: ShardKey, records: Vec<NewRecord>) -> Appended {
    log.append(shard, records.into()).await.expect("append").durable().await.expect("durable")
}

/// Reads `from..next` in steps of `limit` and checks that there is no gap.
pub(crate) async fn read_all(log: &dyn Log, shard: ShardKey, from: Offset, limit: ReadLimit) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    let mut at = from;
    loop {
        let step = log.read(shard, at, limit).await.expect("read");
        let Some(last) = step.last() else { return found };
        at = last.offset + 1;
        for record in step {
            if let Some(before) = found.last() {
                assert_eq!(record.offset, before.offset + 1, "{shard}: a gap");
            }
            found.push(record);
        }
    }
}

pub(crate) fn assert_numbered(records: &[Record], range: Range<u64>) {
    let offsets: Vec<u64> = records.iter().map(|record| record.offset.0).collect();
    assert_eq!(offsets, range.clone().collect::<Vec<_>>());
    for record in records {
        assert_eq!(record.data, format!("event {}", record.offset).as_bytes());
        assert_eq!(record.partition_key, format!("key-{}", record.offset).as_bytes());
    }
}

pub(crate) async fn offsets_are_dense_and_start_at_zero(log: &dyn Log) {
    for first in [0, 3, 6] {
        let appended = put(log, shard(1, 0), numbered(first, 3)).await;
        assert_eq!(appended.offsets, range(first, first + 3));
    }
    assert_eq!(log.offsets(shard(1, 0)), range(0, 9));
    assert_numbered(&read_all(log, shard(1, 0), Offset::ZERO, ALL).await, 0..9);
}

pub(crate) async fn shards_are_independent(log: &dyn Log) {
    // Neighbours in every sense that a key encoding could mix up.
    let shards = [shard(1, 0), shard(1, 1), shard(1, 256), shard(2, 0), shard(256, 0), shard(u32::MAX, u32::MAX)];
    for (count, shard) in (1..).zip(shards) {
        put(log, shard, numbered(0, count)).await;
    }
    for (count, shard) in (1..).zip(shards) {
        assert_eq!(log.offsets(shard), range(0, count));
        assert_numbered(&read_all(log, shard, Offset::ZERO, ALL).await, 0..count);
    }
    log.trim(shard(1, 1), Offset(2)).await.expect("trim");
    assert_eq!(log.offsets(shard(1, 0)), range(0, 1));
    assert_eq!(log.offsets(shard(1, 256)), range(0, 3));
    assert_numbered(&read_all(log, shard(1, 256), Offset::ZERO, ALL).await, 0..3);
}

pub(crate) async fn a_shard_never_written_is_empty(log: &dyn Log) {
    let nowhere = shard(9, 9);
    assert_eq!(log.offsets(nowhere), range(0, 0));
    assert_eq!(log.read(nowhere, Offset::ZERO, ALL).await.expect("read"), []);
    assert_eq!(log.offset_at(nowhere, Timestamp(0)).await.expect("offset_at"), Offset::ZERO);
    assert_eq!(log.newest_arrival(nowhere), None);
    log.trim(nowhere, Offset(5)).await.expect("trim");
    log.delete_stream(StreamId(9)).await.expect("delete");
    assert_eq!(put(log, nowhere, numbered(0, 1)).await.offsets, range(0, 1));
}

pub(crate) async fn reads_keep_their_limit_but_return_one_record(log: &dyn Log) {
    let shard = shard(1, 0);
    put(log, shard, numbered(0, 10)).await;
    put(log, shard, numbered(10, 10)).await;
    let one = record("key-0", "event 0").bytes();
    for (records_max, bytes_max, expected) in [
        (0, 0, 1),
        (1, usize::MAX, 1),
        (7, usize::MAX, 7),
        (15, usize::MAX, 15),
        (usize::MAX, one * 4, 4),
        (usize::MAX, one * 4 - 1, 3),
        (usize::MAX, 1, 1),
        (20, usize::MAX, 20),
    ] {
        let limit = ReadLimit { records_max, bytes_max };
        let found = log.read(shard, Offset::ZERO, limit).await.expect("read");
        assert_eq!(found.len(), expected, "{limit:?}");
    }
    for records_max in [1, 3, 10, 11] {
        let limit = ReadLimit { records_max, bytes_max: usize::MAX };
        assert_numbered(&read_all(log, shard, Offset(2), limit).await, 2..20);
    }
}

pub(crate) async fn a_read_at_or_past_the_end_is_empty(log: &dyn Log) {
    put(log, shard(1, 0), numbered(0, 2)).await;
    for from in [2, 3, u64::MAX] {
        assert_eq!(log.read(shard(1, 0), Offset(from), ALL).await.expect("read"), []);
    }
}

pub(crate) async fn records_keep_every_byte(log: &dyn Log) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let records = vec![
        NewRecord { partition_key: Bytes::new(), data: Bytes::new() },
        NewRecord { partition_key: Bytes::from_static(b"k"), data: Bytes::new() },
        NewRecord { partition_key: Bytes::new(), data: Bytes::from(all_bytes) },
        NewRecord { partition_key: Bytes::from(vec![b'k'; 1024]), data: Bytes::from(vec![0; 300_000]) },
    ];
    put(log, shard(1, 0), records.clone()).await;
    let found = read_all(log, shard(1, 0), Offset::ZERO, ALL).await;
    let found: Vec<NewRecord> =
        found.into_iter().map(|record| NewRecord { partition_key: record.partition_key, data: record.data }).collect();
    assert_eq!(found, records);
}

pub(crate) async fn an_empty_append_stores_nothing(log: &dyn Log) {
    assert_eq!(put(log, shard(1, 0), vec![]).await.offsets, range(0, 0));
    assert_eq!(log.newest_arrival(shard(1, 0)), None);
    put(log, shard(1, 0), numbered(0, 2)).await;
    assert_eq!(put(log, shard(1, 0), vec![]).await.offsets, range(2, 2));
    assert_eq!(log.offsets(shard(1, 0)), range(0, 2));
}

pub(crate) async fn tickets_keep_their_order(log: &dyn Log) {
    let mut tickets = Vec::new();
    for number in 0..200 {
        tickets
            .push(log.append(shard(1, number % 2), numbered(u64::from(number / 2), 1).into()).await.expect("append"));
    }
    for (number, ticket) in (0..).zip(tickets) {
        assert_eq!(ticket.durable().await.expect("durable").offsets.start, Offset(number / 2));
    }
    for index in [0, 1] {
        assert_numbered(&read_all(log, shard(1, index), Offset::ZERO, ALL).await, 0..100);
    }
}

pub(crate) async fn concurrent_appends_are_each_whole(log: &dyn Log) {
    let writer = |writer: u64| async move {
        for round in 0..20u64 {
            let records =
                (0..5).map(|part| record(&format!("{writer}"), &format!("{writer} {round} {part}"))).collect();
            put(log, shard(1, 0), records).await;
        }
    };
    join_all((0..8).map(writer)).await;
    let found = read_all(log, shard(1, 0), Offset::ZERO, ALL).await;
    assert_eq!(found.len(), 8 * 20 * 5);
    let mut rounds = [0; 8];
    for append in found.chunks(5) {
        let data: Vec<&str> = append.iter().map(|record| std::str::from_utf8(&record.data).expect("text")).collect();
        let writer: usize = data[0].split(' ').next().expect("a writer").parse().expect("a number");
        let expected: Vec<String> = (0..5).map(|part| format!("{writer} {} {part}", rounds[writer])).collect();
        assert_eq!(data, expected, "an append was torn or a writer's order was lost");
        rounds[writer] += 1;
    }
}

pub(crate) async fn the_tail_moves_with_each_durable_append(log: &dyn Log) {
    let mut tail = log.tail(shard(1, 0));
    assert_eq!(*tail.borrow_and_update(), Offset::ZERO);
    for end in 1..=3 {
        put(log, shard(1, 0), numbered(end - 1, 1)).await;
        assert!(tail.has_changed().expect("the shard is there"));
        assert_eq!(*tail.borrow_and_update(), Offset(end));
        assert_eq!(*log.tail(shard(1, 0)).borrow(), Offset(end));
    }
    assert!(!tail.has_changed().expect("the shard is there"));
}

pub(crate) async fn trim_hides_records_and_never_moves_back(log: &dyn Log) {
    let shard = shard(1, 0);
    put(log, shard, numbered(0, 10)).await;
    put(log, shard, numbered(10, 10)).await;
    for (before, trim) in [(0, 0), (3, 3), (3, 3), (1, 3), (10, 10), (13, 13), (20, 20)] {
        log.trim(shard, Offset(before)).await.expect("trim");
        assert_eq!(log.offsets(shard), range(trim, 20));
        assert_numbered(&log.read(shard, Offset::ZERO, ALL).await.expect("read"), trim..20);
        assert_numbered(&log.read(shard, Offset(15), ALL).await.expect("read"), trim.max(15)..20);
    }
    assert_eq!(log.newest_arrival(shard), None);
    assert_eq!(put(log, shard, numbered(20, 1)).await.offsets, range(20, 21));
    log.trim(shard, Offset(u64::MAX)).await.expect("trim");
    assert_eq!(log.offsets(shard), range(21, 21));
    assert_eq!(put(log, shard, numbered(21, 1)).await.offsets, range(21, 22));
    assert_numbered(&log.read(shard, Offset::ZERO, ALL).await.expect("read"), 21..22);
}

pub(crate) async fn a_deleted_stream_is_empty_and_its_neighbours_stay(log: &dyn Log) {
    for shard in [shard(1, 0), shard(2, 0), shard(2, 7), shard(3, 0)] {
        put(log, shard, numbered(0, 5)).await;
    }
    log.trim(shard(2, 0), Offset(2)).await.expect("trim");
    log.delete_stream(StreamId(2)).await.expect("delete");
    for gone in [shard(2, 0), shard(2, 7)] {
        assert_eq!(log.offsets(gone), range(0, 0));
        assert_eq!(log.read(gone, Offset::ZERO, ALL).await.expect("read"), []);
    }
    for kept in [shard(1, 0), shard(3, 0)] {
        assert_numbered(&read_all(log, kept, Offset::ZERO, ALL).await, 0..5);
    }
    log.delete_stream(StreamId(2)).await.expect("delete again");
}

/// An append under a producer's sequence, without waiting for it.
pub(crate) fn sequenced(producer: u64, sequence: u64, records: Vec<NewRecord>) -> Append {
    let producer = Some(ProducerSequence { producer, sequence, age: Duration::ZERO });
    Append { records, producer, expected_next: None }
}

pub(crate) async fn append(log: &dyn Log, shard: ShardKey, append: Append) -> Result<Appended> {
    log.append(shard, append).await?.durable().await
}

pub(crate) async fn a_sequence_is_stored_once_and_answered_as_the_first_time(log: &dyn Log) {
    let put = |of: ShardKey, producer, sequence, first| async move {
        append(log, of, sequenced(producer, sequence, numbered(first, 3))).await.expect("append")
    };
    let first = put(shard(1, 0), 7, 0, 0).await;
    assert!(!first.duplicate);
    assert_eq!(put(shard(1, 0), 7, 1, 3).await.offsets, range(3, 6));
    for _ in 0..2 {
        assert_eq!(put(shard(1, 0), 7, 0, 0).await, Appended { duplicate: true, ..first.clone() });
    }
    // Another producer, another shard, another stream: each is its own.
    assert_eq!(put(shard(1, 0), 8, 0, 6).await.offsets, range(6, 9));
    assert_eq!(put(shard(1, 1), 7, 0, 0).await.offsets, range(0, 3));
    assert_eq!(put(shard(2, 0), 7, 0, 0).await.offsets, range(0, 3));
    assert_numbered(&read_all(log, shard(1, 0), Offset::ZERO, ALL).await, 0..9);

    let of = ProducerSequence { producer: 7, sequence: 1, age: Duration::ZERO };
    let stored = log.stored(shard(1, 0), of, 3).expect("known").expect("stored");
    assert_eq!((stored.offsets, stored.duplicate), (range(3, 6), true));
    assert_eq!(log.stored(shard(1, 1), of, 3).expect("known"), None);
    assert!(matches!(log.stored(shard(1, 0), of, 2), Err(Error::SequenceReused { stored: 3, given: 2, .. })));

    log.delete_stream(StreamId(1)).await.expect("delete");
    assert_eq!(log.stored(shard(1, 0), of, 3).expect("known"), None);
    assert!(log.stored(shard(2, 0), ProducerSequence { sequence: 0, ..of }, 3).expect("known").is_some());
}

pub(crate) async fn a_sequence_sent_twice_at_once_is_stored_once(log: &dyn Log) {
    let mut tickets = Vec::new();
    for number in 0..60 {
        // Small ones and ones that are blocks of their own.
        let data = vec![b'd'; if number % 3 == 0 { 40_000 } else { 10 }];
        let record = NewRecord { partition_key: Bytes::new(), data: data.into() };
        for _ in 0..2 {
            let once = sequenced(7, number, vec![record.clone()]);
            tickets.push(log.append(shard(1, 0), once).await.expect("append"));
        }
    }
    for (index, ticket) in (0..).zip(tickets) {
        let appended = ticket.durable().await.expect("durable");
        assert_eq!(appended.offsets, range(index / 2, index / 2 + 1));
        assert_eq!(appended.duplicate, index % 2 == 1);
    }
    assert_eq!(log.offsets(shard(1, 0)), range(0, 60));
}

pub(crate) async fn a_sequence_with_other_records_or_below_the_window_is_refused(log: &dyn Log) {
    for number in 0..33 {
        append(log, shard(1, 0), sequenced(7, number, numbered(number, 1))).await.expect("append");
    }
    let reused = append(log, shard(1, 0), sequenced(7, 32, numbered(0, 2))).await.expect_err("two records, not one");
    assert!(matches!(reused, Error::SequenceReused { stored: 1, given: 2, sequence: 32, .. }), "{reused}");
    assert!(!reused.may_have_applied());
    let old = append(log, shard(1, 0), sequenced(7, 0, numbered(0, 1))).await.expect_err("32 are known");
    assert!(matches!(old, Error::SequenceTooOld { sequence: 0, producer: 7, .. }), "{old}");
    assert!(old.may_have_applied());
    for error in [reused, old] {
        assert!(!error.is_retryable());
    }
    assert!(append(log, shard(1, 0), sequenced(7, 1, numbered(1, 1))).await.expect("the last that is known").duplicate);
    // Nothing can be stored twice of no records.
    assert!(!append(log, shard(1, 0), sequenced(7, 0, vec![])).await.expect("empty").duplicate);
    assert_numbered(&read_all(log, shard(1, 0), Offset::ZERO, ALL).await, 0..33);
}

fn expecting(next: u64, append: Append) -> Append {
    Append { expected_next: Some(Offset(next)), ..append }
}

pub(crate) async fn an_append_at_another_offset_than_expected_stores_nothing(log: &dyn Log) {
    let at = |next, append| expecting(next, Append::from(append));
    let shard = shard(1, 0);
    assert_eq!(append(log, shard, at(0, numbered(0, 2))).await.expect("as expected").offsets, range(0, 2));
    for wrong in [0, 1, 3, u64::MAX] {
        let error = append(log, shard, at(wrong, numbered(2, 1))).await.expect_err("not the next");
        assert!(
            matches!(error, Error::NextOffset { expected, actual: Offset(2), .. } if expected == Offset(wrong)),
            "{error}"
        );
        assert!(!error.is_retryable() && !error.may_have_applied());
    }
    assert_eq!(append(log, shard, at(2, vec![])).await.expect("as expected").offsets, range(2, 2));
    assert!(append(log, shard, at(1, vec![])).await.is_err());
    assert_eq!(append(log, shard, at(2, numbered(2, 1))).await.expect("as expected").offsets, range(2, 3));
    // Sent again, it is known, though the next offset is another by now.
    let once = expecting(3, sequenced(7, 0, numbered(3, 1)));
    assert!(!append(log, shard, once.clone()).await.expect("as expected").duplicate);
    assert!(append(log, shard, once).await.expect("known").duplicate);
    // What failed is not known.
    let failed = expecting(0, sequenced(7, 1, numbered(4, 1)));
    assert!(matches!(append(log, shard, failed).await, Err(Error::NextOffset { .. })));
    assert!(!append(log, shard, sequenced(7, 1, numbered(4, 1))).await.expect("new").duplicate);
    log.trim(shard, Offset(5)).await.expect("trim");
    assert_eq!(append(log, shard, at(5, numbered(5, 1))).await.expect("as expected").offsets, range(5, 6));
}

/// Each of many writers adds one to a counter by conditional appends: no addition may be lost.
pub(crate) async fn conditional_appends_are_linearizable(log: &dyn Log) {
    let writer = || async {
        for _ in 0..20 {
            let mut next = log.offsets(shard(1, 0)).end;
            loop {
                let attempt = expecting(next.0, numbered(next.0, 1).into());
                match append(log, shard(1, 0), attempt).await {
                    Ok(_) => break,
                    Err(Error::NextOffset { actual, .. }) => next = actual,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    join_all((0..8).map(|_| writer())).await;
    assert_numbered(&read_all(log, shard(1, 0), Offset::ZERO, ALL).await, 0..160);
}

pub(crate) async fn arrival_times_never_fall(log: &dyn Log, clock: &HandClock) {
    let shard = shard(1, 0);
    let mut found = Vec::new();
    for millis in [1000, 1000, 2000, 500, 1999, 2001] {
        clock.set(millis);
        let appended = put(log, shard, numbered(found.len() as u64, 1)).await;
        assert_eq!(Some(appended.arrival_time), log.newest_arrival(shard));
        found.push(appended.arrival_time.0);
    }
    assert_eq!(found, [1000, 1000, 2000, 2000, 2000, 2001]);
    let records = read_all(log, shard, Offset::ZERO, ALL).await;
    assert_eq!(records.iter().map(|record| record.arrival_time.0).collect::<Vec<_>>(), found);
}

pub(crate) async fn a_time_finds_the_first_record_at_or_after_it(log: &dyn Log, clock: &HandClock) {
    let shard = shard(1, 0);
    for (round, millis) in (0..).zip([100, 200, 200, 300]) {
        clock.set(millis);
        put(log, shard, numbered(round * 3, 3)).await;
    }
    let check = async |cases: &[(i64, u64)]| {
        for (time, expected) in cases {
            let found = log.offset_at(shard, Timestamp(*time)).await.expect("offset_at");
            assert_eq!(found, Offset(*expected), "time {time}");
        }
    };
    check(&[(0, 0), (100, 0), (101, 3), (200, 3), (201, 9), (300, 9), (301, 12), (i64::MAX, 12), (i64::MIN, 0)]).await;
    log.trim(shard, Offset(4)).await.expect("trim");
    check(&[(0, 4), (200, 4), (201, 9), (301, 12)]).await;
    log.trim(shard, Offset(12)).await.expect("trim");
    check(&[(0, 12), (301, 12)]).await;
}

pub(crate) async fn limits_hold_at_the_limit_and_one_past_it(log: &dyn Log) {
    let key = |bytes: usize| vec![NewRecord { partition_key: vec![b'k'; bytes].into(), data: Bytes::new() }];
    let data = |bytes: usize| vec![NewRecord { partition_key: Bytes::new(), data: vec![b'd'; bytes].into() }];
    let cases = [
        (numbered(0, 1000), numbered(0, 1001), 1000, "records"),
        (data(1 << 20), data((1 << 20) + 1), 1 << 20, "bytes"),
        (key(1024), key(1025), 1024, "bytes of partition key"),
    ];
    for (index, (at, past, expected, noun)) in (0..).zip(cases) {
        let count = at.len() as u64;
        let refused = log.append(shard(1, index), past.into()).await.expect_err("one past the limit");
        assert!(
            matches!(refused, Error::TooLarge { actual, limit, unit } if limit == expected && actual == limit + 1 && unit == noun),
            "{refused}"
        );
        assert!(!refused.is_retryable());
        assert!(!refused.may_have_applied());
        assert_eq!(put(log, shard(1, index), at).await.offsets, range(0, count));
    }
}

pub(crate) async fn a_closed_log_refuses(log: &dyn Log) {
    let ticket = log.append(shard(1, 0), numbered(0, 1).into()).await.expect("append");
    log.close().await.expect("close");
    assert_eq!(ticket.durable().await.expect("what was queued is made durable").offsets, range(0, 1));
    assert!(matches!(log.append(shard(1, 0), numbered(1, 1).into()).await, Err(Error::Closed)));
    assert!(matches!(log.read(shard(1, 0), Offset::ZERO, ALL).await, Err(Error::Closed)));
    assert!(matches!(log.trim(shard(1, 0), Offset(1)).await, Err(Error::Closed)));
    assert!(matches!(log.delete_stream(StreamId(1)).await, Err(Error::Closed)));
    log.close().await.expect("close again");
}

/// A case that would wait for ever fails instead.
pub(crate) async fn in_time<T>(case: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), case).await.expect("the case takes under a minute")
}

pub(crate) async fn stored_bytes_come_and_go_with_the_records(log: &dyn Log) {
    let (one, two) = (shard(1, 0), shard(1, 1));
    assert_eq!(log.stored_bytes(StreamId(1)), 0);
    put(log, one, numbered(0, 10)).await;
    let first = log.stored_bytes(StreamId(1));
    assert!(first > 0);
    put(log, one, numbered(10, 10)).await;
    put(log, two, numbered(0, 10)).await;
    put(log, shard(2, 0), numbered(0, 10)).await;
    let of_one = log.stored_bytes_in(one, range(0, 20)).await.expect("stored bytes");
    let of_two = log.stored_bytes_in(two, range(0, 10)).await.expect("stored bytes");
    assert_eq!(log.stored_bytes(StreamId(1)), of_one + of_two);
    assert_eq!(log.stored_bytes_in(one, range(0, 10)).await.expect("stored bytes"), first);
    assert_eq!(log.stored_bytes_in(one, range(7, 7)).await.expect("stored bytes"), 0);
    log.trim(one, Offset(10)).await.expect("trim");
    assert_eq!(log.stored_bytes(StreamId(1)), of_one + of_two - first);
    log.trim(one, Offset(20)).await.expect("trim");
    assert_eq!(log.stored_bytes(StreamId(1)), of_two);
    log.delete_stream(StreamId(1)).await.expect("delete");
    assert_eq!(log.stored_bytes(StreamId(1)), 0);
    assert!(log.stored_bytes(StreamId(2)) > 0);
}

/// The suite as tests, for an engine that `$open(limits, clock) -> Subject` opens.
macro_rules! conformance {
    ($open:expr; $($case:ident)*; on_a_clock $($timed:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let subject = $open(super::LIMITS, $crate::time::Clock::system());
                super::in_time(super::$case(&*subject.log)).await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $timed() {
                let clock = super::HandClock::default();
                let subject = $open(super::LIMITS, clock.clock());
                super::in_time(super::$timed(&*subject.log, &clock)).await;
            }
        )*
    };
    ($open:expr) => {
        conformance! { $open;
            offsets_are_dense_and_start_at_zero
            shards_are_independent
            a_shard_never_written_is_empty
            reads_keep_their_limit_but_return_one_record
            a_read_at_or_past_the_end_is_empty
            records_keep_every_byte
            an_empty_append_stores_nothing
            tickets_keep_their_order
            concurrent_appends_are_each_whole
            the_tail_moves_with_each_durable_append
            trim_hides_records_and_never_moves_back
            a_deleted_stream_is_empty_and_its_neighbours_stay
            stored_bytes_come_and_go_with_the_records
            limits_hold_at_the_limit_and_one_past_it
            a_sequence_is_stored_once_and_answered_as_the_first_time
            a_sequence_sent_twice_at_once_is_stored_once
            a_sequence_with_other_records_or_below_the_window_is_refused
            an_append_at_another_offset_than_expected_stores_nothing
            conditional_appends_are_linearizable
            a_closed_log_refuses;
            on_a_clock
            arrival_times_never_fall
            a_time_finds_the_first_record_at_or_after_it
        }
    };
}

mod memory {
    use super::super::memory::MemoryLog;
    use super::{AppendLimits, Arc, Clock, Subject};

    fn open(limits: AppendLimits, clock: Clock) -> Subject {
        Subject { log: Arc::new(MemoryLog::with(limits, clock)), _files: None }
    }

    conformance!(open);
}

/// RocksDB with its default budgets: everything that a case reads comes from the tail cache.
mod rocks {
    use super::super::rocks::{LogSettings, RocksLog};
    use super::{AppendLimits, Arc, Clock, Subject};

    fn open(limits: AppendLimits, clock: Clock) -> Subject {
        let files = tempfile::tempdir().expect("a folder");
        let settings = LogSettings { limits, ..LogSettings::new(files.path()) };
        Subject { log: Arc::new(RocksLog::open_with_clock(settings, clock).expect("open")), _files: Some(files) }
    }

    conformance!(open);
}

/// RocksDB without a tail cache, in blocks and groups as small as they get: everything comes from disk.
mod rocks_without_cache {
    use super::super::rocks::{LogSettings, RocksLog};
    use super::{AppendLimits, Arc, Clock, Subject};

    fn open(limits: AppendLimits, clock: Clock) -> Subject {
        let files = tempfile::tempdir().expect("a folder");
        let settings = LogSettings {
            limits,
            tail_cache_bytes_max: 0,
            block_bytes_max: 100,
            group_bytes_max: 1,
            ..LogSettings::new(files.path())
        };
        Subject { log: Arc::new(RocksLog::open_with_clock(settings, clock).expect("open")), _files: Some(files) }
    }

    conformance!(open);
}
