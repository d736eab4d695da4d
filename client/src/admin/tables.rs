//! Calls on tables.

use millrace_proto::v1::{DescribeTableRequest, ListTablesRequest, Table};

use super::Admin;
use crate::{Error, Result};

impl Admin {
    /// All tables, without their columns.
    ///
    /// # Errors
    /// Only those of any call.
    pub async fn list_tables(&self) -> Result<Vec<Table>> {
        Ok(self.tables.clone().list_tables(ListTablesRequest {}).await?.into_inner().tables)
    }

    /// One table with its columns; `name` is `table` (in the namespace `default`) or `namespace.table`.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_table(&self, name: &str) -> Result<Table> {
        let request = DescribeTableRequest { name: name.to_owned() };
        let response = self.tables.clone().describe_table(request).await?.into_inner();
        response.table.ok_or_else(|| Error::malformed("the table"))
    }
}
