//! Transform modules: pushed once, kept by what they are, used by many deliveries, and changed at the border of a batch.
//!
//! A module's bytes lie in the meta store under their digest: so a version and its bytes come and go in one commit, and a
//! backup has both.

pub(super) mod name;
mod pins;
mod state;
mod loader;
#[cfg(test)]
mod tests;

pub use name::{MODULE_NAME_LEN_MAX, ModuleName};
pub use pins::{Pin, Pins};
pub use state::{Module, Version};

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::keys::transform::TransformValue;
use millrace_storage::meta::memory::MemoryMeta;
use millrace_storage::time::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

use self::loader::Loader;
use self::pins::is_canary;
use self::state::{Change, Modules};
use super::chain::Step;
use super::metrics::TransformMetrics;
use super::registry::Guarded;
use super::wasm::{Slots, Wasm, componentize};
use super::{
    Chain, Decompress, Fields, Jq, Newline, Registry, Split, Transform, TransformSettings, TransformSpec, WasmSpec,
};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// All that chains are made of. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transforms {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: TransformSettings,
    registry: Registry,
    meta: Arc<dyn MetaStore>,
    modules: RwLock<Modules>,
    loader: Loader,
    slots: Slots,
    metrics: TransformMetrics,
    /// One change of modules at a time.
    changes: tokio::sync::Mutex<()>,
    /// Counts the changes of which versions are in use.
    changed: watch::Sender<u64>,
}

/// How a module is pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Run it in so many of 100 batches at first, rather than in all.
    pub canary_percent: Option<u32>,
}

impl Transforms {
    /// Opens the modules that the meta store has. Compiled code is kept in `folder`.
    ///
    /// # Errors
    /// Where a setting allows nothing, or the meta store cannot be read.
    pub async fn open(
        meta: Arc<dyn MetaStore>,
        folder: &Path,
        settings: TransformSettings,
        registry: Registry,
        metrics: &Metrics,
    ) -> Result<Self> {
        settings.validate()?;
        let modules = state::read(&*meta).await?;
        let metrics = TransformMetrics::new(metrics);
        let loader = Loader::new(Arc::clone(&meta), folder, metrics.clone());
        let slots = Slots::new(settings.wasm_calls_max, metrics.calls.clone(), metrics.call_wait_seconds.clone());
        let inner = Inner {
            settings,
            registry,
            meta,
            modules: RwLock::new(modules),
            loader,
            slots,
            metrics,
            changes: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The built-in steps alone, without modules.
    #[must_use]
    pub fn builtin(metrics: &Metrics) -> Self {
        let (settings, meta) = (TransformSettings::default(), Arc::new(MemoryMeta::new()));
        let metrics = TransformMetrics::new(metrics);
        let slots = Slots::new(1, metrics.calls.clone(), metrics.call_wait_seconds.clone());
        let folder = std::env::temp_dir().join("millrace-without-modules");
        let inner = Inner {
            settings,
            registry: Registry::new(),
            loader: Loader::new(Arc::clone(&meta) as _, &folder, metrics.clone()),
            meta,
            modules: RwLock::default(),
            slots,
            metrics,
            changes: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The limits in force.
    #[must_use]
    pub fn settings(&self) -> &TransformSettings {
        &self.inner.settings
    }

    /// Tells each change of which versions are in use.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Which versions a batch of this number is made by.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where a module or a version is not there.
    pub fn pins(&self, specs: &[TransformSpec], batch: u64) -> Result<Pins> {
        let modules = self.inner.modules.read();
        let pin = |spec: &WasmSpec| {
            let module = modules.get(&spec.module).ok_or_else(|| unknown(&spec.module))?;
            let TransformValue { current, canary, canary_percent, .. } = module.value;
            let runs_canary = canary > 0 && is_canary(batch, canary_percent);
            let version = spec.version.unwrap_or(if runs_canary { canary } else { current });
            if !module.versions.contains_key(&version) {
                return Err(no_version(&spec.module, version));
            }
            Ok(Pin { module: spec.module.clone(), declared: spec.version, version })
        };
        wasm_specs(specs).map(pin).collect::<Result<_>>().map(Pins::new)
    }

    /// Checks that all that a chain names is there.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with what is not.
    pub fn check(&self, specs: &[TransformSpec]) -> Result<()> {
        self.pins(specs, 0)?;
        for spec in specs {
            if let TransformSpec::Registered { name } = spec {
                self.registered(name)?;
            }
        }
        Ok(())
    }

    /// The chain of a delivery, by these versions of modules. Loads them where they are not loaded yet, which may take
    /// seconds.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where something that it names is not there.
    pub async fn chain(&self, delivery: &str, specs: &[TransformSpec], pins: &Pins) -> Result<Chain> {
        let deaggregate = specs.contains(&TransformSpec::Deaggregate);
        let stop = Arc::new(AtomicBool::new(false));
        let mut steps = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            // `split` finds where values end by itself, so a `newline` right before it would only cost a copy.
            let is_needless = matches!(spec, TransformSpec::Newline { .. })
                && matches!(specs.get(index + 1), Some(TransformSpec::Split { .. }));
            if is_needless {
                continue;
            }
            let Some(transform) = self.step(spec, pins, &stop).await? else { continue };
            let metrics = self.inner.metrics.step(delivery, index + 1, spec.name());
            steps.push(Step { transform, metrics });
        }
        Ok(Chain::new(deaggregate, steps, stop))
    }

    async fn step(
        &self,
        spec: &TransformSpec,
        pins: &Pins,
        stop: &Arc<AtomicBool>,
    ) -> Result<Option<Box<dyn Transform>>> {
        let settings = &self.inner.settings;
        let step: Box<dyn Transform> = match spec {
            TransformSpec::Newline { delimiter } => Box::new(Newline::new(delimiter.clone())),
            TransformSpec::Split { by } => Box::new(Split::new(*by)),
            // It works on records with their keys, before the steps do on what they hold.
            TransformSpec::Deaggregate => return Ok(None),
            TransformSpec::Decompress { format, extract } => {
                Box::new(Decompress::new(*format, *extract, settings.decompressed_bytes_max.as_u64()))
            }
            TransformSpec::Jq { query, to } => Box::new(
                Jq::new(query, *to, settings.jq()).map_err(|reason| Error::invalid(format_args!("jq: {reason}")))?,
            ),
            TransformSpec::Fields(spec) => Box::new(Fields::new(spec.clone())),
            TransformSpec::Registered { name } => Box::new(Guarded(self.registered(name)?)),
            TransformSpec::Wasm(spec) => Box::new(self.wasm(spec, pins, stop).await?),
        };
        Ok(Some(step))
    }

    async fn wasm(&self, spec: &WasmSpec, pins: &Pins, stop: &Arc<AtomicBool>) -> Result<Wasm> {
        let pin = pins.of(spec).ok_or_else(|| unknown(&spec.module))?;
        let version = self.version(&pin.module, pin.version)?;
        let compiled = self.inner.loader.load(version.sha256).await?;
        let metrics = self.inner.metrics.module(pin.module.as_str());
        let grant = spec.grant.iter().copied().collect();
        let wasm = Wasm::new(pin, compiled, grant, self.inner.slots.clone(), &self.inner.settings, metrics);
        Ok(Wasm { stop: Arc::clone(stop), ..wasm })
    }

    fn version(&self, name: &ModuleName, number: u32) -> Result<Version> {
        let modules = self.inner.modules.read();
        let module = modules.get(name).ok_or_else(|| unknown(name))?;
        module.versions.get(&number).copied().ok_or_else(|| no_version(name, number))
    }

    fn registered(&self, name: &str) -> Result<Arc<dyn Transform>> {
        self.inner.registry.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.inner.registry.names().collect();
            Error::not_found(format_args!("no transform is registered as {name:?}; registered are {known:?}"))
        })
    }

    /// Forgets the counters of a deleted delivery.
    pub fn forget_delivery(&self, delivery: &str) {
        self.inner.metrics.forget_delivery(delivery);
    }

    /// All modules, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(ModuleName, Module)> {
        self.inner.modules.read().iter().map(|(name, module)| (name.clone(), module.clone())).collect()
    }

    /// One module.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn describe(&self, name: &ModuleName) -> Result<Module> {
        self.inner.modules.read().get(name).cloned().ok_or_else(|| unknown(name))
    }

    /// Adds a version of a module, once it is compiled and found to be a transform; a core module is made a component. It is
    /// in use when this returns: in all batches that are begun from then on, or in the canary's share of them. Bytes that
    /// are those of the version in use change nothing. `used` are versions that must stay.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it is no transform or past a limit.
    pub async fn push(
        &self,
        name: &ModuleName,
        module: Bytes,
        options: PushOptions,
        used: &[(ModuleName, u32)],
    ) -> Result<(u32, Module)> {
        let settings = &self.inner.settings;
        let bytes_max = settings.module_bytes_max.as_u64();
        if module.len() as u64 > bytes_max {
            let bytes = module.len();
            return Err(Error::invalid(format_args!(
                "module {name} of {bytes} bytes is past the limit of {bytes_max}"
            )));
        }
        let percent = options.canary_percent.unwrap_or(0);
        check_percent(percent)?;
        let invalid = |reason: String| Error::invalid(format_args!("module {name}: {reason}"));
        let component = blocking(move || componentize(module.to_vec())).await?.map_err(invalid)?;
        let component = Bytes::from(component);
        let _turn = self.inner.changes.lock().await;
        let seen = self.inner.modules.read().get(name).cloned();
        if seen.is_none() && self.inner.modules.read().len() >= settings.modules_max {
            let most = settings.modules_max;
            return Err(Error::new(
                Kind::FailedPrecondition,
                format_args!("there are {most} modules, which is the limit"),
            ));
        }
        let sha256 = super::wasm::digest(&component);
        if let Some(module) = &seen
            && module.versions.get(&module.value.current).is_some_and(|current| current.sha256 == sha256)
            && module.value.canary == 0
        {
            return Ok((module.value.current, module.clone()));
        }
        let compiled =
            self.inner.loader.compile(sha256, component.clone()).await.map_err(|error| match error.kind() {
                Kind::Invalid => invalid(error.to_string()),
                _ => error,
            })?;
        let now = Timestamp::now();
        let version = Version { sha256, bytes: component.len() as u64, created_at: now };
        let mut module = seen.clone().unwrap_or_else(|| Module {
            value: TransformValue { created_at_ms: now.as_millis(), ..TransformValue::default() },
            versions: Default::default(),
        });
        let number = module.value.newest + 1;
        module.value.newest = number;
        if percent > 0 && module.value.current > 0 {
            (module.value.canary, module.value.canary_percent) = (number, percent);
        } else {
            module.value.previous = module.value.current;
            (module.value.current, module.value.canary, module.value.canary_percent) = (number, 0, 0);
        }
        module.versions.insert(number, version);
        let gone = superfluous(name, &module, settings.module_versions_max, used);
        module.versions.retain(|number, _| !gone.iter().any(|(gone, _)| gone == number));
        let mut all = self.inner.modules.read().clone();
        all.insert(name.clone(), module.clone());
        Change::of(name, seen.as_ref())
            .remove(name, &gone, &all)
            .add(name, number, &version, &component, compiled)
            .set(name, &module.value)
            .commit(&*self.inner.meta)
            .await?;
        self.publish(name, Some(module.clone()));
        tracing::info!(module = %name, version = number, %sha256, canary_percent = percent, "a transform module was pushed");
        Ok((number, module))
    }

    /// Ends a canary. Without one, makes an older version the current one: the one named, or that which was before.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] where there is none to go back to.
    pub async fn roll_back(&self, name: &ModuleName, to: Option<u32>) -> Result<Module> {
        self.change(name, |module| {
            let value = &mut module.value;
            if value.canary > 0 && to.is_none_or(|to| to == value.current) {
                (value.canary, value.canary_percent) = (0, 0);
                return Ok(());
            }
            let to = to.unwrap_or(value.previous);
            if !module.versions.contains_key(&to) {
                let words = format_args!("module {name} has no version {to} to go back to");
                return Err(Error::new(Kind::FailedPrecondition, words));
            }
            if to != value.current {
                value.previous = value.current;
            }
            (value.current, value.canary, value.canary_percent) = (to, 0, 0);
            Ok(())
        })
        .await
    }

    /// Runs the canary in so many of 100 batches; with 100, makes it the current version.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] where there is none.
    pub async fn set_canary(&self, name: &ModuleName, percent: u32) -> Result<Module> {
        check_percent(percent)?;
        self.change(name, |module| {
            let value = &mut module.value;
            if value.canary == 0 {
                return Err(Error::new(Kind::FailedPrecondition, format_args!("module {name} has no canary")));
            }
            if percent < 100 {
                value.canary_percent = percent;
            } else {
                value.previous = value.current;
                (value.current, value.canary, value.canary_percent) = (value.canary, 0, 0);
            }
            Ok(())
        })
        .await
    }

    async fn change(&self, name: &ModuleName, change: impl FnOnce(&mut Module) -> Result<()>) -> Result<Module> {
        let _turn = self.inner.changes.lock().await;
        let seen = self.describe(name)?;
        let mut module = seen.clone();
        change(&mut module)?;
        if module != seen {
            Change::of(name, Some(&seen)).set(name, &module.value).commit(&*self.inner.meta).await?;
            self.publish(name, Some(module.clone()));
            let TransformValue { current, canary, canary_percent, .. } = module.value;
            tracing::info!(module = %name, current, canary, canary_percent, "other versions of a module are in use");
        }
        Ok(module)
    }

    /// Removes a module with all its versions. The caller has made sure that nothing uses it, and goes on to.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub async fn delete(&self, name: &ModuleName) -> Result<()> {
        let _turn = self.inner.changes.lock().await;
        let seen = self.describe(name)?;
        let all = self.inner.modules.read().clone();
        let versions: Vec<_> = seen.versions.iter().map(|(number, version)| (*number, *version)).collect();
        Change::of(name, Some(&seen)).remove(name, &versions, &all).delete(name).commit(&*self.inner.meta).await?;
        self.publish(name, None);
        self.inner.metrics.forget_module(name.as_str());
        tracing::info!(module = %name, "a transform module was deleted");
        Ok(())
    }

    fn publish(&self, name: &ModuleName, module: Option<Module>) {
        {
            let mut modules = self.inner.modules.write();
            match module {
                Some(module) => drop(modules.insert(name.clone(), module)),
                None => drop(modules.remove(name)),
            }
            let kept: Vec<String> = modules
                .values()
                .flat_map(|module| module.versions.values().map(|version| version.sha256.to_string()))
                .collect();
            self.inner.loader.tidy(&kept);
        }
        self.inner.changed.send_modify(|changes| *changes += 1);
    }
}

/// The steps that call modules.
pub(crate) fn wasm_specs(specs: &[TransformSpec]) -> impl Iterator<Item = &WasmSpec> {
    specs.iter().filter_map(|spec| match spec {
        TransformSpec::Wasm(spec) => Some(spec),
        _ => None,
    })
}

/// The oldest versions past the limit that nothing uses.
fn superfluous(
    name: &ModuleName,
    module: &Module,
    versions_max: usize,
    used: &[(ModuleName, u32)],
) -> Vec<(u32, Version)> {
    let TransformValue { current, canary, previous, newest, .. } = module.value;
    let too_many = module.versions.len().saturating_sub(versions_max);
    let is_used = |number: u32| {
        [current, canary, previous, newest].contains(&number)
            || used.iter().any(|(of, version)| of == name && *version == number)
    };
    let free = module.versions.iter().filter(|(number, _)| !is_used(**number));
    free.take(too_many).map(|(number, version)| (*number, *version)).collect()
}

fn check_percent(percent: u32) -> Result<()> {
    if percent > 100 {
        return Err(Error::invalid(format_args!("a canary's share of {percent} is past 100 percent"))
            .in_field("canary_percent"));
    }
    Ok(())
}

fn unknown(name: &ModuleName) -> Error {
    Error::not_found(format_args!("no transform module is named {name}")).about("module", name)
}

fn no_version(name: &ModuleName, version: u32) -> Error {
    Error::not_found(format_args!("module {name} has no version {version}")).about("module", name)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let ended = |error| Error::new(Kind::Internal, format_args!("work on a module ended early: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(ended)
}
