//! `transform`: records and outcomes as the component model has them, each with its own strings and lists.

use wasmtime::Store;
use wasmtime::component::{ComponentType, Instance, Lift, Lower, TypedFunc};

use super::call::Failed;
use super::guest::Guest;
use crate::transform::{Input, Outcome, Output, PartitionKeys};

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct WireRecord<'a> {
    id: String,
    #[component(name = "arrival-time-ms")]
    arrival_time_ms: i64,
    #[component(name = "partition-key")]
    partition_key: &'a str,
    data: &'a [u8],
    #[component(name = "partition-keys")]
    partition_keys: Vec<(&'a str, &'a str)>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WireOutput {
    data: Vec<u8>,
    #[component(name = "partition-keys")]
    partition_keys: Vec<(String, String)>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum WireOutcome {
    #[component(name = "ok")]
    Ok(Vec<WireOutput>),
    #[component(name = "dropped")]
    Dropped,
    #[component(name = "failed")]
    Failed(String),
}

type Function<'a> = TypedFunc<(&'a [WireRecord<'a>],), (Vec<WireOutcome>,)>;

pub(super) fn function<'a>(store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<Function<'a>> {
    instance.get_typed_func(store, "transform")
}

pub(super) fn call(store: &mut Store<Guest>, instance: &Instance, inputs: &[Input]) -> Result<Vec<Outcome>, Failed> {
    let records: Vec<WireRecord<'_>> = inputs.iter().map(record).collect::<Result<_, _>>()?;
    let transform = function(store, instance).map_err(Failed::host)?;
    let (outcomes,) = transform.call(store, (&records,))?;
    let made = |outcome| made(outcome).unwrap_or_else(|reason| Outcome::Failed(reason.into()));
    Ok(outcomes.into_iter().map(made).collect())
}

fn record(input: &Input) -> Result<WireRecord<'_>, Failed> {
    Ok(WireRecord {
        id: input.id(),
        arrival_time_ms: input.origin.arrival_time.as_millis(),
        partition_key: super::call::partition_key(input)?,
        data: &input.data,
        partition_keys: input.partition_keys.iter().collect(),
    })
}

fn made(outcome: WireOutcome) -> Result<Outcome, String> {
    let output = |output: WireOutput| {
        Ok(Output { data: output.data.into(), partition_keys: PartitionKeys::new(output.partition_keys)? })
    };
    match outcome {
        WireOutcome::Ok(outputs) => {
            super::call::outputs(outputs.into_iter().map(output).collect::<Result<_, String>>()?)
        }
        WireOutcome::Dropped => Ok(Outcome::Dropped),
        WireOutcome::Failed(reason) => Err(super::call::reason(&reason)),
    }
}
