//! Declaring imports: what a pipeline file says of them is made so, together with its streams, tables and deliveries.
//!
//! All of the file is checked before anything changes. What is declared the same is not touched, and nothing is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_storage::meta::keys;
use millrace_storage::meta::keys::import::{
    ImportKey, ImportPositionKey, ImportPositionValue, ImportState, ImportValue, scan_objects, scan_runs,
};
use millrace_storage::meta::keys::import_set_aside::scan_set_aside;
use millrace_storage::meta::keys::stream::StreamKey;
use millrace_storage::time::Timestamp;

use super::entry::Declared;
use super::ledger::Ledger;
use super::spec::ImportSpec;
use super::{Imports, not_found};
use crate::delivery::declaration::{Declaration, check_versions};
use crate::delivery::{Action, Asked, Change, Deliveries, Pipeline};
use crate::error::{Error, Kind, Result};
use crate::streams::StreamName;

/// How an expected version names an import: names have no slash.
const EXPECTED_PREFIX: &str = "import/";

/// Imports of a pipeline file, checked.
#[derive(Debug)]
struct Planned {
    specs: Vec<(ImportSpec, Change)>,
}

/// A pipeline file and what is asked of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Application<'a> {
    pub(crate) pipeline_toml: &'a str,
    pub(crate) dry_run: bool,
    /// By name, the versions that deliveries, and imports as `import/NAME`, must have.
    pub(crate) expected: &'a BTreeMap<String, String>,
    /// The principal that declares; empty where auth is off.
    pub(crate) owner: &'a str,
}

impl Imports {
    /// Makes all that a pipeline file declares so, imports last, and says what changed; with `dry_run`, what would change.
    ///
    /// # Errors
    /// As [`Deliveries::apply_allowed`]; nothing is changed then.
    pub(crate) async fn apply(
        &self,
        deliveries: &Deliveries,
        application: Application<'_>,
        allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync),
    ) -> Result<Vec<Change>> {
        let Application { pipeline_toml, dry_run, expected, owner } = application;
        let _turn = self.inner.changes.lock().await;
        let (imports, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            expected.clone().into_iter().partition(|(name, _)| name.starts_with(EXPECTED_PREFIX));
        let pipeline = Pipeline::parse(pipeline_toml)?;
        let planned = self.plan(&pipeline)?;
        for (spec, change) in &planned.specs {
            allow(Asked::Import { name: &spec.name, action: change.action, stream: &spec.stream })?;
        }
        self.check_versions(&planned, &imports)?;
        let mut changes = deliveries.apply_allowed(&pipeline, dry_run, &others, allow).await?;
        for (spec, change) in planned.specs {
            match change.action {
                _ if dry_run => {}
                Action::Unchanged => {}
                Action::Created => self.create(spec, owner).await?,
                Action::Updated => self.update(spec, owner).await?,
            }
            changes.push(change);
        }
        Ok(changes)
    }

    fn plan(&self, pipeline: &Pipeline) -> Result<Planned> {
        let mut specs = Vec::new();
        for spec in &pipeline.imports {
            let stream = spec.stream.parse::<StreamName>().map_err(|error| spec.invalid("stream", error))?;
            if !pipeline.streams.iter().any(|declared| declared.name == spec.stream) {
                self.parts().streams.get(&stream).map_err(|error| spec.invalid("stream", error))?;
            }
            let before = self.entry(&spec.name).ok().map(|entry| entry.declared());
            if let Some(before) = &before {
                before.spec.check_change(spec)?;
            }
            let before = before.map(|before| before.spec.to_toml());
            let change = Change::new("import", &spec.name, before.as_deref(), &spec.to_toml());
            if change.action != Action::Unchanged {
                let field = if spec.store.is_some() { "store" } else { "source" };
                self.parts().check_source(spec).map_err(|error| spec.invalid(field, error))?;
            }
            specs.push((spec.clone(), change));
        }
        let new = specs.iter().filter(|(_, change)| change.action == Action::Created).count();
        let (count, count_max) = (self.inner.entries.read().len() + new, self.parts().settings.count_max);
        if new > 0 && count > count_max {
            let words = format_args!("{count} imports are past the limit of {count_max} (import.count_max)");
            return Err(Error::new(Kind::FailedPrecondition, words));
        }
        Ok(Planned { specs })
    }

    fn check_versions(&self, planned: &Planned, expected: &BTreeMap<String, String>) -> Result<()> {
        let expected =
            expected.iter().map(|(name, version)| (name.trim_start_matches(EXPECTED_PREFIX), version.as_str()));
        let in_force = |name: &str| self.entry(name).ok().map(|entry| entry.declared().spec.version());
        check_versions(planned.specs.iter().map(|(spec, _)| spec), expected, in_force)
    }

    async fn update(&self, spec: ImportSpec, owner: &str) -> Result<()> {
        let entry = self.entry(&spec.name)?;
        let key = ImportKey { name: spec.name.clone() };
        let stored = keys::get(&*self.parts().meta, &key).await?.ok_or_else(|| not_found(&spec.name))?;
        let value = ImportValue { spec_toml: spec.to_toml(), owner: owner.to_owned(), ..stored.value.clone() };
        self.parts().meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
        tracing::info!(import = spec.name, "updated an import; it takes effect with the next run");
        let declared = Arc::new(Declared::of(spec, owner.to_owned())?);
        entry.wanted.send_modify(|wanted| wanted.declared = declared);
        Ok(())
    }

    async fn create(&self, spec: ImportSpec, owner: &str) -> Result<()> {
        let meta = &*self.parts().meta;
        let stream_key = StreamKey { name: spec.stream.clone() };
        let stream = keys::get(meta, &stream_key).await?.filter(|stream| !stream.value.deleting);
        let stream =
            stream.ok_or_else(|| spec.invalid("stream", format_args!("no stream is named {}", spec.stream)))?;
        let key = ImportKey { name: spec.name.clone() };
        let position_key = ImportPositionKey { import: spec.name.clone() };
        let before = keys::get(meta, &position_key).await?;
        let now_ms = Timestamp::now().as_millis();
        let mut writes = Vec::new();
        let position = match &before {
            // What it imported before it was deleted is in the stream.
            Some(before) if before.value.stream_id == stream.value.id => {
                ImportPositionValue { scheduled_upto_ms: now_ms, ..before.value.clone() }
            }
            _ => {
                writes = self.forgetting(&spec.name).await?;
                ImportPositionValue {
                    producer: rand::random(),
                    next_sequence: 1,
                    stream_id: stream.value.id,
                    next_run: 1,
                    scheduled_upto_ms: now_ms,
                    totals: Some(Default::default()),
                    ..ImportPositionValue::default()
                }
            }
        };
        let state = if spec.paused { ImportState::Paused } else { ImportState::Running };
        let value = ImportValue {
            spec_toml: spec.to_toml(),
            state: state.into(),
            stream: spec.stream.clone(),
            owner: owner.to_owned(),
            created_at_ms: now_ms,
        };
        writes.extend([keys::put(&key, &value), keys::put(&position_key, &position)]);
        let conditions = vec![
            keys::absent(&key),
            keys::as_found(&position_key, before.as_ref()),
            keys::unchanged(&stream_key, &stream),
        ];
        meta.commit(conditions, writes).await?;
        tracing::info!(import = spec.name, stream = spec.stream, source = spec.source, "created an import");
        let ledger = Ledger::load(Arc::clone(&self.parts().meta), &spec.name).await?;
        let running = !spec.paused;
        self.start(Declared::of(spec, owner.to_owned())?, ledger, running);
        Ok(())
    }

    /// The writes that remove runs and objects of an import, and what tells of rows that it set aside.
    async fn forgetting(&self, name: &str) -> Result<Vec<millrace_storage::meta::Write>> {
        let meta = &*self.parts().meta;
        let objects = scan_objects(meta, name).await?;
        let runs = scan_runs(meta, name).await?;
        let asides = scan_set_aside(meta, name).await?;
        let objects = objects.iter().map(|(key, _)| keys::delete(key));
        let runs = runs.iter().map(|(key, _)| keys::delete(key));
        Ok(objects.chain(runs).chain(asides.iter().map(|(key, _)| keys::delete(key))).collect())
    }

    /// Removes an import after the chunk in flight; what it put stays. Should one of the same name be declared later over the
    /// same stream, it goes on where this one ended, unless it is to `forget` what was imported.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub async fn delete(&self, name: &str, forget: bool) -> Result<()> {
        let _turn = self.inner.changes.lock().await;
        let entry = self.entry(name)?;
        entry.stop.cancel();
        entry.ended().await;
        let mut writes = vec![keys::delete(&ImportKey { name: name.to_owned() })];
        if forget {
            writes.push(keys::delete(&ImportPositionKey { import: name.to_owned() }));
            writes.extend(self.forgetting(name).await?);
        }
        if let Err(error) = self.parts().meta.commit(Vec::new(), writes).await {
            // It is there still, and must run: what is stored says so.
            let running = entry.wanted.borrow().running;
            let declared = entry.declared();
            let declared = Declared::of(declared.spec.clone(), declared.owner.clone())?;
            let ledger = Ledger::load(Arc::clone(&self.parts().meta), name).await?;
            self.start(declared, ledger, running);
            return Err(error.into());
        }
        self.inner.entries.write().remove(name);
        self.parts().metrics.remove(name);
        tracing::info!(import = name, forget, "deleted an import");
        Ok(())
    }
}
