//! `millrace table`: shows the catalog's tables.

use clap::Subcommand;
use millrace_client::proto::Table;
use serde::Serialize;

use super::output::{NamedArgs, OutputArgs, bytes, count, facts, table};
use super::{Endpoint, Result};

/// Show tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace table list
  millrace table describe flights    columns, where it lies, the metadata file that other engines open")]
pub(super) struct TableArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List tables.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a table with its columns: NAME, in the namespace "default", or NAMESPACE.NAME.
    Describe(NamedArgs),
}

pub(super) async fn run(args: TableArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    match args.command {
        Command::List { output } => {
            let tables: Vec<_> = admin.list_tables().await?.into_iter().map(TableView::of).collect();
            output.write(&tables, |tables| listed(tables))
        }
        Command::Describe(NamedArgs { name, output }) => {
            output.write(&TableView::of(admin.describe_table(&name).await?), described)
        }
    }
}

#[derive(Serialize)]
struct TableView {
    namespace: String,
    name: String,
    location: String,
    metadata_location: String,
    partitioning: String,
    rows: u64,
    files: u64,
    bytes: u64,
    snapshot_id: i64,
    snapshots: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<ColumnView>,
}

#[derive(Serialize)]
struct ColumnView {
    field_id: i32,
    name: String,
    r#type: String,
    required: bool,
}

impl TableView {
    fn of(table: Table) -> Self {
        let columns = table.columns.into_iter().map(|column| ColumnView {
            field_id: column.field_id,
            name: column.name,
            r#type: column.r#type,
            required: column.required,
        });
        Self {
            namespace: table.namespace,
            name: table.name,
            location: table.location,
            metadata_location: table.metadata_location,
            partitioning: table.partitioning,
            rows: table.rows,
            files: table.files,
            bytes: table.bytes,
            snapshot_id: table.snapshot_id,
            snapshots: table.snapshots,
            columns: columns.collect(),
        }
    }

    fn full_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }
}

fn listed(tables: &[TableView]) -> String {
    let row = |table: &TableView| {
        [table.full_name(), count(table.rows), count(table.files), bytes(table.bytes), table.location.clone()]
    };
    table(["NAME", "ROWS", "FILES", "SIZE", "LOCATION"], tables.iter().map(row))
}

fn described(described: &TableView) -> String {
    let facts = facts([
        ("name", described.full_name()),
        ("location", described.location.clone()),
        ("metadata", described.metadata_location.clone()),
        ("partitioning", described.partitioning.clone()),
        ("rows", count(described.rows)),
        ("files", format!("{}, {}", count(described.files), bytes(described.bytes))),
        ("snapshots", format!("{}, the newest {}", count(described.snapshots), described.snapshot_id)),
    ]);
    let row = |column: &ColumnView| {
        let required = if column.required { "required" } else { "" };
        [column.field_id.to_string(), column.name.clone(), column.r#type.clone(), required.to_owned()]
    };
    let columns = table(["ID", "COLUMN", "TYPE", ""], described.columns.iter().map(row));
    format!("{facts}\n{columns}")
}
