//! The query engine: DataFusion over the catalog and the log tails, within a memory limit, on threads of its own so that
//! a heavy query slows no put. It only reads.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, CatalogProviderList};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SQLOptions, SessionConfig};
use millrace_storage::catalog::{Catalog, DEFAULT_NAMESPACE};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::history::QueryHistory;
use super::metrics::QueryMetrics;
use super::namespaces::{CATALOG, Namespaces};
use super::run::{Run, timed_out};
use super::stream::QueryStream;
use super::system::{Files, Queries, SYSTEM, Snapshots, SystemSchema, SystemTable};
use super::tables::Tables;
use super::watch::Watch;
use super::{QuerySettings, TailSource, adapt, error};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// Parsed Parquet footers that are kept for later queries.
const FOOTER_CACHE_BYTES: usize = 16 << 20;
/// Operators that a memory error names.
const CONSUMERS_NAMED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(3).expect("3 is not zero");
/// Batches that wait for the reader of a query.
const BATCHES_AHEAD: usize = 2;

/// Runs SQL. One for the process; cheap to share behind an `Arc`.
pub struct QueryEngine {
    settings: QuerySettings,
    /// Everything but the tables: functions, rules, limits.
    base: SessionState,
    tables: Arc<Tables>,
    system: Arc<SystemSchema>,
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

/// A statement that was understood and may run.
struct Planned {
    state: SessionState,
    plan: LogicalPlan,
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
            .enable_all()
            .build()
            .map_err(|error| Error::unavailable(format_args!("cannot start the query threads: {error}")))?;
        Ok(Self {
            base: base_state(&settings, runtime),
            tables,
            history,
            system: Arc::new(SystemSchema::new(system)),
            permits: Arc::new(Semaphore::new(settings.concurrent_max.get())),
            metrics,
            threads: Some(threads),
            settings,
        })
    }

    /// Runs one statement. The query ends with the stream, at its timeout, or when the stream is dropped.
    ///
    /// # Errors
    /// What cannot be parsed or planned is `Invalid`, an unknown table `NotFound`, no turn in time `Throttled`. Errors
    /// while it runs come out of the stream.
    pub async fn sql(&self, sql: &str) -> Result<QueryStream> {
        let watch = Watch::begin(sql, &self.metrics, &self.history);
        let deadline = Instant::now() + self.settings.timeout;
        match tokio::time::timeout_at(deadline, self.prepare(sql)).await {
            Ok(Ok((permit, plan, context))) => Ok(self.spawn(permit, plan, context, deadline, watch)),
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

    /// The schema that the statement's answer has, without running it.
    pub async fn schema(&self, sql: &str) -> Result<SchemaRef> {
        let timeout = self.settings.timeout;
        let planned = tokio::time::timeout(timeout, self.plan(sql)).await.map_err(|_elapsed| timed_out(timeout))??;
        Ok(adapt::plain_schema(planned.plan.schema().as_arrow()))
    }

    /// The names of all schemas: namespaces and the system's.
    pub async fn schemas(&self) -> Result<Vec<String>> {
        let catalog = self.catalog().await?;
        Ok(catalog.schema_names())
    }

    /// All tables; their columns are empty unless they are asked for.
    pub async fn list(&self, with_columns: bool) -> Result<Vec<ListedTable>> {
        let catalog = self.catalog().await?;
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

    async fn catalog(&self) -> Result<Arc<dyn CatalogProvider>> {
        let catalogs = Namespaces::list(&self.tables, &self.system).await?;
        Ok(catalogs.catalog(CATALOG).expect("the list holds the one catalog"))
    }

    async fn prepare(&self, sql: &str) -> Result<(OwnedSemaphorePermit, Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
        let permit = self.permit().await?;
        let Planned { state, plan } = self.plan(sql).await?;
        let plan = state.create_physical_plan(&plan).await.map_err(|error| error::of(&error))?;
        Ok((permit, plan, state.task_ctx()))
    }

    fn spawn(
        &self,
        permit: OwnedSemaphorePermit,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        deadline: Instant,
        watch: Watch,
    ) -> QueryStream {
        let schema = adapt::plain_schema(&plan.schema());
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let run = Run {
            plan,
            context,
            schema: Arc::clone(&schema),
            deadline,
            timeout: self.settings.timeout,
            permit,
            watch,
        };
        let threads = self.threads.as_ref().expect("the threads live as long as the engine");
        QueryStream { schema, batches, _task: AbortOnDropHandle::new(threads.spawn(run.run(sender))) }
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

    async fn plan(&self, sql: &str) -> Result<Planned> {
        let limit = self.settings.sql_bytes_max.as_u64();
        if sql.len() as u64 > limit {
            let message = format!("the statement has {} bytes; query.sql_bytes_max is {limit}", sql.len());
            return Err(Error::invalid(message).in_field("query"));
        }
        let state = self.session().await?;
        let plan = state.create_logical_plan(sql).await.map_err(|error| error::of(&error))?;
        read_only(&plan)?;
        Ok(Planned { state, plan })
    }

    /// A session of one query: it sees the tables that exist now, and each of them at one point in time.
    async fn session(&self) -> Result<SessionState> {
        let mut state = self.base.clone();
        state.register_catalog_list(Namespaces::list(&self.tables, &self.system).await?);
        state.mark_start_execution();
        Ok(state)
    }
}

/// Refuses whatever does not only read.
fn read_only(plan: &LogicalPlan) -> Result<()> {
    let allowed = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    allowed.verify_plan(plan).map_err(|error| {
        let what = error.message().into_owned();
        Error::invalid(format_args!("SQL only reads here: {what}; tables change by deliveries and by millrace apply"))
    })?;
    if plan.get_parameter_names().is_ok_and(|names| !names.is_empty()) {
        return Err(Error::invalid("the statement has parameters, which are not supported; write the values into it"));
    }
    Ok(())
}

fn runtime(settings: &QuerySettings, spill_folder: &Path) -> Result<Arc<RuntimeEnv>> {
    let bytes = usize::try_from(settings.memory_bytes_max.as_u64()).unwrap_or(usize::MAX);
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill_folder.to_path_buf()]))
        .with_max_temp_directory_size(settings.spill_bytes_max.as_u64());
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), CONSUMERS_NAMED)))
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
        .build_arc()
        .map_err(|error| error::of(&error))
}

fn base_state(settings: &QuerySettings, runtime: Arc<RuntimeEnv>) -> SessionState {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_NAMESPACE)
        .with_target_partitions(settings.target_partitions());
    // View types are young: clients of other languages do not all read them.
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    config.options_mut().optimizer.expand_views_at_output = true;
    SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build()
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
