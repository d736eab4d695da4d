//! Tables over gRPC: what the catalog knows of them.

use iceberg::spec::{NestedFieldRef, TableMetadata};
use iceberg::table::Table as IcebergTable;
use millrace_proto::v1::table_service_server::TableService;
use millrace_proto::v1::{
    Column, DescribeTableRequest, DescribeTableResponse, ListTablesRequest, ListTablesResponse, Table,
};
use millrace_storage::catalog::{Catalog, TableName, snapshots};
use tonic::{Request, Response, Status};

use super::access::Call;
use crate::auth::Resource;
use crate::error::Result;

/// Answers about the tables of a catalog.
#[derive(Debug, Clone)]
pub(super) struct TableHandler {
    catalog: Catalog,
}

impl TableHandler {
    pub(super) const fn new(catalog: Catalog) -> Self {
        Self { catalog }
    }

    async fn list(&self, call: &Call) -> Result<Vec<Table>> {
        let tables = self.catalog.load_all().await?;
        let seen = tables.iter().filter(|(name, _)| call.may(&Resource::table(name.namespace(), name.name())));
        seen.map(|(name, table)| Ok(Table { columns: Vec::new(), ..describe(name, table)? })).collect()
    }

    async fn table(&self, call: &Call, name: &str) -> Result<Table> {
        let name: TableName = name.parse()?;
        call.allow(&Resource::table(name.namespace(), name.name()))?;
        describe(&name, &self.catalog.load(&name).await?)
    }
}

#[tonic::async_trait]
impl TableService for TableHandler {
    async fn list_tables(&self, request: Request<ListTablesRequest>) -> Result<Response<ListTablesResponse>, Status> {
        let tables = self.list(&Call::of(&request)?).await?;
        Ok(Response::new(ListTablesResponse { tables }))
    }

    async fn describe_table(
        &self,
        request: Request<DescribeTableRequest>,
    ) -> Result<Response<DescribeTableResponse>, Status> {
        let call = Call::of(&request)?;
        let table = self.table(&call, &request.into_inner().name).await?;
        Ok(Response::new(DescribeTableResponse { table: Some(table) }))
    }
}

fn describe(name: &TableName, table: &IcebergTable) -> Result<Table> {
    let metadata = table.metadata();
    let newest = snapshots(table)?.pop();
    let newest = newest.as_ref();
    Ok(Table {
        namespace: name.namespace().to_owned(),
        name: name.name().to_owned(),
        location: metadata.location().to_owned(),
        metadata_location: table.metadata_location().unwrap_or_default().to_owned(),
        columns: metadata.current_schema().as_struct().fields().iter().map(column).collect(),
        partitioning: partitioning(metadata),
        rows: newest.and_then(|snapshot| snapshot.total_rows).unwrap_or_default(),
        files: newest.and_then(|snapshot| snapshot.total_files).unwrap_or_default(),
        bytes: newest.and_then(|snapshot| snapshot.total_bytes).unwrap_or_default(),
        snapshot_id: newest.map_or(0, |snapshot| snapshot.id),
        snapshots: metadata.snapshots().len() as u64,
    })
}

fn column(field: &NestedFieldRef) -> Column {
    Column {
        field_id: field.id,
        name: field.name.clone(),
        r#type: field.field_type.to_string(),
        required: field.required,
    }
}

/// For example `hour(_arrival_time)`.
fn partitioning(metadata: &TableMetadata) -> String {
    let schema = metadata.current_schema();
    let fields = metadata.default_partition_spec().fields().iter().map(|field| {
        let source = schema.field_by_id(field.source_id).map_or("?", |source| source.name.as_str());
        format!("{}({source})", field.transform)
    });
    fields.collect::<Vec<_>>().join(", ")
}
