//! `system.*`: the service's own state as tables. One file for each table: its columns and where its rows come from.
//!
//! Rows are taken when a query scans the table, never kept.

mod streams;
mod shards;
mod deliveries;
mod imports;
mod by_object;
mod import_failed_rows;
mod objects;
mod files;
mod snapshots;
mod queries;

pub(super) use files::Files;
pub(super) use queries::Queries;
pub(super) use snapshots::Snapshots;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::ReaderBuilder;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::Result as PlanResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use serde::Serialize;

use self::by_object::ByObject;
use super::error;
use crate::delivery::Deliveries;
use crate::error::{Error, Kind, Result};
use crate::imports::Imports;
use crate::streams::Streams;

/// The schema that holds the system tables.
pub(super) const SYSTEM: &str = "system";

/// One table of the service's own state.
#[async_trait]
pub trait SystemTable: Send + Sync + fmt::Debug + 'static {
    /// Its name below `system`.
    fn name(&self) -> &'static str;

    /// Its columns.
    fn schema(&self) -> SchemaRef;

    /// Its rows as they are now, in the schema's columns.
    async fn rows(&self) -> Result<Vec<RecordBatch>>;

    /// The same rows one after the other, where they are too many to be held at once.
    fn stream(&self) -> Option<Arc<dyn PartitionStream>> {
        None
    }
}

/// The tables of streams, deliveries and imports.
#[must_use]
pub fn system_tables(streams: &Streams, deliveries: &Deliveries, imports: &Imports) -> Vec<Arc<dyn SystemTable>> {
    vec![
        Arc::new(streams::StreamRows { streams: streams.clone() }),
        Arc::new(shards::ShardRows { streams: streams.clone() }),
        Arc::new(deliveries::DeliveryRows { deliveries: deliveries.clone() }),
        Arc::new(imports::ImportRows { imports: imports.clone() }),
        Arc::new(imports::ImportRunRows { imports: imports.clone() }),
        Arc::new(imports::ImportObjectRows { imports: imports.clone() }),
        Arc::new(ByObject(import_failed_rows::ImportFailedRows::new(imports))),
        Arc::new(ByObject(objects::ObjectRecords::new(deliveries, objects::Records::Failed))),
        Arc::new(ByObject(objects::ObjectRecords::new(deliveries, objects::Records::Backup))),
    ]
}

/// A schema of nullable columns.
pub(super) fn columns(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The type of a time, filled from milliseconds since the Unix epoch.
pub(super) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))
}

/// Rows whose serialised fields are named as the columns.
pub(super) fn batches<R: Serialize>(schema: &SchemaRef, rows: &[R]) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for rows in rows.chunks(8192) {
        let mut decoder =
            ReaderBuilder::new(Arc::clone(schema)).with_batch_size(rows.len()).build_decoder().map_err(not_made)?;
        decoder.serialize(rows).map_err(not_made)?;
        batches.extend(decoder.flush().map_err(not_made)?);
    }
    Ok(batches)
}

fn not_made(error: ArrowError) -> Error {
    Error::new(Kind::Internal, format_args!("cannot make the rows of a system table: {error}"))
}

/// The schema `system`.
#[derive(Debug)]
pub(super) struct SystemSchema {
    tables: BTreeMap<&'static str, Arc<dyn SystemTable>>,
}

impl SystemSchema {
    pub(super) fn new(tables: Vec<Arc<dyn SystemTable>>) -> Self {
        Self { tables: tables.into_iter().map(|table| (table.name(), table)).collect() }
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.tables.keys().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        let table = self.tables.get(name);
        Ok(table.map(|table| Arc::new(SystemProvider { table: Arc::clone(table) }) as Arc<dyn TableProvider>))
    }

    async fn table_type(&self, name: &str) -> PlanResult<Option<TableType>> {
        Ok(self.tables.get(name).map(|_| TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

#[derive(Debug)]
struct SystemProvider {
    table: Arc<dyn SystemTable>,
}

#[async_trait]
impl TableProvider for SystemProvider {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        if let Some(stream) = self.table.stream() {
            let schema = self.table.schema();
            let exec = StreamingTableExec::try_new(schema, vec![stream], projection, None, false, limit)?;
            return Ok(Arc::new(exec));
        }
        let batches = self.table.rows().await.map_err(error::external)?;
        Ok(MemorySourceConfig::try_new_exec(&[batches], self.table.schema(), projection.cloned())?)
    }
}
