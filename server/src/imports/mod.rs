//! Imports: files of an object store, put into a stream, each version of each once.
//!
//! ```text
//! schedule, arrival, request ─► run ─list─► object ─chunks─► set aside ─► put, under a sequence ─► one commit: position + object
//! ```
//!
//! Invariants: a chunk's records are in the stream once, whatever crashes or fails: it is put under one producer and sequence,
//! which are noted before, and known again by the log. Runs of one import do not overlap. No row is dropped in silence: it is a
//! record, or set aside with its cause, or its object is given up with its place and cause. Nothing here knows file formats.

mod settings;
mod spec;
mod source;
mod schedule;
mod pace;
mod ledger;
mod metrics;
mod entry;
mod apply;
mod describe;
mod set_aside;
mod worker;
#[cfg(test)]
mod tests;

pub(crate) use apply::Application;
pub use describe::{DescribedImport, ImportObject, ImportRun, RunState, state_word, trigger_word};
pub use set_aside::ImportSetAside;
pub use settings::ImportSettings;
pub use spec::{ArrivalSpec, CsvSpec, ImportSpec, OnBadRow};

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_storage::lake::store::{Store, StoreSettings};
use millrace_storage::meta::keys::import::{ImportKey, ImportState};
use millrace_storage::meta::{MetaStore, keys};
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::entry::{Declared, Entry};
use self::ledger::Ledger;
use self::metrics::ImportMetrics;
use crate::auth::{Action, Auth, Payer, Resource};
use crate::delivery::declaration::Declaration;
use crate::error::{Error, Result};
use crate::halted::Halted;
use crate::metrics::Metrics;
use crate::streams::Streams;

/// The folder of the tables' store below which bad rows are set aside, by import.
pub(crate) const BAD_ROWS_FOLDER: &str = "errors/imports";

/// Further stores that imports may read, by the names that the settings give them. What is below one's URL may be read.
pub type NamedStores = BTreeMap<String, StoreSettings>;

/// All imports of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Imports {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Arc<Parts>,
    entries: RwLock<BTreeMap<String, Arc<Entry>>>,
    /// One change of declarations at a time.
    changes: tokio::sync::Mutex<()>,
    stop: CancellationToken,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) streams: Streams,
    pub(crate) meta: Arc<dyn MetaStore>,
    /// The tables' store: where bad rows go, and a source like others.
    pub(crate) store: Store,
    /// How stores are reached.
    pub(crate) store_settings: StoreSettings,
    /// How those are reached that the settings name.
    pub(crate) named_stores: NamedStores,
    pub(crate) auth: Auth,
    pub(crate) settings: ImportSettings,
    pub(crate) turns: Arc<Semaphore>,
    metrics: ImportMetrics,
}

impl Parts {
    /// Who pays for what an import puts, where it may put now; nobody where auth was off when it was declared.
    pub(crate) fn payer(&self, owner: &str, stream: &str) -> Result<Option<Arc<Payer>>> {
        if owner.is_empty() {
            return Ok(None);
        }
        let caller = self.auth.caller_named(owner)?;
        caller.check(Action::Put, &Resource::stream(stream))?;
        Ok(caller.payer())
    }
}

impl Imports {
    /// Opens all imports that the meta store knows and starts their workers. It must come before anybody puts. Needs no object
    /// store; sources are reached as `store_settings` says, or the store that an import names.
    pub async fn open(
        streams: Streams,
        meta: Arc<dyn MetaStore>,
        store: Store,
        (store_settings, named_stores): (StoreSettings, NamedStores),
        auth: Auth,
        settings: ImportSettings,
        metrics: &Metrics,
    ) -> Result<Self> {
        let turns = Arc::new(Semaphore::new(settings.concurrent_max.max(1)));
        let metrics = ImportMetrics::new(metrics);
        let parts =
            Arc::new(Parts { streams, meta, store, store_settings, named_stores, auth, settings, turns, metrics });
        let stop = CancellationToken::new();
        let inner = Inner { parts, entries: RwLock::default(), changes: tokio::sync::Mutex::default(), stop };
        let imports = Self { inner: Arc::new(inner) };
        for (key, stored) in keys::scan::<ImportKey>(&*imports.parts().meta).await? {
            let running = stored.value.state == i32::from(ImportState::Running);
            let declared = Declared::of(ImportSpec::from_toml(&stored.value.spec_toml)?, stored.value.owner)?;
            let ledger = Ledger::load(Arc::clone(&imports.parts().meta), &key.name).await?;
            imports.start(declared, ledger, running);
        }
        Ok(imports)
    }

    fn start(&self, declared: Declared, ledger: Ledger, running: bool) {
        let name = declared.spec.name.clone();
        let stop = self.inner.stop.child_token();
        let entry = Entry::start(Arc::clone(self.parts()), declared, ledger, running, stop);
        self.inner.entries.write().insert(name, Arc::new(entry));
    }

    /// Runs an import now, after the run under way where there is one. With `wait` it returns when that run has ended, else
    /// when it is asked for.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` where the import is paused.
    pub async fn run(&self, name: &str, retry_failed: bool, wait: bool) -> Result<DescribedImport> {
        let entry = self.entry(name)?;
        if !entry.wanted.borrow().running {
            return Err(paused(name));
        }
        let mut request = 0;
        entry.wanted.send_modify(|wanted| {
            wanted.requests += 1;
            request = wanted.requests;
            if retry_failed {
                wanted.retry_failed = request;
            }
        });
        if wait {
            entry.until(|progress| progress.answered >= request).await?;
        }
        Ok(describe::described(&entry))
    }

    /// Stops an import after the chunk in flight; its run goes on when it is resumed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn pause(&self, name: &str) -> Result<DescribedImport> {
        self.set_running(name, false).await
    }

    /// Goes on where [`Imports::pause`] stopped.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn resume(&self, name: &str) -> Result<DescribedImport> {
        self.set_running(name, true).await
    }

    async fn set_running(&self, name: &str, running: bool) -> Result<DescribedImport> {
        let _turn = self.inner.changes.lock().await;
        let entry = self.entry(name)?;
        let key = ImportKey { name: name.to_owned() };
        let stored = keys::get(&*self.parts().meta, &key).await?.ok_or_else(|| not_found(name))?;
        let mut value = stored.value.clone();
        value.state = if running { ImportState::Running } else { ImportState::Paused }.into();
        if value != stored.value {
            self.parts().meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
            tracing::info!(import = name, "{}", if running { "resumed" } else { "paused" });
        }
        entry.wanted.send_if_modified(|wanted| std::mem::replace(&mut wanted.running, running) != running);
        let mut progress = entry.progress.clone();
        // It tells what is true when it answers; a worker that ended tells nothing more.
        let _ = progress.wait_for(|progress| progress.paused != running || progress.ended).await;
        Ok(describe::described(&entry))
    }

    /// Stops all workers after the chunk in flight; what is not imported is gone on with at the next start.
    pub async fn close(&self) {
        self.stop();
        let entries: Vec<_> = self.inner.entries.read().values().cloned().collect();
        for entry in entries {
            entry.ended().await;
        }
    }

    /// Asks all workers to stop.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }

    pub(crate) fn parts(&self) -> &Arc<Parts> {
        &self.inner.parts
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>> {
        self.inner.entries.read().get(name).cloned().ok_or_else(|| not_found(name))
    }
}

fn not_found(name: &str) -> Error {
    Error::not_found(format_args!("no import is named {name}")).about("import", name)
}

fn paused(name: &str) -> Error {
    Halted::Paused.error("import", name)
}
