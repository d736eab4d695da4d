//! How far an import is, as it is stored: position, runs and objects, moved together in one commit.
//!
//! Invariant: a sequence belongs to one chunk of one object. It is noted before the chunk is put, and the next one is noted only
//! when the chunk's fate is known or the object is given up.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_storage::lake::import::{Again, Mark, ReadOptions, SourceObject};
use millrace_storage::meta::keys::import::{
    ImportCounts, ImportCurrent, ImportObjectKey, ImportObjectState, ImportObjectValue, ImportPositionKey,
    ImportPositionValue, ImportRunKey, ImportRunValue, ImportTrigger, scan_objects, scan_runs,
};
use millrace_storage::meta::keys::import_set_aside::{ImportSetAsideKey, ImportSetAsideValue, scan_set_aside};
use millrace_storage::meta::keys::{self, Stored};
use millrace_storage::meta::{MetaStore, Write};
use millrace_storage::time::Timestamp;

use crate::error::{Error, Kind, Result};

/// Keys that one commit removes at most.
const REMOVED_MAX: usize = 1000;

/// The stored state of one import. Only its worker writes it.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    meta: Arc<dyn MetaStore>,
    import: String,
    position: Stored<ImportPositionValue>,
}

/// What a chunk adds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Added {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) set_aside: u64,
    /// Rows that had been set aside before.
    pub(super) replayed: u64,
}

/// Rows that were set aside together.
#[derive(Debug, Clone)]
pub(super) struct Aside {
    pub(super) key: ImportSetAsideKey,
    pub(super) value: ImportSetAsideValue,
}

/// The objects that an import knows, by URL and version.
pub(super) type Known = HashMap<(String, u64), ImportObjectValue>;

impl Ledger {
    pub(super) async fn load(meta: Arc<dyn MetaStore>, import: &str) -> Result<Self> {
        let key = ImportPositionKey { import: import.to_owned() };
        let position = keys::get(&*meta, &key).await?.ok_or_else(|| {
            Error::new(Kind::DataLoss, format_args!("import {import} has no position in the meta store"))
        })?;
        Ok(Self { meta, import: import.to_owned(), position })
    }

    pub(super) const fn position(&self) -> &ImportPositionValue {
        &self.position.value
    }

    pub(super) fn key_of(&self, object: &SourceObject) -> ImportObjectKey {
        ImportObjectKey { import: self.import.clone(), url: object.url.clone(), version: object.version() }
    }

    pub(super) async fn known(&self) -> Result<Known> {
        let objects = scan_objects(&*self.meta, &self.import).await?;
        Ok(objects.into_iter().map(|(key, stored)| ((key.url, key.version), stored.value)).collect())
    }

    pub(super) async fn known_one(&self, key: &ImportObjectKey) -> Result<Option<ImportObjectValue>> {
        Ok(keys::get(&*self.meta, key).await?.map(|stored| stored.value))
    }

    /// What was set aside and not taken up again, oldest first.
    pub(super) async fn open_asides(&self) -> Result<Vec<Aside>> {
        let asides = scan_set_aside(&*self.meta, &self.import).await?.into_iter();
        let open = asides.filter(|(_, stored)| stored.value.replayed_run == 0);
        Ok(open.map(|(key, stored)| Aside { key, value: stored.value }).collect())
    }

    /// Notes up to when the schedule was kept.
    pub(super) async fn keep_schedule(&mut self, upto: Timestamp) -> Result<()> {
        let next = ImportPositionValue { scheduled_upto_ms: upto.as_millis(), ..self.position.value.clone() };
        self.commit(next, Vec::new()).await
    }

    /// Begins a run.
    pub(super) async fn begin_run(&mut self, trigger: ImportTrigger, now: Timestamp) -> Result<()> {
        let mut next = self.position.value.clone();
        let number = next.next_run.max(1);
        next.run = Some(ImportRunValue {
            number,
            trigger: trigger.into(),
            begun_at_ms: now.as_millis(),
            ended_at_ms: 0,
            counts: Some(ImportCounts::default()),
            error: String::new(),
        });
        next.next_run = number + 1;
        if trigger == ImportTrigger::Schedule {
            next.scheduled_upto_ms = now.as_millis();
        }
        self.commit(next, Vec::new()).await
    }

    /// Ends the run under way, and removes what the history no longer keeps.
    pub(super) async fn end_run(&mut self, counts: ImportCounts, error: String, runs_kept: usize) -> Result<()> {
        let mut next = self.position.value.clone();
        let Some(run) = next.run.take() else { return Ok(()) };
        let ended_at_ms = Timestamp::now().as_millis();
        let run = ImportRunValue { ended_at_ms, counts: Some(counts), error, ..run };
        // What holds rows that were set aside is no object of the source.
        if again_of(run.trigger()).is_none() {
            let totals = next.totals.get_or_insert_default();
            totals.seen += counts.seen;
            totals.skipped += counts.skipped;
            totals.imported += counts.imported;
            totals.failed += counts.failed;
        }
        let key = ImportRunKey { import: self.import.clone(), number: run.number };
        let mut writes = vec![keys::put(&key, &run)];
        let before = scan_runs(&*self.meta, &self.import).await?;
        let too_many = (before.len() + 1).saturating_sub(runs_kept.max(1)).min(REMOVED_MAX);
        writes.extend(before.iter().take(too_many).map(|(key, _)| keys::delete(key)));
        self.commit(next, writes).await
    }

    /// Forgets objects.
    pub(super) async fn forget(&mut self, objects: impl Iterator<Item = &(String, u64)>) -> Result<()> {
        let delete = |(url, version): &(String, u64)| {
            keys::delete(&ImportObjectKey { import: self.import.clone(), url: url.clone(), version: *version })
        };
        let writes: Vec<_> = objects.take(REMOVED_MAX).map(delete).collect();
        if writes.is_empty() { Ok(()) } else { self.commit(self.position.value.clone(), writes).await }
    }

    /// Whether an object is the current one: its next chunk may be stored already.
    pub(super) fn is_current(&self, key: &ImportObjectKey) -> bool {
        let current = self.position.value.current.as_ref();
        current.is_some_and(|current| current.url == key.url && current.version == key.version)
    }

    /// Makes an object the current one.
    pub(super) async fn take_up(&mut self, key: &ImportObjectKey, value: &ImportObjectValue) -> Result<()> {
        let mut next = self.position.value.clone();
        next.current = Some(ImportCurrent { url: key.url.clone(), version: key.version });
        next.moved_at_ms = Timestamp::now().as_millis();
        self.commit(next, vec![keys::put(key, value)]).await
    }

    /// Moves the current object behind a chunk, whose bad rows were set aside in an object with this URL.
    pub(super) async fn advance(
        &mut self,
        key: &ImportObjectKey,
        value: &ImportObjectValue,
        added: Added,
        aside: Option<&str>,
    ) -> Result<()> {
        let mut writes = vec![keys::put(key, value)];
        if let Some(url) = aside {
            let number = self.position.value.next_sequence;
            let aside = ImportSetAsideValue {
                url: url.to_owned(),
                rows: added.set_aside,
                run: self.run_number(),
                at_ms: Timestamp::now().as_millis(),
                replayed_run: 0,
            };
            writes.push(keys::put(&ImportSetAsideKey { import: self.import.clone(), number }, &aside));
        }
        let mut next = self.position.value.clone();
        next.next_sequence += 1;
        next.moved_at_ms = Timestamp::now().as_millis();
        for counts in
            [next.run.as_mut().and_then(|run| run.counts.as_mut()), next.totals.as_mut()].into_iter().flatten()
        {
            counts.records += added.records;
            counts.bytes += added.bytes;
            counts.set_aside += added.set_aside;
            counts.replayed += added.replayed;
        }
        self.commit(next, writes).await
    }

    /// Is done with the current object, for now or for good; its sequence is not used again. Where it holds what was set
    /// aside, and all of that was taken up, it is known by that alone.
    pub(super) async fn leave(
        &mut self,
        key: &ImportObjectKey,
        value: &ImportObjectValue,
        aside: Option<&Aside>,
    ) -> Result<()> {
        let writes = match aside {
            Some(aside) if value.state() == ImportObjectState::Imported => {
                let replayed = ImportSetAsideValue { replayed_run: self.run_number(), ..aside.value.clone() };
                vec![keys::put(&aside.key, &replayed), keys::delete(key)]
            }
            _ => vec![keys::put(key, value)],
        };
        let mut next = self.position.value.clone();
        next.current = None;
        next.next_sequence += 1;
        next.moved_at_ms = Timestamp::now().as_millis();
        // Another run may have to end what a replay began: what holds set-aside rows is no object of its source.
        let counted = next.run.as_mut().filter(|run| aside.is_none() || again_of(run.trigger()).is_some());
        if let Some(counts) = counted.and_then(|run| run.counts.as_mut()) {
            match value.state() {
                ImportObjectState::Imported => counts.imported += 1,
                ImportObjectState::Failed | ImportObjectState::Changed => counts.failed += 1,
                ImportObjectState::Open => {}
            }
        }
        self.commit(next, writes).await
    }

    /// The number of the run under way; zero where there is none.
    fn run_number(&self) -> u64 {
        self.position.value.run.as_ref().map_or(0, |run| run.number)
    }

    /// Stores a position together with `writes`. After an error the same call may be made again.
    async fn commit(&mut self, next: ImportPositionValue, mut writes: Vec<Write>) -> Result<()> {
        let key = ImportPositionKey { import: self.import.clone() };
        writes.push(keys::put(&key, &next));
        let committed = self.meta.commit(vec![keys::unchanged(&key, &self.position)], writes).await;
        let next = keys::stored(&key, next);
        if let Err(error) = committed {
            // It may have been stored all the same: what is there tells.
            let found = keys::get(&*self.meta, &key).await?;
            if found.as_ref().map(|found| &found.bytes) != Some(&next.bytes) || next.bytes == self.position.bytes {
                return Err(error.into());
            }
        }
        self.position = next;
        Ok(())
    }
}

/// How a run of this trigger takes up what was set aside, where it does.
pub(super) const fn again_of(trigger: ImportTrigger) -> Option<Again> {
    match trigger {
        ImportTrigger::Replay => Some(Again::ByFormat),
        ImportTrigger::ReplayAsIs => Some(Again::AsIs),
        ImportTrigger::Manual | ImportTrigger::Schedule | ImportTrigger::Arrival => None,
    }
}

/// What is stored of an object that is taken up for the first time.
pub(super) fn begun(object: &SourceObject, options: &ReadOptions, run: u64) -> ImportObjectValue {
    ImportObjectValue {
        state: ImportObjectState::Open.into(),
        options_json: serde_json::to_string(options).expect("options have only values that JSON can hold"),
        run,
        begun_at_ms: Timestamp::now().as_millis(),
        size_bytes: object.size,
        written_at_ms: object.written_at_ms,
        e_tag: object.e_tag.clone().unwrap_or_default(),
        ..ImportObjectValue::default()
    }
}

/// Where the next chunk of an object begins.
pub(super) const fn mark_of(value: &ImportObjectValue) -> Mark {
    Mark { chunk: value.next_chunk, rows: value.rows, text_bytes: value.text_bytes }
}

/// The same object behind a chunk.
pub(super) fn behind(value: &ImportObjectValue, next: Mark, added: Added) -> ImportObjectValue {
    ImportObjectValue {
        next_chunk: next.chunk,
        rows: next.rows,
        text_bytes: next.text_bytes,
        records: value.records + added.records,
        bytes: value.bytes + added.bytes,
        set_aside: value.set_aside + added.set_aside,
        ..value.clone()
    }
}

/// The same object, done with.
pub(super) fn ended(value: &ImportObjectValue, state: ImportObjectState, error: String) -> ImportObjectValue {
    // How a failed object was read is kept: should it be tried again, the rest is read in the same way.
    let options_json = if state == ImportObjectState::Failed { value.options_json.clone() } else { String::new() };
    let ended_at_ms = Timestamp::now().as_millis();
    ImportObjectValue { state: state.into(), options_json, error, ended_at_ms, ..value.clone() }
}
