//! The catalog's tables, opened at one point in time: a snapshot and the log tail from where it ends.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::table::Table;
use millrace_storage::catalog::{self, Catalog, TableName};

use super::files::DataFiles;
use super::metrics::QueryMetrics;
use super::table::OpenTable;
use super::tail::{Offsets, Tail, TailError, TailSource};
use super::{adapt, error, schema};
use crate::error::{Error, Kind, Result};

/// How often a table is read again because its tail moved on. Each time a delivery committed in between, so that many in
/// a row say that something is wrong.
const RELOADS_MAX: usize = 32;

/// Opens tables for queries.
#[derive(Debug)]
pub(super) struct Tables {
    catalog: Catalog,
    tails: Arc<dyn TailSource>,
    store: ObjectStoreUrl,
    metrics: QueryMetrics,
}

impl Tables {
    /// Makes the catalog's store known to DataFusion.
    pub(super) fn new(
        catalog: Catalog,
        tails: Arc<dyn TailSource>,
        runtime: &RuntimeEnv,
        metrics: QueryMetrics,
    ) -> Result<Self> {
        let store = ObjectStoreUrl::parse("millrace://lake").map_err(|error| error::of(&error))?;
        runtime.register_object_store(store.as_ref(), catalog.store().object_store());
        Ok(Self { catalog, tails, store, metrics })
    }

    pub(super) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Opens a table; `None` where there is none.
    ///
    /// The mark is taken before the table is read, so that the rows are those acknowledged before the call, and a busy
    /// stream cannot keep the query from ever opening it.
    pub(super) async fn open(&self, name: &TableName) -> Result<Option<Arc<dyn TableProvider>>> {
        let mark = self.tails.mark(name).await?;
        for _ in 0..RELOADS_MAX {
            let table = match self.catalog.load(name).await {
                Ok(table) => table,
                Err(catalog::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match self.tails.tail(name, &ends(&table, &mark)?, &mark).await {
                Ok(tail) => return Ok(Some(Arc::new(self.unite(name, &table, tail).await?))),
                Err(TailError::TooOld) => self.metrics.reloads.inc(),
                Err(TailError::Failed(error)) => return Err(error),
            }
        }
        let message = format!("table {name} was committed to {RELOADS_MAX} times while a query opened it");
        Err(Error::new(Kind::Conflict, message))
    }

    async fn unite(&self, name: &TableName, table: &Table, tail: Tail) -> Result<OpenTable> {
        let files = self.catalog.files(table).await?;
        if files.has_deletes {
            let message = format!("table {name} has delete files of another engine, which queries cannot apply yet");
            return Err(Error::new(Kind::FailedPrecondition, message));
        }
        let own = columns(name, table)?;
        // Ids that a delivery gave to columns which no commit has yet are its own: tails fit by name alone.
        let schemas = tail.parts.iter().flat_map(|part| {
            let batches = part.batches.iter().map(RecordBatch::schema);
            std::iter::once(Arc::clone(&part.schema)).chain(batches)
        });
        let newer = schemas.map(|schema| adapt::plain_schema(&schema));
        let with_ids = newer.fold(own, |schema, newer| schema::union(&schema, &newer));
        let schema = adapt::plain_schema(&with_ids);
        let batches = tail.parts.iter().flat_map(|part| &part.batches).filter(|batch| batch.num_rows() > 0);
        let batches = batches.map(|batch| adapt::batch(batch, &schema)).collect::<Result<Vec<_>, _>>();
        let failed =
            |error| Error::new(Kind::Internal, format_args!("the log tail of {name} does not fit it: {error}"));
        Ok(OpenTable {
            schema,
            files: DataFiles::new(&self.catalog, Arc::clone(&with_ids), files)?,
            with_ids,
            tail: batches.map_err(failed)?,
            _accounted: tail.parts.iter().filter_map(|part| part.accounted.clone()).collect(),
            store: self.store.clone(),
            metrics: self.metrics.clone(),
        })
    }
}

/// The table's columns with field ids.
pub(super) fn columns(name: &TableName, table: &Table) -> Result<SchemaRef> {
    let schema = schema_to_arrow_schema(table.metadata().current_schema()).map_err(|error| {
        Error::new(Kind::Internal, format_args!("the schema of table {name} has no Arrow form: {error}"))
    })?;
    Ok(Arc::new(Schema::new(schema.fields)))
}

/// Where the snapshot ends for each delivery that writes to the table.
fn ends(table: &Table, mark: &Offsets) -> Result<Offsets> {
    let mut ends = Offsets::new();
    for delivery in mark.keys() {
        if let Some(shards) = catalog::ends(table, delivery)? {
            ends.insert(delivery.clone(), shards);
        }
    }
    Ok(ends)
}
