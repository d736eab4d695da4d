//! `jq`: a filter makes outputs, or partition keys, of a record that is JSON.
//!
//! A filter is a program that its author can get wrong, so each record has a budget of steps, sizes and stack. It must never
//! run for ever, eat the memory or end the process: a record that would is set aside. Budgets are counted, not timed, so that
//! a record fails again where it failed before.

mod program;
mod budget;
mod value;
#[cfg(test)]
mod tests;

use std::thread;

use jaq_json::Val;

use super::{Failure, Input, JqTarget, Outcome, Output, PartitionKeys, Transform};
use budget::Budget;
pub use budget::JqLimits;
use program::Program;

/// The most bytes of a filter.
pub const QUERY_BYTES_MAX: usize = 8 << 10;
/// The stack of the threads that run filters; a filter that has used three quarters of it fails.
const STACK_BYTES: usize = 64 << 20;

/// Checks a filter as it is declared.
///
/// # Errors
/// Where it is too long, is no jq, or calls what there is not.
pub(super) fn check(query: &str) -> Result<(), String> {
    on_large_stack(|| Program::compile(query).map(drop))?
}

/// Runs a jq filter.
#[derive(Debug)]
pub struct Jq {
    program: Program,
    to: JqTarget,
    limits: JqLimits,
}

impl Jq {
    /// # Errors
    /// As [`check`].
    pub fn new(query: &str, to: JqTarget, limits: JqLimits) -> Result<Self, String> {
        let program = on_large_stack(|| Program::compile(query))??;
        Ok(Self { program, to, limits })
    }

    fn one(&self, input: &Input) -> Result<Outcome, Failure> {
        let value = value::read(&input.data).map_err(Failure::from)?;
        let mut outputs = Vec::new();
        let budget = Budget::begin(self.limits);
        let ran = budget.within(|| {
            self.program.run(value, |made| {
                if outputs.len() >= self.limits.outputs_max {
                    return Err(format!("the filter gave more than {} outputs", self.limits.outputs_max));
                }
                outputs.push(made);
                Ok(())
            })
        });
        ran.and_then(|ended| ended).map_err(Failure::from)?;
        match self.to {
            JqTarget::Data => self.data(&outputs),
            JqTarget::PartitionKeys => partition_keys(&outputs, input),
        }
        .map_err(Failure::from)
    }

    fn data(&self, values: &[Val]) -> Result<Outcome, String> {
        let mut left = self.limits.output_bytes_max;
        let mut outputs: Vec<Output> = Vec::with_capacity(values.len());
        for value in values {
            let json = value::write(value, left)?;
            left -= json.len();
            outputs.push(json.into());
        }
        Ok(match outputs.len() {
            0 => Outcome::Dropped,
            1 => outputs.pop().map_or(Outcome::Dropped, Outcome::One),
            _ => Outcome::Many(outputs),
        })
    }
}

fn partition_keys(values: &[Val], input: &Input) -> Result<Outcome, String> {
    let [Val::Obj(object)] = values else {
        return Err("the filter must give one object, whose fields are the partition keys".to_owned());
    };
    let pairs = object.iter().map(|(name, value)| {
        let name = value::text(name).ok_or("a partition key's name is no text")?;
        let text = value::text(value)
            .ok_or_else(|| format!("the partition key {name:?} is neither text nor number nor boolean"))?;
        Ok((name, text))
    });
    let pairs: Vec<(String, String)> = pairs.collect::<Result<_, String>>()?;
    Ok(Outcome::One(Output { data: input.data.clone(), partition_keys: PartitionKeys::new(pairs)? }))
}

impl Transform for Jq {
    fn name(&self) -> &str {
        "jq"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let all = || inputs.iter().map(|input| self.one(input).unwrap_or_else(Outcome::Failed)).collect();
        on_large_stack(all)
            .unwrap_or_else(|reason: String| inputs.iter().map(|_| Outcome::Failed(reason.clone().into())).collect())
    }
}

/// Filters and documents nest, and each level takes stack.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("jq".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).map_err(|error| format!("no thread for jq: {error}"))?;
        thread.join().map_err(|_| "the jq interpreter failed".to_owned())
    })
}
