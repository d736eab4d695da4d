//! One call of a module: records in, outcomes out, and what can go wrong in between.

use wasmtime::component::InstancePre;
use wasmtime::{Store, Trap};

use super::engine::Compiled;
use super::guest::Guest;
use super::{CallLimits, lambda, packed, records};
use crate::transform::{Grant, Input, Outcome, Output};

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

/// How a module takes records: the function that it exports, of the worlds of `millrace:transform`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `transform`.
    Records,
    /// `transform-packed`.
    Packed,
    /// `handle`.
    Lambda,
}

/// Why a form could not be carried through.
pub(super) enum Failed {
    /// What the engine says of the module.
    Guest(wasmtime::Error),
    /// What it gave is not what was agreed.
    Answer(String),
    /// The host could not begin.
    Host(String),
}

impl Failed {
    pub(super) fn host(error: impl std::fmt::Display) -> Self {
        Self::Host(error.to_string())
    }
}

impl From<wasmtime::Error> for Failed {
    fn from(error: wasmtime::Error) -> Self {
        Self::Guest(error)
    }
}

/// What a module may use to begin.
const PROBE: CallLimits = CallLimits { fuel_max: 1_000_000_000, memory_bytes_max: 1 << 30, output_bytes_max: 1 << 20 };

/// Begins an instance and looks for the transform that it exports; calls nothing.
pub(super) fn probe(instance: &InstancePre<Guest>) -> Result<Form, String> {
    let mut store = Guest::store(instance.engine(), &[], PROBE)?;
    let begun = instance.instantiate(&mut store);
    let instance = begun.map_err(|error| format!("the module cannot be instantiated: {error:#}"))?;
    if packed::function(&mut store, &instance).is_ok() {
        return Ok(Form::Packed);
    }
    if lambda::function(&mut store, &instance).is_ok() {
        return Ok(Form::Lambda);
    }
    let found = records::function(&mut store, &instance);
    found
        .map(|_| Form::Records)
        .map_err(|error| format!("the module exports no transform of millrace:transform@0.1.0: {error:#}"))
}

/// Calls a fresh instance.
pub(super) fn call(
    compiled: &Compiled,
    grant: &[Grant],
    limits: CallLimits,
    inputs: &[Input],
) -> Result<Vec<Outcome>, Fault> {
    let host = |message: String| Fault { kind: FaultKind::Host, message };
    let mut store = Guest::store(compiled.engine(), grant, limits).map_err(host)?;
    let instance = compiled.instance.instantiate(&mut store).map_err(|error| fault(&store, limits, &error))?;
    let made = match compiled.form {
        Form::Records => records::call(&mut store, &instance, inputs),
        Form::Packed => packed::call(&mut store, &instance, limits, inputs),
        Form::Lambda => lambda::call(&mut store, &instance, inputs),
    };
    made.map_err(|failed| match failed {
        Failed::Guest(error) => fault(&store, limits, &error),
        Failed::Answer(message) => Fault { kind: FaultKind::Answer, message: told(&store, message) },
        Failed::Host(message) => host(message),
    })
}

/// The partition key as a module may see it.
pub(super) fn partition_key(input: &Input) -> Result<&str, Failed> {
    std::str::from_utf8(&input.partition_key).map_err(|_| Failed::host("the record's partition key is no text"))
}

/// The outcome of `ok`.
pub(super) fn outputs(mut outputs: Vec<Output>) -> Result<Outcome, String> {
    Ok(match outputs.len() {
        0 => return Err("the module gave ok without an output".to_owned()),
        1 => outputs.pop().map_or(Outcome::Dropped, Outcome::One),
        _ => Outcome::Many(outputs),
    })
}

/// As much of a module's reason as is kept.
pub(super) fn reason(given: &str) -> String {
    given.chars().take(1_000).collect()
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
    Fault { kind, message: told(store, what) }
}

/// What went wrong, with the module's last words.
fn told(store: &Store<Guest>, what: String) -> String {
    match store.data().last_words() {
        Some(words) => format!("{what} ({words})"),
        None => what,
    }
}
