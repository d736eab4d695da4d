//! Requests that are read without a tree are the same by the tree: what the quick reader takes, the model takes, and gives the
//! same. Tests and fuzzing hold it over any bytes.

use std::fmt::Debug;

use super::model::{FIREHOSE, KINESIS, Operation, Service};
use super::protocol::{AwsError, Checked, Format, read_by_model, read_quickly};
use super::{firehose, kinesis};

/// Reads a body both ways, and tells whether it was read quickly. It panics where the two differ.
pub(super) type Agree = fn(&Operation, Format, &[u8]) -> bool;

/// [`Agree`] for the type of an operation's requests.
pub(super) fn agree<T: Checked + Debug>(operation: &Operation, format: Format, body: &[u8]) -> bool {
    let Some(quick) = read_quickly::<T>(format, body) else { return false };
    let by_model = read_by_model::<T>(operation, format, body);
    let (quick, by_model) = (format!("{:?}", Ok::<_, AwsError>(quick)), format!("{by_model:?}"));
    assert_eq!(quick, by_model, "{} in {format:?} {}", operation.name, body.escape_ascii());
    true
}

/// All operations whose requests are read quickly.
pub(super) fn all() -> Vec<(&'static Operation, Agree)> {
    let operation = |service: &'static Service, name| service.operation(name).expect("the model has it");
    let kinesis = kinesis::READ_QUICKLY.map(|(name, agree)| (operation(&KINESIS, name), agree));
    let firehose = firehose::READ_QUICKLY.map(|(name, agree)| (operation(&FIREHOSE, name), agree));
    kinesis.into_iter().chain(firehose).collect()
}

#[cfg(test)]
mod node;
#[cfg(test)]
mod near;
#[cfg(test)]
mod tests;
