//! From SQL text to a plan that runs: a session for each query, with the tables as they are when it begins.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::CatalogProvider;
use datafusion::catalog::CatalogProviderList;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use millrace_storage::catalog::DEFAULT_NAMESPACE;

use super::namespaces::{CATALOG, Namespaces};
use super::parameters::Parameters;
use super::statement::Statement;
use super::system::SystemSchema;
use super::tables::Tables;
use super::{QuerySettings, adapt, error, statement};
use crate::auth::Caller;
use crate::error::Result;

/// Plans statements.
pub(super) struct Planner {
    settings: QuerySettings,
    /// Everything but the tables: functions, rules, limits.
    base: SessionState,
    tables: Arc<Tables>,
    system: Arc<SystemSchema>,
}

/// A plan that may run.
pub(super) struct Planned {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) context: Arc<TaskContext>,
    /// Holds the opened tables, and with them the account of their tails' memory, as long as the query runs.
    _state: SessionState,
}

/// What is known of a statement before it runs.
#[derive(Debug)]
pub struct Schemas {
    /// The columns of its answer.
    pub answer: SchemaRef,
    /// Its parameters, in their order.
    pub parameters: Schema,
}

impl Planner {
    pub(super) fn new(
        settings: QuerySettings,
        runtime: Arc<RuntimeEnv>,
        tables: Arc<Tables>,
        system: SystemSchema,
    ) -> Self {
        Self { base: base_state(&settings, runtime), settings, tables, system: Arc::new(system) }
    }

    /// Plans a statement to run it.
    pub(super) async fn physical(&self, statement: &Statement, caller: &Caller) -> Result<Planned> {
        let (state, plan) = self.logical(&statement.sql, caller).await?;
        let plan = Parameters::of(&plan)?.bind(plan, statement.parameters.as_ref())?;
        let plan = state.create_physical_plan(&plan).await.map_err(|error| error::of(&error))?;
        Ok(Planned { plan, context: state.task_ctx(), _state: state })
    }

    /// The schema of a statement's answer, without metadata, and that of its parameters.
    pub(super) async fn schemas(&self, statement: &Statement, caller: &Caller) -> Result<Schemas> {
        let (_, plan) = self.logical(&statement.sql, caller).await?;
        let of_plan = Parameters::of(&plan)?;
        let parameters = of_plan.schema();
        let plan = match &statement.parameters {
            Some(row) => of_plan.bind(plan, Some(row))?,
            None => plan,
        };
        Ok(Schemas { answer: adapt::plain_schema(plan.schema().as_arrow()), parameters })
    }

    /// The catalog as a query of the caller that begins now sees it.
    pub(super) async fn catalog(&self, caller: &Caller) -> Result<Arc<dyn CatalogProvider>> {
        let catalogs = Namespaces::list(&self.tables, &self.system, caller).await?;
        Ok(catalogs.catalog(CATALOG).expect("the list holds the one catalog"))
    }

    async fn logical(&self, sql: &str, caller: &Caller) -> Result<(SessionState, LogicalPlan)> {
        let sql = statement::checked(sql, &self.settings)?;
        let mut state = self.base.clone();
        state.register_catalog_list(Namespaces::list(&self.tables, &self.system, caller).await?);
        state.mark_start_execution();
        let plan = state.create_logical_plan(&sql).await.map_err(|error| error::of(&error))?;
        statement::check_plan(&plan)?;
        Ok((state, plan))
    }
}

fn base_state(settings: &QuerySettings, runtime: Arc<RuntimeEnv>) -> SessionState {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_NAMESPACE)
        .with_target_partitions(settings.target_partitions());
    // What each sort keeps for its merge: DataFusion's default is for larger pools and fewer partitions.
    let bytes = usize::try_from(settings.memory_bytes_max.as_u64()).unwrap_or(usize::MAX);
    let sort_reservation = &mut config.options_mut().execution.sort_spill_reservation_bytes;
    *sort_reservation = (*sort_reservation).min(bytes / (8 * settings.target_partitions()));
    // View types are young: clients of other languages do not all read them.
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    config.options_mut().optimizer.expand_views_at_output = true;
    SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build()
}
