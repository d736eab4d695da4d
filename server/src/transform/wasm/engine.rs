//! The engine: how modules are compiled, and what of their instructions is made the same everywhere.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, OptLevel};

use super::call::{self, Form};
use super::guest::{self, Guest};

/// What a module may use of the thread's stack.
const STACK_BYTES_MAX: usize = 1 << 20;

/// Compiles modules. Cheap to clone.
#[derive(Clone)]
pub(in crate::transform) struct WasmEngine {
    engine: Engine,
    linker: Arc<Linker<Guest>>,
    /// A number of the engine's version and settings.
    id: u64,
}

impl std::fmt::Debug for WasmEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmEngine").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A module that is ready to be instantiated.
pub(in crate::transform) struct Compiled {
    pub(super) instance: InstancePre<Guest>,
    pub(super) form: Form,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Compiled {
    pub(super) fn engine(&self) -> &Engine {
        self.instance.engine()
    }
}

impl WasmEngine {
    pub(in crate::transform) fn new() -> Result<Self, String> {
        let mut config = Config::new();
        config
            .consume_fuel(true)
            .cranelift_opt_level(OptLevel::Speed)
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true)
            .max_wasm_stack(STACK_BYTES_MAX);
        let engine = Engine::new(&config).map_err(|error| format!("the wasm engine does not start: {error}"))?;
        let linker = guest::linker(&engine).map_err(|error| format!("the wasm engine does not start: {error}"))?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { engine, linker: Arc::new(linker), id: hasher.finish() })
    }

    /// A number of the engine's version and settings.
    pub(in crate::transform) const fn id(&self) -> u64 {
        self.id
    }

    /// Compiles a component to machine code. Takes seconds for a large one.
    pub(in crate::transform) fn compile(&self, component: &[u8]) -> Result<Vec<u8>, String> {
        let compiled = Component::from_binary(&self.engine, component).map_err(|error| format!("{error:#}"))?;
        compiled.serialize().map_err(|error| format!("{error:#}"))
    }

    /// Makes ready what [`WasmEngine::compile`] gave, and checks that it is a transform.
    ///
    /// The code must be what this process or an earlier one with the same engine compiled: it is run as it is.
    pub(in crate::transform) fn load(&self, code: &[u8]) -> Result<Compiled, String> {
        #[expect(
            unsafe_code,
            reason = "the caller has checked the digest against that of the code when it was compiled"
        )]
        // SAFETY: `code` is byte for byte what `Component::serialize` gave.
        let component = unsafe { Component::deserialize(&self.engine, code) }.map_err(|error| format!("{error:#}"))?;
        let instance = self.linker.instantiate_pre(&component);
        let instance = instance.map_err(|error| format!("the module imports what a transform has not: {error:#}"))?;
        let form = call::probe(&instance)?;
        Ok(Compiled { instance, form })
    }
}
