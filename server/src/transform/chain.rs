//! The steps of a delivery, run one after the other over a batch of records.
//!
//! Where one output of a record fails in a later step, the record fails as a whole: no part of it may go on.

use bytes::Bytes;
use millrace_proto::aggregate;
use millrace_storage::log::{Record, ShardId};

use super::{Failure, Input, Newline, Origin, Outcome, Output, PartitionKeys, Split, Transform, TransformSpec};

/// The steps of a delivery.
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

    /// What goes into the steps for a shard's records, in their order. An aggregate of no user records gives nothing.
    #[must_use]
    pub fn inputs(&self, shard: ShardId, records: &[Record]) -> Vec<Input> {
        let mut inputs = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            let origin = Origin { shard, offset: record.offset, arrival_time: record.arrival_time };
            let input = |part: u32, partition_key: &Bytes, data: &Bytes| Input {
                record: index,
                origin,
                part,
                partition_key: partition_key.clone(),
                data: data.clone(),
                partition_keys: PartitionKeys::default(),
            };
            match self.deaggregate.then(|| aggregate::unpack(&record.data)).flatten() {
                Some(users) => {
                    inputs.extend((0..).zip(&users).map(|(part, user)| input(part, &user.partition_key, &user.data)));
                }
                None => inputs.push(input(0, &record.partition_key, &record.data)),
            }
        }
        inputs
    }

    /// Runs all steps over a batch: one outcome for each input, in order.
    ///
    /// Outputs that a later step drops are left out; a record without any output left is dropped. What the steps gave as
    /// partition keys is united, later over earlier.
    #[must_use]
    pub fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let Some((first, rest)) = self.steps.split_first() else {
            return inputs.iter().map(|input| Outcome::One(input.data.clone().into())).collect();
        };
        let outcomes = checked(first.as_ref(), inputs);
        rest.iter().fold(outcomes, |outcomes, step| next(step.as_ref(), inputs, outcomes))
    }
}

/// Runs a step. A count that is not that of the inputs tells of no record which outcome is its own.
fn checked(step: &dyn Transform, inputs: &[Input]) -> Vec<Outcome> {
    let outcomes = step.apply(inputs);
    if outcomes.len() == inputs.len() {
        return outcomes;
    }
    let (name, made, given) = (step.name(), outcomes.len(), inputs.len());
    let words = format!("transform {name} gave {made} outcomes for {given} records");
    inputs.iter().map(|_| Outcome::Failed(words.clone().into())).collect()
}

/// Runs one step over the outputs of the steps before.
fn next(step: &dyn Transform, origins: &[Input], outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut inputs = Vec::with_capacity(outcomes.len());
    let mut shapes = Vec::with_capacity(outcomes.len());
    for (origin, outcome) in origins.iter().zip(outcomes) {
        match outcome {
            Outcome::One(output) => {
                inputs.push(again(origin, origin.part, output));
                shapes.push(Ok(1));
            }
            Outcome::Many(outputs) => {
                shapes.push(Ok(outputs.len()));
                inputs.extend((0..).zip(outputs).map(|(part, output)| again(origin, part, output)));
            }
            ended @ (Outcome::Dropped | Outcome::Failed(_)) => shapes.push(Err(ended)),
        }
    }
    let made = checked(step, &inputs);
    let mut made = inputs.into_iter().zip(made);
    shapes
        .into_iter()
        .map(|shape| match shape {
            Ok(parts) => join(made.by_ref().take(parts)),
            Err(ended) => ended,
        })
        .collect()
}

/// An output as the next step's input.
fn again(origin: &Input, part: u32, output: Output) -> Input {
    Input {
        record: origin.record,
        origin: origin.origin,
        part,
        partition_key: origin.partition_key.clone(),
        data: output.data,
        partition_keys: output.partition_keys,
    }
}

/// Puts what a step made of a record's outputs together again, with the partition keys that they had.
fn join(made: impl Iterator<Item = (Input, Outcome)>) -> Outcome {
    let mut outputs: Vec<Output> = Vec::new();
    let mut failure: Option<Failure> = None;
    for (input, outcome) in made {
        let joined = match outcome {
            Outcome::One(output) => keep(&input, output).map(|output| outputs.push(output)),
            Outcome::Many(parts) => parts.into_iter().try_for_each(|part| {
                outputs.push(keep(&input, part)?);
                Ok(())
            }),
            Outcome::Dropped => Ok(()),
            Outcome::Failed(failure) => Err(failure),
        };
        if let Err(reason) = joined {
            failure = failure.or(Some(reason));
        }
    }
    match (failure, outputs.len()) {
        (Some(failure), _) => Outcome::Failed(failure),
        (None, 0) => Outcome::Dropped,
        (None, 1) => outputs.pop().map_or(Outcome::Dropped, Outcome::One),
        (None, _) => Outcome::Many(outputs),
    }
}

fn keep(input: &Input, output: Output) -> Result<Output, Failure> {
    if input.partition_keys.is_empty() {
        return Ok(output);
    }
    let partition_keys = input.partition_keys.overlaid(output.partition_keys)?;
    Ok(Output { partition_keys, ..output })
}

#[cfg(test)]
mod tests;
