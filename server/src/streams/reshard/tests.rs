//! Plans: what comes of which shards.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use millrace_storage::log::{Offset, ShardId, StreamId};
use millrace_storage::time::Timestamp;
use proptest::prelude::*;

use super::plan::{Child, Plan};
use crate::error::Kind;
use crate::metrics::Metrics;
use crate::streams::hash_key::HashKeyRange;
use crate::streams::metrics::StreamMetrics;
use crate::streams::options::StreamOptions;
use crate::streams::settings::StreamSettings;
use crate::streams::topology::{Closed, ShardSpec, ShardState, Topology};

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn state(shard: ShardSpec) -> Arc<ShardState> {
    let settings = StreamSettings::default();
    let spec = StreamOptions::default().create(&settings).unwrap();
    let metrics = StreamMetrics::new(&Metrics::new(), &settings);
    Arc::new(ShardState::new(shard, &spec, &"s".parse().unwrap(), &metrics))
}

fn even(shards: u32) -> Topology {
    Topology::new(ShardSpec::evenly(StreamId(1), count(shards), Timestamp(0)).map(state).collect())
}

/// The topology after a plan.
fn after(before: &Topology, plan: &Plan) -> Topology {
    let spec = |child: &Child| ShardSpec {
        key: millrace_storage::log::ShardKey { stream: StreamId(1), shard: child.id },
        range: child.range,
        parents: child.parents.clone(),
        created_at: Timestamp(0),
        reason: "".into(),
    };
    let all: Vec<_> = before.shards().iter().cloned().chain(plan.children.iter().map(spec).map(state)).collect();
    for child in &plan.children {
        for parent in &child.parents {
            let parent = all.iter().find(|shard| shard.id() == *parent).unwrap();
            if parent.closed().is_none() {
                parent.close(Closed { at: Timestamp(0), end: Offset(0), children: Box::default() });
            }
        }
    }
    Topology::new(all)
}

/// Each child's hash keys are those of its one parent in part, or those of its two parents; the open shards are whole.
fn check_plan(before: &Topology, plan: &Plan) -> Topology {
    let after = after(before, plan);
    assert!(after.is_whole());
    let range = |shard: &ShardId| after.shard(*shard).unwrap().range();
    for child in &plan.children {
        match child.parents.iter().map(range).collect::<Vec<_>>()[..] {
            [parent] => assert!(parent.start <= child.range.start && child.range.end <= parent.end),
            [lower, upper] => {
                assert_eq!(lower.end + 1, upper.start);
                assert_eq!(child.range, HashKeyRange { start: lower.start, end: upper.end });
            }
            ref parents => panic!("{} parents", parents.len()),
        }
        assert!(child.parents.iter().all(|parent| *parent < child.id), "numbers grow with the lineage");
    }
    after
}

#[test]
fn a_split_is_at_the_middle_or_where_it_is_asked_for() {
    let before = even(2);
    let shard = &before.open()[1];
    let after = check_plan(&before, &Plan::split(&before, shard, None).unwrap());
    let starts: Vec<_> = after.open().iter().map(|shard| shard.range().start).collect();
    assert_eq!(starts, [0, 1 << 127, 3 << 126]);
    assert_eq!(after.open()[1].id(), ShardId(2));
    for at in [(1 << 127) + 1, u128::MAX] {
        let before = even(2);
        let plan = Plan::split(&before, &before.open()[1], Some(at)).unwrap();
        assert_eq!(plan.children[1].range.start, at);
        check_plan(&before, &plan);
    }
}

#[test]
fn a_split_at_a_foreign_or_taken_key_is_refused() {
    let before = even(2);
    for (shard, at) in [(0, 0), (0, 1 << 127), (1, 1 << 127), (1, 5), (0, u128::MAX)] {
        let error = Plan::split(&before, &before.open()[shard], Some(at)).unwrap_err();
        assert_eq!((error.kind(), error.field()), (&Kind::Invalid, Some("hash_key")), "{error}");
        assert!(error.to_string().contains(&at.to_string()), "{error}");
    }
}

#[test]
fn a_shard_of_one_hash_key_is_not_split() {
    let before = even(1);
    let once = check_plan(&before, &Plan::split(&before, &before.open()[0], Some(1)).unwrap());
    let error = Plan::split(&once, &once.open()[0], None).unwrap_err();
    assert!(error.to_string().contains("one hash key 0"), "{error}");
}

#[test]
fn neighbours_merge_in_either_order_and_others_do_not() {
    for (one, other) in [(1, 2), (2, 1)] {
        let before = even(4);
        let plan = Plan::merge(&before, &before.open()[one], &before.open()[other]).unwrap();
        assert_eq!(&*plan.children[0].parents, [ShardId(1), ShardId(2)]);
        check_plan(&before, &plan);
    }
    let before = even(4);
    for (one, other) in [(0, 2), (3, 0), (1, 1)] {
        let error = Plan::merge(&before, &before.open()[one], &before.open()[other]).unwrap_err();
        assert_eq!((error.kind(), error.field()), (&Kind::Invalid, Some("adjacent_shard")), "{error}");
        assert!(error.to_string().contains("not neighbours"), "{error}");
    }
}

#[test]
fn a_closed_shard_names_its_children() {
    let before = even(2);
    let shard = Arc::clone(&before.open()[0]);
    shard.close(Closed { at: Timestamp(0), end: Offset(7), children: [ShardId(2), ShardId(3)].into() });
    for error in
        [Plan::split(&before, &shard, None).unwrap_err(), Plan::merge(&before, &before.open()[1], &shard).unwrap_err()]
    {
        assert_eq!(*error.kind(), Kind::FailedPrecondition);
        assert!(error.to_string().contains("shard 0 is closed; its children are 2 and 3"), "{error}");
    }
}

/// The system's clock may be set between a reshard and a put that is sent again: an hour on, an hour back.
#[test]
fn whether_a_shard_was_closed_lately_does_not_hang_on_the_system_s_clock() {
    let minute = Duration::from_secs(60);
    let before = even(2);
    let far = [Timestamp(0), Timestamp(Timestamp::now().0 + 3_600_000)];
    for (shard, at) in before.open().iter().zip(far) {
        assert!(!shard.closed_within(minute), "it is open");
        shard.close_now(Closed { at, end: Offset(7), children: Box::default() });
        assert!(shard.closed_within(minute));
    }
    // One that an earlier process closed is told by its time alone.
    let before = even(2);
    for (shard, (at, lately)) in before.open().iter().zip([(Timestamp(0), false), (Timestamp::now(), true)]) {
        shard.close(Closed { at, end: Offset(7), children: Box::default() });
        assert_eq!(shard.closed_within(minute), lately);
    }
}

#[test]
fn doubling_splits_and_halving_merges_and_nothing_else() {
    let before = even(4);
    let doubled = Plan::evenly(&before, count(8));
    assert_eq!(doubled.children.len(), 8);
    let before = check_plan(&before, &doubled);
    let halved = Plan::evenly(&before, count(4));
    assert_eq!(halved.children.len(), 4);
    assert!(halved.children.iter().all(|child| child.parents.len() == 2));
    let before = check_plan(&before, &halved);
    assert!(Plan::evenly(&before, count(4)).children.is_empty());
}

proptest! {
    #[test]
    fn any_number_of_shards_becomes_any_other(from in 1_u32..40, over in 1_u32..40, to in 1_u32..40, cut: u128) {
        let mut before = even(from);
        let shard = Arc::clone(&before.open()[before.route(cut)]);
        if let Ok(plan) = Plan::split(&before, &shard, Some(cut)) {
            before = check_plan(&before, &plan);
        }
        for wanted in [over, to] {
            let plan = Plan::evenly(&before, count(wanted));
            before = check_plan(&before, &plan);
            let ranges: Vec<_> = before.open().iter().map(|shard| shard.range()).collect();
            prop_assert_eq!(ranges, crate::streams::hash_key::split_evenly(count(wanted)));
        }
    }
}
