//! The query engine: DataFusion over the catalog and the log tails, within a memory limit, on threads of its own so that
//! a heavy query slows no put. It only reads.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use millrace_storage::catalog::Catalog;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::history::QueryHistory;
use super::metrics::QueryMetrics;
use super::planner::{Planned, Planner, Schemas};
use super::run::{Run, panicked, timed_out};
use super::statement::Statement;
use super::stream::QueryStream;
use super::system::{Files, Queries, SYSTEM, Snapshots, SystemSchema, SystemTable};
use super::tables::Tables;
use super::watch::Watch;
use super::{QuerySettings, TailSource, adapt, error};
use crate::auth::Caller;
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// Parsed Parquet footers that are kept for later queries.
const FOOTER_CACHE_BYTES: usize = 16 << 20;
/// Operators that a memory error names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not zero");
/// Batches that wait for the reader of a query.
const BATCHES_AHEAD: usize = 2;

/// Runs SQL. One for the process, shared behind an `Arc`.
pub struct QueryEngine {
    settings: QuerySettings,
    planner: Arc<Planner>,
    permits: Arc<Semaphore>,
    metrics: QueryMetrics,
    history: Arc<QueryHistory>,
    /// Taken only when the engine is dropped.
    threads: Option<Runtime>,
}

impl fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEngine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// A table as metadata calls list it.
#[derive(Debug, Clone)]
pub struct ListedTable {
    /// Its namespace, or `system`.
    pub schema: String,
    /// Its name there.
    pub name: String,
    /// "TABLE" or "VIEW".
    pub kind: &'static str,
    /// Its columns, where they were asked for.
    pub columns: SchemaRef,
}

impl QueryEngine {
    /// Opens the engine. `system` are the tables of other modules; the engine adds those of tables and queries. What an
    /// earlier process left in `spill_folder` is removed.
    pub fn open(
        catalog: Catalog,
        tails: Arc<dyn TailSource>,
        mut system: Vec<Arc<dyn SystemTable>>,
        settings: QuerySettings,
        spill_folder: &Path,
        metrics: &Metrics,
    ) -> Result<Self> {
        empty_folder(spill_folder)?;
        let metrics = QueryMetrics::new(metrics);
        let runtime = runtime(&settings, spill_folder)?;
        let tables = Arc::new(Tables::new(catalog, tails, &runtime, metrics.clone())?);
        let history = Arc::<QueryHistory>::default();
        system.push(Arc::new(Files { tables: Arc::clone(&tables) }));
        system.push(Arc::new(Snapshots { tables: Arc::clone(&tables) }));
        system.push(Arc::new(Queries { history: Arc::clone(&history) }));
        let threads = Builder::new_multi_thread()
            .worker_threads(settings.target_partitions())
            .thread_name("query")
            .thread_stack_size(settings.stack_bytes())
            .enable_all()
            .build()
            .map_err(|error| Error::unavailable(format_args!("cannot start the query threads: {error}")))?;
        Ok(Self {
            planner: Arc::new(Planner::new(settings.clone(), runtime, tables, SystemSchema::new(system))),
            permits: Arc::new(Semaphore::new(settings.concurrent_max.get())),
            settings,
            history,
            metrics,
            threads: Some(threads),
        })
    }

    /// Runs one statement over the tables that the caller may query. The query ends with the stream, at its timeout, or when
    /// the stream is dropped.
    ///
    /// # Errors
    /// What cannot be parsed or planned is `Invalid`, an unknown table `NotFound`, one that the caller may not query
    /// `PermissionDenied`, whether it exists or not, and no turn in time `Throttled`. Errors while it runs come out of the
    /// stream.
    pub async fn sql(&self, caller: &Caller, statement: impl Into<Statement>) -> Result<QueryStream> {
        let statement = statement.into();
        let watch = Watch::begin(&statement.sql, &self.metrics, &self.history);
        let deadline = Instant::now() + self.settings.timeout;
        match tokio::time::timeout_at(deadline, self.prepare(caller.clone(), statement)).await {
            Ok(Ok((permit, planned))) => Ok(self.run(permit, planned, deadline, watch)),
            Ok(Err(error)) => {
                watch.failed(&error);
                Err(error)
            }
            Err(_elapsed) => {
                let error = timed_out(self.settings.timeout);
                watch.timed_out(&error);
                Err(error)
            }
        }
    }

    /// The schemas of the caller's statement, without running it.
    ///
    /// # Errors
    /// As [`Self::sql`], but for its turn.
    pub async fn describe(&self, caller: &Caller, statement: impl Into<Statement>) -> Result<Schemas> {
        let (planner, caller, statement) = (Arc::clone(&self.planner), caller.clone(), statement.into());
        let timeout = self.settings.timeout;
        let schemas = self.on_threads(async move { planner.schemas(&statement, &caller).await });
        tokio::time::timeout(timeout, schemas).await.map_err(|_elapsed| timed_out(timeout))?
    }

    /// The most bytes of a statement, and of its parameters.
    #[must_use]
    pub fn statement_bytes_max(&self) -> u64 {
        self.settings.sql_bytes_max.as_u64()
    }

    /// The names of the schemas that the caller sees: namespaces and the system's.
    pub async fn schemas(&self, caller: &Caller) -> Result<Vec<String>> {
        Ok(self.planner.catalog(caller).await?.schema_names())
    }

    /// All tables that the caller may query; their columns are empty unless they are asked for.
    pub async fn list(&self, caller: &Caller, with_columns: bool) -> Result<Vec<ListedTable>> {
        let catalog = self.planner.catalog(caller).await?;
        let mut listed = Vec::new();
        for schema in catalog.schema_names() {
            let Some(tables) = catalog.schema(&schema) else { continue };
            let kind = if schema == SYSTEM { "VIEW" } else { "TABLE" };
            for name in tables.table_names() {
                let table = if with_columns { tables.table(&name).await } else { Ok(None) };
                let table = table.map_err(|error| error::of(&error))?;
                let columns = table.map_or_else(|| Arc::new(Schema::empty()), |table| table.schema());
                listed.push(ListedTable { schema: schema.clone(), name, kind, columns });
            }
        }
        Ok(listed)
    }

    async fn prepare(&self, caller: Caller, statement: Statement) -> Result<(OwnedSemaphorePermit, Planned)> {
        let permit = self.permit().await?;
        let planner = Arc::clone(&self.planner);
        let planned = self.on_threads(async move { planner.physical(&statement, &caller).await }).await?;
        Ok((permit, planned))
    }

    fn run(&self, permit: OwnedSemaphorePermit, planned: Planned, deadline: Instant, watch: Watch) -> QueryStream {
        let schema = adapt::plain_schema(&planned.plan.schema());
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let timeout = self.settings.timeout;
        let run = Run { planned, schema: Arc::clone(&schema), deadline, timeout, permit, watch };
        let task = AbortOnDropHandle::new(self.threads().spawn(run.run(sender)));
        QueryStream { schema, batches, task: Some(task) }
    }

    /// Waits for the query's turn.
    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        self.metrics.waiting.inc();
        let permit = tokio::time::timeout(self.settings.wait_max, Arc::clone(&self.permits).acquire_owned()).await;
        self.metrics.waiting.dec();
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(Error::unavailable("the query engine is closing")),
            Err(_elapsed) => {
                self.metrics.refused.inc();
                let QuerySettings { concurrent_max, wait_max, .. } = &self.settings;
                let message = format!(
                    "{concurrent_max} queries run and none ended within {}; query.concurrent_max is {concurrent_max}",
                    humantime::format_duration(*wait_max)
                );
                Err(Error::new(Kind::Throttled { retry_after: *wait_max }, message))
            }
        }
    }

    /// Works on the query threads, which have the stack that plans need. A panic there is the statement's error.
    async fn on_threads<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let task = AbortOnDropHandle::new(self.threads().spawn(work));
        task.await.unwrap_or_else(|error| Err(panicked(&error)))
    }

    fn threads(&self) -> &Runtime {
        self.threads.as_ref().expect("the threads live as long as the engine")
    }
}

fn runtime(settings: &QuerySettings, spill_folder: &Path) -> Result<Arc<RuntimeEnv>> {
    let bytes = usize::try_from(settings.memory_bytes_max.as_u64()).unwrap_or(usize::MAX);
    let mode = match settings.spill_bytes_max.as_u64() {
        0 => DiskManagerMode::Disabled,
        _ => DiskManagerMode::Directories(vec![spill_folder.to_path_buf()]),
    };
    let disk =
        DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(settings.spill_bytes_max.as_u64());
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), CONSUMERS_NAMED)))
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
        .build_arc()
        .map_err(|error| error::of(&error))
}

/// Spilled files belong to the process that wrote them.
fn empty_folder(folder: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::unavailable(format_args!("cannot empty the spill folder {}: {error}", folder.display()))
    };
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir_all(folder).map_err(failed)
}
