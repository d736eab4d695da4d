//! Each limit of the data plane: at it is taken, one past it is refused by name, and nothing is lost by that.

use millrace_proto::v1::put_error::Kind;
use millrace_proto::v1::put_result::Result as Fate;
use millrace_proto::v1::{CreateStreamRequest, PutRecord, PutRequest, PutResponse};
use millrace_tests::grpc;
use millrace_tests::site::Site;
use tonic::transport::Channel;
use tonic::{Code, Status};

const MIB: usize = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

fn create(name: &str) -> CreateStreamRequest {
    CreateStreamRequest {
        name: name.to_owned(),
        in_bytes_per_second: Some(0),
        in_records_per_second: Some(0),
        out_bytes_per_second: Some(0),
        ..CreateStreamRequest::default()
    }
}

fn record(key: &str, bytes: usize) -> PutRecord {
    PutRecord { partition_key: key.to_owned(), explicit_hash_key: None, data: vec![b'x'; bytes].into() }
}

async fn put(channel: &Channel, stream: &str, records: Vec<PutRecord>) -> Result<PutResponse, Status> {
    let request = PutRequest { stream: stream.to_owned(), records, ..PutRequest::default() };
    grpc::records(channel).put(request).await.map(tonic::Response::into_inner)
}

/// Asserts that the one record of a put is stored, or refused as invalid with these words, by status or by fate.
fn check_one(what: &str, outcome: Result<PutResponse, Status>, refused_with: Option<&str>) {
    let refusal = match outcome {
        Err(status) => {
            assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
            Some(status.message().to_owned())
        }
        Ok(response) => match response.results[0].result.clone().expect("a fate is set") {
            Fate::Placed(_) => None,
            Fate::Error(error) => {
                assert_eq!(error.kind(), Kind::Invalid, "{what}: {error:?}");
                Some(error.message)
            }
        },
    };
    match (refused_with, refusal) {
        (None, None) => {}
        (Some(words), Some(message)) => assert!(message.contains(words), "{what}: {message:?} lacks {words:?}"),
        (wanted, found) => panic!("{what}: wanted {wanted:?}, found {found:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_taken_up_to_each_limit_and_not_past_it() {
    let site = Site::start();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    grpc::streams(&channel).create_stream(create("events")).await.expect("a stream can be created");

    let one = async |what: &str, record: PutRecord, refused_with: Option<&str>| {
        check_one(what, put(&channel, "events", vec![record]).await, refused_with);
    };
    one("a key of 256 characters", record(&"k".repeat(256), 1), None).await;
    one("a key of 257 characters", record(&"k".repeat(257), 1), Some("256")).await;
    one("an empty key", record("", 1), Some("key")).await;
    one("data and key of 1 MiB", record("k", MIB - 1), None).await;
    one("data and key of 1 MiB and a byte", record("k", MIB), Some("1048576")).await;
    one("a record without data", record("k", 0), None).await;
    let hash = |text: &str| PutRecord { explicit_hash_key: Some(text.to_owned()), ..record("k", 1) };
    one("the largest hash key", hash(&u128::MAX.to_string()), None).await;
    one("one past the largest hash key", hash("340282366920938463463374607431768211456"), Some("hash key")).await;
    one("a hash key that is no number", hash("0x10"), Some("hash key")).await;

    let many = |count: usize, bytes: usize| (0..count).map(|i| record(&format!("k{i}"), bytes)).collect::<Vec<_>>();
    let taken = put(&channel, "events", many(500, 10)).await.expect("500 records are taken");
    assert_eq!((taken.results.len(), taken.failed_count), (500, 0));
    let status = put(&channel, "events", many(501, 10)).await.expect_err("501 records are refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("500"), "{status:?}");
    let status = put(&channel, "events", Vec::new()).await.expect_err("no records are refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let taken = put(&channel, "events", many(10, MIB - 2)).await.expect("10 MiB are taken");
    assert_eq!(taken.failed_count, 0);
    let status = put(&channel, "events", many(11, MIB - 100)).await.expect_err("more than 10 MiB are refused");
    assert!(matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    let status = put(&channel, "absent", many(1, 1)).await.expect_err("there is no such stream");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert!(status.message().contains("absent"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_made_within_each_limit_and_not_past_it() {
    let site = Site::start();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let longest = "n".repeat(128);
    let too_long = "n".repeat(129);
    let with = |name: &str, change: fn(&mut CreateStreamRequest)| {
        let mut request = create(name);
        change(&mut request);
        request
    };
    let cases: Vec<(CreateStreamRequest, Code)> = vec![
        (create(&longest), Code::Ok),
        (create(&too_long), Code::InvalidArgument),
        (create(""), Code::InvalidArgument),
        (create("two words"), Code::InvalidArgument),
        (create("a/b"), Code::InvalidArgument),
        (create("ä"), Code::InvalidArgument),
        (create("once"), Code::Ok),
        (create("once"), Code::AlreadyExists),
        (with("hour", |r| r.retention_ms = Some(HOUR_MS)), Code::Ok),
        (with("less", |r| r.retention_ms = Some(HOUR_MS - 1)), Code::InvalidArgument),
        (with("year", |r| r.retention_ms = Some(8760 * HOUR_MS)), Code::Ok),
        (with("more", |r| r.retention_ms = Some(8760 * HOUR_MS + 1)), Code::InvalidArgument),
        (with("large", |r| r.record_bytes_max = Some(10 << 20)), Code::Ok),
        (with("larger", |r| r.record_bytes_max = Some((10 << 20) + 1)), Code::InvalidArgument),
        (with("shards", |r| r.shard_count = 10_000), Code::Ok),
        (with("shards2", |r| r.shard_count = 10_001), Code::InvalidArgument),
    ];
    for (request, wanted) in cases {
        let name = request.name.clone();
        let code = match grpc::streams(&channel).create_stream(request).await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        };
        assert_eq!(code, wanted, "creating {name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_over_its_quota_names_itself_and_when_to_retry() {
    let site = Site::start();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    // The default quota: 1 MiB and 1,000 records a second.
    let request = CreateStreamRequest { name: "slow".to_owned(), ..CreateStreamRequest::default() };
    grpc::streams(&channel).create_stream(request).await.expect("a stream can be created");
    let mut throttled = None;
    for _ in 0..8 {
        let records = (0..500).map(|i| record(&format!("k{i}"), 10)).collect();
        let response = put(&channel, "slow", records).await.expect("a batch is answered record by record");
        let mut errors = response.results.into_iter().filter_map(|result| match result.result {
            Some(Fate::Error(error)) => Some(error),
            _ => None,
        });
        throttled = errors.next_back();
        if throttled.is_some() {
            break;
        }
    }
    let error = throttled.expect("4,000 records at once are over the quota");
    assert_eq!(error.kind(), Kind::Throttled, "{error:?}");
    assert_eq!(error.shard, Some(0), "{error:?}");
    assert!(error.retry_after_ms > 0 && error.retry_after_ms <= 60_000, "{error:?}");
}
