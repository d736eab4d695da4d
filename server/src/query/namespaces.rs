//! The catalog as one query sees it: namespaces are schemas, and a table is looked up when a statement names it, once.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result as PlanResult;
use datafusion::logical_expr::TableType;
use millrace_storage::catalog::{DEFAULT_NAMESPACE, TableName};
use tokio::sync::Mutex;

use super::error;
use super::guarded::Guarded;
use super::system::{SYSTEM, SystemSchema};
use super::tables::Tables;
use crate::auth::Caller;
use crate::error::Result;

/// The one catalog's name.
pub const CATALOG: &str = "millrace";

/// The catalog of one query.
pub(super) struct Namespaces {
    schemas: BTreeMap<String, Arc<dyn SchemaProvider>>,
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.schemas.keys()).finish()
    }
}

impl Namespaces {
    /// Takes the names of the tables that exist now and that the caller may query.
    pub(super) async fn list(
        tables: &Arc<Tables>,
        system: &Arc<SystemSchema>,
        caller: &Caller,
    ) -> Result<Arc<OneCatalog>> {
        let mut names: BTreeMap<String, BTreeSet<String>> =
            BTreeMap::from([(DEFAULT_NAMESPACE.to_owned(), BTreeSet::new())]);
        for table in tables.catalog().list().await? {
            names.entry(table.namespace().to_owned()).or_default().insert(table.name().to_owned());
        }
        let mut schemas: BTreeMap<String, Arc<dyn SchemaProvider>> = BTreeMap::new();
        for (namespace, names) in names {
            let schema =
                Namespace { namespace: namespace.clone(), names, tables: Arc::clone(tables), loaded: Mutex::default() };
            schemas.insert(namespace.clone(), Guarded::over(&namespace, Arc::new(schema), caller));
        }
        let system = Arc::clone(system) as Arc<dyn SchemaProvider>;
        schemas.insert(SYSTEM.to_owned(), Guarded::over(SYSTEM, system, caller));
        Ok(Arc::new(OneCatalog { namespaces: Arc::new(Self { schemas }) }))
    }
}

impl CatalogProvider for Namespaces {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// Those with a table that may be queried, and the default one, which statements mean that name none.
    fn schema_names(&self) -> Vec<String> {
        let is_seen = |(name, schema): &(&String, &Arc<dyn SchemaProvider>)| {
            *name == DEFAULT_NAMESPACE || !schema.table_names().is_empty()
        };
        self.schemas.iter().filter(is_seen).map(|(name, _)| name.clone()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).cloned()
    }
}

/// A list of one catalog that nothing can be added to.
#[derive(Debug)]
pub(super) struct OneCatalog {
    namespaces: Arc<Namespaces>,
}

impl CatalogProviderList for OneCatalog {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::clone(&self.namespaces) as Arc<dyn CatalogProvider>)
    }
}

/// The tables of one namespace.
#[derive(Debug)]
struct Namespace {
    namespace: String,
    names: BTreeSet<String>,
    tables: Arc<Tables>,
    /// A query sees a table at one point in time, however often it names it.
    loaded: Mutex<BTreeMap<String, Arc<dyn TableProvider>>>,
}

#[async_trait]
impl SchemaProvider for Namespace {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        if !self.names.contains(name) {
            return Ok(None);
        }
        let mut loaded = self.loaded.lock().await;
        if let Some(table) = loaded.get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        let table = TableName::new(&self.namespace, name).map_err(error::external)?;
        let Some(table) = self.tables.open(&table).await.map_err(error::external)? else { return Ok(None) };
        loaded.insert(name.to_owned(), Arc::clone(&table));
        Ok(Some(table))
    }

    async fn table_type(&self, name: &str) -> PlanResult<Option<TableType>> {
        Ok(self.names.contains(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}
