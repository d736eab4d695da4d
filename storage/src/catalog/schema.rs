//! How the columns that files were written with fit the columns that a table has.
//!
//! Columns are told apart by field id, as Iceberg does. A table's schema only ever grows: columns are added at its end, and
//! numbers widen where every reader of Iceberg can still read what was written before.

use iceberg::spec::{NestedField, PrimitiveType, Schema, StructType, TableMetadata, Type};

/// How a schema of files stands to the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// The table has every column, as wide or wider.
    Covered,
    /// The files have more or wider columns; the table may take their schema as its own.
    Extends,
}

/// Compares the schema that files were written with to a table's current one; says what does not fit.
pub(super) fn fit(table: &TableMetadata, written: &Schema) -> Result<Fit, String> {
    let mut difference = Difference { last_column_id: table.last_column_id(), ..Difference::default() };
    difference.of_structs(table.current_schema().as_struct(), written.as_struct())?;
    match (difference.first_new, difference.first_missing) {
        (None, _) => Ok(Fit::Covered),
        (Some(_), None) => Ok(Fit::Extends),
        (Some(new), Some(missing)) => {
            Err(format!("the files change column {new}, and another writer changed column {missing} meanwhile"))
        }
    }
}

#[derive(Default)]
struct Difference {
    last_column_id: i32,
    /// A column that the files have and the table has not, or has narrower.
    first_new: Option<String>,
    /// A column that the table has and the files have not, or have narrower.
    first_missing: Option<String>,
}

impl Difference {
    fn of_structs(&mut self, table: &StructType, written: &StructType) -> Result<(), String> {
        for field in written.fields() {
            match table.field_by_id(field.id) {
                Some(held) => self.of_fields(held, field)?,
                None => self.new_field(table, field)?,
            }
        }
        for field in table.fields() {
            if written.field_by_id(field.id).is_none() {
                self.first_missing.get_or_insert_with(|| field.name.clone());
            }
        }
        Ok(())
    }

    fn new_field(&mut self, table: &StructType, field: &NestedField) -> Result<(), String> {
        if field.id <= self.last_column_id {
            return Err(format!("the new column {} has the id {}, which the table has used", field.name, field.id));
        }
        if field.required {
            return Err(format!("the new column {} is required, and older rows have no value for it", field.name));
        }
        if table.field_by_name(&field.name).is_some() {
            return Err(format!("the new column {} has the name of another column", field.name));
        }
        self.first_new.get_or_insert_with(|| field.name.clone());
        Ok(())
    }

    fn of_fields(&mut self, held: &NestedField, field: &NestedField) -> Result<(), String> {
        if held.name != field.name {
            return Err(format!("column {} is named {} in the files", held.name, field.name));
        }
        if held.required && !field.required {
            return Err(format!("column {} is required, and the files may lack it", held.name));
        }
        match (&*held.field_type, &*field.field_type) {
            (Type::Struct(held), Type::Struct(written)) => self.of_structs(held, written),
            (Type::List(held), Type::List(written)) => self.of_elements(&held.element_field, &written.element_field),
            (Type::Map(held), Type::Map(written)) => {
                self.of_elements(&held.key_field, &written.key_field)?;
                self.of_elements(&held.value_field, &written.value_field)
            }
            (held_type, written) if held_type == written => Ok(()),
            (Type::Primitive(narrow), Type::Primitive(wide)) if widens(narrow, wide) => {
                self.first_new.get_or_insert_with(|| field.name.clone());
                Ok(())
            }
            (Type::Primitive(wide), Type::Primitive(narrow)) if widens(narrow, wide) => {
                self.first_missing.get_or_insert_with(|| field.name.clone());
                Ok(())
            }
            (held_type, written) => Err(format!("column {} is {held_type}, and the files hold {written}", held.name)),
        }
    }

    fn of_elements(&mut self, held: &NestedField, written: &NestedField) -> Result<(), String> {
        if held.id != written.id {
            return Err(format!("the {} with the id {} has the id {} in the files", held.name, held.id, written.id));
        }
        self.of_fields(held, written)
    }
}

/// Whether Iceberg v2 lets a column of the first type become one of the second.
fn widens(from: &PrimitiveType, to: &PrimitiveType) -> bool {
    match (from, to) {
        (PrimitiveType::Int, PrimitiveType::Long) | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision: from, scale: from_scale },
            PrimitiveType::Decimal { precision: to, scale: to_scale },
        ) => from_scale == to_scale && from < to,
        _ => false,
    }
}
