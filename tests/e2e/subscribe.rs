//! Reading back: in order, from each kind of position, pushed as it comes.

use std::time::Duration;

use millrace_proto::v1::position::{Latest, Position as At, TrimHorizon};
use millrace_proto::v1::{CreateStreamRequest, Position, SubscribeRequest, SubscribeResponse};
use millrace_tests::grpc;
use millrace_tests::site::Site;
use tonic::Streaming;
use tonic::transport::Channel;

const DEADLINE: Duration = Duration::from_secs(30);

async fn subscribe(channel: &Channel, at: At) -> Streaming<SubscribeResponse> {
    let position = Some(Position { position: Some(at) });
    let stream = "events".to_owned();
    let request = SubscribeRequest { stream, shard: Some(0), position, ..SubscribeRequest::default() };
    grpc::records(channel).subscribe(request).await.expect("a stream can be read").into_inner()
}

/// The next `count` records' offsets.
async fn next(pushed: &mut Streaming<SubscribeResponse>, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let message = tokio::time::timeout(DEADLINE, pushed.message()).await.expect("records are pushed in time");
        let message = message.expect("the subscription holds").expect("the subscription does not end");
        offsets.extend(message.records.iter().map(|record| record.offset));
    }
    offsets
}

async fn put(channel: &Channel, count: usize) {
    let records = (0..count).map(|i| (format!("k{i}"), b"{}".to_vec()));
    let response = grpc::records(channel).put(grpc::put_request("events", records)).await.expect("a put is taken");
    assert_eq!(response.get_ref().failed_count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_gets_each_record_in_order_from_where_it_wants() {
    let site = Site::start();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let request = CreateStreamRequest {
        name: "events".to_owned(),
        in_bytes_per_second: Some(0),
        in_records_per_second: Some(0),
        out_bytes_per_second: Some(0),
        ..CreateStreamRequest::default()
    };
    grpc::streams(&channel).create_stream(request).await.expect("a stream can be created");
    put(&channel, 300).await;

    let mut from_start = subscribe(&channel, At::TrimHorizon(TrimHorizon {})).await;
    assert_eq!(next(&mut from_start, 300).await, (0..300).collect::<Vec<_>>());
    let mut from_offset = subscribe(&channel, At::Offset(250)).await;
    assert_eq!(next(&mut from_offset, 50).await, (250..300).collect::<Vec<_>>());
    let mut from_time = subscribe(&channel, At::TimeMs(0)).await;
    assert_eq!(next(&mut from_time, 300).await, (0..300).collect::<Vec<_>>());

    let mut latest = subscribe(&channel, At::Latest(Latest {})).await;
    // A subscription to the newest begins when the server says so, which the first record that it pushes tells.
    put(&channel, 10).await;
    assert_eq!(next(&mut from_start, 10).await, (300..310).collect::<Vec<_>>());
    put(&channel, 10).await;
    let first = next(&mut latest, 1).await[0];
    assert!(first >= 300, "the newest began at {first}");
}
