use millrace_storage::log::{Offset, ShardId};
use millrace_storage::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::transform::Origin;

/// An answer as a module may lay it out, and where its next byte is to be.
struct Answering {
    base: u32,
    bytes: Vec<u8>,
}

impl Answering {
    fn put(&mut self, bytes: &[u8]) -> [u32; 2] {
        let at = [self.base + self.bytes.len() as u32, bytes.len() as u32];
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Entries, each of words.
    fn table(&mut self, entries: &[Vec<u32>]) -> [u32; 2] {
        let words: Vec<u8> = entries.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        [self.put(&words)[0], entries.len() as u32]
    }

    fn output(&mut self, output: &Output) -> Vec<u32> {
        let keys: Vec<_> = output.partition_keys.iter().collect();
        let keys: Vec<Vec<u32>> =
            keys.iter().map(|(name, value)| [self.put(name.as_bytes()), self.put(value.as_bytes())].concat()).collect();
        [self.put(&output.data), self.table(&keys)].concat()
    }

    fn outcome(&mut self, outcome: &Outcome) -> Vec<u32> {
        let of = |case: u32, [position, len]: [u32; 2]| vec![case | 0xabcd_ef00, position, len];
        match outcome {
            Outcome::One(output) => {
                let output = self.output(output);
                of(0, self.table(&[output]))
            }
            Outcome::Many(outputs) => {
                let outputs: Vec<_> = outputs.iter().map(|output| self.output(output)).collect();
                of(0, self.table(&outputs))
            }
            Outcome::Dropped => of(1, [u32::MAX, u32::MAX]),
            Outcome::Failed(failure) => of(2, self.put(failure.message.as_bytes())),
        }
    }

    fn end(mut self, outcomes: [u32; 2]) -> Bytes {
        for word in [self.base, outcomes[0], outcomes[1]] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.bytes.into()
    }
}

fn answer(base: u32, outcomes: &[Outcome]) -> Bytes {
    let mut answering = Answering { base, bytes: Vec::new() };
    let entries: Vec<_> = outcomes.iter().map(|outcome| answering.outcome(outcome)).collect();
    let outcomes = answering.table(&entries);
    answering.end(outcomes)
}

/// An answer of one record with these outputs.
fn raw(entries: &[Vec<u32>]) -> Bytes {
    let mut answering = Answering { base: 0, bytes: Vec::new() };
    let [position, len] = answering.table(entries);
    let outcomes = answering.table(&[vec![0, position, len]]);
    answering.end(outcomes)
}

fn refused(answer: &Bytes, count: usize, bytes_max: usize, words: &str) {
    let reason = unpack(answer, count, bytes_max).unwrap_err();
    assert!(reason.contains(words), "{reason}");
}

#[test]
fn a_batch_has_all_of_each_record_and_room_behind_its_data() {
    let keys =
        PartitionKeys::new([("colour".to_owned(), "red".to_owned()), ("size".to_owned(), String::new())]).unwrap();
    let origin = Origin { shard: ShardId(3), offset: Offset(u64::MAX), arrival_time: Timestamp(-5) };
    let given = [
        Input { origin, part: 7, partition_key: Bytes::from("key"), data: Bytes::from("abc"), ..Input::default() },
        Input { partition_keys: keys, data: Bytes::from("d"), ..Input::default() },
    ];
    let batch = pack(&given).ok().unwrap();
    let of = |[position, len]: [u32; 2]| &batch[position as usize..position as usize + len as usize];
    assert_eq!(pair(&batch, 0), [2, 0]);
    let (first, second) = (&batch[8..48], &batch[48..88]);
    assert_eq!(of(pair(first, 0)), given[0].id().as_bytes());
    assert_eq!(first[8..16], (-5_i64).to_le_bytes());
    assert_eq!((of(pair(first, 16)), of(pair(first, 24))), (&b"key"[..], &b"abc"[..]));
    assert_eq!(pair(first, 32), [0, 0]);
    let end = (pair(first, 24)[0] + 3) as usize;
    assert_eq!(batch[end..end + ROOM_BYTES], [0; ROOM_BYTES]);
    assert_eq!(pair(second, 0)[0] as usize, end + ROOM_BYTES, "nothing else is in the room");
    let [table, len] = pair(second, 32);
    assert_eq!((table % 4, len), (0, 2));
    let key = |index: usize| &batch[table as usize + index * KEY_BYTES..][..KEY_BYTES];
    assert_eq!((of(pair(key(0), 0)), of(pair(key(0), 8))), (&b"colour"[..], &b"red"[..]));
    assert_eq!((of(pair(key(1), 0)), of(pair(key(1), 8))), (&b"size"[..], &b""[..]));
}

#[test]
fn what_an_answer_has_not_is_refused() {
    refused(&Bytes::from_static(b"short"), 1, 1_000, "before its foot");
    refused(&answer(0, &[Outcome::Dropped]), 2, 1_000, "it gave 1 outcomes for 2 records");
    refused(&raw(&[vec![0, 1_000, 0, 0]]), 1, 1 << 20, "1000 bytes at 0");
    refused(&raw(&[vec![u32::MAX, u32::MAX, 0, 0]]), 1, usize::MAX, "has not");
    refused(&raw(&[vec![0, 1, 0, u32::MAX]]), 1, usize::MAX, "has not");
    refused(&raw(&[vec![0, 1, 1, 100]]), 1, usize::MAX, "has not");
    let mut unknown = Answering { base: 0, bytes: Vec::new() };
    let outcomes = unknown.table(&[vec![3, 0, 0]]);
    refused(&unknown.end(outcomes), 1, 1_000, "unknown case 3");
    let mut no_text = Answering { base: 0, bytes: Vec::new() };
    let [position, len] = no_text.put(b"\xff\xfe");
    let outcomes = no_text.table(&[vec![2, position, len]]);
    refused(&no_text.end(outcomes), 1, 1_000, "utf-8");
    // The list begins at 8, so what lies before is not in it.
    let mut early = Answering { base: 8, bytes: Vec::new() };
    let [position, len] = early.table(&[vec![7, 1, 0, 0]]);
    let outcomes = early.table(&[vec![0, position, len]]);
    refused(&early.end(outcomes), 1, 1_000, "1 bytes at 7");
}

#[test]
fn outputs_that_share_bytes_are_counted_each() {
    let shared = raw(&vec![vec![0, 16, 0, 0]; 4]);
    let each = size_of::<Output>() + 16;
    assert!(matches!(&unpack(&shared, 1, 4 * each).unwrap()[..], [Outcome::Many(outputs)] if outputs.len() == 4));
    refused(&shared, 1, 4 * each - 1, "more bytes");
}

#[test]
fn a_record_alone_fails_where_it_has_no_output_or_too_many_keys() {
    let keys = PartitionKeys::new([("k".to_owned(), "v".to_owned())]).unwrap();
    let mut answering = Answering { base: 64, bytes: Vec::new() };
    let fine = answering.outcome(&Outcome::One(Output { data: Bytes::from("x"), partition_keys: keys.clone() }));
    let none = answering.table(&[]);
    let nameless = answering.put(b"v");
    let key = answering.table(&[vec![0, 0, nameless[0], nameless[1]]]);
    let output = answering.table(&[vec![0, 0, key[0], key[1]]]);
    let outcomes = answering.table(&[fine, vec![0, none[0], 0], vec![0, output[0], output[1]]]);
    let made = unpack(&answering.end(outcomes), 3, 10_000).unwrap();
    assert_eq!(made[0], Outcome::One(Output { data: Bytes::from("x"), partition_keys: keys }));
    for (index, words) in [(1, "ok without an output"), (2, "name of 0 bytes")] {
        let Outcome::Failed(failure) = &made[index] else { panic!("{:?}", made[index]) };
        assert!(failure.message.contains(words), "{failure:?}");
    }
}

fn output() -> impl Strategy<Value = Output> {
    let keys = proptest::collection::btree_map("[a-z]{1,4}", "[a-z\u{e4}]{0,4}", 0..3);
    (proptest::collection::vec(any::<u8>(), 0..20), keys).prop_map(|(data, keys)| Output {
        data: data.into(),
        partition_keys: PartitionKeys::new(keys).expect("few and short"),
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        output().prop_map(Outcome::One),
        proptest::collection::vec(output(), 2..4).prop_map(Outcome::Many),
        Just(Outcome::Dropped),
        "[a-z\u{e4}]{0,9}".prop_map(|reason| Outcome::Failed(reason.into())),
    ]
}

proptest! {
    #[test]
    fn outcomes_come_back(outcomes in proptest::collection::vec(outcome(), 0..8), base in 0_u32..1_000_000) {
        let bytes = answer(base, &outcomes);
        prop_assert_eq!(unpack(&bytes, outcomes.len(), 1 << 20), Ok(outcomes));
    }

    #[test]
    fn no_bytes_do_harm(
        outcomes in proptest::collection::vec(outcome(), 1..5),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = answer(64, &outcomes).to_vec();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(made) = unpack(&bytes.into(), outcomes.len(), 10_000) {
            prop_assert_eq!(made.len(), outcomes.len());
        }
    }
}
