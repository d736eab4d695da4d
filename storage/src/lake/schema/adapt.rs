//! Batches of an older schema brought to a newer one: columns by field id, absent ones null, numbers widened.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::invalid;
use crate::lake::Result;

/// Brings a batch to `schema`: each column by its field id, or by its name where it has none.
///
/// Columns that the batch lacks are null; columns that `schema` lacks are dropped. Fails where a value would be lost by the
/// change of type.
pub fn adapt(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = adapt_all(batch.schema_ref().fields(), batch.columns(), schema.fields(), batch.num_rows())?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(invalid)
}

fn adapt_all(from: &Fields, columns: &[ArrayRef], to: &Fields, rows: usize) -> Result<Vec<ArrayRef>> {
    let by_key: HashMap<&str, usize> = from.iter().enumerate().map(|(index, field)| (key(field), index)).collect();
    let adapted = to.iter().map(|field| match by_key.get(key(field)) {
        Some(&index) => adapt_array(&columns[index], field),
        None => Ok(new_null_array(field.data_type(), rows)),
    });
    adapted.collect()
}

/// What a column is known by.
fn key(field: &FieldRef) -> &str {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY).map_or(field.name(), String::as_str)
}

fn adapt_array(array: &ArrayRef, to: &Field) -> Result<ArrayRef> {
    match (array.data_type(), to.data_type()) {
        (from, wanted) if from == wanted => Ok(Arc::clone(array)),
        (DataType::Struct(from), DataType::Struct(fields)) => {
            let array = array.as_struct();
            let columns = adapt_all(from, array.columns(), fields, array.len())?;
            let nulls = array.nulls().cloned();
            let adapted = StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len());
            Ok(Arc::new(adapted.map_err(invalid)?))
        }
        (DataType::List(_), DataType::List(element)) => {
            let array = array.as_list::<i32>();
            let values = adapt_array(array.values(), element)?;
            let nulls = array.nulls().cloned();
            let adapted = ListArray::try_new(Arc::clone(element), array.offsets().clone(), values, nulls);
            Ok(Arc::new(adapted.map_err(invalid)?))
        }
        // The strict cast fails where a value does not fit.
        (_, wanted) => {
            let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
            arrow::compute::cast_with_options(array, wanted, &options).map_err(invalid)
        }
    }
}
