//! Who gets which shard: as equal as whole shards allow, and with as few moves as that takes.
//!
//! It decides from what it is given alone. It must never give a shard that somebody holds: such a shard is asked back, and
//! given once it is free.

use std::collections::BTreeMap;

use millrace_storage::log::ShardId;

use super::name::MemberId;

/// A shard that somebody may work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workable {
    pub(super) shard: ShardId,
    pub(super) holder: Holder,
}

/// Who has a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    Owner(MemberId),
    /// It was asked back, and counts no more for who has it.
    Leaving,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Shards to ask back from their owners.
    pub(super) ask_back: Vec<ShardId>,
    /// Free shards and who gets them.
    pub(super) grant: Vec<(ShardId, MemberId)>,
}

/// Plans for members in the order in which they joined, and shards in the order of their numbers.
pub(super) fn plan(members: &[MemberId], shards: &[Workable]) -> Plan {
    let mut plan = Plan::default();
    if members.is_empty() {
        return plan;
    }
    let mut held: BTreeMap<&MemberId, Vec<ShardId>> = members.iter().map(|member| (member, Vec::new())).collect();
    let mut free = Vec::new();
    for Workable { shard, holder } in shards {
        match holder {
            Holder::Nobody => free.push(*shard),
            Holder::Owner(member) => {
                if let Some(shards) = held.get_mut(member) {
                    shards.push(*shard);
                }
            }
            Holder::Leaving => {}
        }
    }
    let mut open = Vec::new();
    for (member, quota) in quotas(members, shards.len(), &held) {
        let shards = &held[&member];
        plan.ask_back.extend(shards.iter().skip(quota));
        open.push((quota.saturating_sub(shards.len()), member));
    }
    // Whoever lacks the most comes first, so that the first shards to be free go where they are missed.
    for shard in free {
        let Some((lacks, member)) = open.iter_mut().max_by_key(|(lacks, _)| *lacks).filter(|(lacks, _)| *lacks > 0)
        else {
            break;
        };
        *lacks -= 1;
        plan.grant.push((shard, member.clone()));
    }
    plan
}

/// How many shards each member is to have. Where they do not divide, those get one more who have the most already.
fn quotas(members: &[MemberId], shards: usize, held: &BTreeMap<&MemberId, Vec<ShardId>>) -> Vec<(MemberId, usize)> {
    let (each, more) = (shards / members.len(), shards % members.len());
    let mut order: Vec<&MemberId> = members.iter().collect();
    order.sort_by_key(|member| std::cmp::Reverse(held[*member].len()));
    order.into_iter().enumerate().map(|(place, member)| (member.clone(), each + usize::from(place < more))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(number: usize) -> MemberId {
        MemberId::try_from(format!("m{number}")).unwrap()
    }

    fn members(count: usize) -> Vec<MemberId> {
        (0..count).map(member).collect()
    }

    /// Shards by who has them: a member's number, `n`obody, or `l`eaving.
    fn shards(holders: &str) -> Vec<Workable> {
        let holder = |holder: char| match holder {
            'n' => Holder::Nobody,
            'l' => Holder::Leaving,
            digit => Holder::Owner(member(digit.to_digit(10).unwrap() as usize)),
        };
        (0..).zip(holders.chars()).map(|(shard, it)| Workable { shard: ShardId(shard), holder: holder(it) }).collect()
    }

    fn check(count: usize, holders: &str, ask_back: &[u32], grant: &[(u32, usize)]) {
        let plan = plan(&members(count), &shards(holders));
        let asked: Vec<u32> = plan.ask_back.iter().map(|shard| shard.0).collect();
        let granted: Vec<_> = plan.grant.iter().map(|(shard, to)| (shard.0, to.clone())).collect();
        assert_eq!(asked, ask_back, "{count} members, {holders}");
        assert_eq!(granted, grant.iter().map(|(shard, to)| (*shard, member(*to))).collect::<Vec<_>>(), "{holders}");
    }

    #[test]
    fn shards_are_shared_with_as_few_moves_as_it_takes() {
        check(0, "nn", &[], &[]);
        check(1, "nn", &[], &[(0, 0), (1, 0)]);
        check(1, "00", &[], &[]);
        // A second member joins: half is asked back, and nothing is given before it is free.
        check(2, "0000", &[2, 3], &[]);
        check(2, "00ll", &[], &[]);
        check(2, "00nl", &[], &[(2, 1)]);
        check(2, "0011", &[], &[]);
        // Three over two: who has two keeps two.
        check(2, "110", &[], &[]);
        check(2, "111", &[2], &[]);
        // More members than shards: the late ones wait.
        check(3, "01", &[], &[]);
        check(3, "00", &[1], &[]);
        check(3, "0l", &[], &[]);
        // A member went: its shards are spread.
        check(2, "0n1n", &[], &[(1, 1), (3, 0)]);
    }

    proptest! {
        /// Played to its end, any state becomes balanced, and no shard is given twice.
        #[test]
        fn every_state_comes_to_balance(count in 1_usize..6, holders in proptest::collection::vec(0_usize..8, 0..40)) {
            let members = members(count);
            let holder = |at: usize| match at {
                7 => Holder::Leaving,
                at if at < count => Holder::Owner(member(at)),
                _ => Holder::Nobody,
            };
            let mut shards: Vec<Workable> =
                (0..).zip(&holders).map(|(shard, at)| Workable { shard: ShardId(shard), holder: holder(*at) }).collect();
            for _ in 0..3 {
                let plan = plan(&members, &shards);
                for shard in &plan.ask_back {
                    prop_assert!(matches!(shards[shard.0 as usize].holder, Holder::Owner(_)));
                    shards[shard.0 as usize].holder = Holder::Leaving;
                }
                for (shard, to) in plan.grant {
                    let holder = &mut shards[shard.0 as usize].holder;
                    prop_assert_eq!(&*holder, &Holder::Nobody);
                    *holder = Holder::Owner(to);
                }
                for shard in shards.iter_mut().filter(|shard| shard.holder == Holder::Leaving) {
                    shard.holder = Holder::Nobody;
                }
            }
            let loads = members.iter().map(|member| {
                shards.iter().filter(|shard| shard.holder == Holder::Owner(member.clone())).count()
            });
            let loads: Vec<usize> = loads.collect();
            prop_assert_eq!(loads.iter().sum::<usize>(), shards.len());
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
            prop_assert_eq!(plan(&members, &shards), Plan::default());
        }
    }
}
