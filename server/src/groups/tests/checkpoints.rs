//! Checkpoints: forward only, by the owner only, and across restarts.

use millrace_storage::time::Timestamp;

use super::*;

#[tokio::test]
async fn a_checkpoint_moves_forward_only_and_not_past_the_end() {
    let world = World::new(1).await;
    world.put(0, 10).await;
    world.join("a").await;
    let lease = world.lease("a", 0).await;
    world.checkpoint("a", lease, 4).await.unwrap();
    world.checkpoint("a", lease, 4).await.unwrap();
    let sub = |offset, sub| GroupOffset { offset: Offset(offset), sub };
    world.groups.checkpoint(&caller("a"), lease, sub(4, 2)).await.unwrap();
    for back in [sub(4, 1), sub(4, 0), sub(3, 9)] {
        let error = world.groups.checkpoint(&caller("a"), lease, back).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Invalid, "{back:?}");
        assert!(error.to_string().contains("is before the one of shard 0 at offset 4 (sub 2)"), "{error}");
    }
    world.checkpoint("a", lease, 10).await.unwrap();
    for past in [sub(10, 1), sub(11, 0)] {
        let error = world.groups.checkpoint(&caller("a"), lease, past).await.unwrap_err();
        assert!(error.to_string().contains("is past the next offset 10 of shard 0"), "{error}");
    }
    assert_eq!(world.heartbeat("a").await.unwrap()[0].checkpoint, at(10));
}

#[tokio::test]
async fn nobody_but_the_owner_checkpoints() {
    let world = World::new(2).await;
    world.put(0, 1).await;
    world.join("a").await;
    world.join("b").await;
    let lease = world.lease("a", 0).await;
    for (member, lease) in [
        ("b", lease),
        ("c", lease),
        ("a", LeaseId { epoch: lease.epoch + 1, ..lease }),
        ("a", LeaseId { epoch: lease.epoch - 1, ..lease }),
        ("a", LeaseId { shard: ShardId(9), ..lease }),
    ] {
        let error = world.checkpoint(member, lease, 1).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::StaleLease, "{member} {lease:?}");
    }
    world.checkpoint("a", lease, 1).await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_checkpoints_and_fences_every_lease_from_before() {
    let mut world = World::new(2).await;
    world.put(1, 8).await;
    world.join("a").await;
    let before = world.lease("a", 1).await;
    world.groups.checkpoint(&caller("a"), before, GroupOffset { offset: Offset(6), sub: 3 }).await.unwrap();
    for _ in 0..3 {
        world.restart().await;
        assert_eq!(*world.heartbeat("a").await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(*world.checkpoint("a", before, 8).await.unwrap_err().kind(), Kind::StaleLease);
    }
    world.join("a").await;
    let after = world.lease("a", 1).await;
    assert!(after.epoch > before.epoch);
    assert_eq!(world.heartbeat("a").await.unwrap()[1].checkpoint, GroupOffset { offset: Offset(6), sub: 3 });
    assert_eq!(*world.checkpoint("a", before, 8).await.unwrap_err().kind(), Kind::StaleLease);
    world.checkpoint("a", after, 8).await.unwrap();
}

#[tokio::test]
async fn a_group_begins_where_its_first_member_says() {
    let world = World::new(1).await;
    world.put(0, 3).await;
    let begin = |group: &str, position| {
        let group = GroupName::try_from(group.to_owned()).unwrap();
        let caller = Caller { group, ..caller("a") };
        let groups = world.groups.clone();
        async move {
            groups.join(&caller, MemberName::default(), position).await?;
            Ok(groups.heartbeat(&caller, 0, NOW).await?.leases[0].checkpoint)
        }
    };
    let later = Position::Time(Timestamp(Timestamp::now().as_millis() + 3_600_000));
    for (group, position, first) in [
        ("oldest", Position::TrimHorizon, 0),
        ("newest", Position::Latest, 3),
        ("long-ago", Position::Time(Timestamp(1)), 0),
        ("later", later, 3),
        ("oldest", Position::Latest, 0),
    ] {
        let began: crate::error::Result<_> = begin(group, position).await;
        assert_eq!(began.unwrap(), at(first), "{group}");
    }
    let error: crate::error::Error = begin("bad", Position::Offset(Offset(1))).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (&Kind::Invalid, Some("position")));
}

#[tokio::test]
async fn a_reset_takes_every_lease_away_and_begins_anew() {
    let world = World::new(2).await;
    world.put(0, 5).await;
    world.join("a").await;
    let before = world.lease("a", 0).await;
    world.checkpoint("a", before, 5).await.unwrap();
    world.groups.reset(&stream(), &group(), Position::TrimHorizon).await.unwrap();
    assert_eq!(*world.checkpoint("a", before, 5).await.unwrap_err().kind(), Kind::StaleLease);
    let leases = world.heartbeat("a").await.unwrap();
    assert_eq!(leases.iter().map(|lease| lease.checkpoint).collect::<Vec<_>>(), [at(0), at(0)]);
    assert!(leases[0].epoch > before.epoch);
    world.groups.reset(&stream(), &group(), Position::Latest).await.unwrap();
    assert_eq!(world.heartbeat("a").await.unwrap()[0].checkpoint, at(5));
    let error = world.groups.reset(&stream(), &group(), Position::After(Offset(1))).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Invalid);
}

#[tokio::test]
async fn the_lag_is_what_is_kept_and_not_processed() {
    let world = World::new(2).await;
    world.put(0, 10).await;
    world.join("a").await;
    let lease = world.lease("a", 0).await;
    world.checkpoint("a", lease, 4).await.unwrap();
    let view = world.describe().await;
    assert_eq!(view.shards.iter().map(|shard| shard.lag_records).collect::<Vec<_>>(), [6, 0]);
    assert_eq!((view.lag_records(), view.members[0].leases), (6, 2));
    assert!(view.shards[0].millis_behind_latest < 60_000);
    // What was trimmed is lost, and no lag.
    let shard = world.streams.get(&stream()).unwrap().shard(ShardId(0)).unwrap();
    world.log.trim(shard.key(), Offset(7)).await.unwrap();
    assert_eq!(world.describe().await.lag_records(), 3);
    world.checkpoint("a", lease, 10).await.unwrap();
    let view = world.describe().await;
    assert_eq!((view.lag_records(), view.shards[0].millis_behind_latest), (0, 0));
}
