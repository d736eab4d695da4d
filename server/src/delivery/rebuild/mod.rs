//! Rebuilding: what a delivery wrote of a range of its stream is made anew, by another transform chain or schema, and takes
//! the old rows' place in one commit.
//!
//! 1. **Open**: the rebuild is noted in the meta store; from then on nothing that was set aside is replayed.
//! 2. **Plan**: the batches whose records arrived in the range, and the files that hold their rows.
//! 3. **Write**: the records are read again, from the log or else from the backup, and written under names of their own.
//! 4. **Swap**: one overwrite of the table, together with the ledger. Readers see the old files or the new.
//! 5. **Remove** the old files, some time later, so that a reader of the old snapshot can end.
//!
//! After a crash an open rebuild begins again at 2, by the same versions of modules, and removes first what it had written. The
//! delivery goes on meanwhile.
//! It must never replace a file without knowing that all of its rows are made anew.

mod plan;
mod write;

use std::time::Duration;

use millrace_storage::catalog::{self, Overwrite, REBUILD, TableName};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::intent::IntentKey;
use millrace_storage::meta::keys::rebuild::{RebuildKey, RebuildState, RebuildValue};
use millrace_storage::meta::keys::{Stored, Totals};
use millrace_storage::time::Timestamp;

use self::plan::Plan;
use self::write::Made;
use super::declaration::Declaration;
use super::declared::{Declared, DeclaredTable};
use super::entry::Entry;
use super::spec::DeliverySpec;
use super::{Deliveries, table_name};
use crate::complete::complete;
use crate::error::{Error, Kind, Result};
use crate::transform::TransformSpec;

/// How often a rebuild is begun again because the table's columns changed meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// The batch that a rebuild counts as where a version is tried on some batches: none of those.
const WHOLE: u64 = 0;
/// How often it is looked whether a replay under way has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to finish what a crash left.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

/// What is to be rebuilt.
#[derive(Debug, Clone)]
pub struct RebuildRequest {
    /// The table.
    pub table: String,
    /// The delivery whose rows are made anew; may be left out where the table has one delivery.
    pub delivery: Option<String>,
    /// Records that arrived at or after it.
    pub from: Option<Timestamp>,
    /// Records that arrived before it.
    pub to: Option<Timestamp>,
    /// The transform chain, where it is not the delivery's own.
    pub transforms: Option<Vec<TransformSpec>>,
}

/// What a rebuild did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The delivery.
    pub delivery: String,
    /// The rebuild's number; zero where there was nothing to be rebuilt.
    pub number: u64,
    /// Batches whose rows were made anew.
    pub batches: u64,
    /// What it took and made.
    pub totals: Totals,
    /// Rows that it replaced.
    pub removed_rows: u64,
    /// Files that it replaced.
    pub removed_files: u64,
}

/// The steps of a transform chain, each as TOML has it in a pipeline file.
///
/// # Errors
/// [`Kind::Invalid`] with the step that is none.
pub fn parse_transforms(steps: &[String]) -> Result<Vec<TransformSpec>> {
    #[derive(serde::Deserialize)]
    struct Step {
        step: TransformSpec,
    }
    let parse = |text: &String| {
        let step: Step = toml::from_str(&format!("step = {text}"))
            .map_err(|error| Error::invalid(format_args!("the transform {text} is not valid: {}", error.message())))?;
        Ok(step.step)
    };
    steps.iter().map(parse).collect()
}

impl Deliveries {
    /// Makes anew what a delivery wrote into a table. Whole batches are made anew: all that have a record of the range.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] where the table has several deliveries and none is named;
    /// [`Kind::FailedPrecondition`] where the records are neither in the log nor in a backup any more, or where somebody else
    /// rewrote the files. The table is as it was then. What an unavailable store interrupts is finished at the next start, or
    /// by the next call.
    pub async fn rebuild(&self, request: RebuildRequest) -> Result<Rebuilt> {
        let deliveries = self.clone();
        complete("a rebuild", async move { deliveries.rebuild_now(&request).await }).await
    }

    async fn rebuild_now(&self, request: &RebuildRequest) -> Result<Rebuilt> {
        let table = table_name(&request.table)?;
        let name = self.rebuilt_delivery(&table, request.delivery.as_deref())?;
        let _turn = self.inner.rebuilds.lock().await;
        let entry = self.entry(&name)?;
        let key = RebuildKey { delivery: name.clone() };
        let before = keys::get(&*self.parts().meta, &key).await?;
        if let Some(before) = &before
            && before.value.state() == RebuildState::Open
        {
            self.finish(&entry, before.clone()).await?;
        }
        let before = keys::get(&*self.parts().meta, &key).await?;
        let mut spec = entry.declared().spec.clone();
        if let Some(transforms) = &request.transforms {
            spec.transforms = transforms.clone();
        }
        let spec = spec.normalised()?;
        let modules = self.parts().transforms.pins(&spec.transforms, WHOLE)?.store();
        let value = RebuildValue {
            number: before.as_ref().map_or(0, |before| before.value.number) + 1,
            state: RebuildState::Open.into(),
            spec_toml: spec.to_toml(),
            modules,
            from_ms: request.from.map(|from| from.0),
            to_ms: request.to.map(|to| to.0),
            begun_at_ms: Timestamp::now().as_millis(),
            // Those of the last one that are not removed yet stay on the list.
            replaced: before.as_ref().map(|before| before.value.replaced.clone()).unwrap_or_default(),
            ..RebuildValue::default()
        };
        let conditions = vec![keys::as_found(&key, before.as_ref())];
        self.parts().meta.commit(conditions, vec![keys::put(&key, &value)]).await?;
        self.finish(&entry, keys::stored(&key, value)).await
    }

    /// The delivery to rebuild of those that write a table.
    fn rebuilt_delivery(&self, table: &TableName, named: Option<&str>) -> Result<String> {
        let of_table = self.of_table(table);
        match (named, of_table.as_slice()) {
            (Some(name), _) if of_table.iter().any(|of_table| of_table == name) => Ok(name.to_owned()),
            (Some(name), _) => Err(Error::not_found(format_args!("no delivery named {name} writes table {table}"))),
            (None, [name]) => Ok(name.clone()),
            (None, []) => Err(Error::not_found(format_args!("no delivery writes table {table}"))),
            (None, several) => {
                let names = several.join(", ");
                Err(Error::invalid(format_args!("table {table} has the deliveries {names}; say which one is meant")))
            }
        }
    }

    /// Whether a delivery has a rebuild that was not ended.
    pub(super) async fn has_open_rebuild(&self, delivery: &str) -> Result<bool> {
        let key = RebuildKey { delivery: delivery.to_owned() };
        let found = keys::get(&*self.parts().meta, &key).await?;
        Ok(found.is_some_and(|found| found.value.state() != RebuildState::Done))
    }

    /// Finishes, in the background, the rebuilds that a process before this one left.
    pub(super) async fn resume_rebuilds(&self) -> Result<()> {
        for (key, stored) in keys::scan::<RebuildKey>(&*self.parts().meta).await? {
            if stored.value.state() == RebuildState::Done {
                continue;
            }
            let (deliveries, stop) = (self.clone(), self.inner.stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = deliveries.resume_rebuild(&key) => {}
                }
            });
        }
        Ok(())
    }

    async fn resume_rebuild(&self, key: &RebuildKey) {
        let mut delay = Duration::from_millis(100);
        loop {
            let _turn = self.inner.rebuilds.lock().await;
            let Err(error) = self.finish_left(key).await else { return };
            tracing::warn!(delivery = key.delivery, %error, ?delay, "a rebuild cannot be finished; trying again");
            drop(_turn);
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
    }

    async fn finish_left(&self, key: &RebuildKey) -> Result<()> {
        let stored = keys::get(&*self.parts().meta, key).await?;
        match stored {
            Some(stored) if stored.value.state() != RebuildState::Done => {
                let entry = self.entry(&key.delivery)?;
                tracing::info!(delivery = key.delivery, rebuild = stored.value.number, "finishing a rebuild");
                self.finish(&entry, stored).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Carries a rebuild to its swap, and has the old files removed.
    async fn finish(&self, entry: &Entry, mut stored: Stored<RebuildValue>) -> Result<Rebuilt> {
        let key = RebuildKey { delivery: entry.name.clone() };
        let mut rebuilt = Rebuilt { delivery: entry.name.clone(), number: stored.value.number, ..Rebuilt::default() };
        if stored.value.state() == RebuildState::Open {
            (stored, rebuilt) = match self.write_and_swap(entry, &key, &stored).await {
                Ok(done) => done,
                // What can never succeed must not hold up replays.
                Err(error) if error.kind() != &Kind::Unavailable => {
                    let given_up = self.give_up(entry, &key, &stored).await?;
                    self.remove_later(entry, key, given_up);
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
        }
        self.remove_later(entry, key, stored);
        Ok(rebuilt)
    }

    async fn give_up(
        &self,
        entry: &Entry,
        key: &RebuildKey,
        stored: &Stored<RebuildValue>,
    ) -> Result<Stored<RebuildValue>> {
        if let Some(table) = &entry.declared().table {
            write::remove_made(self.parts(), &entry.declared(), table, stored.value.number).await?;
        }
        // What an earlier one replaced is still to be removed.
        let value = RebuildValue { state: RebuildState::Swapped.into(), ..stored.value.clone() };
        let writes = vec![keys::put(key, &value)];
        self.parts().meta.commit(vec![keys::unchanged(key, stored)], writes).await?;
        Ok(keys::stored(key, value))
    }

    async fn write_and_swap(
        &self,
        entry: &Entry,
        key: &RebuildKey,
        stored: &Stored<RebuildValue>,
    ) -> Result<(Stored<RebuildValue>, Rebuilt)> {
        self.replay_ended(&entry.name).await?;
        let now = entry.declared();
        let spec = DeliverySpec::from_toml(&stored.value.spec_toml)?;
        let declared = self.declared(spec).await?;
        let Some(table) = declared.table.clone().filter(|_| now.table == declared.table) else {
            return Err(Error::new(Kind::FailedPrecondition, format_args!("delivery {} has no table", entry.name)));
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            write::remove_made(self.parts(), &declared, &table, stored.value.number).await?;
            let plan = Plan::of(self.parts(), &declared, &table, &stored.value).await?;
            let made = write::write(self.parts(), entry, &declared, &plan, &stored.value).await?;
            match self.swap(&declared, &table, key, stored, &plan, &made).await {
                Err(Swap::MustConvert(error)) if attempt < ATTEMPTS_MAX => {
                    tracing::info!(delivery = entry.name, %error, "a rebuild begins again");
                }
                Err(Swap::MustConvert(error) | Swap::Failed(error)) => return Err(error),
                Ok(swapped) => {
                    let (batches, removed_files) = (plan.batches.len() as u64, plan.files.len() as u64);
                    let number = stored.value.number;
                    tracing::info!(
                        delivery = entry.name,
                        rebuild = number,
                        batches,
                        rows = made.totals.rows,
                        "rebuilt"
                    );
                    let rebuilt = Rebuilt {
                        delivery: entry.name.clone(),
                        number,
                        batches,
                        totals: made.totals,
                        removed_rows: plan.rows,
                        removed_files,
                    };
                    return Ok((swapped, rebuilt));
                }
            }
        }
    }

    /// Waits until no replay is under way: one that was begun before the rebuild was opened.
    async fn replay_ended(&self, delivery: &str) -> Result<()> {
        let key = IntentKey { delivery: delivery.to_owned() };
        loop {
            let intent = keys::get(&*self.parts().meta, &key).await?;
            if intent.is_none_or(|intent| intent.value.replayed.is_empty()) {
                return Ok(());
            }
            if self.inner.stop.is_cancelled() {
                return Err(super::closing(delivery));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn swap(
        &self,
        declared: &Declared,
        table: &DeclaredTable,
        key: &RebuildKey,
        stored: &Stored<RebuildValue>,
        plan: &Plan,
        made: &Made,
    ) -> Result<Stored<RebuildValue>, Swap> {
        let swapped = keys::stored(
            key,
            RebuildValue {
                state: RebuildState::Swapped.into(),
                swapped_at_ms: Timestamp::now().as_millis(),
                replaced: stored.value.replaced.iter().chain(&plan.files).cloned().collect(),
                ..stored.value.clone()
            },
        );
        let (mut conditions, mut writes) = made.ledger(plan, &declared.spec.name, stored.value.number);
        conditions.push(keys::unchanged(key, stored));
        writes.push(keys::put(key, &swapped.value));
        let named = format!("{}/{}", declared.spec.name, stored.value.number);
        let overwrite = Overwrite {
            files: made.files.clone(),
            removed: plan.files.iter().cloned().collect(),
            schema: made.schema.as_ref().map(|schema| schema.schema.clone()),
            partition_spec_id: made.partition_spec_id,
            properties: [(REBUILD.to_owned(), named)].into(),
            conditions,
            writes,
        };
        match self.parts().catalog.overwrite(&table.name, overwrite).await {
            Ok(_) => Ok(swapped),
            Err(error @ catalog::Error::Schema { .. }) => Err(Swap::MustConvert(error.into())),
            Err(error) => match keys::get(&*self.parts().meta, key).await {
                // It was applied, and only the answer was lost.
                Ok(now) if now.as_ref() == Some(&swapped) => Ok(swapped),
                _ => Err(Swap::Failed(error.into())),
            },
        }
    }

    /// Removes the files that were replaced once readers of the old snapshot had their time.
    fn remove_later(&self, entry: &Entry, key: RebuildKey, stored: Stored<RebuildValue>) {
        let (deliveries, stop, retry) = (self.clone(), entry.stop.clone(), entry.retry.clone());
        let kept = self.parts().settings.replaced_files_kept;
        let since = Timestamp::now().as_millis().saturating_sub(stored.value.swapped_at_ms);
        let left = kept.saturating_sub(Duration::from_millis(u64::try_from(since).unwrap_or(0)));
        let remove = async move {
            tokio::time::sleep(left).await;
            let remove = || deliveries.remove_replaced(&key, &stored);
            retry.forever("remove the files that a rebuild replaced", remove).await;
        };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = remove => {}
            }
        });
    }

    async fn remove_replaced(&self, key: &RebuildKey, stored: &Stored<RebuildValue>) -> Result<()> {
        let now = keys::get(&*self.parts().meta, key).await?;
        if now.as_ref() != Some(stored) {
            return Ok(());
        }
        write::remove_urls(self.parts(), &stored.value.replaced).await?;
        let value = RebuildValue { state: RebuildState::Done.into(), replaced: Vec::new(), ..stored.value.clone() };
        let conditions = vec![keys::unchanged(key, stored)];
        Ok(self.parts().meta.commit(conditions, vec![keys::put(key, &value)]).await?)
    }
}

/// Why a swap was refused.
enum Swap {
    /// The table has other columns now.
    MustConvert(Error),
    Failed(Error),
}
