//! Columns that come and widen: with the batch that brings them, or not at all.

use iceberg::spec::{ListType, StructType, Type};

use super::*;

fn optional(id: i32, name: &str, field_type: impl Into<Type>) -> Arc<NestedField> {
    Arc::new(NestedField::optional(id, name, field_type.into()))
}

fn with(more: impl IntoIterator<Item = Arc<NestedField>>) -> Schema {
    schema(columns().into_iter().chain(more).collect())
}

/// `weather { wind: double, gusts: [{ at: long, <more> }] }` with the ids 4 to 8.
fn weather(wind: PrimitiveType, more: Vec<Arc<NestedField>>) -> Arc<NestedField> {
    let mut gust = vec![optional(8, "at", PrimitiveType::Long)];
    gust.extend(more);
    let element = NestedField::list_element(7, Type::Struct(StructType::new(gust)), false);
    let fields = vec![optional(5, "wind", wind), optional(6, "gusts", Type::List(ListType::new(element.into())))];
    optional(4, "weather", Type::Struct(StructType::new(fields)))
}

async fn append_with(catalog: &Catalog, number: u64, schema: &Schema) -> Result<iceberg::table::Table> {
    let schema = Some(Arc::new(schema.clone()));
    catalog.append(&name(), Append { schema, ..batch("d", number) }).await
}

#[tokio::test]
async fn columns_are_added_and_widened_with_their_batch() {
    let catalog = catalog(memory_store());
    let table = catalog.create(&name(), new_table()).await.unwrap();
    assert_eq!(table.metadata().current_schema().as_struct(), with([]).as_struct());
    let long_distance = |weather| {
        let mut columns = columns();
        columns[2] = optional(3, "distance", PrimitiveType::Long);
        schema(columns.into_iter().chain([weather]).collect())
    };
    let steps = [
        with([]),
        with([weather(PrimitiveType::Float, vec![])]),
        with([weather(PrimitiveType::Double, vec![])]),
        long_distance(weather(PrimitiveType::Double, vec![])),
        long_distance(weather(PrimitiveType::Double, vec![optional(9, "speed", PrimitiveType::Float)])),
    ];
    for (number, step) in steps.iter().enumerate() {
        let table = append_with(&catalog, number as u64, step).await.unwrap();
        let metadata = table.metadata();
        assert_eq!(metadata.current_schema().as_struct(), step.as_struct(), "step {number}");
        assert_eq!(metadata.current_schema_id() as usize, number);
        let snapshot = metadata.current_snapshot().unwrap();
        assert_eq!(snapshot.schema_id(), Some(metadata.current_schema_id()));
        assert_eq!(metadata.last_column_id(), step.highest_field_id());
    }
    // Rows that were converted before the last change still fit: a batch redone after a crash, or another delivery.
    let table = append_with(&catalog, 5, &steps[1]).await.unwrap();
    assert_eq!(table.metadata().current_schema().as_struct(), steps[4].as_struct());
    assert_eq!(table.metadata().schemas_iter().len(), steps.len());
    assert_eq!(catalog.files(&table).await.unwrap().entries.len(), 6);
    let reloaded = Catalog::new(Arc::clone(&catalog.meta), catalog.store().clone()).load(&name()).await.unwrap();
    assert_eq!(reloaded.metadata(), table.metadata());
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_reason() {
    let catalog = catalog(memory_store());
    catalog.create(&name(), new_table()).await.unwrap();
    let mut renamed = columns();
    renamed[1] = optional(2, "airline", PrimitiveType::String);
    let mut retyped = columns();
    retyped[2] = optional(3, "distance", PrimitiveType::String);
    let mut nested = columns();
    nested[2] = optional(3, "distance", Type::Struct(StructType::new(vec![])));
    let required = Arc::new(NestedField::required(4, "new", PrimitiveType::Long.into()));
    let cases = [
        (schema(renamed), "column carrier is named airline in the files"),
        (schema(retyped), "column distance is int, and the files hold string"),
        (schema(nested), "column distance is int, and the files hold struct<>"),
        (with([required]), "the new column new is required, and older rows have no value for it"),
    ];
    for (schema, reason) in cases {
        let error = append_with(&catalog, 0, &schema).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the schema does not fit table default.flights: {reason}"));
        assert!(matches!(error, Error::Schema { .. }) && !error.is_retryable());
    }
    let error = append_with(&catalog, 0, &with([optional(4, "_hour", PrimitiveType::Int)])).await.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }) && error.to_string().contains("'_hour'"), "{error}");
    assert!(snapshots(&catalog.load(&name()).await.unwrap()).unwrap().is_empty());
}

#[tokio::test]
async fn two_writers_that_add_different_columns_do_not_share_an_id() {
    let (store, meta) = (memory_store(), Arc::new(MemoryMeta::new()));
    let one = Catalog::new(Arc::clone(&meta) as Arc<dyn MetaStore>, store.clone());
    let other = Catalog::new(meta, store);
    one.create(&name(), new_table()).await.unwrap();
    other.load(&name()).await.unwrap();
    append_with(&one, 0, &with([optional(4, "a", PrimitiveType::Long)])).await.unwrap();
    for (late, reason) in [
        (optional(4, "b", PrimitiveType::Long), "column a is named b in the files"),
        (
            optional(5, "b", PrimitiveType::Long),
            "the files change column b, and another writer changed column a meanwhile",
        ),
        (optional(5, "a", PrimitiveType::Long), "the new column a has the name of another column"),
    ] {
        let error = append_with(&other, 0, &with([late])).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the schema does not fit table default.flights: {reason}"));
    }
    let both = with([optional(4, "a", PrimitiveType::Long), optional(5, "b", PrimitiveType::Long)]);
    let table = append_with(&other, 0, &both).await.unwrap();
    assert_eq!(table.metadata().current_schema().as_struct(), both.as_struct());
}
