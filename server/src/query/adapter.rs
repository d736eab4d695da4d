//! Expressions over the table's columns rewritten to those of one Parquet file, which may have been written under an
//! older schema. Columns are found by Iceberg field id, else by name; never by place, never from the file's path.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastColumnExpr, Column, lit};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::adapt;

/// Adapts the scan of a table to each of its files.
#[derive(Debug, Clone)]
pub(super) struct FileAdapterFactory {
    /// The table's schema with Iceberg field ids in the fields' metadata.
    pub(super) with_ids: SchemaRef,
}

impl PhysicalExprAdapterFactory for FileAdapterFactory {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(FileAdapter { with_ids: Arc::clone(&self.with_ids), table, file }))
    }
}

#[derive(Debug)]
struct FileAdapter {
    with_ids: SchemaRef,
    table: SchemaRef,
    file: SchemaRef,
}

impl PhysicalExprAdapter for FileAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform(|expr| match expr.as_any().downcast_ref::<Column>() {
            Some(column) => Ok(Transformed::yes(self.column(column.name())?)),
            None => Ok(Transformed::no(expr)),
        })
        .data()
    }
}

impl FileAdapter {
    fn column(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let wanted = self.with_ids.field_with_name(name)?;
        let output = self.table.field_with_name(name)?;
        let Some(index) = adapt::position(self.file.fields(), wanted) else {
            if output.is_nullable() {
                return Ok(lit(ScalarValue::try_from(output.data_type())?));
            }
            return exec_err!("column {name} is required but a file of the table does not have it");
        };
        let have = self.file.field(index);
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(have.name(), index));
        Ok(match (have.data_type(), output.data_type()) {
            (have, wanted) if have == wanted => column,
            (DataType::Struct(_) | DataType::List(_) | DataType::Map(..), _) => {
                Arc::new(NestedColumn { column, wanted: Arc::new(wanted.clone()), output: Arc::new(output.clone()) })
            }
            _ => {
                let (have, output) = (Arc::new(have.clone()), Arc::new(output.clone()));
                Arc::new(CastColumnExpr::new(column, have, output, None))
            }
        })
    }
}

/// A nested column of a file brought to the table's type of it.
#[derive(Debug, Clone, Eq)]
struct NestedColumn {
    column: Arc<dyn PhysicalExpr>,
    wanted: FieldRef,
    output: FieldRef,
}

// Written out because `Arc<dyn PhysicalExpr>` does not take part in the derive.
impl PartialEq for NestedColumn {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.wanted == other.wanted && self.output == other.output
    }
}

impl Hash for NestedColumn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.wanted.hash(state);
    }
}

impl fmt::Display for NestedColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adapt({})", self.column)
    }
}

impl PhysicalExpr for NestedColumn {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(self.output.data_type().clone())
    }

    fn nullable(&self, _input: &Schema) -> Result<bool> {
        Ok(self.output.is_nullable())
    }

    fn return_field(&self, _input: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.output))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let column = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(adapt::array(&column, self.wanted.data_type())?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [column] = children.as_slice() else {
            return exec_err!("a nested column has one child, not {}", children.len());
        };
        Ok(Arc::new(Self { column: Arc::clone(column), ..Self::clone(&self) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
