//! Whether a history can be that of a log whose shards each are one sequence of records, to which appends add at one moment
//! between their call and their answer (linearizability). The log's own final order decides what to check; no search is needed.

use std::collections::{BTreeMap, HashMap};

use super::history::{Append, Fate, Place, Read};

/// The ids in each shard, by offset from 0.
pub(crate) type Log = BTreeMap<u32, Vec<i64>>;

/// What was proved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) stored: usize,
    pub(crate) unknown: usize,
    /// Of the unknown ones.
    pub(crate) unknown_found: usize,
    pub(crate) conditional: usize,
    pub(crate) reads: usize,
}

/// Checks a history against the log that is left after all of it.
pub(crate) fn check(appends: &[Append], reads: &[Read], log: &Log) -> Result<Proof, Vec<String>> {
    let mut checker = Checker::new(appends, log);
    appends.iter().for_each(|append| checker.append(append));
    checker.order();
    reads.iter().for_each(|read| checker.read(read));
    if checker.faults.is_empty() { Ok(checker.proof) } else { Err(checker.faults) }
}

struct Checker<'a> {
    log: &'a Log,
    place_of: HashMap<i64, Place>,
    sent: HashMap<i64, Sent>,
    times: BTreeMap<u32, Times>,
    proof: Proof,
    faults: Vec<String>,
}

/// When a record was sent, and when it was known to be stored.
#[derive(Debug, Clone, Copy)]
struct Sent {
    invoked: u64,
    stored_by: u64,
}

/// For each offset of a shard, what is known of the records below it and of those from it on.
struct Times {
    /// The latest that one below was sent.
    sent_below: Vec<u64>,
    /// The earliest that one here or above was known to be stored.
    stored_from: Vec<u64>,
}

impl<'a> Checker<'a> {
    fn new(appends: &[Append], log: &'a Log) -> Self {
        let mut faults = Vec::new();
        let mut place_of = HashMap::new();
        for (shard, ids) in log {
            for (offset, id) in (0..).zip(ids) {
                if let Some(other) = place_of.insert(*id, (*shard, offset)) {
                    faults.push(format!("record {id} is stored twice, at {other:?} and {:?}", (*shard, offset)));
                }
            }
        }
        let mut sent = HashMap::new();
        for append in appends {
            for (id, fate) in append.ids.iter().zip(&append.fates) {
                let stored_by = if matches!(fate, Fate::Stored(_)) { append.ended } else { u64::MAX };
                sent.insert(*id, Sent { invoked: append.invoked, stored_by });
            }
        }
        faults.extend(
            place_of
                .iter()
                .filter(|(id, _)| !sent.contains_key(*id))
                .map(|(id, place)| format!("record {id} at {place:?} was never sent")),
        );
        let of = |id: &i64| sent.get(id).copied().unwrap_or(Sent { invoked: 0, stored_by: u64::MAX });
        let times = log.iter().map(|(shard, ids)| (*shard, Times::new(ids.iter().map(of).collect()))).collect();
        Self { log, place_of, sent, times, proof: Proof::default(), faults }
    }

    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn append(&mut self, append: &Append) {
        let mut in_shard: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (id, fate) in append.ids.iter().zip(&append.fates) {
            let found = self.place_of.get(id).copied();
            match (fate, found) {
                (Fate::Stored(place), found) if found != Some(*place) => {
                    self.fault(format!("record {id} was acknowledged at {place:?} and is at {found:?}"));
                }
                (Fate::Refused, Some(place)) => self.fault(format!("record {id} was refused and is at {place:?}")),
                (Fate::Stored(_), _) => self.proof.stored += 1,
                (Fate::Unknown, found) => {
                    self.proof.unknown += 1;
                    self.proof.unknown_found += usize::from(found.is_some());
                }
                (Fate::Refused, None) => {}
            }
            if let Some((shard, offset)) = found {
                in_shard.entry(shard).or_default().push(offset);
            }
        }
        for (shard, offsets) in in_shard {
            if offsets.windows(2).any(|pair| pair[1] != pair[0] + 1) {
                self.fault(format!("records put together lie in shard {shard} at {offsets:?}"));
            }
        }
        if let Some((place, next)) = append.expected {
            self.conditional(append, place, next);
        }
    }

    fn conditional(&mut self, append: &Append, expected: Place, next: Option<u64>) {
        self.proof.conditional += 1;
        let found: Vec<Option<Place>> = append.ids.iter().map(|id| self.place_of.get(id).copied()).collect();
        let wanted = (expected.1..).map(|offset| Some((expected.0, offset)));
        if found.iter().any(Option::is_some) && !found.iter().copied().eq(wanted.take(found.len())) {
            self.fault(format!("records expected from {expected:?} on lie at {found:?}"));
        }
        let Some(next) = next else { return };
        if next == expected.1 {
            self.fault(format!("an append at {expected:?} was refused because the next offset is {next}"));
        }
        self.next_was(expected.0, next, append.invoked, append.ended, "a refused append");
    }

    /// Somebody was told that a shard ended at `next`, at a moment between two times.
    fn next_was(&mut self, shard: u32, next: u64, invoked: u64, ended: u64, who: &str) {
        let Some(times) = self.times.get(&shard) else {
            return self.fault(format!("{who} saw shard {shard}, which is not there"));
        };
        let Some((sent_below, stored_from)) = times.at(next) else {
            return self.fault(format!("{who} saw shard {shard} end at {next}, past its end"));
        };
        if stored_from < invoked {
            self.fault(format!("{who} saw shard {shard} end at {next}, though more had been acknowledged before"));
        }
        if sent_below > ended {
            self.fault(format!("{who} saw shard {shard} end at {next} before all below had been sent"));
        }
    }

    /// A record that was acknowledged before another was sent lies before it.
    fn order(&mut self) {
        for (shard, ids) in self.log {
            for (offset, id) in (0_u64..).zip(ids) {
                let Some(sent) = self.sent.get(id).copied() else { continue };
                let later = self.times[shard].at(offset + 1).map_or(u64::MAX, |(_, stored_from)| stored_from);
                if later < sent.invoked {
                    let fault =
                        format!("shard {shard}: a record past {offset} was acknowledged before {id} there was sent");
                    self.faults.push(fault);
                }
            }
        }
    }

    fn read(&mut self, read: &Read) {
        self.proof.reads += 1;
        let ids = self.log.get(&read.shard).map(Vec::as_slice).unwrap_or_default();
        let from = usize::try_from(read.from).expect("a test's offsets are small");
        let end = from + read.ids.len();
        if ids.get(from..end) != Some(&read.ids) {
            return self
                .fault(format!("a read of shard {} from {from} found other records than are there", read.shard));
        }
        let (shard, end) = (read.shard, end as u64);
        if read.to_the_end {
            self.next_was(shard, end, read.invoked, read.ended, "a read");
        } else if self.times[&shard].at(end).is_some_and(|(sent_below, _)| sent_below > read.ended) {
            self.fault(format!("a read of shard {shard} found a record before it was sent"));
        }
    }
}

impl Times {
    fn new(sent: Vec<Sent>) -> Self {
        let mut sent_below = vec![0];
        for sent in &sent {
            sent_below.push(sent.invoked.max(*sent_below.last().expect("it begins with one")));
        }
        let mut stored_from = vec![u64::MAX];
        for sent in sent.iter().rev() {
            stored_from.push(sent.stored_by.min(*stored_from.last().expect("it begins with one")));
        }
        stored_from.reverse();
        Self { sent_below, stored_from }
    }

    fn at(&self, offset: u64) -> Option<(u64, u64)> {
        let offset = usize::try_from(offset).ok()?;
        Some((*self.sent_below.get(offset)?, self.stored_from[offset]))
    }
}

/// The checker finds each kind of fault, and none where there is none.
mod tests {
    use super::*;

    fn stored(id: i64, place: Place, invoked: u64, ended: u64) -> Append {
        Append { ids: vec![id], fates: vec![Fate::Stored(place)], expected: None, invoked, ended }
    }

    fn log(ids: &[i64]) -> Log {
        Log::from([(0, ids.to_vec())])
    }

    fn read(from: u64, ids: &[i64], to_the_end: bool, invoked: u64, ended: u64) -> Read {
        Read { shard: 0, from, ids: ids.to_vec(), to_the_end, invoked, ended }
    }

    #[track_caller]
    fn finds(words: &str, appends: &[Append], reads: &[Read], log: &Log) {
        let faults = check(appends, reads, log).expect_err("a fault");
        assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
    }

    #[test]
    fn a_history_without_fault_is_proved() {
        let unknown = |id, fate| Append { fates: vec![fate], ..stored(id, (0, 0), 5, 9) };
        let expected = |id, place, next, fate| Append { expected: Some((place, next)), ..unknown(id, fate) };
        let appends = [
            stored(1, (0, 0), 1, 2),
            stored(2, (0, 2), 3, 20),
            unknown(3, Fate::Unknown),
            unknown(4, Fate::Unknown),
            unknown(5, Fate::Refused),
            expected(6, (0, 1), Some(3), Fate::Refused),
            Append { invoked: 21, ended: 22, ..expected(7, (0, 3), None, Fate::Stored((0, 3))) },
        ];
        let reads = [read(0, &[1, 3], false, 6, 7), read(2, &[], true, 6, 7), read(1, &[3, 2, 7], true, 25, 26)];
        let proof = check(&appends, &reads, &log(&[1, 3, 2, 7])).expect("no fault");
        assert_eq!(proof, Proof { stored: 3, unknown: 2, unknown_found: 1, conditional: 2, reads: 3 });
    }

    #[test]
    fn each_kind_of_fault_is_found() {
        let one = || stored(1, (0, 0), 1, 2);
        let two = |invoked, ended| stored(2, (0, 1), invoked, ended);
        finds("is at None", &[one()], &[], &log(&[]));
        finds("is at Some((0, 1))", &[one(), stored(2, (0, 0), 3, 4)], &[], &log(&[2, 1]));
        finds("stored twice", &[one()], &[], &log(&[1, 1]));
        finds("never sent", &[one()], &[], &log(&[1, 9]));
        let refused = Append { fates: vec![Fate::Refused], ..two(3, 4) };
        finds("was refused and is at", &[one(), refused], &[], &log(&[1, 2]));
        let together = Append { ids: vec![1, 3], fates: vec![Fate::Unknown; 2], expected: None, invoked: 1, ended: 9 };
        finds("put together", &[together, two(1, 9)], &[], &log(&[1, 2, 3]));
        finds("acknowledged before 1", &[stored(1, (0, 0), 5, 6), two(3, 4)], &[], &log(&[1, 2]));

        let conditional = |fate, next, invoked| Append {
            fates: vec![fate],
            expected: Some(((0, 0), next)),
            ..two(invoked, invoked + 1)
        };
        let history = |last| [one(), last];
        finds("records expected from", &history(conditional(Fate::Stored((0, 1)), None, 3)), &[], &log(&[1, 2]));
        finds("because the next offset is 0", &history(conditional(Fate::Refused, Some(0), 0)), &[], &log(&[1]));
        let early = [stored(1, (0, 0), 5, 6), conditional(Fate::Refused, Some(1), 1)];
        finds("before all below had been sent", &early, &[], &log(&[1]));
        let stale = [one(), two(3, 4), Append { ids: vec![3], ..conditional(Fate::Refused, Some(1), 5) }];
        finds("though more had been acknowledged", &stale, &[], &log(&[1, 2]));
        finds("past its end", &history(conditional(Fate::Refused, Some(2), 3)), &[], &log(&[1]));

        let both = [one(), two(3, 4)];
        finds("other records", &both, &[read(0, &[2], false, 5, 6)], &log(&[1, 2]));
        finds("other records", &both, &[read(1, &[2, 3], false, 5, 6)], &log(&[1, 2]));
        finds("a read saw shard 0 end at 1", &both, &[read(0, &[1], true, 5, 6)], &log(&[1, 2]));
        finds("before it was sent", &both, &[read(0, &[1, 2], false, 1, 2)], &log(&[1, 2]));
    }
}
