//! One schema over a table and its tails, whose columns may be newer than the table's. It must never drop a column.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::adapt;

/// The table's schema with what `newer` adds: columns, nested fields and wider numbers. Field ids are kept.
pub(super) fn union(table: &SchemaRef, newer: &SchemaRef) -> SchemaRef {
    if table == newer {
        return Arc::clone(table);
    }
    Arc::new(Schema::new(fields(table.fields(), newer.fields())))
}

fn fields(table: &Fields, newer: &Fields) -> Fields {
    let mut merged: Vec<FieldRef> = table.iter().map(Arc::clone).collect();
    for field in newer {
        match adapt::position(table, field) {
            Some(index) => merged[index] = self::field(&table[index], field),
            None => merged.push(optional(field)),
        }
    }
    merged.into()
}

/// A column that the table does not have yet is null in its older rows, whatever the newer ones say.
fn optional(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

fn field(table: &FieldRef, newer: &FieldRef) -> FieldRef {
    let data_type = wider(table.data_type(), newer.data_type());
    let nullable = table.is_nullable() || newer.is_nullable();
    if &data_type == table.data_type() && nullable == table.is_nullable() {
        return Arc::clone(table);
    }
    let mut metadata: HashMap<String, String> = newer.metadata().clone();
    metadata.extend(table.metadata().clone());
    Arc::new(Field::new(table.name(), data_type, nullable).with_metadata(metadata))
}

/// The type that holds the values of both. The lake only ever widens, so that one of two unequal types holds the other.
fn wider(table: &DataType, newer: &DataType) -> DataType {
    match (table, newer) {
        (DataType::Struct(table), DataType::Struct(newer)) => DataType::Struct(fields(table, newer)),
        (DataType::List(table), DataType::List(newer)) => DataType::List(field(table, newer)),
        (DataType::Map(table, sorted), DataType::Map(newer, _)) => DataType::Map(field(table, newer), *sorted),
        (DataType::Int64, DataType::Int32) | (DataType::Float64, DataType::Float32) => table.clone(),
        (DataType::Decimal128(have, scale), DataType::Decimal128(wanted, _)) => {
            DataType::Decimal128(*have.max(wanted), *scale)
        }
        _ => newer.clone(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::parquet::arrow::PARQUET_FIELD_ID_META_KEY;

    use super::*;

    fn identified(field: Field, id: &str) -> Field {
        field.with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_owned())]))
    }

    #[test]
    fn adds_columns_and_nested_fields_and_widens_numbers_either_way() {
        let nested = |fields: Vec<Field>| Field::new("place", DataType::Struct(fields.into()), true);
        let table = Arc::new(Schema::new(vec![
            identified(Field::new("a", DataType::Int32, true), "1"),
            identified(Field::new("b", DataType::Int64, true), "2"),
            nested(vec![Field::new("x", DataType::Float32, true)]),
        ]));
        let newer = Arc::new(Schema::new(vec![
            Field::new("b", DataType::Int32, true),
            Field::new("c", DataType::Utf8, false),
            nested(vec![Field::new("y", DataType::Boolean, false), Field::new("x", DataType::Float64, true)]),
            Field::new("a", DataType::Int64, true),
        ]));
        let merged = union(&table, &newer);
        let expected = Schema::new(vec![
            identified(Field::new("a", DataType::Int64, true), "1"),
            identified(Field::new("b", DataType::Int64, true), "2"),
            nested(vec![Field::new("x", DataType::Float64, true), Field::new("y", DataType::Boolean, true)]),
            Field::new("c", DataType::Utf8, true),
        ]);
        assert_eq!(*merged, expected);
    }
}
