//! Members that come, go, fall silent and wake up again in any order, with restarts in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MEMBERS: [&str; 4] = ["a", "b", "c", "d"];
const SHARDS: u32 = 5;
const RECORDS: u64 = 50;

#[derive(Debug, Clone, Copy)]
enum Step {
    Join(usize),
    Heartbeat(usize),
    Leave(usize),
    /// Releases what is asked back.
    Release(usize),
    /// Checkpoints a shard by the lease that the member last heard of, good or stale.
    Checkpoint(usize, u32, u64),
    Pass(u64),
    Reset,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..MEMBERS.len();
    prop_oneof![
        3 => member.clone().prop_map(Step::Join),
        6 => member.clone().prop_map(Step::Heartbeat),
        1 => member.clone().prop_map(Step::Leave),
        3 => member.clone().prop_map(Step::Release),
        8 => (member, 0..SHARDS, 1..5_u64).prop_map(|(member, shard, by)| Step::Checkpoint(member, shard, by)),
        3 => (1..9_u64).prop_map(Step::Pass),
        1 => Just(Step::Reset),
        1 => Just(Step::Restart),
    ]
}

/// What the test knows of a shard.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// The greatest epoch that any member was told.
    epoch: u64,
    checkpoint: u64,
}

async fn play(steps: Vec<Step>) {
    let mut world = World::new(SHARDS).await;
    for shard in 0..SHARDS {
        world.put(shard, RECORDS as usize).await;
    }
    world.join("a").await;
    let mut known = BTreeMap::<u32, Known>::new();
    // What each member last heard; nobody tells it that it is out of date.
    let mut heard: [BTreeMap<u32, LeaseView>; 4] = Default::default();
    for step in steps {
        match step {
            Step::Join(member) => world.join(MEMBERS[member]).await,
            Step::Heartbeat(member) => {
                if let Ok(leases) = world.heartbeat(MEMBERS[member]).await {
                    heard[member] = leases.into_iter().map(|lease| (lease.shard.0, lease)).collect();
                    for lease in heard[member].values() {
                        let known = known.entry(lease.shard.0).or_default();
                        assert!(lease.epoch >= known.epoch, "{lease:?} after {known:?}");
                        assert_eq!(lease.checkpoint, at(known.checkpoint), "{lease:?}");
                        known.epoch = lease.epoch;
                    }
                }
            }
            Step::Leave(member) => world.groups.leave(&caller(MEMBERS[member])).await.unwrap(),
            Step::Release(member) => {
                for lease in heard[member].values().filter(|lease| lease.release_within.is_some()) {
                    let lease = LeaseId { shard: lease.shard, epoch: lease.epoch };
                    world.groups.release(&caller(MEMBERS[member]), lease).await.unwrap();
                }
            }
            Step::Checkpoint(member, shard, by) => {
                let Some(lease) = heard[member].get(&shard) else { continue };
                let known = known.entry(shard).or_default();
                let to = (known.checkpoint + by).min(RECORDS);
                let stored =
                    world.checkpoint(MEMBERS[member], LeaseId { shard: lease.shard, epoch: lease.epoch }, to).await;
                match stored {
                    Ok(()) => {
                        assert_eq!(lease.epoch, known.epoch, "only the newest lease checkpoints");
                        known.checkpoint = to;
                    }
                    Err(error) => assert_eq!(*error.kind(), Kind::StaleLease, "{error}"),
                }
            }
            Step::Pass(seconds) => world.pass(Duration::from_secs(seconds)).await,
            Step::Reset => {
                world.groups.reset(&stream(), &group(), Position::TrimHorizon).await.unwrap();
                known.values_mut().for_each(|known| known.checkpoint = 0);
            }
            Step::Restart => world.restart().await,
        }
        check(&world).await;
    }
}

/// Each shard has one holder at most, who is a member, and with members nothing is left lying.
async fn check(world: &World) {
    let view = world.describe().await;
    let members: Vec<_> = view.members.iter().map(|member| &member.id).collect();
    for shard in &view.shards {
        match &shard.state {
            SlotState::Leased(member) | SlotState::Releasing(member) => assert!(members.contains(&member), "{view:?}"),
            state => assert!(*state == SlotState::Free && members.is_empty(), "{view:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_order_of_events_lets_two_own_a_shard_or_a_checkpoint_go_back(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
