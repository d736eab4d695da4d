//! Making objects what was planned, each by one commit of its own.

use std::collections::BTreeMap;

use millrace_storage::catalog::{self, TableName};
use millrace_storage::log::{Offset, ShardKey};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::batch;
use millrace_storage::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};
use millrace_storage::meta::keys::delivery::{DeliveryKey, DeliveryState, DeliveryValue};
use millrace_storage::meta::keys::stream::StreamKey;
use millrace_storage::time::Timestamp;

use super::change::Action;
use super::plan::Plan;
use crate::delivery::declaration::Declaration;
use crate::delivery::declared::Declared;
use crate::delivery::spec::{DeliverySpec, StartSpec, TableSpec};
use crate::delivery::{Deliveries, not_found};
use crate::error::Result;

impl Deliveries {
    pub(super) async fn carry_out(&self, plan: &Plan) -> Result<()> {
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
    async fn begin(&self, spec: &DeliverySpec, declared: &Declared) -> Result<CheckpointValue> {
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
}

/// The position of a delivery that was deleted and is declared again: where it ended, or what the log still has of it; the
/// start of the stream where that is another one now.
fn begin_again(before: &CheckpointValue, stream_id: u32, starts: &[(ShardKey, Offset)]) -> CheckpointValue {
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
