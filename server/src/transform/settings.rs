//! The settings of transforms: what one record, one call and one module may use.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::jq::JqLimits;
use crate::error::{Error, Result};

/// What transforms may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformSettings {
    /// The most bytes that `decompress` makes of one record. Default 16 MiB.
    pub decompressed_bytes_max: ByteSize,
    /// The most steps of a jq filter for one record. Default 1,000,000.
    pub jq_steps_max: u64,
    /// The most outputs of a jq filter for one record. Default 10,000.
    pub jq_outputs_max: usize,
    /// The most bytes that a jq filter makes of one record, and of any value on the way. Default 16 MiB.
    pub jq_output_bytes_max: ByteSize,
    /// The most fuel of one call of a module, which is about one for each of its instructions. Default 1,000,000,000.
    pub wasm_fuel_max: u64,
    /// The most memory of one call of a module. Default 256 MiB.
    pub wasm_memory_bytes_max: ByteSize,
    /// The most bytes that one call of a module may give. Default 32 MiB.
    pub wasm_output_bytes_max: ByteSize,
    /// The most records of one call of a module. Default 500.
    pub wasm_call_records_max: usize,
    /// The most bytes of the records of one call of a module; one record is always let in. Default 1 MiB.
    pub wasm_call_bytes_max: ByteSize,
    /// How often a record that fails alone is tried. Default 2.
    pub wasm_attempts_max: u32,
    /// How many calls of modules run at once; 0 is the number of cores. Default 0.
    pub wasm_calls_max: usize,
    /// The most bytes of a module that is pushed. Default 64 MiB.
    pub module_bytes_max: ByteSize,
    /// The most modules. Default 100.
    pub modules_max: usize,
    /// The most versions of a module; the oldest that nothing uses goes when one more is pushed. Default 20.
    pub module_versions_max: usize,
}

impl Default for TransformSettings {
    fn default() -> Self {
        Self {
            decompressed_bytes_max: ByteSize::mib(16),
            jq_steps_max: 1_000_000,
            jq_outputs_max: 10_000,
            jq_output_bytes_max: ByteSize::mib(16),
            wasm_fuel_max: 1_000_000_000,
            wasm_memory_bytes_max: ByteSize::mib(256),
            wasm_output_bytes_max: ByteSize::mib(32),
            wasm_call_records_max: 500,
            wasm_call_bytes_max: ByteSize::mib(1),
            wasm_attempts_max: 2,
            wasm_calls_max: 0,
            module_bytes_max: ByteSize::mib(64),
            modules_max: 100,
            module_versions_max: 20,
        }
    }
}

impl TransformSettings {
    /// Checks that nothing is limited to nothing.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("decompressed_bytes_max", self.decompressed_bytes_max.as_u64()),
            ("jq_steps_max", self.jq_steps_max),
            ("jq_outputs_max", self.jq_outputs_max as u64),
            ("jq_output_bytes_max", self.jq_output_bytes_max.as_u64()),
            ("wasm_fuel_max", self.wasm_fuel_max),
            ("wasm_memory_bytes_max", self.wasm_memory_bytes_max.as_u64()),
            ("wasm_output_bytes_max", self.wasm_output_bytes_max.as_u64()),
            ("wasm_call_records_max", self.wasm_call_records_max as u64),
            ("wasm_attempts_max", self.wasm_attempts_max.into()),
            ("module_bytes_max", self.module_bytes_max.as_u64()),
            ("module_versions_max", self.module_versions_max as u64),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(Error::invalid(format_args!("transform.{name} of 0 allows nothing"))),
            None => Ok(()),
        }
    }

    pub(super) fn jq(&self) -> JqLimits {
        JqLimits {
            steps_max: self.jq_steps_max,
            outputs_max: self.jq_outputs_max,
            output_bytes_max: bytes(self.jq_output_bytes_max),
        }
    }
}

/// A size as memory counts it.
pub(super) fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_nothing_is_refused_by_name() {
        assert!(TransformSettings::default().validate().is_ok());
        let none = TransformSettings { wasm_fuel_max: 0, ..TransformSettings::default() };
        assert!(none.validate().unwrap_err().to_string().contains("transform.wasm_fuel_max of 0"));
        let one = TransformSettings { wasm_fuel_max: 1, ..TransformSettings::default() };
        assert!(one.validate().is_ok());
    }
}
