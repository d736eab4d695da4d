//! Members and leases: sharing, handing over, falling silent.

use super::*;

#[tokio::test]
async fn the_first_member_gets_all_and_the_second_half_once_it_is_handed_over() {
    let world = World::new(4).await;
    world.join("a").await;
    assert_eq!(world.held("a").await, [0, 1, 2, 3]);
    world.join("b").await;
    assert_eq!((world.held("a").await, world.held("b").await), (vec![0, 1], vec![]));
    let asked: Vec<_> =
        world.heartbeat("a").await.unwrap().into_iter().filter_map(|lease| lease.release_within).collect();
    assert_eq!(asked, [HAND_OVER, HAND_OVER]);
    // The old owner may still note what it finishes.
    world.put(2, 5).await;
    let two = world.lease("a", 2).await;
    world.checkpoint("a", two, 5).await.unwrap();
    world.groups.release(&caller("a"), two).await.unwrap();
    assert_eq!((world.held("a").await, world.held("b").await), (vec![0, 1], vec![2]));
    let taken = &world.heartbeat("b").await.unwrap()[0];
    assert_eq!((taken.checkpoint, taken.epoch), (at(5), two.epoch + 1));
    // Who does not hand over in time loses the lease.
    let three = world.lease("a", 3).await;
    for _ in 0..4 {
        world.pass(HAND_OVER / 4).await;
        world.heartbeat("a").await.unwrap();
        world.heartbeat("b").await.unwrap();
    }
    assert_eq!((world.held("a").await, world.held("b").await), (vec![0, 1], vec![2, 3]));
    assert_eq!(*world.checkpoint("a", three, 0).await.unwrap_err().kind(), Kind::StaleLease);
    assert_eq!((world.count("leases_asked_back_total"), world.count("leases_taken_away_total")), (2, 1));
    assert_eq!((world.count("members"), world.count("leases")), (2, 4));
}

#[tokio::test]
async fn a_silent_member_loses_its_shards_within_the_lease_time_and_cannot_checkpoint() {
    let world = World::new(2).await;
    world.join("a").await;
    world.put(0, 10).await;
    let zero = world.lease("a", 0).await;
    world.checkpoint("a", zero, 3).await.unwrap();
    world.pass(TTL - Duration::from_millis(1)).await;
    world.join("b").await;
    assert_eq!(world.held("b").await, [] as [u32; 0], "a lives to the last millisecond");
    world.pass(Duration::from_millis(1)).await;
    assert_eq!(world.held("b").await, [0, 1]);
    assert_eq!(world.lease("b", 0).await.epoch, zero.epoch + 1);
    assert_eq!(world.heartbeat("b").await.unwrap()[0].checkpoint, at(3));
    let error = world.checkpoint("a", zero, 9).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::StaleLease);
    assert!(error.objects().contains(&("epoch", zero.epoch.to_string())), "{error:?}");
    assert_eq!(*world.heartbeat("a").await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!((world.count("members_expired_total"), world.count("checkpoints_refused_total")), (1, 1));
    // It begins anew, as any other.
    world.join("a").await;
    assert_eq!(world.held("b").await, [0]);
}

/// The clock passed the lease time, and nobody has looked yet.
#[tokio::test]
async fn a_lease_is_over_with_its_time_and_not_with_the_look_at_it() {
    let world = World::new(1).await;
    world.join("a").await;
    let lease = world.lease("a", 0).await;
    *world.now.lock() += TTL;
    assert_eq!(*world.checkpoint("a", lease, 0).await.unwrap_err().kind(), Kind::StaleLease);
    assert_eq!(*world.heartbeat("a").await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn leaving_gives_the_shards_to_the_others_at_once() {
    let world = World::new(3).await;
    for member in ["a", "b", "c"] {
        world.join(member).await;
    }
    for shard in [1, 2] {
        let lease = world.lease("a", shard).await;
        world.groups.release(&caller("a"), lease).await.unwrap();
    }
    world.groups.leave(&caller("a")).await.unwrap();
    world.groups.leave(&caller("a")).await.unwrap();
    let mut held = [world.held("b").await, world.held("c").await].concat();
    held.sort_unstable();
    assert_eq!(held, [0, 1, 2]);
}

#[tokio::test]
async fn a_heartbeat_that_waits_is_answered_by_a_change() {
    let world = World::new(2).await;
    world.join("a").await;
    let first = world.groups.heartbeat(&caller("a"), 0, NOW).await.unwrap();
    let groups = world.groups.clone();
    let version = first.version;
    let waits = tokio::spawn(async move { groups.heartbeat(&caller("a"), version, TTL).await });
    world.join("b").await;
    let second = waits.await.unwrap().unwrap();
    assert!(second.version > first.version);
    assert!(second.leases.iter().any(|lease| lease.release_within.is_some()), "{second:?}");
}

#[tokio::test]
async fn a_heartbeat_waits_no_longer_than_the_interval_and_ends_with_the_server() {
    let world = World::with(1, |settings| settings.lease_ttl = Duration::from_millis(150)).await;
    world.join("a").await;
    let version = world.groups.heartbeat(&caller("a"), 0, NOW).await.unwrap().version;
    let waited = world.groups.heartbeat(&caller("a"), version, Duration::from_secs(3600)).await.unwrap();
    assert_eq!(waited.version, version);
    world.streams.stop();
    let error = world.groups.heartbeat(&caller("a"), version, Duration::from_secs(3600)).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn members_and_groups_are_limited() {
    let world = World::with(1, |settings| {
        settings.members_max = 2;
        settings.stream_groups_max = 2;
    })
    .await;
    world.join("a").await;
    world.join("b").await;
    world.join("b").await;
    let join = |group: &str, member: &str| {
        let group = GroupName::try_from(group.to_owned()).unwrap();
        let (caller, groups) = (Caller { group, ..caller(member) }, world.groups.clone());
        async move { groups.join(&caller, MemberName::default(), Position::TrimHorizon).await }
    };
    let error = join("g", "c").await.unwrap_err();
    assert!(error.to_string().contains("has 2 members, and the limit is 2"), "{error}");
    join("h", "a").await.unwrap();
    let error = join("i", "a").await.unwrap_err();
    assert!(error.to_string().contains("has 2 groups, and the limit is 2"), "{error}");
    for limit in ["members_max", "stream_groups_max"] {
        assert!(world.metrics.text().contains(&format!("millrace_groups_rejected_total{{limit=\"{limit}\"}} 1")));
    }
}

#[tokio::test]
async fn a_group_is_deleted_without_members_and_its_successor_has_greater_epochs() {
    let world = World::new(1).await;
    world.join("a").await;
    let lease = world.lease("a", 0).await;
    let error = world.groups.delete(&stream(), &group()).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::FailedPrecondition);
    world.groups.leave(&caller("a")).await.unwrap();
    world.groups.delete(&stream(), &group()).await.unwrap();
    assert_eq!(*world.groups.describe(&stream(), &group()).await.unwrap_err().kind(), Kind::NotFound);
    assert!(!world.metrics.text().contains("group=\"g\""));
    world.join("a").await;
    assert!(world.lease("a", 0).await.epoch > lease.epoch);
    assert_eq!(*world.checkpoint("a", lease, 0).await.unwrap_err().kind(), Kind::StaleLease);
}

#[tokio::test]
async fn a_group_goes_with_its_stream() {
    let mut world = World::new(1).await;
    world.join("a").await;
    world.streams.delete(&stream()).await.unwrap();
    world.create(1).await;
    assert_eq!(*world.heartbeat("a").await.unwrap_err().kind(), Kind::NotFound);
    world.groups.tick().await;
    assert!(world.groups.list(None, None, 10).is_empty());
    // Also where the process ends between the two.
    world.join("a").await;
    world.streams.delete(&stream()).await.unwrap();
    world.restart().await;
    assert!(world.groups.list(None, None, 10).is_empty());
    assert!(world.meta.scan(b"group/").await.unwrap().is_empty());
    assert!(world.meta.scan(b"group-checkpoint/").await.unwrap().is_empty());
}
