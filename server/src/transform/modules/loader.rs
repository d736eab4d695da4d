//! Modules made ready: from memory, else from compiled code on disk, else compiled. One at a time, as compiling a large module
//! takes all cores.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millrace_storage::meta::keys::transform::{Sha256, TransformCompiledKey};
use millrace_storage::meta::{MetaStore, keys};
use parking_lot::Mutex;

use super::blocking;
use super::state::{compiled_write, read_bytes};
use crate::error::{Error, Kind, Result};
use crate::transform::metrics::TransformMetrics;
use crate::transform::wasm::{Compiled, CompiledFolder, WasmEngine, digest};

/// How many modules stay ready that no chain uses.
const READY_MAX: usize = 8;

/// Makes modules ready.
#[derive(Debug)]
pub(super) struct Loader {
    meta: Arc<dyn MetaStore>,
    folder: CompiledFolder,
    /// Made when the first module is, so that who has none pays nothing.
    engine: OnceLock<Result<WasmEngine, String>>,
    /// The newest last.
    ready: Mutex<Vec<(Sha256, Arc<Compiled>)>>,
    turn: tokio::sync::Mutex<()>,
    metrics: TransformMetrics,
}

impl Loader {
    pub(super) fn new(meta: Arc<dyn MetaStore>, folder: &Path, metrics: TransformMetrics) -> Self {
        Self {
            meta,
            folder: CompiledFolder::new(folder.to_path_buf()),
            engine: OnceLock::new(),
            ready: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            metrics,
        }
    }

    fn engine(&self) -> Result<WasmEngine> {
        let engine = self.engine.get_or_init(WasmEngine::new).clone();
        engine.map_err(|reason| Error::new(Kind::Internal, reason))
    }

    /// Compiles what is pushed, and checks that it is a transform. Gives the engine and the digest of the code, which the
    /// caller stores together with the module.
    pub(super) async fn compile(&self, module: Sha256, component: Bytes) -> Result<(u64, Sha256)> {
        let _turn = self.turn.lock().await;
        let engine = self.engine()?;
        let (id, code, compiled) = self.compile_now(engine, component).await?;
        self.keep(module, id, &code);
        self.hold(module, Arc::new(compiled));
        Ok((id, digest(&code)))
    }

    /// A module that was pushed.
    pub(super) async fn load(&self, module: Sha256) -> Result<Arc<Compiled>> {
        if let Some(ready) = self.find(module) {
            return Ok(ready);
        }
        let _turn = self.turn.lock().await;
        if let Some(ready) = self.find(module) {
            return Ok(ready);
        }
        let engine = self.engine()?;
        let compiled = match self.kept(&engine, module).await? {
            Some(compiled) => {
                self.metrics.loads.with_label_values(&["disk"]).inc();
                compiled
            }
            None => {
                self.metrics.loads.with_label_values(&["compiler"]).inc();
                let component = Bytes::from(read_bytes(&*self.meta, module).await?);
                let (id, code, compiled) = self.compile_now(engine, component).await?;
                // Its digest is stored first: a file without one is only compiled again.
                self.meta.commit(Vec::new(), vec![compiled_write(module, id, digest(&code))]).await?;
                self.keep(module, id, &code);
                compiled
            }
        };
        let compiled = Arc::new(compiled);
        self.hold(module, Arc::clone(&compiled));
        Ok(compiled)
    }

    async fn compile_now(&self, engine: WasmEngine, component: Bytes) -> Result<(u64, Vec<u8>, Compiled)> {
        let timer = self.metrics.compile_seconds.start_timer();
        let made = blocking(move || {
            let code = engine.compile(&component)?;
            let compiled = engine.load(&code)?;
            Ok((engine.id(), code, compiled))
        });
        let made = made.await?.map_err(|reason: String| Error::invalid(reason));
        timer.observe_duration();
        made
    }

    /// What an earlier process compiled.
    async fn kept(&self, engine: &WasmEngine, module: Sha256) -> Result<Option<Compiled>> {
        let key = TransformCompiledKey { sha256: module, engine: engine.id() };
        let Some(stored) = keys::get(&*self.meta, &key).await? else { return Ok(None) };
        let Ok(expected) = Sha256::try_from(&stored.value.sha256[..]) else { return Ok(None) };
        let (folder, engine) = (self.folder.clone(), engine.clone());
        let loaded = blocking(move || folder.read(module, engine.id(), expected).map(|code| engine.load(&code)));
        Ok(match loaded.await? {
            Some(Ok(compiled)) => Some(compiled),
            Some(Err(reason)) => {
                tracing::warn!(%module, reason, "compiled code cannot be used; compiling again");
                None
            }
            None => None,
        })
    }

    fn keep(&self, module: Sha256, engine: u64, code: &[u8]) {
        if let Err(error) = self.folder.write(module, engine, code) {
            tracing::warn!(%module, %error, "compiled code cannot be kept; the next start compiles again");
        }
    }

    fn find(&self, module: Sha256) -> Option<Arc<Compiled>> {
        let ready = self.ready.lock();
        ready.iter().find(|(of, _)| *of == module).map(|(_, compiled)| Arc::clone(compiled))
    }

    fn hold(&self, module: Sha256, compiled: Arc<Compiled>) {
        let mut ready = self.ready.lock();
        ready.retain(|(of, _)| *of != module);
        ready.push((module, compiled));
        let superfluous = ready.len().saturating_sub(READY_MAX);
        ready.drain(..superfluous);
    }

    /// Lets go of the code of modules that are not kept.
    pub(super) fn tidy(&self, kept: &[String]) {
        let Some(Ok(engine)) = self.engine.get() else { return };
        self.ready.lock().retain(|(module, _)| kept.contains(&module.to_string()));
        self.folder.tidy(engine.id(), |module| kept.iter().any(|kept| kept == module));
    }
}
