//! A delivery's declaration together with what it refers to, as its worker uses it.

use std::sync::Arc;

use millrace_storage::catalog::TableName;
use millrace_storage::lake::input::Input;
use millrace_storage::lake::schema::ARRIVAL_TIME;
use millrace_storage::log::ShardKey;
use millrace_storage::meta::keys::intent::IntentValue;

use super::declaration::Declaration;
use super::layout::Layout;
use super::spec::{DeliverySpec, TableSpec};
use crate::error::Result;
use crate::streams::StreamState;

/// Everything that decides what a worker makes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// The delivery.
    pub(crate) spec: DeliverySpec,
    /// The stream. Its shards may change at any time.
    pub(crate) stream: Arc<StreamState>,
    /// For `parquet`: the table and its declaration.
    pub(crate) table: Option<DeclaredTable>,
    /// Where its objects lie.
    pub(crate) layout: Arc<Layout>,
    /// How its records are written.
    pub(crate) input: Input,
}

/// The table of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredTable {
    /// Its name.
    pub(crate) name: TableName,
    /// Its declaration.
    pub(crate) spec: TableSpec,
}

impl DeclaredTable {
    /// The column whose time its files' prefix goes by.
    pub(crate) fn time_column(&self) -> String {
        self.spec.time.as_ref().map_or(ARRIVAL_TIME, |time| &time.field).to_owned()
    }
}

impl Declared {
    /// The stream's shards at present, by number: open ones, and closed ones whose records are still kept.
    pub(crate) fn shards(&self) -> Vec<ShardKey> {
        self.stream.topology().shards().iter().map(|shard| shard.key()).collect()
    }

    /// The same delivery by the declarations that an open intent names, which may be older.
    pub(crate) fn of_intent(&self, intent: &IntentValue) -> Result<Self> {
        let table = match &self.table {
            Some(table) => {
                Some(DeclaredTable { spec: TableSpec::from_toml(&intent.table_spec_toml)?, ..table.clone() })
            }
            None => None,
        };
        let spec = DeliverySpec::from_toml(&intent.spec_toml)?;
        let (layout, input) = (Arc::new(Layout::of(&spec)?), spec.input()?);
        Ok(Self { spec, table, layout, input, ..self.clone() })
    }
}
