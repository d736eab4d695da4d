//! The transform chain: what happens to a record between the log and the lake.
//!
//! A transform must be deterministic: it has no clock, no randomness and no memory between records, because a batch that is
//! redone after a crash must come out the same.

mod settings;
mod metrics;
mod record;
mod spec;
mod newline;
mod split;
mod decompress;
mod fields;
mod jq;
mod isolate;
mod registry;
mod wasm;
mod chain;
mod modules;
mod dry_run;

pub use chain::Chain;
pub use decompress::Decompress;
pub use dry_run::{DRY_RUN_BYTES_MAX, DRY_RUN_RECORDS_MAX, Tried};
pub use fields::{Cast, Fields, FieldsSpec};
pub use jq::{Jq, JqLimits, QUERY_BYTES_MAX};
pub(crate) use modules::wasm_specs;
pub use modules::{MODULE_NAME_LEN_MAX, Module, ModuleName, Pin, Pins, PushOptions, Transforms, Version};
pub use newline::Newline;
pub use record::{
    Input, Origin, Output, PARTITION_KEY_NAME_BYTES_MAX, PARTITION_KEY_VALUE_BYTES_MAX, PARTITION_KEYS_MAX,
    PartitionKeys,
};
pub use registry::Registry;
pub use settings::TransformSettings;
pub use spec::{Compressed, Extract, Grant, JqTarget, SplitBy, TransformSpec, WasmSpec};
pub use split::Split;

use std::fmt;

/// What a transform made of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The record goes on as one output. It may be the input itself.
    One(Output),
    /// The record goes on as several outputs, in this order. Never empty.
    Many(Vec<Output>),
    /// The record is left out on purpose; it is counted.
    Dropped,
    /// The record cannot be transformed; all of it is set aside.
    Failed(Failure),
}

/// Why a record could not be transformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words, with the step where the step adds itself.
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, attempts: 1 }
    }
}

/// One step of a chain.
///
/// **Contract.** `apply` MUST return exactly one outcome for each input, in their order; each outcome MUST depend on that
/// input alone, not on its neighbours nor on how the records are batched; it MUST NOT read a clock, a random source or any
/// other state. A record that fails MUST fail as a whole: no part of it may go on. An output MUST NOT repeat the partition
/// keys that its input has: the chain unites them.
pub trait Transform: fmt::Debug + Send + Sync {
    /// The name in a pipeline file.
    fn name(&self) -> &str;

    /// Transforms a batch of records. Runs on a thread that may block.
    fn apply(&self, inputs: &[Input]) -> Vec<Outcome>;
}
