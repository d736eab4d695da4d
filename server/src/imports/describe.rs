//! What imports tell of themselves.

use millrace_storage::meta::keys::Stored;
use millrace_storage::meta::keys::import::{
    ImportCounts, ImportObjectKey, ImportObjectState, ImportObjectValue, ImportRunValue, ImportTrigger, scan_objects,
    scan_runs,
};
use millrace_storage::time::Timestamp;

use super::Imports;
use super::entry::Entry;
use crate::delivery::declaration::Declaration;
use crate::error::Result;

/// What an import does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It waits until it is due.
    Idle,
    /// It reads, or waits for its turn.
    Running,
    /// It does nothing.
    Paused,
    /// Something fails, and it tries again.
    Retrying,
}

impl RunState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Retrying => "retrying",
        }
    }
}

/// An import as it is now.
#[derive(Debug, Clone)]
pub struct DescribedImport {
    /// Its name.
    pub name: String,
    /// The stream that it puts into.
    pub stream: String,
    /// Its folder.
    pub source: String,
    /// Its normalised declaration.
    pub spec_toml: String,
    /// Which declaration it is: another one for each that differs.
    pub version: String,
    /// Who declared it; empty where auth was off.
    pub owner: String,
    /// What it does.
    pub state: RunState,
    /// What fails at present, else why the last run ended early.
    pub last_error: Option<String>,
    /// Failed attempts since the last success.
    pub retries: u64,
    /// The object that is being read.
    pub object: Option<String>,
    /// When its schedule has it run next.
    pub next_run_at: Option<Timestamp>,
    /// The run under way.
    pub run: Option<ImportRun>,
    /// The run that ended last since the server started.
    pub last_run: Option<ImportRun>,
    /// Of all runs.
    pub totals: ImportCounts,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRun {
    /// Its number, from 1.
    pub number: u64,
    /// What began it.
    pub trigger: ImportTrigger,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it did.
    pub counts: ImportCounts,
    /// Why it ended early, or what the last object that was left open failed of.
    pub error: String,
}

impl From<ImportRunValue> for ImportRun {
    fn from(run: ImportRunValue) -> Self {
        Self {
            number: run.number,
            trigger: run.trigger(),
            begun_at: Timestamp(run.begun_at_ms),
            ended_at: (run.ended_at_ms > 0).then_some(Timestamp(run.ended_at_ms)),
            counts: run.counts.unwrap_or_default(),
            error: run.error,
        }
    }
}

/// The word of a trigger.
#[must_use]
pub const fn trigger_word(trigger: ImportTrigger) -> &'static str {
    match trigger {
        ImportTrigger::Manual => "manual",
        ImportTrigger::Schedule => "schedule",
        ImportTrigger::Arrival => "arrival",
        ImportTrigger::Replay => "replay",
        ImportTrigger::ReplayAsIs => "replay as is",
    }
}

/// What became of one version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportObject {
    /// The import.
    pub import: String,
    /// The object's URL.
    pub url: String,
    /// What the store calls the version.
    pub e_tag: String,
    /// In bytes.
    pub size_bytes: u64,
    /// When it was written.
    pub written_at: Timestamp,
    /// How far it is.
    pub state: ImportObjectState,
    /// Rows that were read.
    pub rows: u64,
    /// Records that were put.
    pub records: u64,
    /// Rows that were set aside.
    pub set_aside: u64,
    /// Why it was given up, or what fails.
    pub error: String,
    /// The run that took it up last.
    pub run: u64,
    /// When it was done with.
    pub ended_at: Option<Timestamp>,
}

/// The word of a state.
#[must_use]
pub const fn state_word(state: ImportObjectState) -> &'static str {
    match state {
        ImportObjectState::Open => "open",
        ImportObjectState::Imported => "imported",
        ImportObjectState::Failed => "failed",
        ImportObjectState::Changed => "changed",
    }
}

impl Imports {
    /// All imports, by name.
    #[must_use]
    pub fn list(&self) -> Vec<DescribedImport> {
        let entries: Vec<_> = self.inner.entries.read().values().cloned().collect();
        entries.iter().map(|entry| described(entry)).collect()
    }

    /// One import.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`].
    pub fn describe(&self, name: &str) -> Result<DescribedImport> {
        Ok(described(&*self.entry(name)?))
    }

    /// The runs of an import, newest first, the one under way among them: so many at most.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`].
    pub async fn history(&self, name: &str, runs_max: usize) -> Result<Vec<ImportRun>> {
        let entry = self.entry(name)?;
        let ended = scan_runs(&*self.parts().meta, name).await?;
        let open = entry.progress.borrow().position.run.clone();
        // What was read as open may have ended since, and be there twice.
        let open = open.filter(|open| ended.last().is_none_or(|(key, _)| key.number < open.number));
        let ended = ended.into_iter().rev().map(|(_, stored)| stored.value);
        Ok(open.into_iter().chain(ended).take(runs_max).map(ImportRun::from).collect())
    }

    /// The objects that an import knows, by URL.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`].
    pub async fn objects(&self, name: &str) -> Result<Vec<ImportObject>> {
        self.entry(name)?;
        let objects = scan_objects(&*self.parts().meta, name).await?;
        let object = |(key, stored): (ImportObjectKey, Stored<ImportObjectValue>)| {
            let value = stored.value;
            ImportObject {
                import: key.import,
                url: key.url,
                state: value.state(),
                e_tag: value.e_tag,
                size_bytes: value.size_bytes,
                written_at: Timestamp(value.written_at_ms),
                rows: value.rows,
                records: value.records,
                set_aside: value.set_aside,
                error: value.error,
                run: value.run,
                ended_at: (value.ended_at_ms > 0).then_some(Timestamp(value.ended_at_ms)),
            }
        };
        Ok(objects.into_iter().map(object).collect())
    }
}

pub(super) fn described(entry: &Entry) -> DescribedImport {
    let progress = entry.progress.borrow().clone();
    let running = entry.wanted.borrow().running;
    let declared = entry.declared();
    let state = match (&progress.failing, running, progress.running) {
        (_, false, _) => RunState::Paused,
        (Some(_), ..) => RunState::Retrying,
        (None, true, true) => RunState::Running,
        (None, true, false) => RunState::Idle,
    };
    let (failing, retries) = progress.failing.unzip();
    let last_run = progress.last_run.map(ImportRun::from);
    let ended_early = last_run.as_ref().map(|run| run.error.clone()).filter(|error| !error.is_empty());
    let upto = Timestamp(progress.position.scheduled_upto_ms);
    DescribedImport {
        name: entry.name.clone(),
        stream: declared.spec.stream.clone(),
        source: declared.spec.source.clone(),
        spec_toml: declared.spec.to_toml(),
        version: declared.spec.version(),
        owner: declared.owner.clone(),
        state,
        last_error: failing.or(ended_early),
        retries: retries.unwrap_or_default(),
        object: progress.position.current.map(|current| current.url),
        next_run_at: declared.schedule.as_ref().filter(|_| running).and_then(|schedule| schedule.next_after(upto)),
        run: progress.position.run.map(ImportRun::from),
        last_run,
        totals: progress.position.totals.unwrap_or_default(),
    }
}
