//! One table as a query sees it: the files of one snapshot, and the log tail from where that snapshot ends.
//!
//! Columns come from the files' contents only: folders such as `year=2013` are never read as columns, for the data may
//! have columns of these names.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicate;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::adapter::FileAdapterFactory;
use super::files::DataFiles;
use super::metrics::QueryMetrics;

/// Bytes read from a file's end at once: most footers fit, which saves a round trip to the store.
const FOOTER_BYTES_HINT: usize = 64 << 10;

/// A table at one point in time.
#[derive(Debug)]
pub(super) struct OpenTable {
    /// The columns, without metadata.
    pub(super) schema: SchemaRef,
    /// The same columns with Iceberg field ids.
    pub(super) with_ids: SchemaRef,
    /// The snapshot's files.
    pub(super) files: DataFiles,
    /// The tail's rows in `schema`.
    pub(super) tail: Vec<RecordBatch>,
    /// What accounts for the memory of the tail.
    pub(super) _accounted: Vec<Arc<dyn fmt::Debug + Send + Sync>>,
    pub(super) store: ObjectStoreUrl,
    pub(super) metrics: QueryMetrics,
}

#[async_trait]
impl TableProvider for OpenTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters choose files, row groups and pages; rows are filtered above the scan.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let kept = self.prune(session, filters)?;
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if !kept.is_empty() {
            parts.push(self.files_scan(session, projection, limit, &kept)?);
        }
        if !self.tail.is_empty() || parts.is_empty() {
            let tail = std::slice::from_ref(&self.tail);
            let tail = MemorySourceConfig::try_new(tail, self.schema(), projection.cloned())?.with_limit(limit);
            self.metrics.tail_rows.inc_by(self.tail.iter().map(|batch| batch.num_rows() as u64).sum());
            parts.push(DataSourceExec::from_data_source(tail));
        }
        UnionExec::try_new(parts)
    }
}

impl OpenTable {
    /// The places of the files that may hold rows that pass all filters.
    fn prune(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<usize>> {
        let all = || (0..self.files.len()).collect();
        self.metrics.files_considered.inc_by(self.files.len() as u64);
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(all()) };
        let schema = DFSchema::try_from(self.schema())?;
        let filter = session.create_physical_expr(filter, &schema)?;
        let predicate = PruningPredicate::try_new(filter, self.schema())?;
        if predicate.always_true() {
            return Ok(all());
        }
        let keep = predicate.prune(&self.files)?;
        let kept: Vec<usize> = keep.iter().enumerate().filter_map(|(place, keep)| keep.then_some(place)).collect();
        self.metrics.files_pruned.inc_by((self.files.len() - kept.len()) as u64);
        Ok(kept)
    }

    fn files_scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        kept: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let runtime = session.runtime_env();
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let reader: Arc<dyn ParquetFileReaderFactory> =
            Arc::new(CachedParquetFileReaderFactory::new(runtime.object_store(&self.store)?, footers));
        let source = ParquetSource::new(self.schema())
            .with_parquet_file_reader_factory(reader)
            .with_metadata_size_hint(FOOTER_BYTES_HINT);
        let files = kept.iter().map(|&place| self.partitioned_file(place)).collect();
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let config = FileScanConfigBuilder::new(self.store.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.files.statistics(kept))
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::new(FileAdapterFactory { with_ids: Arc::clone(&self.with_ids) })))
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn partitioned_file(&self, place: usize) -> PartitionedFile {
        let rows = Statistics { num_rows: self.files.rows(place), ..Statistics::new_unknown(&self.schema) };
        PartitionedFile::new_from_meta(self.files.object(place)).with_statistics(Arc::new(rows))
    }
}
