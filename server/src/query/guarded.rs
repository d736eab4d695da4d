//! The tables of a schema as one caller sees them: those that no grant lets it query are not listed, and not opened.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result as PlanResult;
use datafusion::logical_expr::TableType;

use super::error;
use crate::auth::{Action, Caller, Resource};

/// A schema behind its caller's grants.
#[derive(Debug)]
pub(super) struct Guarded {
    schema: Arc<dyn SchemaProvider>,
    name: String,
    caller: Caller,
}

impl Guarded {
    pub(super) fn over(name: &str, schema: Arc<dyn SchemaProvider>, caller: &Caller) -> Arc<dyn SchemaProvider> {
        Arc::new(Self { schema, name: name.to_owned(), caller: caller.clone() })
    }

    fn may(&self, table: &str) -> bool {
        self.caller.may(Action::Query, &Resource::table(&self.name, table))
    }
}

#[async_trait]
impl SchemaProvider for Guarded {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let mut names = self.schema.table_names();
        names.retain(|name| self.may(name));
        names
    }

    /// A table that may not be queried fails in the same way whether it exists or not.
    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        self.caller.check(Action::Query, &Resource::table(&self.name, name)).map_err(error::external)?;
        self.schema.table(name).await
    }

    async fn table_type(&self, name: &str) -> PlanResult<Option<TableType>> {
        if self.may(name) { self.schema.table_type(name).await } else { Ok(None) }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.may(name) && self.schema.table_exist(name)
    }
}
