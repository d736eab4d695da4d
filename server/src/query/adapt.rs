//! Arrays of an older schema brought to the table's: nested fields are found by Iceberg field id, else by name; what is
//! missing becomes null, what widened is cast. It must never change a value.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// A value that cannot be held by the wanted type is an error, never a silent null.
const EXACT: CastOptions<'static> =
    CastOptions { safe: false, format_options: datafusion::arrow::util::display::FormatOptions::new() };

/// The Iceberg field id that a field carries.
pub(super) fn field_id(field: &Field) -> Option<&str> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY).map(String::as_str)
}

/// The place in `fields` of what `wanted` names: by field id where both sides have one, else by name.
pub(super) fn position(fields: &Fields, wanted: &Field) -> Option<usize> {
    if let Some(id) = field_id(wanted)
        && let Some(index) = fields.iter().position(|field| field_id(field) == Some(id))
    {
        return Some(index);
    }
    let unclaimed = |field: &Field| field_id(wanted).is_none() || field_id(field).is_none();
    fields.iter().position(|field| field.name() == wanted.name() && unclaimed(field))
}

/// `data_type` without the metadata of its nested fields.
pub(super) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| plain_field(field)).collect()),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

fn plain_field(field: &Field) -> FieldRef {
    Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()))
}

/// `schema` without metadata, as SQL and its clients see it.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| plain_field(field)).collect::<Fields>()))
}

/// Brings `array` to `wanted`, which may carry field ids; the answer's type is `plain_type(wanted)`.
pub(super) fn array(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    match (array.data_type(), wanted) {
        (DataType::Struct(_), DataType::Struct(fields)) => Ok(Arc::new(structs(array.as_struct(), fields)?)),
        (DataType::List(_), DataType::List(item)) => {
            let lists = array.as_list::<i32>();
            let values = self::array(lists.values(), item.data_type())?;
            let lists = ListArray::try_new(plain_field(item), lists.offsets().clone(), values, lists.nulls().cloned())?;
            Ok(Arc::new(lists))
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let maps = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError(format!("the entries of a map are {}", entries.data_type())));
            };
            let pairs = map_entries(maps.entries(), fields)?;
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(plain_field(entries), offsets, pairs, nulls, *sorted)?))
        }
        (have, wanted) if have == wanted => Ok(Arc::clone(array)),
        (_, wanted) => cast_with_options(array, &plain_type(wanted), &EXACT),
    }
}

fn structs(source: &StructArray, wanted: &Fields) -> Result<StructArray, ArrowError> {
    let mut fields = Vec::with_capacity(wanted.len());
    let mut columns = Vec::with_capacity(wanted.len());
    for field in wanted {
        let plain = plain_field(field);
        columns.push(match position(source.fields(), field) {
            Some(index) => array(source.column(index), field.data_type())?,
            None => new_null_array(plain.data_type(), source.len()),
        });
        fields.push(plain);
    }
    StructArray::try_new_with_length(fields.into(), columns, source.nulls().cloned(), source.len())
}

/// The entries of a map are a key and a value whatever their names.
fn map_entries(source: &StructArray, wanted: &Fields) -> Result<StructArray, ArrowError> {
    let columns = source.columns().iter().zip(wanted.iter()).map(|(column, field)| array(column, field.data_type()));
    let fields = wanted.iter().map(|field| plain_field(field)).collect();
    StructArray::try_new(fields, columns.collect::<Result<_, _>>()?, source.nulls().cloned())
}

/// Brings a batch to `wanted`, which may carry field ids; the answer's schema is `plain_schema(wanted)`.
pub(super) fn batch(batch: &RecordBatch, wanted: &Schema) -> Result<RecordBatch, ArrowError> {
    let schema = plain_schema(wanted);
    let have = batch.schema();
    let columns =
        wanted.fields().iter().zip(schema.fields()).map(|(field, plain)| match position(have.fields(), field) {
            Some(index) => array(batch.column(index), field.data_type()),
            None => Ok(new_null_array(plain.data_type(), batch.num_rows())),
        });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &rows)
}

/// Gives a batch the types and names of `plain`, column by column in their places; names may repeat.
pub(super) fn in_place(batch: &RecordBatch, plain: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(plain.fields()).map(|(column, field)| array(column, field.data_type()));
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(plain), columns.collect::<Result<_, _>>()?, &rows)
}
