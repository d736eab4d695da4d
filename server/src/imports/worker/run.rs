//! One run: the objects below the prefix that are not imported yet, one after the other.

use std::collections::HashSet;
use std::time::Duration;

use futures::TryStreamExt;
use millrace_storage::lake::import::{Source, SourceObject};
use millrace_storage::meta::keys::import::{
    ImportCounts, ImportObjectKey, ImportObjectState, ImportObjectValue, ImportRunValue, ImportTrigger,
};
use millrace_storage::time::Timestamp;

use super::{Halt, Worker};
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::imports::entry::Declared;
use crate::imports::ledger::{Known, again_of, ended};

/// What a run found, beside what is stored.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) seen: u64,
    /// Objects that could not be read to their end, and are open still.
    pub(super) left_open: u64,
    /// Why, of the last of them.
    pub(super) last_error: String,
}

impl Worker {
    /// Begins a run, or goes on with the open one, and carries it out.
    pub(super) async fn carry_out(&mut self, trigger: Option<ImportTrigger>) {
        let wanted = self.wanted.borrow().clone();
        let open = self.ledger.position().run.as_ref().map(ImportRunValue::trigger);
        let again = trigger.or(open).and_then(again_of);
        let retry_failed = wanted.retry_failed > self.taken;
        match again {
            None => self.taken = wanted.requests,
            // One that is gone on with is of a request to a former process.
            Some(_) if trigger.is_some() => self.replays_taken = wanted.replays.0,
            Some(_) => {}
        }
        let mut found = Found::default();
        let outcome = match (self.begin(trigger).await, again) {
            (Ok(()), None) => self.import(&wanted.declared, retry_failed, &mut found).await,
            (Ok(()), Some(again)) => self.replay(&wanted.declared, again, &mut found).await,
            (Err(halt), _) => Err(halt),
        };
        let error = match outcome {
            Err(Halt::Stopped) => return,
            Ok(()) => found.last_error.clone(),
            Err(Halt::Failed(error)) => error.to_string(),
        };
        if !error.is_empty() {
            // What arrived is there still: the next look must not follow at once.
            self.poll_at = self.poll_at.max(Instant::now() + self.parts.settings.retry_delay_max);
        }
        if self.end(&found, error).await.is_ok() {
            let (answered, replays_taken) = (self.taken, self.replays_taken);
            self.show(|progress| {
                (progress.answered, progress.failing) = (answered, None);
                if again.is_some() {
                    progress.replayed = (replays_taken, progress.last_run.clone());
                }
            });
        }
    }

    async fn begin(&mut self, trigger: Option<ImportTrigger>) -> Result<(), Halt> {
        let Some(trigger) = trigger else { return Ok(()) };
        let mut streak = self.streak();
        while let Err(error) = self.ledger.begin_run(trigger, Timestamp::now()).await {
            self.failed(&mut streak, "beginning a run", &error, Duration::ZERO).await?;
        }
        self.recovered(&mut streak);
        let run = self.ledger.position().next_run - 1;
        tracing::info!(import = self.name(), run, ?trigger, "a run begins");
        self.show(|_| {});
        Ok(())
    }

    async fn end(&mut self, found: &Found, error: String) -> Result<(), Halt> {
        let Some(run) = self.ledger.position().run.clone() else { return Ok(()) };
        let stored = run.counts.unwrap_or_default();
        let failed = stored.failed + found.left_open;
        let skipped = found.seen.saturating_sub(stored.imported + failed);
        let counts = ImportCounts { seen: found.seen, skipped, failed, ..stored };
        let mut streak = self.streak();
        let runs_kept = self.parts.settings.runs_kept;
        while let Err(failure) = self.ledger.end_run(counts, error.clone(), runs_kept).await {
            self.failed(&mut streak, "ending a run", &failure, Duration::ZERO).await?;
        }
        self.recovered(&mut streak);
        self.metrics.run_ended(!error.is_empty());
        let ImportCounts { imported, skipped, failed, records, set_aside, .. } = counts;
        let (import, run_number) = (self.name(), run.number);
        if error.is_empty() {
            tracing::info!(import, run = run_number, imported, skipped, failed, records, set_aside, "a run ended");
        } else {
            tracing::warn!(
                import,
                run = run_number,
                imported,
                skipped,
                failed,
                records,
                set_aside,
                "a run ended: {error}"
            );
        }
        let last = ImportRunValue { counts: Some(counts), error, ended_at_ms: Timestamp::now().as_millis(), ..run };
        self.show(|progress| progress.last_run = Some(last));
        Ok(())
    }

    async fn import(&mut self, declared: &Declared, retry_failed: bool, found: &mut Found) -> Result<(), Halt> {
        self.finish_replay(declared, found).await?;
        // That asks nothing of a store yet: what fails here would fail again.
        let source = self.parts.open_source(&declared.spec).await?;
        let begun_at_ms = self.ledger.position().run.as_ref().map_or(0, |run| run.begun_at_ms);
        // Objects that are too young are looked at once more when they have rested; those that came later are the next run's.
        for is_last in [false, true] {
            let objects = self.retried(declared, "listing the source", || self.listed(&source, declared)).await?;
            *found = Found { seen: objects.len() as u64, ..Found::default() };
            let known = self.ledger.known().await?;
            self.leave_what_is_gone(&objects, &known).await?;
            let young = self.import_listed(&source, declared, &objects, &known, retry_failed, found).await?;
            let rest = young
                .iter()
                .filter(|object| object.written_at_ms <= begun_at_ms)
                .map(|object| self.rest(declared, object));
            let rest = rest.max();
            if is_last || rest.is_none() {
                let known = self.ledger.known().await?;
                self.forget_gone(&objects, &known).await?;
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.interrupted() => return Err(Halt::Stopped),
                () = tokio::time::sleep(rest.unwrap_or_default()) => {}
            }
        }
        Ok(())
    }

    /// Imports what is to be imported; gives the objects that are too young.
    async fn import_listed<'o>(
        &mut self,
        source: &Source,
        declared: &Declared,
        objects: &'o [SourceObject],
        known: &Known,
        retry_failed: bool,
        found: &mut Found,
    ) -> Result<Vec<&'o SourceObject>, Halt> {
        let mut young = Vec::new();
        // The current one is first: its chunk that may be stored must be asked about before another takes its sequence.
        let current = objects.iter().filter(|object| self.ledger.is_current(&self.ledger.key_of(object)));
        let current: Vec<&SourceObject> = current.collect();
        let others = objects.iter().filter(|object| !current.contains(object));
        for object in current.iter().copied().chain(others) {
            let value = known.get(&(object.url.clone(), object.version()));
            match value.map(ImportObjectValue::state) {
                Some(ImportObjectState::Imported | ImportObjectState::Changed) => continue,
                Some(ImportObjectState::Failed) if !retry_failed => continue,
                None if !self.rest(declared, object).is_zero() => {
                    young.push(object);
                    continue;
                }
                _ => {}
            }
            self.import_object(source, declared, object, value.cloned(), None, found).await?;
        }
        Ok(young)
    }

    /// How long an object has to rest still.
    fn rest(&self, declared: &Declared, object: &SourceObject) -> Duration {
        let age_ms = Timestamp::now().as_millis().saturating_sub(object.written_at_ms);
        declared.spec.min_age().saturating_sub(Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)))
    }

    /// Gives up the current object where it is not there any more.
    async fn leave_what_is_gone(&mut self, objects: &[SourceObject], known: &Known) -> Result<(), Halt> {
        let Some(current) = self.ledger.position().current.clone() else { return Ok(()) };
        if objects.iter().any(|object| object.url == current.url && object.version() == current.version) {
            return Ok(());
        }
        let key = ImportObjectKey { import: self.name(), url: current.url, version: current.version };
        let value = known.get(&(key.url.clone(), key.version)).cloned().unwrap_or_default();
        let value = ended(&value, ImportObjectState::Changed, self.changed_words(&value));
        self.leave(&key, &value, None).await
    }

    /// What is told of an object that is not the same any more.
    pub(super) fn changed_words(&self, value: &ImportObjectValue) -> String {
        let perhaps = if self.former.is_some() { ", and perhaps those of the chunk after them" } else { "" };
        format!(
            "it was removed or written over while it was read: its first {} records are in the stream{perhaps}; what is there \
             now is another version, and imported as a whole",
            value.records
        )
    }

    async fn listed(&self, source: &Source, declared: &Declared) -> Result<Vec<SourceObject>> {
        let objects_max = self.parts.settings.objects_max;
        let mut listing = source.list(&declared.pattern);
        let mut objects = Vec::new();
        while let Some(object) = listing.try_next().await.map_err(of_lake)? {
            if objects.len() >= objects_max {
                let source = &declared.spec.source;
                return Err(Error::new(
                    Kind::FailedPrecondition,
                    format_args!(
                        "{source} has more than {objects_max} objects (import.objects_max); narrow the pattern or the source"
                    ),
                ));
            }
            objects.push(object);
        }
        objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(objects)
    }

    pub(super) async fn look_for_new(&self, declared: &Declared) -> Result<bool> {
        let source = self.parts.open_source(&declared.spec).await?;
        let objects = self.listed(&source, declared).await?;
        let known = self.ledger.known().await?;
        let is_new = |object: &SourceObject| match known.get(&(object.url.clone(), object.version())) {
            None => self.rest(declared, object).is_zero(),
            Some(value) => value.state() == ImportObjectState::Open,
        };
        Ok(objects.iter().any(is_new))
    }

    /// Forgets objects that were imported and are long gone.
    async fn forget_gone(&mut self, objects: &[SourceObject], known: &Known) -> Result<(), Halt> {
        let there: HashSet<(&str, u64)> =
            objects.iter().map(|object| (object.url.as_str(), object.version())).collect();
        let before = Timestamp::now().before(self.parts.settings.gone_objects_kept).as_millis();
        let is_gone = |((url, version), value): &(&(String, u64), &ImportObjectValue)| {
            !there.contains(&(url.as_str(), *version)) && value.ended_at_ms > 0 && value.ended_at_ms < before
        };
        let gone = known.iter().filter(is_gone).map(|(key, _)| key);
        Ok(self.ledger.forget(gone).await?)
    }
}

/// What an error of the lake means to a run.
pub(in crate::imports) fn of_lake(error: millrace_storage::lake::Error) -> Error {
    use millrace_storage::lake::Error as Lake;
    let kind = match &error {
        Lake::NotFound { .. } => Kind::NotFound,
        Lake::PermissionDenied { .. } => Kind::FailedPrecondition,
        Lake::AlreadyExists { .. } => Kind::Conflict,
        Lake::Unavailable { .. } => Kind::Unavailable,
        Lake::Corrupt { .. } => Kind::DataLoss,
        Lake::Invalid(_) => Kind::Invalid,
    };
    Error::new(kind, error)
}
