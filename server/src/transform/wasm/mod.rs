//! `wasm`: records go through a WebAssembly component.
//!
//! Each call meets a module as it was compiled: an instance takes one call and is thrown away, so that nothing is remembered,
//! and a module can hurt neither its neighbours nor the process. What a call may use is counted, not timed, and is the same for
//! one record and for many: so a record fails or not whatever it is batched with, and does so again after a crash.

mod componentize;
mod guest;
mod engine;
mod call;
mod records;
mod packed;
mod lambda;
mod slots;
mod cache;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) use cache::{CompiledFolder, digest};
pub(super) use componentize::componentize;
pub(super) use engine::{Compiled, WasmEngine};
pub(super) use slots::Slots;

use super::isolate::isolate;
use super::metrics::ModuleMetrics;
use super::modules::Pin;
use super::settings::{TransformSettings, bytes};
use super::{Grant, Input, Outcome, Transform};
use call::Fault;

/// What one call may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLimits {
    pub(super) fuel_max: u64,
    pub(super) memory_bytes_max: usize,
    pub(super) output_bytes_max: usize,
}

impl CallLimits {
    pub(super) fn of(settings: &TransformSettings) -> Self {
        Self {
            fuel_max: settings.wasm_fuel_max,
            memory_bytes_max: bytes(settings.wasm_memory_bytes_max),
            output_bytes_max: bytes(settings.wasm_output_bytes_max),
        }
    }
}

/// Calls a module.
#[derive(Debug)]
pub(super) struct Wasm {
    /// For example `enrich@3`.
    pub(super) label: String,
    pub(super) compiled: Arc<Compiled>,
    pub(super) grant: Vec<Grant>,
    pub(super) slots: Slots,
    pub(super) limits: CallLimits,
    pub(super) call_records_max: usize,
    pub(super) call_bytes_max: usize,
    pub(super) attempts_max: u32,
    pub(super) metrics: ModuleMetrics,
    /// Set when nobody waits for the outcomes any more.
    pub(super) stop: Arc<AtomicBool>,
}

impl Wasm {
    pub(super) fn new(
        pin: &Pin,
        compiled: Arc<Compiled>,
        grant: Vec<Grant>,
        slots: Slots,
        settings: &TransformSettings,
        metrics: ModuleMetrics,
    ) -> Self {
        Self {
            label: pin.to_string(),
            compiled,
            grant,
            slots,
            limits: CallLimits::of(settings),
            call_records_max: settings.wasm_call_records_max,
            call_bytes_max: bytes(settings.wasm_call_bytes_max),
            attempts_max: settings.wasm_attempts_max,
            metrics,
            stop: Arc::default(),
        }
    }

    fn call(&self, inputs: &[Input]) -> Result<Vec<Outcome>, String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("it was stopped".to_owned());
        }
        let _slot = self.slots.take();
        let called = call::call(&self.compiled, &self.grant, self.limits, inputs);
        called.map_err(|Fault { kind, message }| {
            self.metrics.fault(kind.word());
            format!("module {}: {message}", self.label)
        })
    }

    /// The first records that fit one call.
    fn first_call<'a>(&self, inputs: &'a [Input]) -> (&'a [Input], &'a [Input]) {
        let mut bytes = 0;
        let fits = |input: &Input| {
            bytes += input.data.len() + input.partition_key.len();
            bytes <= self.call_bytes_max
        };
        let most = &inputs[..inputs.len().min(self.call_records_max)];
        let count = most.iter().map(fits).take_while(|fits| *fits).count().max(1);
        inputs.split_at(count.min(inputs.len()))
    }
}

impl Transform for Wasm {
    fn name(&self) -> &str {
        "wasm"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(inputs.len());
        let mut rest = inputs;
        while !rest.is_empty() {
            let (batch, behind) = self.first_call(rest);
            outcomes.extend(isolate(batch, self.attempts_max, |records| self.call(records)));
            rest = behind;
        }
        outcomes
    }
}
