//! Resharded streams: children wait for their parents.

use millrace_storage::time::Timestamp;

use super::*;

#[tokio::test]
async fn children_are_given_once_their_parent_is_processed() {
    let world = World::new(1).await;
    world.put(0, 4).await;
    world.join("a").await;
    let parent = world.lease("a", 0).await;
    world.streams.split_shard(&stream(), ShardId(0), None).await.unwrap();
    world.put(1, 2).await;
    world.groups.tick().await;
    let a = || SlotState::Leased(MemberId::try_from("a".to_owned()).unwrap());
    assert_eq!(world.states().await, [a(), SlotState::Waiting, SlotState::Waiting]);
    assert_eq!(world.heartbeat("a").await.unwrap()[0].end, Some(Offset(4)));
    world.checkpoint("a", parent, 3).await.unwrap();
    assert_eq!(world.held("a").await, [0]);
    world.checkpoint("a", parent, 4).await.unwrap();
    assert_eq!(world.states().await, [SlotState::Finished, a(), a()]);
    let leases = world.heartbeat("a").await.unwrap();
    assert_eq!(leases.iter().map(|lease| lease.checkpoint).collect::<Vec<_>>(), [at(0), at(0)]);
    assert_eq!(world.describe().await.lag_records(), 2);
}

#[tokio::test]
async fn a_merged_shard_waits_for_both_parents() {
    let world = World::new(2).await;
    world.put(0, 1).await;
    world.put(1, 1).await;
    world.join("a").await;
    world.streams.merge_shards(&stream(), ShardId(0), ShardId(1)).await.unwrap();
    world.groups.tick().await;
    for (parent, held) in [(0, vec![1]), (1, vec![2])] {
        assert!(!world.held("a").await.contains(&2));
        let lease = world.lease("a", parent).await;
        world.checkpoint("a", lease, 1).await.unwrap();
        assert_eq!(world.held("a").await, held);
    }
}

/// Nothing may be left of a parent: then nobody could ever checkpoint at its end.
#[tokio::test]
async fn a_parent_that_was_processed_or_trimmed_before_it_closed_holds_nobody_up() {
    let world = World::new(2).await;
    world.put(0, 3).await;
    world.put(1, 3).await;
    world.join("a").await;
    let lease = world.lease("a", 0).await;
    world.checkpoint("a", lease, 3).await.unwrap();
    let one = world.streams.get(&stream()).unwrap().shard(ShardId(1)).unwrap();
    world.log.trim(one.key(), Offset(3)).await.unwrap();
    world.streams.split_shard(&stream(), ShardId(0), None).await.unwrap();
    world.streams.split_shard(&stream(), ShardId(1), None).await.unwrap();
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_reset_to_the_oldest_begins_with_the_parents_again() {
    let world = World::new(1).await;
    world.put(0, 2).await;
    world.join("a").await;
    world.streams.split_shard(&stream(), ShardId(0), None).await.unwrap();
    world.put(2, 2).await;
    world.groups.reset(&stream(), &group(), Position::Latest).await.unwrap();
    assert_eq!(world.held("a").await, [1, 2]);
    let child = world.lease("a", 2).await;
    world.groups.reset(&stream(), &group(), Position::TrimHorizon).await.unwrap();
    assert_eq!(world.held("a").await, [0]);
    assert_eq!(*world.checkpoint("a", child, 2).await.unwrap_err().kind(), Kind::StaleLease);
}

#[tokio::test]
async fn what_is_known_of_a_shard_goes_when_the_stream_has_it_no_more() {
    let world = World::new(1).await;
    world.put(0, 2).await;
    world.join("a").await;
    world.streams.split_shard(&stream(), ShardId(0), None).await.unwrap();
    let later = Timestamp(Timestamp::now().as_millis() + 48 * 3_600_000);
    world.streams.retain(later).await.unwrap();
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [1, 2]);
    assert_eq!(world.meta.scan(b"group-checkpoint/").await.unwrap().len(), 2);
}
