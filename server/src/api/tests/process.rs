//! The process: restart, drain, health, readiness, metrics, and a folder that is in use.

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::error::Kind;

#[tokio::test]
async fn a_second_start_finds_everything() {
    let mut world = World::new().await;
    let created = world.create("s", 3).await;
    let records: Vec<_> = (0..100).map(|n| record(&n.to_string(), n.to_string())).collect();
    let first = world.records.put(put("s", records.clone())).await.unwrap().into_inner();
    let folder = world.close().await;
    let mut world = World::on(folder, &[]).await;
    let describe = v1::DescribeStreamRequest { name: "s".to_owned() };
    let found = world.streams.describe_stream(describe).await.unwrap().into_inner().stream.unwrap();
    assert_eq!(found.created_at_ms, created.created_at_ms);
    assert_eq!(found.shards.iter().map(|shard| shard.next_offset).sum::<u64>(), 100);
    let again = world.records.put(put("s", records)).await.unwrap().into_inner();
    let places = |response: &v1::PutResponse| -> std::collections::BTreeSet<(u32, u64)> {
        let place = |result: &v1::PutResult| match result.result.as_ref().unwrap() {
            v1::put_result::Result::Placed(placed) => (placed.shard, placed.offset),
            v1::put_result::Result::Error(error) => panic!("{error:?}"),
        };
        response.results.iter().map(place).collect()
    };
    assert!(places(&first).is_disjoint(&places(&again)), "an offset is never used twice");
    world.close().await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused_in_words() {
    let world = World::new().await;
    let error = serve::start(settings(world.folder.path(), &[])).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::FailedPrecondition);
    let words = error.to_string();
    assert!(words.contains("is in use by process") && words.contains("--data-dir"), "{words}");
    world.close().await;
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_setting() {
    let world = World::new().await;
    let other = tempfile::tempdir().unwrap();
    let taken = world.running.grpc_addr().to_string();
    let error = serve::start(settings(other.path(), &[("MILLRACE_HTTP_LISTEN", &taken)])).await.unwrap_err();
    assert!(error.to_string().contains(&format!("cannot listen on {taken} (http_listen)")), "{error}");
    world.close().await;
}

#[tokio::test]
async fn other_programs_find_the_addresses_while_the_server_runs() {
    let world = World::new().await;
    let path = world.folder.path().join("data/endpoints.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let endpoints: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(endpoints["grpc"], format!("http://{}", world.running.grpc_addr()));
    assert_eq!(endpoints["http"], format!("http://{}", world.running.http_addr()));
    let _folder = world.close().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    world.records.put(put("s", vec![record("k", "12345")])).await.unwrap();
    assert_eq!(world.http("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(world.http("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(world.http("/nothing").await.0, 404);
    let (status, metrics) = world.http("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "millrace_streams_incoming_bytes_total{shard=\"0\",stream=\"s\"} 6",
        "millrace_streams_put_latency_seconds_count{stream=\"s\"} 1",
        "millrace_log_records_total 1",
        "millrace_log_poisoned 0",
    ] {
        assert!(metrics.lines().any(|each| each == line), "{line} is not in\n{metrics}");
    }
    let channel = Channel::from_shared(format!("http://{}", world.running.grpc_addr())).unwrap().connect().await;
    let mut health = HealthClient::new(channel.unwrap());
    for service in ["", "millrace.v1.StreamService", "millrace.v1.RecordService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    world.close().await;
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let world = World::new().await;
    let channel = Channel::from_shared(format!("http://{}", world.running.grpc_addr())).unwrap().connect().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel.unwrap());
    let mut answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("millrace.v1.RecordService"), "{answer}");
    world.close().await;
}

/// Long-lived calls must not keep a drain waiting for its timeout, and each must be told why it ends.
#[tokio::test]
async fn a_drain_ends_open_streams_and_says_why() {
    let mut world = World::with(&[("MILLRACE_DRAIN_TIMEOUT", "10min")]).await;
    world.create("s", 1).await;
    let subscribe =
        v1::SubscribeRequest { stream: "s".to_owned(), shard: None, position: trim_horizon(), ..Default::default() };
    let mut pushed = world.records.subscribe(subscribe).await.unwrap().into_inner();
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = world.records.put_stream(requests).await.unwrap().into_inner();
    sender.send(put("s", vec![record("k", "x")])).await.unwrap();
    assert_eq!(offsets(&answers.message().await.unwrap().unwrap()), [0]);
    assert_eq!(pushed.message().await.unwrap().unwrap().records.len(), 1);
    world.running.shutdown().cancel();
    assert_eq!(pushed.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
    drop((sender, pushed, answers));
    world.close().await;
}

#[tokio::test]
async fn a_closed_server_takes_no_more_calls() {
    let mut world = World::new().await;
    world.create("s", 1).await;
    world.running.shutdown().cancel();
    let World { folder: _folder, running, mut records, streams: _ } = world;
    running.join().await.unwrap();
    let error = records.put(put("s", vec![record("k", "x")])).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}

/// At the limit a connection is served; one past it is told why, and the place is free again when one goes.
#[tokio::test]
async fn connections_past_the_limit_are_refused_in_words() {
    let world = World::with(&[("MILLRACE_CONNECTIONS_MAX", "2")]).await;
    let endpoint = Channel::from_shared(format!("http://{}", world.running.grpc_addr())).unwrap();
    let check = async |channel: Channel| {
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel).check(request).await
    };
    let second = endpoint.connect().await.unwrap();
    assert!(check(second.clone()).await.is_ok(), "the second of two");
    let refused = match endpoint.connect().await {
        Ok(third) => format!("{:?}", check(third).await.unwrap_err()),
        Err(error) => format!("{error:?}"),
    };
    assert!(refused.contains("connections_max") || refused.contains("ENHANCE_YOUR_CALM"), "{refused}");
    let metrics = world.http("/metrics").await.1;
    assert!(metrics.contains("millrace_connections 2"), "{metrics}");
    assert!(!metrics.contains("millrace_connections_refused_total 0"), "{metrics}");
    drop(second);
    while !world.http("/metrics").await.1.contains("millrace_connections 1\n") {
        tokio::task::yield_now().await;
    }
    assert!(check(endpoint.connect().await.unwrap()).await.is_ok(), "a place is free again");
    world.close().await;
}

#[tokio::test]
async fn a_message_past_what_the_wire_decodes_is_counted() {
    let mut world = World::with(&[("MILLRACE_STREAMS_PUT_BYTES_MAX", "1KiB")]).await;
    world.create("s", 1).await;
    let large = || put("s", vec![record("k", vec![0; 2 << 20])]);
    assert_eq!(world.records.put(large()).await.unwrap_err().code(), Code::OutOfRange);
    let count = |metrics: &str, count: u32| {
        metrics.contains(&format!("millrace_streams_rejected_total{{limit=\"message_bytes_max\"}} {count}"))
    };
    assert!(count(&world.http("/metrics").await.1, 1));
    let mut answers = world.records.put_stream(futures::stream::iter([large()])).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::OutOfRange);
    assert!(count(&world.http("/metrics").await.1, 2));
    // What the wire decodes and the put's own limit refuses is counted under that.
    assert_eq!(
        world.records.put(put("s", vec![record("k", vec![0; 1024])])).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert!(count(&world.http("/metrics").await.1, 2));
    world.close().await;
}
