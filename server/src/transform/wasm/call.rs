//! One call of a module: records in, outcomes out, and what can go wrong in between.

use wasmtime::component::{ComponentType, Lift, Lower};
use wasmtime::{Store, Trap};

use super::CallLimits;
use super::engine::Compiled;
use super::guest::Guest;
use crate::transform::{Grant, Input, Outcome, Output, PartitionKeys};

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) message: String,
}

/// Why a call failed, as a word for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The module ended itself, or did what no module may.
    Trap,
    /// It took more fuel than it may.
    Fuel,
    /// It asked for more memory than it may, and ended.
    Memory,
    /// What it gave is too large, or not what was agreed.
    Answer,
    /// The host could not begin.
    Host,
}

impl FaultKind {
    /// All kinds.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Answer => "answer",
            Self::Host => "host",
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct WireRecord<'a> {
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
struct WireOutput {
    data: Vec<u8>,
    #[component(name = "partition-keys")]
    partition_keys: Vec<(String, String)>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
enum WireOutcome {
    #[component(name = "ok")]
    Ok(Vec<WireOutput>),
    #[component(name = "dropped")]
    Dropped,
    #[component(name = "failed")]
    Failed(String),
}

/// What a module may use to begin.
const PROBE: CallLimits = CallLimits { fuel_max: 1_000_000_000, memory_bytes_max: 1 << 30, output_bytes_max: 1 << 20 };

/// Begins an instance and looks whether it exports a transform; calls nothing.
pub(super) fn probe(compiled: &Compiled) -> Result<(), String> {
    let mut store = Guest::store(compiled.engine(), &[], PROBE)?;
    let begun = compiled.instance.instantiate(&mut store);
    let instance = begun.map_err(|error| format!("the module cannot be instantiated: {error:#}"))?;
    let found = instance.get_typed_func::<(&[WireRecord<'_>],), (Vec<WireOutcome>,)>(&mut store, "transform");
    found.map(drop).map_err(|error| format!("the module exports no transform of millrace:transform@0.1.0: {error:#}"))
}

/// Calls a fresh instance.
pub(super) fn call(
    compiled: &Compiled,
    grant: &[Grant],
    limits: CallLimits,
    inputs: &[Input],
) -> Result<Vec<Outcome>, Fault> {
    let records: Vec<WireRecord<'_>> = inputs.iter().map(record).collect::<Result<_, _>>()?;
    let host = |message: String| Fault { kind: FaultKind::Host, message };
    let mut store = Guest::store(compiled.engine(), grant, limits).map_err(host)?;
    let instance = compiled.instance.instantiate(&mut store).map_err(|error| fault(&store, limits, &error))?;
    let transform = instance
        .get_typed_func::<(&[WireRecord<'_>],), (Vec<WireOutcome>,)>(&mut store, "transform")
        .map_err(|error| host(error.to_string()))?;
    let (outcomes,) = transform.call(&mut store, (&records,)).map_err(|error| fault(&store, limits, &error))?;
    Ok(outcomes
        .into_iter()
        .map(|outcome| made(outcome).unwrap_or_else(|reason| Outcome::Failed(reason.into())))
        .collect())
}

fn record(input: &Input) -> Result<WireRecord<'_>, Fault> {
    let not_text = |_| Fault { kind: FaultKind::Host, message: "the record's partition key is no text".to_owned() };
    Ok(WireRecord {
        id: input.id(),
        arrival_time_ms: input.origin.arrival_time.as_millis(),
        partition_key: std::str::from_utf8(&input.partition_key).map_err(not_text)?,
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
            let mut outputs: Vec<Output> = outputs.into_iter().map(output).collect::<Result<_, String>>()?;
            Ok(match outputs.len() {
                0 => return Err("the module gave ok without an output".to_owned()),
                1 => outputs.pop().map_or(Outcome::Dropped, Outcome::One),
                _ => Outcome::Many(outputs),
            })
        }
        WireOutcome::Dropped => Ok(Outcome::Dropped),
        WireOutcome::Failed(reason) => Err(reason.chars().take(1_000).collect()),
    }
}

fn fault(store: &Store<Guest>, limits: CallLimits, error: &wasmtime::Error) -> Fault {
    let cause = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    let used_up = store.get_fuel().is_ok_and(|left| left == 0);
    let (kind, what) = match error.downcast_ref::<Trap>() {
        _ if used_up => (FaultKind::Fuel, format!("it took more than its fuel of {}", limits.fuel_max)),
        _ if store.data().memory.exceeded => {
            let bytes = limits.memory_bytes_max;
            (FaultKind::Memory, format!("it asked for more than its memory of {bytes} bytes: {cause}"))
        }
        Some(_) => (FaultKind::Trap, format!("it trapped: {cause}")),
        None => (FaultKind::Answer, format!("it failed: {cause}")),
    };
    let message = match store.data().last_words() {
        Some(words) => format!("{what} ({words})"),
        None => what,
    };
    Fault { kind, message }
}
