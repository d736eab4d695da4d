//! Applying a pipeline: streams, then tables, then deliveries are made what it declares.
//!
//! All of it is checked before anything changes. Each object is changed by one commit of its own; applying again after a
//! failure finishes what is left. It must never change what is declared the same, and never delete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_storage::catalog::{self, TableName};
use millrace_storage::lake::convert::{ConvertSettings, Converter};
use millrace_storage::lake::input::Input;
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::ShardKey;
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::batch;
use millrace_storage::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};
use millrace_storage::meta::keys::delivery::{DeliveryKey, DeliveryState, DeliveryValue};
use millrace_storage::meta::keys::intent::IntentKey;
use millrace_storage::meta::keys::stream::StreamKey;
use millrace_storage::time::Timestamp;

use super::declaration::{check_version, to_toml, undeclared};
use super::entry::Entry;
use super::pipeline::Pipeline;
use super::spec::{DeliverySpec, ModeSpec, QuotaSpec, RateSpec, Size, StartSpec, StreamSpec, TableSpec};
use super::{Deliveries, not_found, table_name};
use crate::error::{Error, Kind, Result};
use crate::streams::{self, StreamMode, StreamName, StreamOptions};

/// What applying did, or would do, to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub action: Action,
    /// `stream`, `table`, `delivery` or `import`.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// For an update: the declaration before and after, as a line diff.
    pub diff: String,
}

/// What applying does to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is as declared.
    Unchanged,
    /// It did not exist.
    Created,
    /// It was another.
    Updated,
}

impl Change {
    pub(crate) fn new(kind: &'static str, name: &str, before: Option<&str>, after: &str) -> Self {
        let (action, diff) = match before {
            None => (Action::Created, String::new()),
            Some(before) if before == after => (Action::Unchanged, String::new()),
            Some(before) => (Action::Updated, line_diff(before, after)),
        };
        Self { action, kind, name: name.to_owned(), diff }
    }
}

fn line_diff(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after).unified_diff().context_radius(1).header("before", "after").to_string()
}

/// What is to be done, checked.
struct Plan {
    streams: Vec<(StreamName, StreamOptions, Change)>,
    tables: Vec<(TableName, TableSpec, Change)>,
    deliveries: Vec<(DeliverySpec, Change)>,
}

/// What applying is about to do to one object, for whoever says whether the caller may.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// A stream.
    Stream {
        /// Its name.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
    },
    /// A table.
    Table {
        /// Its namespace.
        namespace: &'a str,
        /// Its name there.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
    },
    /// A delivery.
    Delivery {
        /// Its name.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
        /// The stream that it reads.
        stream: &'a str,
        /// The table that it writes to, by namespace and name, where it writes to one.
        table: Option<(&'a str, &'a str)>,
    },
    /// An import.
    Import {
        /// Its name.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
        /// The stream that it puts into.
        stream: &'a str,
    },
}

impl Plan {
    fn ask(&self, allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync)) -> Result<()> {
        for (name, _, Change { action, .. }) in &self.streams {
            allow(Asked::Stream { name: name.as_str(), action: *action })?;
        }
        for (name, _, Change { action, .. }) in &self.tables {
            allow(Asked::Table { namespace: name.namespace(), name: name.name(), action: *action })?;
        }
        for (spec, Change { action, .. }) in &self.deliveries {
            let table = spec.table_name().map(table_name).transpose()?;
            let table = table.as_ref().map(|table| (table.namespace(), table.name()));
            allow(Asked::Delivery { name: &spec.name, action: *action, stream: &spec.stream, table })?;
        }
        Ok(())
    }
}

impl Deliveries {
    /// Makes streams, tables and deliveries what a pipeline file declares, and says what changed; with `dry_run`, what
    /// would change.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] with object, field, value and limit, before anything is changed.
    pub async fn apply(&self, pipeline_toml: &str, dry_run: bool) -> Result<Vec<Change>> {
        self.apply_allowed(&Pipeline::parse(pipeline_toml)?, dry_run, &BTreeMap::new(), &|_| Ok(())).await
    }

    /// As [`Self::apply`], where `allow` lets each object pass that would be touched or shown, and where deliveries have the
    /// versions that are expected: those that [`Deliveries::describe`] tells, or an empty one for a delivery that must not
    /// exist yet. Nothing is changed or told before `allow` let all of them.
    ///
    /// # Errors
    /// As [`Self::apply`], what `allow` says, and [`Kind::Conflict`] where a delivery has another version.
    pub async fn apply_allowed(
        &self,
        pipeline: &Pipeline,
        dry_run: bool,
        expected: &BTreeMap<String, String>,
        allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync),
    ) -> Result<Vec<Change>> {
        for stream in &pipeline.streams {
            let words = |error| Error::invalid(format_args!("stream {}: {error}", stream.name));
            stream.name.parse::<StreamName>().map_err(words)?;
        }
        for delivery in &pipeline.deliveries {
            delivery.stream.parse::<StreamName>().map_err(|error| delivery.invalid("stream", error))?;
        }
        self.apply_pipeline(pipeline, dry_run, expected, allow).await
    }

    /// As [`Deliveries::apply_allowed`], for a part of the server: the streams may be hidden ones.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn declare(
        &self,
        pipeline_toml: &str,
        dry_run: bool,
        allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync),
    ) -> Result<Vec<Change>> {
        self.apply_pipeline(&Pipeline::parse(pipeline_toml)?, dry_run, &BTreeMap::new(), allow).await
    }

    async fn apply_pipeline(
        &self,
        pipeline: &Pipeline,
        dry_run: bool,
        expected: &BTreeMap<String, String>,
        allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync),
    ) -> Result<Vec<Change>> {
        let _turn = self.inner.changes.lock().await;
        let plan = self.plan(pipeline).await?;
        plan.ask(allow)?;
        self.check_versions(pipeline, expected)?;
        if !dry_run {
            self.carry_out(&plan).await?;
        }
        let streams = plan.streams.into_iter().map(|(.., change)| change);
        let tables = plan.tables.into_iter().map(|(.., change)| change);
        let deliveries = plan.deliveries.into_iter().map(|(_, change)| change);
        Ok(streams.chain(tables).chain(deliveries).collect())
    }

    fn check_versions(&self, pipeline: &Pipeline, expected: &BTreeMap<String, String>) -> Result<()> {
        for (name, version) in expected {
            if !pipeline.deliveries.iter().any(|spec| spec.name == *name) {
                return Err(undeclared("delivery", name));
            }
            let found = self.entry(name).ok().map(|entry| entry.declared().spec.version()).unwrap_or_default();
            check_version("delivery", name, &found, version)?;
        }
        Ok(())
    }

    async fn plan(&self, pipeline: &Pipeline) -> Result<Plan> {
        let mut plan = Plan { streams: Vec::new(), tables: Vec::new(), deliveries: Vec::new() };
        for spec in &pipeline.streams {
            plan.streams.push(self.plan_stream(spec)?);
        }
        let mut declared = BTreeMap::new();
        for spec in &pipeline.tables {
            declared.insert(table_name(&spec.name)?, spec.clone());
        }
        let mut deliveries = Vec::with_capacity(pipeline.deliveries.len());
        for spec in &pipeline.deliveries {
            let Some(table) = spec.table_name() else {
                deliveries.push(spec.clone());
                continue;
            };
            // A table that nobody declares comes into being by default, and stays as it is where it exists.
            let name = table_name(table).map_err(|error| spec.invalid("table", error))?;
            let table = match (declared.get(&name), self.table_spec(&name).await?) {
                (Some(table), _) => table.clone(),
                (None, Some(found)) => TableSpec::from_toml(&found)?,
                (None, None) => declared.entry(name.clone()).or_insert(TableSpec::implied(table)).clone(),
            };
            let spec = spec.clone().with_columns_of(&table);
            self.check_input(&spec, &name, &table).await?;
            deliveries.push(spec);
        }
        for (name, spec) in declared {
            plan.tables.push(self.plan_table(name, spec).await?);
        }
        let streams: BTreeSet<&str> = plan.streams.iter().map(|(name, ..)| name.as_str()).collect();
        for spec in &deliveries {
            plan.deliveries.push(self.plan_delivery(spec, &streams)?);
        }
        Ok(plan)
    }

    /// Checks that the table has, or may get, the columns that a delivery's input fills.
    async fn check_input(&self, spec: &DeliverySpec, name: &TableName, table: &TableSpec) -> Result<()> {
        let input = spec.check_input(table)?;
        if input == Input::Json {
            return Ok(());
        }
        let settings = ConvertSettings { input, ..table.convert_settings()? };
        let invalid = |error| spec.invalid("input", error);
        let base = match self.parts().catalog.load(name).await {
            Ok(found) => TableSchema::of(found.metadata()),
            Err(catalog::Error::NotFound { .. }) => table.initial_schema(&settings)?,
            Err(error) => return Err(error.into()),
        };
        Converter::new(settings, &spec.stream, &base).map(drop).map_err(invalid)
    }

    fn plan_stream(&self, spec: &StreamSpec) -> Result<(StreamName, StreamOptions, Change)> {
        let invalid = |error: Error| Error::new(error.kind().clone(), format_args!("stream {}: {error}", spec.name));
        let name = StreamName::any(&spec.name).map_err(invalid)?;
        let options = options_of(spec);
        let (before, after) = self.parts().streams.preview(&name, &options).map_err(invalid)?;
        let before = before.map(|before| stream_toml(&name, &before));
        let change = Change::new("stream", name.as_str(), before.as_deref(), &stream_toml(&name, &after));
        Ok((name, options, change))
    }

    async fn plan_table(&self, name: TableName, spec: TableSpec) -> Result<(TableName, TableSpec, Change)> {
        let spec = TableSpec { name: name.to_string(), ..spec }.normalised()?;
        spec.new_table()?;
        let before = self.table_spec(&name).await?;
        if let Some(before) = &before {
            let before = TableSpec::from_toml(before)?;
            before.check_change(&spec)?;
            if before.partition_by != spec.partition_by {
                let loaded = self.parts().catalog.load(&name).await?;
                spec.check_partitioning(loaded.metadata().current_schema())?;
            }
        }
        let change = Change::new("table", &name.to_string(), before.as_deref(), &spec.to_toml());
        Ok((name, spec, change))
    }

    async fn table_spec(&self, name: &TableName) -> Result<Option<String>> {
        match self.parts().catalog.spec(name).await {
            Ok(spec) => Ok(Some(spec)),
            Err(catalog::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn plan_delivery(&self, spec: &DeliverySpec, streams: &BTreeSet<&str>) -> Result<(DeliverySpec, Change)> {
        self.parts().transforms.check(&spec.transforms).map_err(|error| spec.invalid("transforms", error))?;
        let name = StreamName::any(&spec.stream).map_err(|error| spec.invalid("stream", error))?;
        if !streams.contains(name.as_str()) {
            self.parts().streams.get(&name).map_err(|error| spec.invalid("stream", error))?;
        }
        let before = self.entry(&spec.name).ok().map(|entry| entry.declared().spec.clone());
        if let Some(before) = &before {
            before.check_change(spec)?;
        }
        let before = before.map(|before| before.to_toml());
        let change = Change::new("delivery", &spec.name, before.as_deref(), &spec.to_toml());
        Ok((spec.clone(), change))
    }

    async fn carry_out(&self, plan: &Plan) -> Result<()> {
        for (name, options, change) in &plan.streams {
            match change.action {
                Action::Unchanged => {}
                Action::Created => drop(self.parts().streams.create(name, options).await?),
                Action::Updated => drop(self.parts().streams.update(name, options).await?),
            }
        }
        for (name, spec, change) in &plan.tables {
            match change.action {
                Action::Unchanged => {}
                Action::Created => self.create_table(name, spec).await?,
                Action::Updated => {
                    // Before the declaration, so that whoever goes by it finds the partition spec.
                    self.parts().catalog.repartition(name, &spec.partitioning()?).await?;
                    self.parts().catalog.set_spec(name, &spec.to_toml()).await?;
                    self.redeclare_table(name).await?;
                }
            }
        }
        for (spec, change) in &plan.deliveries {
            match change.action {
                Action::Unchanged => {}
                Action::Created => self.create(spec).await?,
                Action::Updated => self.update(spec).await?,
            }
        }
        Ok(())
    }

    async fn create_table(&self, name: &TableName, spec: &TableSpec) -> Result<()> {
        match self.parts().catalog.create(name, spec.new_table()?).await {
            Ok(_) | Err(catalog::Error::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands a changed table to the deliveries that write it.
    async fn redeclare_table(&self, name: &TableName) -> Result<()> {
        for entry in self.entries_of(name) {
            let declared = self.declared(entry.declared().spec.clone()).await?;
            entry.wanted.send_modify(|wanted| wanted.declared = declared.into());
        }
        Ok(())
    }

    async fn update(&self, spec: &DeliverySpec) -> Result<()> {
        let entry = self.entry(&spec.name)?;
        let declared = self.declared(spec.clone()).await?;
        let key = DeliveryKey { name: spec.name.clone() };
        let stored = keys::get(&*self.parts().meta, &key).await?.ok_or_else(|| not_found(&spec.name))?;
        let value = DeliveryValue { spec_toml: spec.to_toml(), ..stored.value.clone() };
        self.parts().meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
        entry.wanted.send_modify(|wanted| wanted.declared = declared.into());
        tracing::info!(delivery = spec.name, "updated a delivery; it takes effect with the next batch");
        Ok(())
    }

    async fn create(&self, spec: &DeliverySpec) -> Result<()> {
        let declared = self.declared(spec.clone()).await?;
        let meta = &*self.parts().meta;
        let stream_key = StreamKey { name: spec.stream.clone() };
        let stream = keys::get(meta, &stream_key).await?;
        let stream = stream.filter(|stream| stream.value.id == declared.stream.id().0 && !stream.value.deleting);
        let stream =
            stream.ok_or_else(|| spec.invalid("stream", format_args!("no stream is named {}", spec.stream)))?;
        let delivery_key = DeliveryKey { name: spec.name.clone() };
        let checkpoint_key = CheckpointKey { delivery: spec.name.clone() };
        let before = keys::get(meta, &checkpoint_key).await?;
        let checkpoint = match &before {
            Some(before) => {
                let starts = declared.shards().into_iter().map(|key| (key, self.parts().log.offsets(key).start));
                begin_again(&before.value, declared.stream.id().0, &starts.collect::<Vec<_>>())
            }
            None => self.begin(spec, &declared).await?,
        };
        let table = declared.table.as_ref().map(|table| table.name.to_string()).unwrap_or_default();
        let value = DeliveryValue {
            spec_toml: spec.to_toml(),
            state: DeliveryState::Running.into(),
            stream: spec.stream.clone(),
            table,
            created_at_ms: Timestamp::now().as_millis(),
        };
        let conditions = vec![
            keys::absent(&delivery_key),
            keys::as_found(&checkpoint_key, before.as_ref()),
            keys::unchanged(&stream_key, &stream),
        ];
        let writes = vec![keys::put(&delivery_key, &value), keys::put(&checkpoint_key, &checkpoint)];
        meta.commit(conditions, writes).await?;
        tracing::info!(delivery = spec.name, stream = spec.stream, "created a delivery");
        self.start(&spec.name, declared, true);
        Ok(())
    }

    /// The position of a new delivery: where it says that it begins. Its batches are numbered on from those of a namesake,
    /// so that no object is ever overwritten.
    async fn begin(&self, spec: &DeliverySpec, declared: &super::declared::Declared) -> Result<CheckpointValue> {
        let log = &self.parts().log;
        let mut offsets = BTreeMap::new();
        for key in declared.shards() {
            let start = match spec.start.unwrap_or(StartSpec::TrimHorizon) {
                StartSpec::TrimHorizon => log.offsets(key).start,
                StartSpec::Latest => log.offsets(key).end,
                StartSpec::Time(time) => log.offset_at(key, time).await?,
            };
            offsets.insert(key.shard.0, start.0);
        }
        let last = match &declared.table {
            Some(table) => {
                let loaded = self.parts().catalog.load(&table.name).await?;
                catalog::last_batch(&loaded, &spec.name)?.map_or(0, |batch| batch.batch)
            }
            None => {
                let ledger = batch::scan_delivery(&*self.parts().meta, &spec.name).await?;
                ledger.last().map_or(0, |(key, _)| key.batch)
            }
        };
        Ok(CheckpointValue {
            next_batch: last + 1,
            first_batch: last + 1,
            stream_id: declared.stream.id().0,
            first_offsets: offsets.clone(),
            offsets,
            totals: None,
            last_commit_at_ms: 0,
        })
    }

    /// Removes a delivery; what it delivered stays. Should a delivery of the same name over the same stream be declared
    /// later, it goes on where this one ended, so that nothing is delivered twice.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`]; [`crate::error::Kind::Unavailable`] where a batch under way cannot be finished within `drain_timeout`: its
    /// files would stay visible although nothing tells of them.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let _turn = self.inner.changes.lock().await;
        let entry = self.entry(name)?;
        if self.has_open_rebuild(name).await? {
            let words = format_args!("delivery {name} has a rebuild that is not ended; delete it afterwards");
            return Err(Error::new(Kind::FailedPrecondition, words));
        }
        let was_running = entry.wanted.borrow().running;
        entry.wanted.send_modify(|wanted| wanted.running = false);
        let mut progress = entry.progress.clone();
        let finished = progress.wait_for(|progress| progress.paused || progress.ended);
        let finished = tokio::time::timeout(self.parts().settings.drain_timeout, finished).await.is_ok();
        let deleted = if finished { self.forget(name).await } else { Err(unfinished(&entry)) };
        if deleted.is_err() {
            entry.wanted.send_modify(|wanted| wanted.running = was_running);
            return deleted;
        }
        entry.stop.cancel();
        entry.ended().await;
        self.inner.entries.write().remove(name);
        self.parts().metrics.remove(name);
        self.parts().transforms.forget_delivery(name);
        tracing::info!(delivery = name, "deleted a delivery");
        Ok(())
    }

    async fn forget(&self, name: &str) -> Result<()> {
        let (delivery, intent) = (DeliveryKey { name: name.to_owned() }, IntentKey { delivery: name.to_owned() });
        Ok(self.parts().meta.commit(vec![keys::absent(&intent)], vec![keys::delete(&delivery)]).await?)
    }
}

fn unfinished(entry: &Entry) -> Error {
    let why =
        entry.progress.borrow().last_error().map_or("it takes long".to_owned(), |failure| failure.message.clone());
    let name = &entry.name;
    Error::unavailable(format_args!("delivery {name} has a batch under way that must be finished before: {why}"))
}

/// The position of a delivery that was deleted and is declared again: where it ended, or what the log still has of it; the
/// start of the stream where that is another one now.
fn begin_again(
    before: &CheckpointValue,
    stream_id: u32,
    starts: &[(ShardKey, millrace_storage::log::Offset)],
) -> CheckpointValue {
    let same_stream = before.stream_id == stream_id;
    let at = |key: &ShardKey| if same_stream { before.offsets.get(&key.shard.0).copied().unwrap_or(0) } else { 0 };
    let offsets: BTreeMap<u32, u64> = starts.iter().map(|(key, start)| (key.shard.0, at(key).max(start.0))).collect();
    // Of a shard that is gone nobody knows whether all of it was delivered; one that came since begins at its first record.
    let kept = before.offsets.keys().all(|shard| offsets.contains_key(shard));
    let whole = starts.iter().all(|(key, start)| at(key) >= start.0);
    if same_stream && kept && whole {
        return CheckpointValue { offsets, ..before.clone() };
    }
    // Records are missing between what it delivered and what it will: its proof starts anew.
    CheckpointValue {
        next_batch: before.next_batch,
        first_batch: before.next_batch,
        stream_id,
        first_offsets: offsets.clone(),
        offsets,
        totals: None,
        last_commit_at_ms: 0,
    }
}

fn options_of(spec: &StreamSpec) -> StreamOptions {
    let rate = |rate: Option<RateSpec>| {
        rate.map(|rate| match rate {
            RateSpec::Off => 0,
            RateSpec::PerSecond(rate) => rate,
        })
    };
    StreamOptions {
        mode: spec.mode.map(|mode| match mode {
            ModeSpec::Provisioned => StreamMode::Provisioned,
            ModeSpec::OnDemand => StreamMode::OnDemand,
        }),
        shard_count: spec.shards,
        retention: spec.retention,
        record_bytes_max: spec.record_size_max.map(|size| size.as_u64()),
        in_bytes_per_second: rate(spec.quota.in_bytes_per_second),
        in_records_per_second: rate(spec.quota.in_records_per_second),
        out_bytes_per_second: rate(spec.quota.out_bytes_per_second),
        burst: spec.quota.burst,
        over_quota: spec.over_quota,
        stored_bytes_max: rate(spec.stored_size_max),
        hold_for_deliveries: spec.hold_for_deliveries,
        encryption: spec.encryption,
    }
}

/// A stream's declaration, written out in full.
fn stream_toml(name: &StreamName, spec: &streams::StreamSpec) -> String {
    let rate = |rate| Some(if rate == 0 { RateSpec::Off } else { RateSpec::PerSecond(rate) });
    to_toml(&StreamSpec {
        name: name.to_string(),
        // Provisioned is what needs no words.
        mode: (spec.mode == StreamMode::OnDemand).then_some(ModeSpec::OnDemand),
        shards: Some(spec.shard_count.get()),
        retention: Some(Duration::from_millis(u64::try_from(spec.retention.as_millis()).unwrap_or(u64::MAX))),
        record_size_max: Some(Size(spec.record_bytes_max)),
        quota: QuotaSpec {
            in_bytes_per_second: rate(spec.quota.in_bytes_per_second),
            in_records_per_second: rate(spec.quota.in_records_per_second),
            out_bytes_per_second: rate(spec.quota.out_bytes_per_second),
            burst: Some(spec.quota.burst),
        },
        over_quota: Some(spec.over_quota),
        stored_size_max: rate(spec.stored_bytes_max),
        hold_for_deliveries: Some(spec.hold_for_deliveries),
        encryption: Some(spec.encryption),
    })
}
