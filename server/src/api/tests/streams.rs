//! `StreamService` over the wire.

use tonic::Code;

use super::*;

#[tokio::test]
async fn a_stream_is_created_described_changed_listed_and_deleted() {
    let mut world = World::new().await;
    let created = world.create("flights", 2).await;
    assert_eq!((created.retention_ms, created.record_bytes_max), (24 * 3_600_000, 1 << 20));
    let ends: Vec<_> = created.shards.iter().map(|s| (s.hash_key_start.as_str(), s.hash_key_end.as_str())).collect();
    assert_eq!(
        ends,
        [
            ("0", "170141183460469231731687303715884105727"),
            ("170141183460469231731687303715884105728", "340282366920938463463374607431768211455"),
        ]
    );
    let update = v1::UpdateStreamRequest {
        name: "flights".to_owned(),
        retention_ms: Some(168 * 3_600_000),
        in_records_per_second: Some(7),
        ..Default::default()
    };
    world.streams.update_stream(update).await.unwrap();
    world.records.put(put("flights", vec![record("a", "x")])).await.unwrap();
    let describe = v1::DescribeStreamRequest { name: "flights".to_owned() };
    let described = world.streams.describe_stream(describe.clone()).await.unwrap().into_inner().stream.unwrap();
    assert_eq!(described.retention_ms, 168 * 3_600_000);
    assert_eq!(described.quota.unwrap().in_records_per_second, 7);
    assert_eq!(described.shards.iter().map(|shard| shard.next_offset).sum::<u64>(), 1);
    let listed = world.streams.list_streams(v1::ListStreamsRequest::default()).await.unwrap().into_inner();
    assert_eq!((listed.streams.len(), listed.next_page_token.as_str()), (1, ""));
    let delete = v1::DeleteStreamRequest { name: "flights".to_owned() };
    world.streams.delete_stream(delete).await.unwrap();
    assert_eq!(world.streams.describe_stream(describe).await.unwrap_err().code(), Code::NotFound);
    world.close().await;
}

#[tokio::test]
async fn pages_give_each_stream_once() {
    let mut world = World::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.create(name, 1).await;
    }
    let (mut names, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = v1::ListStreamsRequest { page_size: 2, page_token };
        let page = world.streams.list_streams(request).await.unwrap().into_inner();
        names.extend(page.streams.into_iter().map(|stream| stream.name));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((names.join(""), pages), ("abcde".to_owned(), 3));
    let greedy = v1::ListStreamsRequest { page_size: 1001, page_token: String::new() };
    let error = world.streams.list_streams(greedy).await.unwrap_err();
    assert_eq!(details(&error), ("INVALID".to_owned(), Some("page_size".to_owned()), false));
    world.close().await;
}

#[tokio::test]
async fn bad_requests_are_told_by_code_field_and_words() {
    let mut world = World::new().await;
    world.create("taken", 1).await;
    let base = || v1::CreateStreamRequest { name: "s".to_owned(), ..Default::default() };
    let named = |name: &str| v1::CreateStreamRequest { name: name.to_owned(), ..base() };
    let cases = [
        (named(""), Code::InvalidArgument, Some("stream"), "empty"),
        (named("a/b"), Code::InvalidArgument, Some("stream"), "'/'"),
        (named(&"n".repeat(129)), Code::InvalidArgument, Some("stream"), "limit of 128"),
        (named("taken"), Code::AlreadyExists, None, "a stream named taken exists"),
        (
            v1::CreateStreamRequest { shard_count: 10_001, ..base() },
            Code::InvalidArgument,
            Some("shard_count"),
            "10000",
        ),
        (
            v1::CreateStreamRequest { retention_ms: Some(3_599_999), ..base() },
            Code::InvalidArgument,
            Some("retention_ms"),
            "1 h to 8760 h",
        ),
        (
            v1::CreateStreamRequest { record_bytes_max: Some(u64::MAX), ..base() },
            Code::InvalidArgument,
            Some("record_bytes_max"),
            "10485760",
        ),
    ];
    for (request, code, field, words) in cases {
        let error = world.streams.create_stream(request).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(words), "{}", error.message());
        assert_eq!(details(&error).1.as_deref(), field, "{error}");
    }
    world.close().await;
}
