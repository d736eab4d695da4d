//! The producer under faults that a real server cannot be made to show on demand.

use std::net::TcpListener;
use std::time::Duration;

use futures::future::join_all;
use futures::poll;
use millrace_proto::v1::PutRequest;
use millrace_proto::v1::put_error::Kind as Refusal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::{Act, Fake, place_all, placed, refused, texts};
use crate::{Client, Kind, Placed, Producer, ProducerSettings, PutFuture, PutRecord, Result, RetrySettings};

/// Quick retries, and batches of two, so that few records make many batches.
fn settings() -> ProducerSettings {
    let retry = RetrySettings {
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(5),
        ..RetrySettings::default()
    };
    ProducerSettings { batch_records_max: 2, retry, ..ProducerSettings::default() }
}

fn producer(fake: &Fake, settings: ProducerSettings) -> Producer {
    fake.serve().producer_with("flights", settings).unwrap()
}

/// Sends records whose data are the numbers of a range.
async fn send(producer: &Producer, numbers: std::ops::Range<u64>) -> Vec<PutFuture> {
    let mut fates = Vec::new();
    for number in numbers {
        fates.push(producer.send(PutRecord::new("key", number.to_string())).await.unwrap());
    }
    fates
}

async fn settled(fates: Vec<PutFuture>) -> Vec<Result<Placed>> {
    join_all(fates).await
}

fn offsets(fates: &[Result<Placed>]) -> Vec<u64> {
    fates.iter().map(|fate| fate.as_ref().unwrap().offset).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn records_arrive_in_the_order_sent_and_each_future_gives_its_own_place() {
    let fake = Fake::putting(|_, request| place_all(request));
    let producer = producer(&fake, settings());
    let fates = send(&producer, 0..101).await;
    assert_eq!(offsets(&settled(fates).await), (0..101).collect::<Vec<_>>());
    assert_eq!(fake.arrived(), numbers(0..101));
    assert!(fake.batches().iter().all(|batch| batch.len() <= 2));
    producer.close().await.unwrap();
}

#[tokio::test]
async fn a_batch_holds_its_most_bytes_and_not_one_more() {
    let fake = Fake::putting(|_, request| place_all(request));
    // Key and data are four bytes a record: two records fill a batch of 8, one a batch of 7.
    for (batch_bytes_max, most) in [(8, 2), (7, 1)] {
        let settings = ProducerSettings { batch_bytes_max, batch_records_max: 500, ..settings() };
        let producer = producer(&fake, settings);
        let before = fake.batches().len();
        send(&producer, 0..9).await.clear();
        producer.flush().await.unwrap();
        let largest = fake.batches()[before..].iter().map(Vec::len).max();
        assert_eq!(largest, Some(most), "batch_bytes_max {batch_bytes_max}");
    }
}

#[tokio::test]
async fn throttled_records_are_tried_again_and_the_others_are_not() {
    let fake = Fake::putting(|number, request| match number {
        0 => Act::Answer(vec![placed(0), refused(Refusal::Throttled, 1)]),
        _ => place_all(request),
    });
    let producer = producer(&fake, settings());
    let fates = settled(send(&producer, 0..2).await).await;
    assert_eq!(offsets(&fates), [0, 1]);
    assert_eq!(fake.batches(), [vec!["0", "1"], vec!["1"]]);
}

#[tokio::test]
async fn a_throttled_stream_slows_a_producer_and_does_not_fail_it() {
    // Each batch stores one record; so the last is tried for longer than time_max, though never that long in vain.
    let fake = Fake::putting(|_, request| {
        let fate = |(index, text): (usize, &String)| match index {
            0 => placed(text.parse().unwrap()),
            _ => refused(Refusal::Throttled, 150),
        };
        Act::Answer(texts(request).iter().enumerate().map(fate).collect())
    });
    let mut settings = ProducerSettings { batch_records_max: 9, ..settings() };
    settings.retry.time_max = Duration::from_secs(1);
    let producer = producer(&fake, settings);
    let started = std::time::Instant::now();
    assert_eq!(offsets(&settled(send(&producer, 0..9).await).await), (0..9).collect::<Vec<_>>());
    assert!(started.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn a_refused_record_fails_alone_and_the_flush_reports_it() {
    let fake = Fake::putting(|_, request| {
        let result = |text: &String| match text.as_str() {
            "3" => refused(Refusal::Invalid, 0),
            text => placed(text.parse().unwrap()),
        };
        Act::Answer(texts(request).iter().map(result).collect())
    });
    let producer = producer(&fake, settings());
    let fates = settled(send(&producer, 0..6).await).await;
    let error = fates[3].as_ref().unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(!error.is_retryable() && !error.may_have_applied());
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 5);
    assert_eq!(fake.arrived(), numbers(0..6), "no record was tried again");
    assert_eq!(producer.flush().await.unwrap_err().kind(), Kind::Invalid);
    producer.flush().await.expect("a failure is reported once");
}

#[tokio::test]
async fn a_record_whose_fate_is_unknown_fails_so_and_is_not_tried_again() {
    let fake = Fake::putting(|number, request| match number {
        0 => Act::Fail(Status::unavailable("the log failed")),
        _ => place_all(request),
    });
    let producer = producer(&fake, ProducerSettings { in_flight_max: 1, idempotent: false, ..settings() });
    let fates = settled(send(&producer, 0..1).await).await;
    let error = fates[0].as_ref().unwrap_err();
    assert!(error.may_have_applied() && error.is_retryable(), "{error:?}");
    assert_eq!(offsets(&settled(send(&producer, 1..2).await).await), [1], "the producer goes on");
    assert_eq!(fake.arrived(), ["0", "1"]);
}

#[tokio::test]
async fn a_record_that_the_log_may_hold_is_not_tried_again() {
    let fake = Fake::putting(|_, request| {
        Act::Answer(request.records.iter().map(|_| refused(Refusal::Unavailable, 0)).collect())
    });
    let producer = producer(&fake, ProducerSettings { idempotent: false, ..settings() });
    let fates = settled(send(&producer, 0..4).await).await;
    assert!(fates.iter().all(|fate| fate.as_ref().is_err_and(crate::Error::may_have_applied)));
    assert_eq!(fake.arrived(), numbers(0..4));
}

#[tokio::test]
async fn an_unknown_fate_is_tried_again_where_duplicates_are_accepted() {
    let fake = Fake::putting(|number, request| match number {
        0 => Act::Fail(Status::unavailable("the connection broke")),
        1 => Act::Answer(request.records.iter().map(|_| refused(Refusal::Unavailable, 0)).collect()),
        _ => place_all(request),
    });
    let mut settings = ProducerSettings { idempotent: false, ..settings() };
    settings.retry.unknown = true;
    let producer = producer(&fake, settings);
    let fates = settled(send(&producer, 0..1).await).await;
    assert_eq!(offsets(&fates), [0]);
    assert_eq!(fake.arrived(), ["0", "0", "0"]);
}

/// Producer, sequence and whether it was sent before, of each request that arrived.
fn names(fake: &Fake) -> Vec<(u64, u64, bool)> {
    let name = |put: &PutRequest| (put.producer_id, put.sequence, put.sequence_age_ms > 0);
    fake.puts().iter().map(name).collect()
}

#[tokio::test]
async fn a_batch_of_unknown_fate_is_sent_again_under_its_name() {
    let fake = Fake::putting(|number, request| match number {
        1 => Act::Fail(Status::unavailable("the connection broke")),
        2 => Act::Answer(request.records.iter().map(|_| refused(Refusal::Unavailable, 0)).collect()),
        _ => place_all(request),
    });
    let producer = producer(&fake, ProducerSettings { in_flight_max: 1, ..settings() });
    for numbers in [0..1, 1..3, 3..4] {
        let expected: Vec<u64> = numbers.clone().collect();
        assert_eq!(offsets(&settled(send(&producer, numbers).await).await), expected);
    }
    assert_eq!(fake.batches(), [vec!["0"], vec!["1", "2"], vec!["1", "2"], vec!["1", "2"], vec!["3"]]);
    let names = names(&fake);
    let id = names[0].0;
    assert_ne!(id, 0);
    assert_eq!(names, [(id, 0, false), (id, 1, false), (id, 1, true), (id, 1, true), (id, 2, false)]);
}

#[tokio::test]
async fn a_batch_that_is_stored_in_part_goes_again_whole_until_all_is_known() {
    let fake = Fake::putting(|number, request| match number {
        0 => Act::Answer(vec![placed(0), refused(Refusal::Unavailable, 0), refused(Refusal::Throttled, 1)]),
        // The first was answered already: another answer about it changes nothing.
        1 => Act::Answer(vec![refused(Refusal::Invalid, 0), placed(1), refused(Refusal::Throttled, 1)]),
        _ => place_all(request),
    });
    let settings = ProducerSettings { batch_records_max: 3, ..settings() };
    let producer = producer(&fake, settings);
    assert_eq!(offsets(&settled(send(&producer, 0..3).await).await), [0, 1, 2]);
    // While the fate of one was open, all went under one name; it stays until that batch has its answer.
    assert_eq!(fake.batches(), vec![vec!["0", "1", "2"]; 3]);
    let sequences: Vec<u64> = names(&fake).iter().map(|name| name.1).collect();
    assert_eq!(sequences, [0, 0, 0]);
    producer.close().await.expect("nothing failed");
}

#[tokio::test]
async fn what_certainly_was_not_stored_goes_again_under_a_new_name() {
    let fake = Fake::putting(|number, request| match number {
        0 => Act::Answer(vec![placed(0), refused(Refusal::Throttled, 1)]),
        _ => place_all(request),
    });
    let producer = producer(&fake, settings());
    assert_eq!(offsets(&settled(send(&producer, 0..2).await).await), [0, 1]);
    let names = names(&fake);
    assert_eq!((names[0].1, names[1].1, names[1].2), (0, 1, false));
}

#[tokio::test]
async fn a_record_that_was_sent_once_is_not_said_to_be_lost_when_the_server_stays_away() {
    let fake = Fake::putting(|_, _| Act::Fail(Status::unavailable("the connection broke")));
    let mut settings = settings();
    settings.retry.time_max = Duration::from_millis(100);
    let producer = producer(&fake, settings);
    let fates = settled(send(&producer, 0..1).await).await;
    assert!(fates[0].as_ref().unwrap_err().may_have_applied());
    assert!(fake.arrived().len() > 1, "it was tried again");
}

#[tokio::test]
async fn a_sequence_that_the_server_forgot_fails_as_unknown() {
    let fake = Fake::putting(|number, _| match number {
        0 => Act::Fail(Status::unavailable("the connection broke")),
        _ => Act::Answer(vec![refused(Refusal::SequenceTooOld, 0)]),
    });
    let producer = producer(&fake, settings());
    let error = settled(send(&producer, 0..1).await).await.remove(0).unwrap_err();
    assert!(error.may_have_applied() && !error.is_retryable(), "{error:?}");
    assert_eq!(fake.arrived().len(), 2);
}

#[tokio::test]
async fn what_the_server_did_not_take_before_it_ended_the_call_is_tried_again() {
    let fake = Fake::putting(|number, request| match number {
        1 | 2 => Act::End,
        _ => place_all(request),
    });
    let producer = producer(&fake, settings());
    let fates = settled(send(&producer, 0..20).await).await;
    assert_eq!(offsets(&fates), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_service_that_closes_costs_no_record() {
    let closing = || {
        let details = ErrorDetails::with_error_info("UNAVAILABLE", "millrace", []);
        Status::with_error_details(Code::Unavailable, "the server is closing", details)
    };
    let fake =
        Fake::putting(move |number, request| if number % 3 == 1 { Act::Fail(closing()) } else { place_all(request) });
    let producer = producer(&fake, settings());
    let fates = settled(send(&producer, 0..20).await).await;
    assert_eq!(offsets(&fates), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn records_wait_for_a_server_that_is_not_there_yet() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let producer = Client::connect(address.to_string()).unwrap().producer_with("flights", settings()).unwrap();
    let mut fates = send(&producer, 0..3).await;
    // The first attempt fails at once: nothing listens.
    assert!(poll!(&mut fates[0]).is_pending());
    let fake = Fake::putting(|_, request| place_all(request));
    fake.serve_on(address);
    assert_eq!(offsets(&settled(fates).await), [0, 1, 2]);
    assert_eq!(fake.arrived(), numbers(0..3), "each was stored once");
}

#[tokio::test]
async fn a_producer_that_may_not_retry_says_that_nothing_was_stored() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = settings();
    settings.retry.time_max = Duration::ZERO;
    let producer = Client::connect(address.to_string()).unwrap().producer_with("flights", settings).unwrap();
    let fates = settled(send(&producer, 0..5).await).await;
    for fate in fates {
        let error = fate.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(!error.may_have_applied(), "{error:?}");
    }
    assert!(producer.close().await.unwrap_err().message().starts_with("5 records failed"));
}

#[tokio::test]
async fn an_unknown_stream_fails_its_records_at_once() {
    let fake = Fake::putting(|_, _| Act::Fail(Status::not_found("no stream \"flights\"")));
    let producer = producer(&fake, settings());
    let fates = settled(send(&producer, 0..7).await).await;
    for fate in &fates {
        assert_eq!(fate.as_ref().unwrap_err().kind(), Kind::NotFound);
    }
    assert!(!fates[0].as_ref().unwrap_err().may_have_applied());
}

#[tokio::test]
async fn an_answer_of_the_wrong_length_settles_no_record_wrongly() {
    let fake = Fake::putting(|_, _| Act::Answer(vec![placed(7), placed(8), placed(9)]));
    let producer = producer(&fake, settings());
    let fates = settled(send(&producer, 0..2).await).await;
    for fate in fates {
        let error = fate.unwrap_err();
        assert!(error.kind() == Kind::Internal && error.may_have_applied(), "{error:?}");
    }
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_and_a_settled_record_lets_them_on() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let fake = Fake::putting(move |_, request| match held.try_recv() {
        Ok(()) => place_all(request),
        Err(_) => Act::Fail(Status::not_found("not released")),
    });
    // A record of four bytes counts 132: the buffer holds two.
    let producer = producer(&fake, ProducerSettings { buffer_bytes_max: 264, ..settings() });
    let first = producer.send(PutRecord::new("key", "0")).await.unwrap();
    let second = producer.send(PutRecord::new("key", "1")).await.unwrap();
    let mut third = Box::pin(producer.send(PutRecord::new("key", "2")));
    assert!(poll!(&mut third).is_pending());
    for _ in 0..3 {
        release.send(()).unwrap();
    }
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(third.await.unwrap().await.unwrap().offset, 2);
    let error = producer.send(PutRecord::new("key", vec![0; 262])).await.unwrap_err();
    assert!(error.message().contains("buffer_bytes_max 264"), "{error}");
}

#[tokio::test]
async fn a_sender_that_stops_waiting_leaves_no_record_behind() {
    let fake = Fake::putting(|_, _| Act::Hang);
    let producer = producer(&fake, ProducerSettings { buffer_bytes_max: 132, ..settings() });
    let _first = producer.send(PutRecord::new("key", "0")).await.unwrap();
    let mut second = Box::pin(producer.send(PutRecord::new("key", "1")));
    assert!(poll!(&mut second).is_pending());
    drop(second);
    let mut third = Box::pin(producer.clone().close());
    assert!(poll!(&mut third).is_pending(), "only the first is waited for");
    assert_eq!(producer.send(PutRecord::new("key", "2")).await.unwrap_err().kind(), Kind::Closed);
}

#[tokio::test]
async fn dropping_a_producer_still_settles_what_it_accepted() {
    let fake = Fake::putting(|_, request| place_all(request));
    let producer = producer(&fake, settings());
    let fates = send(&producer, 0..9).await;
    drop(producer);
    assert_eq!(offsets(&settled(fates).await), (0..9).collect::<Vec<_>>());
}

#[test]
fn a_runtime_that_ends_under_a_producer_fails_its_records() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (producer, fates) = runtime.block_on(async {
        let fake = Fake::putting(|_, _| Act::Hang);
        let producer = producer(&fake, settings());
        let fates = send(&producer, 0..3).await;
        (producer, fates)
    });
    drop(runtime);
    let fates = futures::executor::block_on(settled(fates));
    assert!(fates.iter().all(|fate| fate.as_ref().is_err_and(|error| error.kind() == Kind::Closed)), "{fates:?}");
    futures::executor::block_on(producer.close()).expect_err("three records failed");
}

#[tokio::test]
async fn a_flush_waits_for_what_was_accepted_before_it_only() {
    let fake = Fake::putting(|_, request| match texts(request)[0].as_str() {
        "9" => Act::Hang,
        _ => place_all(request),
    });
    let producer = producer(&fake, settings());
    let fates = send(&producer, 0..5).await;
    producer.flush().await.unwrap();
    for mut fate in fates {
        assert!(poll!(&mut fate).is_ready());
    }
    let mut last = send(&producer, 9..10).await.remove(0);
    let mut flush = Box::pin(producer.flush());
    assert!(poll!(&mut flush).is_pending());
    assert!(poll!(&mut last).is_pending());
}
