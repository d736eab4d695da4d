//! Bad input over the wire: each gets a typed error that names what is wrong, and nothing changes.

use millrace_proto::v1::group_service_client::GroupServiceClient;
use millrace_proto::v1::position::Position as At;
use tonic::Code;

use super::*;

const MEMBER: &str = "member-1";

fn at(position: At) -> Option<v1::Position> {
    Some(v1::Position { position: Some(position) })
}

/// A stream `s` of two shards and three records, and a group `g` whose one member holds both.
struct Scene {
    world: World,
    groups: GroupServiceClient<Channel>,
    /// The member's lease on shard 0.
    lease: v1::Lease,
}

impl Scene {
    async fn new() -> Self {
        let mut world = World::new().await;
        world.create("s", 2).await;
        let records = ["0", "0", "340282366920938463463374607431768211455"]
            .map(|hash_key| v1::PutRecord { explicit_hash_key: Some(hash_key.to_owned()), ..record("k", "x") });
        world.records.put(put("s", records.into())).await.unwrap();
        let endpoint = Channel::from_shared(format!("http://{}", world.running.grpc_addr())).unwrap();
        let mut groups = GroupServiceClient::new(endpoint.connect().await.unwrap());
        let join = v1::JoinGroupRequest {
            stream: "s".to_owned(),
            group: "g".to_owned(),
            member: MEMBER.to_owned(),
            ..Default::default()
        };
        groups.join_group(join).await.unwrap();
        let heartbeat = v1::HeartbeatRequest {
            stream: "s".to_owned(),
            group: "g".to_owned(),
            member: MEMBER.to_owned(),
            ..Default::default()
        };
        let held = groups.heartbeat(heartbeat).await.unwrap().into_inner().leases;
        let lease = held.into_iter().find(|lease| lease.shard == 0).unwrap();
        Self { world, groups, lease }
    }

    /// All that a request could have changed.
    async fn state(&mut self) -> (v1::Stream, Vec<v1::GroupShard>) {
        let describe = v1::DescribeStreamRequest { name: "s".to_owned() };
        let stream = self.world.streams.describe_stream(describe).await.unwrap().into_inner().stream.unwrap();
        let describe = v1::DescribeGroupRequest { stream: "s".to_owned(), group: "g".to_owned() };
        let group = self.groups.describe_group(describe).await.unwrap().into_inner().group.unwrap();
        // How long ago something was changes by itself.
        let timeless = |shard: v1::GroupShard| v1::GroupShard { millis_behind_latest: 0, ..shard };
        (stream, group.shards.into_iter().map(timeless).collect())
    }
}

fn check(error: &Status, code: Code, reason: &str, words: &str) {
    assert_eq!((error.code(), details(error).0.as_str()), (code, reason), "{error}");
    assert!(error.message().contains(words), "{}", error.message());
}

#[tokio::test]
async fn forged_page_tokens_are_refused_and_old_ones_are_not() {
    let mut scene = Scene::new().await;
    for forged in ["x", "-1", "4294967296", "1/2", " "] {
        let request = v1::ListShardsRequest { stream: "s".to_owned(), page_token: forged.to_owned(), page_size: 0 };
        let error = scene.world.streams.list_shards(request).await.unwrap_err();
        assert_eq!(details(&error), ("INVALID".to_owned(), Some("page_token".to_owned()), false), "{forged}");
    }
    for forged in ["x", "1", "1/", "x/g", "/g", "4294967296/g"] {
        let request = v1::ListGroupsRequest { page_token: forged.to_owned(), ..Default::default() };
        let error = scene.groups.list_groups(request).await.unwrap_err();
        assert_eq!(details(&error), ("INVALID".to_owned(), Some("page_token".to_owned()), false), "{forged}");
    }
    // What a token stood for may be gone: the page begins with what comes after it.
    let past = v1::ListShardsRequest { stream: "s".to_owned(), page_token: "4294967295".to_owned(), page_size: 0 };
    assert!(scene.world.streams.list_shards(past).await.unwrap().into_inner().shards.is_empty());
    let gone = v1::ListStreamsRequest { page_size: 0, page_token: "r-was-deleted".to_owned() };
    assert_eq!(scene.world.streams.list_streams(gone).await.unwrap().into_inner().streams.len(), 1);
    scene.world.close().await;
}

#[tokio::test]
async fn positions_that_no_record_has_are_refused_by_reads_of_both_kinds() {
    let mut scene = Scene::new().await;
    let before = scene.state().await;
    let cases = [
        (0, At::Offset(3), Code::InvalidArgument, "INVALID", "past the next offset 2"),
        (0, At::Offset(u64::MAX), Code::InvalidArgument, "INVALID", "past the next offset 2"),
        (0, At::AfterOffset(2), Code::InvalidArgument, "INVALID", "past the next offset 2"),
        (0, At::AfterOffset(u64::MAX), Code::InvalidArgument, "INVALID", "past the next offset 2"),
        (7, At::Offset(0), Code::NotFound, "NOT_FOUND", "no shard 7"),
    ];
    for (shard, position, code, reason, words) in cases {
        let get = v1::GetRequest { stream: "s".to_owned(), shard, position: at(position), ..Default::default() };
        check(&scene.world.records.get(get).await.unwrap_err(), code, reason, words);
        let stream = "s".to_owned();
        let subscribe =
            v1::SubscribeRequest { stream, shard: Some(shard), position: at(position), ..Default::default() };
        check(&scene.world.records.subscribe(subscribe).await.unwrap_err(), code, reason, words);
    }
    // The far past and the far future are times like any other.
    for (time, count) in [(i64::MIN, 2), (i64::MAX, 0)] {
        let position = at(At::TimeMs(time));
        let get = v1::GetRequest { stream: "s".to_owned(), shard: 0, position, ..Default::default() };
        assert_eq!(scene.world.records.get(get).await.unwrap().into_inner().records.len(), count);
    }
    assert_eq!(scene.state().await, before);
    scene.world.close().await;
}

#[tokio::test]
async fn reshards_that_cannot_be_change_nothing() {
    let mut scene = Scene::new().await;
    let before = scene.state().await;
    let middle = "170141183460469231731687303715884105728";
    for (shard, hash_key, words) in [
        (0, "0", "cannot split shard 0"),
        (0, middle, "cannot split shard 0"),
        (1, middle, "cannot split shard 1"),
        (1, "1", "cannot split shard 1"),
        (0, "x", "not a decimal number"),
        (0, "340282366920938463463374607431768211456", "not a decimal number"),
    ] {
        let request = v1::SplitShardRequest { stream: "s".to_owned(), shard, hash_key: hash_key.to_owned() };
        let error = scene.world.streams.split_shard(request).await.unwrap_err();
        check(&error, Code::InvalidArgument, "INVALID", words);
        assert_eq!(details(&error).1.as_deref(), Some("hash_key"));
    }
    let merge = v1::MergeShardsRequest { stream: "s".to_owned(), shard: 1, adjacent_shard: 1 };
    check(&scene.world.streams.merge_shards(merge).await.unwrap_err(), Code::InvalidArgument, "INVALID", "neighbours");
    let missing = v1::MergeShardsRequest { stream: "s".to_owned(), shard: 1, adjacent_shard: 9 };
    check(&scene.world.streams.merge_shards(missing).await.unwrap_err(), Code::NotFound, "NOT_FOUND", "no shard 9");
    for shard_count in [0, 10_001] {
        let request = v1::UpdateShardCountRequest { stream: "s".to_owned(), shard_count };
        let error = scene.world.streams.update_shard_count(request).await.unwrap_err();
        assert_eq!(details(&error), ("INVALID".to_owned(), Some("shard_count".to_owned()), false));
    }
    assert_eq!(scene.state().await, before);
    scene.world.close().await;
}

#[tokio::test]
async fn a_stale_or_foreign_lease_notes_nothing() {
    let mut scene = Scene::new().await;
    let before = scene.state().await;
    let epoch = scene.lease.epoch;
    let checkpoint = |member: &str, shard: u32, epoch: u64, offset: u64| v1::CheckpointRequest {
        stream: "s".to_owned(),
        group: "g".to_owned(),
        member: member.to_owned(),
        shard,
        epoch,
        offset: Some(v1::GroupOffset { offset, sub: 0 }),
    };
    for (member, shard, epoch) in [
        (MEMBER, 0, 0),
        (MEMBER, 0, epoch - 1),
        (MEMBER, 0, epoch + 1),
        (MEMBER, 0, u64::MAX),
        (MEMBER, 9, epoch),
        ("another", 0, epoch),
    ] {
        let error = scene.groups.checkpoint(checkpoint(member, shard, epoch, 1)).await.unwrap_err();
        check(&error, Code::FailedPrecondition, "STALE_LEASE", "is lost");
        // To give back what is lost already is no error, and takes nothing from its holder.
        let (stream, group, member) = ("s".to_owned(), "g".to_owned(), member.to_owned());
        scene.groups.release_lease(v1::ReleaseLeaseRequest { stream, group, member, shard, epoch }).await.unwrap();
    }
    let past = scene.groups.checkpoint(checkpoint(MEMBER, 0, epoch, 3)).await.unwrap_err();
    check(&past, Code::InvalidArgument, "INVALID", "past the next offset 2");
    assert_eq!(scene.state().await, before);
    scene.groups.checkpoint(checkpoint(MEMBER, 0, epoch, 2)).await.unwrap();
    let back = scene.groups.checkpoint(checkpoint(MEMBER, 0, epoch, 1)).await.unwrap_err();
    check(&back, Code::InvalidArgument, "INVALID", "is before the one");
    scene.world.close().await;
}
