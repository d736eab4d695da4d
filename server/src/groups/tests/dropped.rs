//! Calls that are dropped where they stand, as the wire drops them with their connection: what they changed is seen to all
//! the same.

use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use millrace_storage::meta::{self, Condition, Write};
use tokio::sync::watch;

use super::*;

/// A meta store that commits only while its gate is open.
#[derive(Debug)]
struct GatedMeta {
    inner: MemoryMeta,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl MetaStore for GatedMeta {
    async fn get(&self, key: &[u8]) -> meta::Result<Option<Bytes>> {
        self.inner.get(key).await
    }

    async fn scan(&self, prefix: &[u8]) -> meta::Result<Vec<(Bytes, Bytes)>> {
        self.inner.scan(prefix).await
    }

    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> meta::Result<()> {
        self.open.clone().wait_for(|open| *open).await.unwrap();
        self.inner.commit(conditions, writes).await
    }

    async fn purge(&self) -> meta::Result<()> {
        self.inner.purge().await
    }

    async fn close(&self) -> meta::Result<()> {
        self.inner.close().await
    }
}

/// A world of four shards whose meta store obeys the sender.
async fn gated() -> (World, watch::Sender<bool>) {
    let (gate, open) = watch::channel(true);
    let meta = Arc::new(GatedMeta { inner: MemoryMeta::new(), open });
    (World::over(meta, 4, |_| {}).await, gate)
}

/// Lets a call run as far as it gets, and drops it there.
fn drop_at_once<T>(call: impl Future<Output = T>) {
    assert!(Box::pin(call).now_or_never().is_none(), "the call came to its end");
}

/// Two members join at the same moment. The rebalance of the first is on its way, and planned for one member, when the
/// second is taken in; the second's call is dropped before its own rebalance. The end of the first one's must not make
/// believe that all is settled.
#[tokio::test]
async fn a_join_that_is_dropped_during_the_rebalance_of_another_gets_its_shards() {
    let (world, gate) = gated().await;
    world.join("c").await;
    world.groups.leave(&caller("c")).await.unwrap();
    gate.send_replace(false);
    let caller_a = caller("a");
    let mut first = Box::pin(world.groups.join(&caller_a, MemberName::default(), Position::TrimHorizon));
    assert!(first.as_mut().now_or_never().is_none(), "it waits to store its epochs");
    drop_at_once(world.groups.join(&caller("b"), MemberName::default(), Position::TrimHorizon));
    gate.send_replace(true);
    first.await.unwrap();
    assert_eq!((world.held("a").await, world.held("b").await), (vec![0, 1, 2, 3], vec![]));
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [0, 1], "half is asked back");
    for shard in [2, 3] {
        let lease = world.lease("a", shard).await;
        world.groups.release(&caller("a"), lease).await.unwrap();
    }
    assert_eq!(world.held("b").await, [2, 3]);
}

/// As above, with a lease given back and a member that leaves.
#[tokio::test]
async fn a_release_and_a_leave_that_are_dropped_before_their_rebalance_free_their_shards() {
    let (world, gate) = gated().await;
    world.join("a").await;
    world.join("b").await;
    gate.send_replace(false);
    for shard in [2, 3] {
        let lease = world.lease("a", shard).await;
        drop_at_once(world.groups.release(&caller("a"), lease));
    }
    gate.send_replace(true);
    assert_eq!(world.held("b").await, [] as [u32; 0]);
    world.groups.tick().await;
    assert_eq!(world.held("b").await, [2, 3]);
    gate.send_replace(false);
    drop_at_once(world.groups.leave(&caller("b")));
    gate.send_replace(true);
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [0, 1, 2, 3]);
}

/// The checkpoint that ends a parent is stored, and its call is dropped before its children are given out.
#[tokio::test]
async fn children_of_a_parent_whose_last_checkpoint_was_dropped_are_given_out() {
    let (world, _gate) = gated().await;
    world.put(0, 2).await;
    world.join("a").await;
    let parent = world.lease("a", 0).await;
    world.streams.split_shard(&stream(), ShardId(0), None).await.unwrap();
    world.groups.tick().await;
    let in_turn = world.groups.get(&stream(), &group()).unwrap();
    let turn = in_turn.turn.lock().await;
    drop_at_once(world.checkpoint("a", parent, 2));
    drop(turn);
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [1, 2, 3, 4, 5]);
}

/// A rebalance that a reshard brought about is dropped halfway: the reshard is still to be seen to.
#[tokio::test]
async fn a_rebalance_that_is_dropped_is_done_again() {
    let (world, gate) = gated().await;
    world.join("a").await;
    world.streams.split_shard(&stream(), ShardId(0), None).await.unwrap();
    gate.send_replace(false);
    drop_at_once(world.groups.tick());
    gate.send_replace(true);
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [1, 2, 3, 4, 5]);
}

/// A parent's last records are trimmed while its holder is behind: nobody can checkpoint at its end any more.
#[tokio::test]
async fn a_parent_that_is_trimmed_under_its_holder_lets_its_children_go() {
    let world = World::new(1).await;
    world.put(0, 3).await;
    world.join("a").await;
    world.streams.split_shard(&stream(), ShardId(0), None).await.unwrap();
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [0]);
    let parent = world.streams.get(&stream()).unwrap().shard(ShardId(0)).unwrap();
    world.log.trim(parent.key(), Offset(3)).await.unwrap();
    world.groups.tick().await;
    assert_eq!(world.held("a").await, [1, 2]);
}
