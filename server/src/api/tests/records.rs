//! `RecordService` over the wire.

use std::collections::BTreeSet;

use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::*;

#[tokio::test]
async fn what_was_put_is_read_back_as_it_was() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = vec![record("ключ", every_byte.clone()), record("b", ""), record("c", "x")];
    let put = world.records.put(put("s", records)).await.unwrap().into_inner();
    assert_eq!((offsets(&put), put.failed_count), (vec![0, 1, 2], 0));
    let read = world.records.get(get("s")).await.unwrap().into_inner();
    assert_eq!(read.records[0].partition_key, "ключ");
    assert_eq!(read.records[0].data, every_byte);
    assert_eq!(read.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((read.next_offset, read.millis_behind_latest), (3, 0));
    world.close().await;
}

#[tokio::test]
async fn each_record_has_its_own_fate() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    let update = v1::UpdateStreamRequest { name: "s".to_owned(), in_records_per_second: Some(1), ..Default::default() };
    world.streams.update_stream(update).await.unwrap();
    let records = vec![record("", "x"), record("a", "x"), record("a", "x")];
    let put = world.records.put(put("s", records)).await.unwrap().into_inner();
    assert_eq!(put.failed_count, 2);
    let fates: Vec<_> = put.results.into_iter().map(|result| result.result.unwrap()).collect();
    let [
        v1::put_result::Result::Error(invalid),
        v1::put_result::Result::Placed(_),
        v1::put_result::Result::Error(throttled),
    ] = &fates[..]
    else {
        panic!("{fates:?}")
    };
    assert_eq!((invalid.kind(), invalid.shard), (v1::put_error::Kind::Invalid, None));
    assert_eq!((throttled.kind(), throttled.shard), (v1::put_error::Kind::Throttled, Some(0)));
    assert!((1..=1000).contains(&throttled.retry_after_ms), "{throttled:?}");
    world.close().await;
}

#[tokio::test]
async fn a_full_put_of_the_largest_records_passes_and_one_byte_more_is_told_in_words() {
    let mut world = World::new().await;
    let create =
        v1::CreateStreamRequest { name: "s".to_owned(), record_bytes_max: Some(10 << 20), ..Default::default() };
    world.streams.create_stream(create).await.unwrap();
    let largest = (10 << 20) - 1;
    let placed = world.records.put(put("s", vec![record("k", vec![7; largest])])).await.unwrap().into_inner();
    assert_eq!(offsets(&placed), [0]);
    let read = world.records.get(get("s")).await.unwrap().into_inner();
    assert_eq!(read.records[0].data.len(), largest);
    let error = world.records.put(put("s", vec![record("k", vec![7; largest + 1])])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("10485761 bytes"), "{}", error.message());
    let (_, metrics) = world.http("/metrics").await;
    assert!(metrics.contains("millrace_streams_rejected_total{limit=\"put_bytes_max\"} 1"), "{metrics}");
    // Far past the limit, the message is not even taken off the wire.
    let error = world.records.put(put("s", vec![record("k", vec![7; 22 << 20])])).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    let wide = vec![record(&"k".repeat(256), vec![1; 20_000]); 500];
    assert_eq!(offsets(&world.records.put(put("s", wide)).await.unwrap().into_inner()).len(), 500);
    world.close().await;
}

#[tokio::test]
async fn a_put_stream_answers_in_order() {
    let mut world = World::new().await;
    world.create("s", 4).await;
    let requests = (0..200_u32).map(|n| put("s", (0..=n % 7).map(|i| record(&format!("{n}-{i}"), "x")).collect()));
    let answers = world.records.put_stream(futures::stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
    assert_eq!(answers.len(), 200);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(offsets(answer).len(), n % 7 + 1, "answer {n} belongs to request {n}");
    }
    let mut seen = BTreeSet::new();
    for answer in &answers {
        for result in &answer.results {
            let Some(v1::put_result::Result::Placed(placed)) = &result.result else { panic!() };
            assert!(seen.insert((placed.shard, placed.offset)), "{placed:?} was given twice");
        }
    }
    world.close().await;
}

/// The answer to a put does not wait for the next one: a producer that waits for its answer must not hang.
#[tokio::test]
async fn a_put_stream_answers_one_put_at_a_time_too() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let mut answers = world.records.put_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
    for offset in 0..3 {
        sender.send(put("s", vec![record("k", "x")])).await.unwrap();
        assert_eq!(offsets(&answers.message().await.unwrap().unwrap()), [offset]);
    }
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    world.close().await;
}

#[tokio::test]
async fn a_put_stream_answers_what_was_before_the_put_that_ends_it() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    let good = || put("s", vec![record("k", "x")]);
    let requests = vec![good(), good(), put("nowhere", vec![record("k", "x")]), good()];
    let mut answers = world.records.put_stream(futures::stream::iter(requests)).await.unwrap().into_inner();
    assert_eq!(offsets(&answers.message().await.unwrap().unwrap()), [0]);
    assert_eq!(offsets(&answers.message().await.unwrap().unwrap()), [1]);
    assert_eq!(answers.message().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.records.get(get("s")).await.unwrap().into_inner().records.len(), 2, "nothing after it was taken");
    world.close().await;
}

#[tokio::test]
async fn a_subscriber_is_pushed_what_is_there_and_what_comes() {
    let mut world = World::new().await;
    world.create("s", 2).await;
    let many = || put("s", (0..50).map(|n| record(&n.to_string(), n.to_string())).collect());
    world.records.put(many()).await.unwrap();
    let request =
        v1::SubscribeRequest { stream: "s".to_owned(), shard: None, position: trim_horizon(), ..Default::default() };
    let mut pushed = world.records.subscribe(request).await.unwrap().into_inner();
    world.records.put(many()).await.unwrap();
    let mut next = [0, 0];
    while next.iter().sum::<u64>() < 100 {
        let message = pushed.message().await.unwrap().unwrap();
        for record in &message.records {
            assert_eq!(record.offset, next[message.shard as usize], "offsets are dense");
            next[message.shard as usize] += 1;
        }
        assert_eq!(message.next_offset, next[message.shard as usize]);
    }
    world.close().await;
}

#[tokio::test]
async fn a_read_needs_a_position_a_stream_and_a_shard_that_exist() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    let cases = [
        (v1::GetRequest { position: None, ..get("s") }, Code::InvalidArgument),
        (v1::GetRequest { shard: 1, ..get("s") }, Code::NotFound),
        (get("nowhere"), Code::NotFound),
        (get("not a name"), Code::InvalidArgument),
        (v1::GetRequest { records_max: 10_001, ..get("s") }, Code::InvalidArgument),
    ];
    for (request, code) in cases {
        assert_eq!(world.records.get(request.clone()).await.unwrap_err().code(), code, "{request:?}");
    }
    let subscribe =
        v1::SubscribeRequest { stream: "s".to_owned(), shard: Some(9), position: trim_horizon(), ..Default::default() };
    assert_eq!(world.records.subscribe(subscribe).await.unwrap_err().code(), Code::NotFound);
    world.close().await;
}
