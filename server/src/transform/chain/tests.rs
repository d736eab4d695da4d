//! Chains: order, outcomes of several parts, partition keys, aggregates.

use millrace_proto::aggregate::Aggregate;
use millrace_storage::log::Offset;
use millrace_storage::time::Timestamp;

use super::*;
use crate::metrics::Metrics;
use crate::transform::metrics::TransformMetrics;
use crate::transform::{Pins, SplitBy, TransformSpec, Transforms};

const SPLIT: TransformSpec = TransformSpec::Split { by: SplitBy::Json };

fn newline() -> TransformSpec {
    TransformSpec::Newline { delimiter: Bytes::from_static(b"\n") }
}

async fn chain(specs: &[TransformSpec]) -> Chain {
    Transforms::builtin(&Metrics::new()).chain("d", specs, &Pins::default()).await.unwrap()
}

fn picky() -> Step {
    Step { transform: Box::new(Picky), metrics: TransformMetrics::new(&Metrics::new()).step("d", 1, "picky") }
}

fn one(data: &'static str) -> Outcome {
    Outcome::One(Bytes::from(data).into())
}

fn many(parts: &[&'static str]) -> Outcome {
    Outcome::Many(parts.iter().map(|part| Bytes::from(*part).into()).collect())
}

fn inputs(data: &[&'static str]) -> Vec<Input> {
    let input = |(record, data): (usize, &&'static str)| Input { record, data: Bytes::from(*data), ..Input::default() };
    data.iter().enumerate().map(input).collect()
}

#[tokio::test]
async fn an_empty_chain_passes_records_on() {
    assert_eq!(chain(&[]).await.apply(&inputs(&["a"])), vec![one("a")]);
}

#[tokio::test]
async fn newline_before_split_changes_nothing_and_costs_nothing() {
    let chain = chain(&[newline(), SPLIT]).await;
    assert_eq!(chain.steps.len(), 1);
    assert_eq!(chain.apply(&inputs(&["{\"a\":1}"])), vec![one("{\"a\":1}")]);
}

#[tokio::test]
async fn newline_after_split_ends_each_part() {
    let outcomes = chain(&[SPLIT, newline()]).await.apply(&inputs(&["{}{}", "{", "{}"]));
    assert_eq!(outcomes[0], many(&["{}\n", "{}\n"]));
    assert!(matches!(outcomes[1], Outcome::Failed(_)));
    assert_eq!(outcomes[2], one("{}\n"));
}

/// Drops "d", fails "f", doubles "2", tells what it saw as partition keys of "k", forgets "0", passes the rest.
#[derive(Debug)]
struct Picky;

impl Transform for Picky {
    fn name(&self) -> &str {
        "picky"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let pick = |input: &Input| {
            let output = Output::from(input.data.clone());
            Some(match input.data.as_ref() {
                b"d" => Outcome::Dropped,
                b"f" => Outcome::Failed("picky".to_owned().into()),
                b"2" => Outcome::Many(vec![output.clone(), output]),
                b"k" => {
                    let seen = input.partition_keys.iter().map(|(name, _)| name).collect::<String>();
                    let pairs = [("seen".to_owned(), seen), ("id".to_owned(), input.id())];
                    Outcome::One(Output { partition_keys: PartitionKeys::new(pairs).unwrap(), ..output })
                }
                b"0" => return None,
                _ => Outcome::One(output),
            })
        };
        inputs.iter().filter_map(pick).collect()
    }
}

#[test]
fn a_record_with_one_failed_part_fails_as_a_whole() {
    let check = |given: Outcome, expected: Outcome| {
        let before = one("before");
        let outcomes = next(&picky(), &inputs(&["x", "y", "z"]), vec![before.clone(), given, one("after")]);
        assert_eq!(outcomes, vec![before, expected, one("after")]);
    };
    check(many(&["a", "f", "b"]), Outcome::Failed("picky".to_owned().into()));
    check(many(&["a", "d", "b"]), many(&["a", "b"]));
    check(many(&["d", "d"]), Outcome::Dropped);
    check(many(&["d", "a"]), one("a"));
    check(many(&["2", "a"]), many(&["2", "2", "a"]));
    check(Outcome::Dropped, Outcome::Dropped);
    check(Outcome::Failed("earlier".to_owned().into()), Outcome::Failed("earlier".to_owned().into()));
}

#[test]
fn a_wrong_count_fails_the_batch() {
    let chain = Chain::new(false, vec![picky()], Arc::default());
    let outcomes = chain.apply(&inputs(&["a", "0"]));
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.message, "transform picky gave 1 outcomes for 2 records");
    }
}

#[test]
fn partition_keys_stay_with_their_output_and_later_steps_see_them() {
    let chain = Chain::new(false, vec![picky(), picky()], Arc::default());
    let mut given = inputs(&["k", "2"]);
    given[0].origin.offset = Offset(7);
    let outcomes = chain.apply(&given);
    let Outcome::One(output) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(output.partition_keys.iter().collect::<Vec<_>>(), [("id", "0:7:0"), ("seen", "idseen")]);
    assert_eq!(outcomes[1], many(&["2", "2", "2", "2"]));
}

#[tokio::test]
async fn aggregates_are_taken_apart_and_others_pass() {
    let mut aggregate = Aggregate::new();
    aggregate.push("a", None, b"1");
    aggregate.push("b", Some("7"), b"2");
    let whole = aggregate.finish();
    let mut broken = whole.to_vec();
    broken[6] ^= 1;
    let broken = Bytes::from(broken);
    let (key, plain, empty) = (Bytes::from_static(b"k"), Bytes::from_static(b"{}"), Aggregate::new().finish());
    let record = |(offset, data): (u64, &Bytes)| Record {
        offset: Offset(offset),
        arrival_time: Timestamp(5),
        partition_key: key.clone(),
        data: data.clone(),
    };
    let records: Vec<Record> = (10..).zip([&plain, &whole, &empty, &broken]).map(record).collect();
    let seen = |chain: Chain| -> Vec<(usize, u32, Bytes, Bytes)> {
        let inputs = chain.inputs(ShardId(3), &records);
        inputs.iter().for_each(|input| {
            let origin =
                Origin { shard: ShardId(3), offset: Offset(10 + input.record as u64), arrival_time: Timestamp(5) };
            assert_eq!(input.origin, origin);
        });
        inputs.into_iter().map(|input| (input.record, input.part, input.partition_key, input.data)).collect()
    };
    let part = |number, key: &'static str, data: &'static str| (1, number, Bytes::from(key), Bytes::from(data));
    let expected =
        [(0, 0, key.clone(), plain.clone()), part(0, "a", "1"), part(1, "b", "2"), (3, 0, key.clone(), broken.clone())];
    assert_eq!(seen(chain(&[TransformSpec::Deaggregate, SPLIT]).await), expected);
    assert_eq!(seen(chain(&[SPLIT]).await).len(), 4);
    assert_eq!(seen(chain(&[]).await)[1], (1, 0, key.clone(), whole.clone()));
}
