//! The columns of one object, found by name.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::Fields as ArrowFields;

use super::{Column, RowNumber, Values};

/// The columns of one object: of the record itself, or of a struct.
pub(in crate::lake::convert) struct Columns {
    /// The columns, in the order of the schema.
    pub(in crate::lake::convert) list: Vec<Column>,
    by_name: HashMap<String, usize>,
    /// The names above, each with a dot after it, in lower case.
    pub(in crate::lake::convert) path: String,
}

impl Columns {
    pub(in crate::lake::convert) fn new(path: String, list: Vec<Column>) -> Self {
        let by_name = list.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect();
        Self { list, by_name, path }
    }

    /// The column of a field.
    pub(in crate::lake::convert) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Adds a column at the end.
    pub(in crate::lake::convert) fn push(&mut self, column: Column) -> usize {
        let index = self.list.len();
        self.by_name.insert(column.name.clone(), index);
        self.list.push(column);
        index
    }

    /// Takes back all after the first `rows` values.
    pub(in crate::lake::convert) fn truncate(&mut self, rows: usize) {
        self.list.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// Takes back the columns and changes of type that `row` brought. The paths of the columns are added to `gone`.
    pub(in crate::lake::convert) fn forget(&mut self, row: RowNumber, gone: &mut Vec<String>) {
        while let Some(column) = self.list.pop_if(|column| column.born == row) {
            self.by_name.remove(&column.name);
            paths_of(&column, &self.path, gone);
        }
        self.list.iter_mut().for_each(|column| column.forget(row, gone));
    }

    pub(super) fn fields(&self) -> ArrowFields {
        self.list.iter().map(Column::field).collect()
    }

    pub(super) fn finish(&mut self, rows: usize) -> Vec<ArrayRef> {
        self.list.iter_mut().map(|column| column.finish(rows)).collect()
    }
}

/// Adds the full path of a column and of all below it, in lower case: what Iceberg and case-insensitive engines know it by.
pub(in crate::lake::convert) fn paths_of(column: &Column, above: &str, paths: &mut Vec<String>) {
    let path = format!("{above}{}", column.name.to_lowercase());
    match &column.values {
        Values::Struct(columns) => {
            columns.list.iter().for_each(|below| paths_of(below, &format!("{path}."), paths));
        }
        Values::List { element, .. } => paths_of(element, &format!("{path}."), paths),
        _ => {}
    }
    paths.push(path);
}
