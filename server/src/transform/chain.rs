//! The steps of a delivery, run one after the other over a batch of records.
//!
//! Where one output of a record fails in a later step, the record fails as a whole: no part of it may go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use millrace_proto::aggregate;
use millrace_storage::log::{Record, ShardId};

use super::metrics::StepMetrics;
use super::{Failure, Input, Origin, Outcome, Output, PartitionKeys, Transform};

/// The steps of a delivery.
#[derive(Debug, Default)]
pub struct Chain {
    /// Whether aggregates are taken apart before the first step.
    deaggregate: bool,
    steps: Vec<Step>,
    /// Set when nobody waits for what is transformed any more.
    stop: Arc<AtomicBool>,
}

/// A step of a chain.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) transform: Box<dyn Transform>,
    pub(super) metrics: StepMetrics,
}

impl Chain {
    pub(super) const fn new(deaggregate: bool, steps: Vec<Step>, stop: Arc<AtomicBool>) -> Self {
        Self { deaggregate, steps, stop }
    }

    /// Has calls of modules that are under way end soon. What comes out from then on is for nobody.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
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
        let outcomes = checked(first, inputs);
        rest.iter().fold(outcomes, |outcomes, step| next(step, inputs, outcomes))
    }
}

/// Runs a step. A count that is not that of the inputs tells of no record which outcome is its own.
fn checked(step: &Step, inputs: &[Input]) -> Vec<Outcome> {
    let timer = step.metrics.seconds.start_timer();
    let mut outcomes = step.transform.apply(inputs);
    timer.observe_duration();
    if outcomes.len() != inputs.len() {
        let (name, made, given) = (step.transform.name(), outcomes.len(), inputs.len());
        let words = format!("transform {name} gave {made} outcomes for {given} records");
        outcomes = inputs.iter().map(|_| Outcome::Failed(words.clone().into())).collect();
    }
    step.metrics.count(&outcomes);
    outcomes
}

/// Runs one step over the outputs of the steps before.
fn next(step: &Step, origins: &[Input], outcomes: Vec<Outcome>) -> Vec<Outcome> {
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
