//! Deliveries: workers that carry a stream into objects and tables, exactly once.
//!
//! ```text
//! log ─read─► transform ─► convert ─► chunks held ─cut─► intent ─► files ─► one commit: table + position
//!                                        └─► the tail of queries
//! ```
//!
//! Invariant: a record is in the table (or set aside, or counted as dropped) exactly when its offset is below the committed
//! position, and both move in one commit. Nothing here knows how files or metadata are written.

mod settings;
pub(crate) mod declaration;
mod spec;
mod input;
mod pipeline;
mod layout;
mod declared;
mod table_spec;
mod apply;
mod turns;
mod budget;
mod metrics;
mod worker;
mod entry;
mod describe;
mod tail;
mod ledger;
mod rebuild;
mod verify;
mod modules;
#[cfg(test)]
mod tests;

pub use apply::{Action, Asked, Change};
pub use describe::{Described, DescribedShard, Replayed, State};
pub use input::{CsvHeader, CsvSpec, InputSpec};
pub use ledger::LedgerObject;
pub use pipeline::{OBJECTS_MAX, PIPELINE_BYTES_MAX, Pipeline};
pub use rebuild::{RebuildRequest, Rebuilt, parse_transforms};
pub use settings::{CorruptBlocks, DeliverySettings, MEMORY_BYTES_MIN};
pub use spec::{
    BUFFER_INTERVAL_MAX, BUFFER_SIZE_MAX, BUFFER_SIZE_MIN, BackupSpec, ColumnSpec, Compression, DeliverySpec, Format,
    ModeSpec, QuotaSpec, RateSpec, SchemaPolicy, Size, StartSpec, StreamSpec, TableSpec, TimeSpec,
};
pub use tail::{Ends, Mark, Tail, TailError, TailPart};
pub use turns::Priority;
pub use verify::{Verified, VerifiedShard};

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_storage::catalog::{Catalog, TableName};
use millrace_storage::lake::store::Store;
use millrace_storage::log::Log;
use millrace_storage::meta::keys::delivery::{DeliveryKey, DeliveryState};
use millrace_storage::meta::{MetaStore, keys};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use self::budget::Budget;
use self::declaration::Declaration;
use self::declared::{Declared, DeclaredTable};
use self::entry::Entry;
use self::layout::Layout;
use self::metrics::{DeliveryMetrics, Sample, Samples, WorkerMetrics};
use self::turns::Turns;
use self::worker::{Offsets, Progress, Reader, raise, reached};
use crate::error::{Error, Kind, Result};
use crate::halted::Halted;
use crate::metrics::Metrics;
use crate::streams::{StreamName, Streams};
use crate::transform::{Chain, Transforms};

/// All deliveries of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Deliveries {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Arc<Parts>,
    entries: RwLock<BTreeMap<String, Arc<Entry>>>,
    /// One change of declarations at a time.
    changes: tokio::sync::Mutex<()>,
    /// One rebuild at a time.
    rebuilds: tokio::sync::Mutex<()>,
    stop: CancellationToken,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) streams: Streams,
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) catalog: Catalog,
    pub(crate) store: Store,
    pub(crate) settings: DeliverySettings,
    pub(crate) budget: Budget,
    pub(crate) conversions: Arc<Turns>,
    pub(crate) metrics: DeliveryMetrics,
    pub(crate) transforms: Transforms,
}

impl Parts {
    /// What reads and converts by one declaration.
    pub(crate) fn reader(&self, declared: &Declared, chain: Chain, metrics: WorkerMetrics) -> Reader {
        Reader {
            delivery: declared.spec.name.clone(),
            log: Arc::clone(&self.log),
            budget: self.budget.clone(),
            priority: declared.spec.priority,
            conversions: Arc::clone(&self.conversions),
            chain,
            layout: Arc::clone(&declared.layout),
            input: declared.input.clone(),
            table: declared.table.clone(),
            corrupt_blocks: self.settings.corrupt_blocks,
            metrics,
        }
    }
}

impl Deliveries {
    /// Opens all deliveries that the meta store knows and starts their workers. Needs no object store: one that is away
    /// shows as a delivery that retries.
    pub async fn open(
        log: Arc<dyn Log>,
        streams: Streams,
        meta: Arc<dyn MetaStore>,
        catalog: Catalog,
        store: Store,
        settings: DeliverySettings,
        metrics: &Metrics,
    ) -> Result<Self> {
        let transforms = Transforms::builtin(metrics);
        Self::open_with(log, streams, meta, catalog, store, settings, metrics, transforms).await
    }

    /// Like [`Deliveries::open`], with modules and what the program registered.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the process of its own")]
    pub async fn open_with(
        log: Arc<dyn Log>,
        streams: Streams,
        meta: Arc<dyn MetaStore>,
        catalog: Catalog,
        store: Store,
        settings: DeliverySettings,
        metrics: &Metrics,
        transforms: Transforms,
    ) -> Result<Self> {
        settings.validate()?;
        let parts = Arc::new(Parts {
            budget: Budget::new(settings.memory_bytes_max.as_u64()),
            conversions: Arc::new(Turns::new(settings.conversions())),
            metrics: DeliveryMetrics::new(metrics),
            log,
            streams,
            meta,
            catalog,
            store,
            settings,
            transforms,
        });
        let inner = Inner {
            parts,
            entries: RwLock::default(),
            changes: tokio::sync::Mutex::default(),
            rebuilds: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
        };
        let deliveries = Self { inner: Arc::new(inner) };
        for (key, stored) in keys::scan::<DeliveryKey>(&*deliveries.parts().meta).await? {
            let spec = DeliverySpec::from_toml(&stored.value.spec_toml)?;
            let declared = deliveries.declared(spec).await?;
            deliveries.start(&key.name, declared, stored.value.state == i32::from(DeliveryState::Running));
        }
        deliveries.resume_rebuilds().await?;
        let source: Arc<dyn Samples> = Arc::clone(&deliveries.inner) as _;
        deliveries.parts().metrics.sample(Arc::downgrade(&source));
        Ok(deliveries)
    }

    /// Commits all that was acknowledged before the call; returns when it is committed. Returns at once where nothing is
    /// pending.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::FailedPrecondition`] where the delivery is paused.
    pub async fn flush(&self, name: &str) -> Result<Described> {
        let entry = self.entry(name)?;
        let (target, stream) = (self.acknowledged(&entry), Arc::clone(&entry.declared().stream));
        entry.wanted.send_modify(|wanted| raise(&stream.topology(), &mut wanted.flush, &target));
        let committed =
            |progress: &Progress| progress.recovered && reached(&stream.topology(), &progress.committed, &target);
        entry.until(committed).await?;
        Ok(self.describe_entry(&entry))
    }

    /// Takes up again what was set aside before the call, by the declaration of now; returns when all of it is committed.
    /// What fails once more is set aside once more.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::FailedPrecondition`] where the delivery is paused.
    pub async fn replay(&self, name: &str) -> Result<Replayed> {
        let entry = self.entry(name)?;
        let mut progress = entry.progress.clone();
        let before = progress.wait_for(|progress| progress.recovered).await.map_err(|_| closing(name))?.clone();
        if !entry.wanted.borrow().running {
            return Err(paused(name));
        }
        let mut request = 0;
        entry.wanted.send_modify(|wanted| {
            let aim = &mut wanted.replay;
            (aim.request, aim.upto) = (aim.request + 1, aim.upto.max(before.next_batch));
            request = aim.request;
        });
        let after = entry.until(|progress| progress.replay_answered >= request).await?;
        if let Some(failure) = after.replay_failure {
            return Err(failure);
        }
        let (before, after) = (before.replays, after.replays);
        Ok(Replayed {
            replayed: after.replayed - before.replayed,
            rows: after.rows - before.rows,
            set_aside: after.set_aside - before.set_aside,
            dropped: after.dropped - before.dropped,
            delivery: self.describe_entry(&entry),
        })
    }

    /// Stops reading after the batch in flight; the position is kept, also over a restart.
    pub async fn pause(&self, name: &str) -> Result<Described> {
        self.set_running(name, false).await
    }

    /// Goes on where [`Deliveries::pause`] stopped.
    pub async fn resume(&self, name: &str) -> Result<Described> {
        self.set_running(name, true).await
    }

    async fn set_running(&self, name: &str, running: bool) -> Result<Described> {
        let _turn = self.inner.changes.lock().await;
        let entry = self.entry(name)?;
        let key = DeliveryKey { name: name.to_owned() };
        let stored = keys::get(&*self.parts().meta, &key).await?.ok_or_else(|| not_found(name))?;
        let mut value = stored.value.clone();
        value.state = if running { DeliveryState::Running } else { DeliveryState::Paused }.into();
        if value != stored.value {
            self.parts().meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
            tracing::info!(delivery = name, "{}", if running { "resumed" } else { "paused" });
        }
        entry.wanted.send_if_modified(|wanted| std::mem::replace(&mut wanted.running, running) != running);
        Ok(self.describe_entry(&entry))
    }

    /// Stops all workers: a batch in flight is waited for within `drain_timeout`; what is not committed stays in the log.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        let entries: Vec<_> = self.inner.entries.read().values().cloned().collect();
        for entry in entries {
            entry.ended().await;
        }
    }

    /// The deliveries that write a table, by name.
    #[must_use]
    pub fn of_table(&self, table: &TableName) -> Vec<String> {
        self.entries_of(table).into_iter().map(|entry| entry.name.clone()).collect()
    }

    fn entries_of(&self, table: &TableName) -> Vec<Arc<Entry>> {
        let entries = self.inner.entries.read();
        let writes =
            |entry: &&Arc<Entry>| entry.declared().table.as_ref().is_some_and(|written| written.name == *table);
        entries.values().filter(writes).cloned().collect()
    }

    fn parts(&self) -> &Arc<Parts> {
        &self.inner.parts
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>> {
        self.inner.entries.read().get(name).cloned().ok_or_else(|| not_found(name))
    }

    fn start(&self, name: &str, declared: Declared, running: bool) {
        let entry = Entry::start(name, Arc::clone(self.parts()), declared, running, self.inner.stop.child_token());
        self.inner.entries.write().insert(name.to_owned(), Arc::new(entry));
    }

    /// A delivery's declaration with the stream and the table that it names.
    async fn declared(&self, spec: DeliverySpec) -> Result<Declared> {
        let name = StreamName::any(&spec.stream)?;
        let stream = self.parts().streams.get(&name)?;
        let table = match spec.table_name() {
            None => None,
            Some(table) => {
                let name = table_name(table)?;
                let spec = TableSpec::from_toml(&self.parts().catalog.spec(&name).await?)?;
                Some(DeclaredTable { name, spec })
            }
        };
        let (layout, input) = (Arc::new(Layout::of(&spec)?), spec.input()?);
        Ok(Declared { spec, stream, table, layout, input })
    }

    /// For each shard the offset that its next record gets: all before it is acknowledged.
    fn acknowledged(&self, entry: &Entry) -> Offsets {
        entry.declared().shards().into_iter().map(|key| (key.shard, self.parts().log.offsets(key).end)).collect()
    }
}

impl Samples for Inner {
    fn samples(&self) -> (Vec<Sample>, i64) {
        let entries: Vec<_> = self.entries.read().values().cloned().collect();
        let samples = entries.iter().map(|entry| entry.sample(&*self.parts.log)).collect();
        (samples, i64::try_from(self.parts.budget.used_bytes()).unwrap_or(i64::MAX))
    }
}

fn table_name(text: &str) -> Result<TableName> {
    text.parse().map_err(|error: millrace_storage::catalog::Error| Error::invalid(error))
}

fn not_found(name: &str) -> Error {
    Error::not_found(format_args!("no delivery is named {name}")).about("delivery", name)
}

fn paused(name: &str) -> Error {
    Halted::Paused.error("delivery", name)
}

fn closing(name: &str) -> Error {
    Halted::Stopped.error("delivery", name)
}

impl From<millrace_storage::catalog::Error> for Error {
    fn from(error: millrace_storage::catalog::Error) -> Self {
        use millrace_storage::catalog::Error as Catalog;
        let kind = match &error {
            Catalog::NotFound { .. } => Kind::NotFound,
            Catalog::Exists { .. } => Kind::AlreadyExists,
            Catalog::Name { .. } => Kind::Invalid,
            Catalog::Conflict { .. } | Catalog::Contended { .. } | Catalog::FileGone { .. } => Kind::Conflict,
            Catalog::Schema { .. } => Kind::FailedPrecondition,
            Catalog::Summary { .. } => Kind::DataLoss,
            Catalog::Metadata { .. } => Kind::Unavailable,
            Catalog::Meta(error) => return error.clone().into(),
        };
        Self::new(kind, error)
    }
}
