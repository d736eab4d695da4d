//! The transform chain: what happens to a record between the log and the lake.
//!
//! A transform must be deterministic: it has no clock, no randomness and no memory between records, because a batch that is
//! redone after a crash must come out the same.

mod deaggregate;
mod newline;
mod split;
mod spec;

pub use deaggregate::Input;
pub use newline::Newline;
pub use spec::TransformSpec;
pub use split::Split;

use std::fmt;

use bytes::Bytes;

/// What a transform made of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The record goes on as one output. It may be the input itself.
    One(Bytes),
    /// The record goes on as several outputs, in this order. Never empty.
    Many(Vec<Bytes>),
    /// The record is left out on purpose; it is counted.
    Dropped,
    /// The record cannot be transformed, for this reason; all of it is set aside.
    Failed(String),
}

/// One step of a chain.
///
/// **Contract.** `apply` MUST return exactly one outcome for each record, in the order of the records; each outcome MUST
/// depend on that record's bytes alone; it MUST NOT read a clock, a random source or any other state. A record that fails
/// MUST fail as a whole: no part of it may go on.
pub trait Transform: fmt::Debug + Send + Sync {
    /// The name in a pipeline file.
    fn name(&self) -> &'static str;

    /// Transforms a batch of records.
    fn apply(&self, records: Vec<Bytes>) -> Vec<Outcome>;
}

/// The steps of a delivery, run one after the other.
#[derive(Debug, Default)]
pub struct Chain {
    /// Whether aggregates are taken apart before the first step.
    deaggregate: bool,
    steps: Vec<Box<dyn Transform>>,
}

impl Chain {
    /// Builds the chain that a pipeline declares.
    ///
    /// `split` finds where values end by itself, so a `newline` right before it would only cost a copy: it is left out.
    #[must_use]
    pub fn new(specs: &[TransformSpec]) -> Self {
        let deaggregate = specs.contains(&TransformSpec::Deaggregate);
        let mut steps: Vec<Box<dyn Transform>> = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            match spec {
                TransformSpec::Newline { .. } if matches!(specs.get(index + 1), Some(TransformSpec::Split)) => {}
                TransformSpec::Newline { delimiter } => steps.push(Box::new(Newline::new(delimiter.clone()))),
                TransformSpec::Split => steps.push(Box::new(Split)),
                // It works on records with their keys, before the steps do on what they hold.
                TransformSpec::Deaggregate => {}
            }
        }
        Self { deaggregate, steps }
    }

    /// Runs all steps over a batch: one outcome for each record, in order.
    ///
    /// Where one output of a record fails in a later step, the record fails as a whole. Outputs that a later step drops
    /// are left out; a record without any output left is dropped.
    #[must_use]
    pub fn apply(&self, records: Vec<Bytes>) -> Vec<Outcome> {
        let Some((first, rest)) = self.steps.split_first() else {
            return records.into_iter().map(Outcome::One).collect();
        };
        let outcomes = first.apply(records);
        rest.iter().fold(outcomes, |outcomes, step| next(step.as_ref(), outcomes))
    }
}

/// Runs one step over the outputs of the step before.
fn next(step: &dyn Transform, outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut inputs = Vec::with_capacity(outcomes.len());
    let mut shapes = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        match outcome {
            Outcome::One(data) => {
                inputs.push(data);
                shapes.push(Ok(1));
            }
            Outcome::Many(parts) => {
                shapes.push(Ok(parts.len()));
                inputs.extend(parts);
            }
            ended @ (Outcome::Dropped | Outcome::Failed(_)) => shapes.push(Err(ended)),
        }
    }
    let mut made = step.apply(inputs).into_iter();
    shapes
        .into_iter()
        .map(|shape| match shape {
            Ok(1) => made.next().unwrap_or_else(|| Outcome::Failed(short_answer(step))),
            Ok(parts) => join(step, made.by_ref().take(parts), parts),
            Err(ended) => ended,
        })
        .collect()
}

/// Puts what a step made of a record's several outputs together again.
fn join(step: &dyn Transform, made: impl Iterator<Item = Outcome>, expected: usize) -> Outcome {
    let mut outputs = Vec::with_capacity(expected);
    let mut answered = 0;
    let mut failure = None;
    for outcome in made {
        answered += 1;
        match outcome {
            Outcome::One(data) => outputs.push(data),
            Outcome::Many(parts) => outputs.extend(parts),
            Outcome::Dropped => {}
            Outcome::Failed(reason) => failure = failure.or(Some(reason)),
        }
    }
    if answered < expected {
        return Outcome::Failed(short_answer(step));
    }
    match (failure, outputs.len()) {
        (Some(reason), _) => Outcome::Failed(reason),
        (None, 0) => Outcome::Dropped,
        (None, 1) => outputs.pop().map_or(Outcome::Dropped, Outcome::One),
        (None, _) => Outcome::Many(outputs),
    }
}

fn short_answer(step: &dyn Transform) -> String {
    format!("transform {} gave no outcome for the record", step.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(specs: &[TransformSpec]) -> Chain {
        Chain::new(specs)
    }

    fn newline() -> TransformSpec {
        TransformSpec::Newline { delimiter: Bytes::from_static(b"\n") }
    }

    fn one(data: &'static [u8]) -> Outcome {
        Outcome::One(Bytes::from_static(data))
    }

    #[test]
    fn an_empty_chain_passes_records_on() {
        assert_eq!(chain(&[]).apply(vec![Bytes::from_static(b"a")]), vec![one(b"a")]);
    }

    #[test]
    fn newline_before_split_changes_nothing_and_costs_nothing() {
        let chain = chain(&[newline(), TransformSpec::Split]);
        assert_eq!(chain.steps.len(), 1);
        assert_eq!(chain.apply(vec![Bytes::from_static(b"{\"a\":1}")]), vec![one(b"{\"a\":1}")]);
    }

    #[test]
    fn newline_after_split_ends_each_part() {
        let outcomes = chain(&[TransformSpec::Split, newline()]).apply(vec![
            Bytes::from_static(b"{}{}"),
            Bytes::from_static(b"{"),
            Bytes::from_static(b"{}"),
        ]);
        let parts = vec![Bytes::from_static(b"{}\n"), Bytes::from_static(b"{}\n")];
        assert_eq!(outcomes[0], Outcome::Many(parts));
        assert!(matches!(outcomes[1], Outcome::Failed(_)));
        assert_eq!(outcomes[2], one(b"{}\n"));
    }

    /// Drops "d", fails "f", doubles "2", passes the rest.
    #[derive(Debug)]
    struct Picky;

    impl Transform for Picky {
        fn name(&self) -> &'static str {
            "picky"
        }

        fn apply(&self, records: Vec<Bytes>) -> Vec<Outcome> {
            let pick = |data: Bytes| match data.as_ref() {
                b"d" => Outcome::Dropped,
                b"f" => Outcome::Failed("picky".to_owned()),
                b"2" => Outcome::Many(vec![data.clone(), data]),
                _ => Outcome::One(data),
            };
            records.into_iter().map(pick).collect()
        }
    }

    #[test]
    fn a_record_with_one_failed_part_fails_as_a_whole() {
        let many = |parts: &[&'static str]| Outcome::Many(parts.iter().map(|part| Bytes::from(*part)).collect());
        let check = |given: Outcome, expected: Outcome| {
            let before = one(b"before");
            let outcomes = next(&Picky, vec![before.clone(), given, one(b"after")]);
            assert_eq!(outcomes, vec![before, expected, one(b"after")]);
        };
        check(many(&["a", "f", "b"]), Outcome::Failed("picky".to_owned()));
        check(many(&["a", "d", "b"]), many(&["a", "b"]));
        check(many(&["d", "d"]), Outcome::Dropped);
        check(many(&["d", "a"]), one(b"a"));
        check(many(&["2", "a"]), many(&["2", "2", "a"]));
        check(Outcome::Dropped, Outcome::Dropped);
        check(Outcome::Failed("earlier".to_owned()), Outcome::Failed("earlier".to_owned()));
    }
}
