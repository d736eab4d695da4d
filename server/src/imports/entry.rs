//! An import as the process runs it: its worker's task, and the two channels to it.

use std::sync::Arc;

use millrace_storage::lake::import::{Again, Pattern};
use millrace_storage::meta::keys::import::{ImportPositionValue, ImportRunValue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::ledger::Ledger;
use super::schedule::Schedule;
use super::spec::ImportSpec;
use super::worker::Worker;
use crate::error::Result;
use crate::halted::until;

/// An import's declaration, taken apart.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) spec: ImportSpec,
    /// Who declared it and pays; empty where auth was off.
    pub(super) owner: String,
    pub(super) schedule: Option<Schedule>,
    pub(super) pattern: Pattern,
}

impl Declared {
    pub(super) fn of(spec: ImportSpec, owner: String) -> Result<Self> {
        Ok(Self { schedule: spec.schedule()?, pattern: spec.pattern()?, spec, owner })
    }
}

/// What others ask of a worker.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Whether it shall run when it is due.
    pub(super) running: bool,
    /// A new declaration takes effect with the next run.
    pub(super) declared: Arc<Declared>,
    /// How many runs were asked for.
    pub(super) requests: u64,
    /// Up to which request failed objects are to be tried again.
    pub(super) retry_failed: u64,
    /// How often it was asked for that what was set aside is taken up again, and how the last time.
    pub(super) replays: (u64, Again),
}

/// What a worker says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// As it is stored.
    pub(super) position: ImportPositionValue,
    /// A run is carried out, or waits for its turn.
    pub(super) running: bool,
    /// It does nothing, because it was asked to pause.
    pub(super) paused: bool,
    /// What fails at present, and how often it did.
    pub(super) failing: Option<(String, u64)>,
    /// The run that ended last since the worker began.
    pub(super) last_run: Option<ImportRunValue>,
    /// The last request that a run was made for, which ended.
    pub(super) answered: u64,
    /// The last request to take up what was set aside that was carried out, and what its run did.
    pub(super) replayed: (u64, Option<ImportRunValue>),
    /// The worker ended.
    pub(super) ended: bool,
}

/// A running import.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) stop: CancellationToken,
}

impl Entry {
    /// Starts an import's worker.
    pub(super) fn start(
        parts: Arc<Parts>,
        declared: Declared,
        ledger: Ledger,
        running: bool,
        stop: CancellationToken,
    ) -> Self {
        let name = declared.spec.name.clone();
        let (declared, replays) = (Arc::new(declared), (0, Again::ByFormat));
        let wanted = Wanted { running, declared, requests: 0, retry_failed: 0, replays };
        let (wanted, receiver) = watch::channel(wanted);
        let before = Progress { position: ledger.position().clone(), paused: !running, ..Progress::default() };
        let (sender, progress) = watch::channel(before);
        tokio::spawn(Worker::new(parts, ledger, receiver, sender, stop.clone()).run());
        Self { name, wanted, progress, stop }
    }

    pub(super) fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.wanted.borrow().declared)
    }

    /// Waits until the worker says so, and gives what it said; an error where it is paused, stopped or deleted before.
    pub(super) async fn until(&self, so: impl FnMut(&Progress) -> bool) -> Result<Progress> {
        let said = until(&self.progress, so, &self.wanted, |wanted| !wanted.running, &self.stop).await;
        said.map_err(|halted| halted.error("import", &self.name))
    }

    /// Waits until the worker has ended.
    pub(super) async fn ended(&self) {
        let mut progress = self.progress.clone();
        // An error means that the worker is gone without a word, which is an end too.
        let _ = progress.wait_for(|progress| progress.ended).await;
    }
}
