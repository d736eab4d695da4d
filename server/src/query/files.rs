//! A snapshot's data files with what the manifests say of them: rows, bounds and null counts, for leaving files out and for
//! answers that need no file. Bounds may be wider than the values (long strings are cut), never narrower.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use datafusion::object_store::ObjectMeta;
use datafusion::object_store::path::Path;
use iceberg::spec::{Datum, PrimitiveLiteral};
use millrace_storage::catalog::{Catalog, FileEntry, TableFiles};

use super::adapt;
use crate::error::{Error, Kind, Result};

/// The files of one snapshot, in the table's order.
#[derive(Debug)]
pub(super) struct DataFiles {
    /// The table's columns with field ids.
    with_ids: SchemaRef,
    files: Arc<TableFiles>,
    /// Where each of them lies in the store.
    paths: Vec<Path>,
}

impl DataFiles {
    pub(super) fn new(catalog: &Catalog, with_ids: SchemaRef, files: Arc<TableFiles>) -> Result<Self> {
        let path = |file: &FileEntry| {
            let path = catalog.store().path_of_url(file.url());
            path.map_err(|error| Error::new(Kind::FailedPrecondition, error))
        };
        let paths = files.entries.iter().map(path).collect::<Result<_>>()?;
        Ok(Self { with_ids, files, paths })
    }

    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// The rows of a file.
    pub(super) fn rows(&self, place: usize) -> Precision<usize> {
        Precision::Exact(usize::try_from(self.files.entries[place].rows()).unwrap_or(usize::MAX))
    }

    /// A file as the object store names it. Data files never change, so that the time says nothing.
    pub(super) fn object(&self, place: usize) -> ObjectMeta {
        let (location, size) = (self.paths[place].clone(), self.files.entries[place].size_bytes());
        ObjectMeta { location, last_modified: chrono::DateTime::UNIX_EPOCH, size, e_tag: None, version: None }
    }

    /// What is known of the rows of some of the files together. Row and null counts are exact, bounds are not.
    pub(super) fn statistics(&self, kept: &[usize]) -> Statistics {
        let sum = |of: &dyn Fn(&FileEntry) -> u64| {
            let sum: u64 = kept.iter().map(|&place| of(&self.files.entries[place])).sum();
            usize::try_from(sum).unwrap_or(usize::MAX)
        };
        let columns = self.with_ids.fields().iter().map(|field| self.column_statistics(field, kept));
        Statistics {
            num_rows: Precision::Exact(sum(&FileEntry::rows)),
            total_byte_size: Precision::Inexact(sum(&FileEntry::size_bytes)),
            column_statistics: columns.collect(),
        }
    }

    fn column_statistics(&self, field: &Field, kept: &[usize]) -> ColumnStatistics {
        let mut statistics = ColumnStatistics::new_unknown();
        let Some(id) = id(field) else { return statistics };
        let files = || kept.iter().map(|&place| &self.files.entries[place]);
        if let Some(nulls) = files().map(|file| file.nulls(id)).sum::<Option<u64>>() {
            statistics.null_count = Precision::Exact(usize::try_from(nulls).unwrap_or(usize::MAX));
        }
        let bounds = |of: fn(&FileEntry, i32) -> Option<&Datum>| {
            files()
                .map(|file| of(file, id).and_then(|bound| scalar(bound, field.data_type())))
                .collect::<Option<Vec<_>>>()
        };
        if let Some(least) = bounds(FileEntry::lower).and_then(|bounds| bounds.into_iter().min_by(order)) {
            statistics.min_value = Precision::Inexact(least);
        }
        if let Some(most) = bounds(FileEntry::upper).and_then(|bounds| bounds.into_iter().max_by(order)) {
            statistics.max_value = Precision::Inexact(most);
        }
        statistics
    }

    /// One value for each file, null where it is unknown; `None` where it is unknown for all of them.
    fn bounds(&self, column: &Column, of: fn(&FileEntry, i32) -> Option<&Datum>) -> Option<ArrayRef> {
        let field = self.with_ids.field_with_name(&column.name).ok()?;
        let id = id(field)?;
        let null = ScalarValue::try_from(field.data_type()).ok()?;
        let mut known = false;
        let bounds = self.files.entries.iter().map(|file| {
            let bound = of(file, id).and_then(|bound| scalar(bound, field.data_type()));
            known |= bound.is_some();
            bound.unwrap_or_else(|| null.clone())
        });
        let bounds = ScalarValue::iter_to_array(bounds.collect::<Vec<_>>()).ok()?;
        known.then_some(bounds)
    }
}

impl PruningStatistics for DataFiles {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, FileEntry::lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, FileEntry::upper)
    }

    fn num_containers(&self) -> usize {
        self.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let id = id(self.with_ids.field_with_name(&column.name).ok()?)?;
        Some(Arc::new(self.files.entries.iter().map(|file| file.nulls(id)).collect::<UInt64Array>()))
    }

    fn row_counts(&self, _column: &Column) -> Option<ArrayRef> {
        Some(Arc::new(self.files.entries.iter().map(|file| Some(file.rows())).collect::<UInt64Array>()))
    }

    /// Files whose partition rules out all of the values.
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let id = id(self.with_ids.field_with_name(&column.name).ok()?)?;
        if !self.files.entries.iter().any(|file| file.is_partitioned_by(id)) {
            return None;
        }
        let values: Vec<Datum> = values.iter().map(datum).collect::<Option<_>>()?;
        let may_hold = |file: &FileEntry| values.iter().any(|value| file.may_hold(id, value));
        // That a file may hold a value does not say that it does.
        Some(self.files.entries.iter().map(|file| (!may_hold(file)).then_some(false)).collect())
    }
}

fn id(field: &Field) -> Option<i32> {
    adapt::field_id(field)?.parse().ok()
}

/// A value that a column is compared with, where it is one that tables are partitioned by.
fn datum(value: &ScalarValue) -> Option<Datum> {
    Some(match value {
        ScalarValue::Boolean(Some(value)) => Datum::bool(*value),
        ScalarValue::Int32(Some(value)) => Datum::int(*value),
        ScalarValue::Int64(Some(value)) => Datum::long(*value),
        ScalarValue::Date32(Some(value)) => Datum::date(*value),
        ScalarValue::Time64Microsecond(Some(value)) => Datum::time_micros(*value).ok()?,
        ScalarValue::TimestampMicrosecond(Some(value), None) => Datum::timestamp_micros(*value),
        ScalarValue::TimestampMicrosecond(Some(value), Some(_)) => Datum::timestamptz_micros(*value),
        ScalarValue::Utf8(Some(value)) | ScalarValue::Utf8View(Some(value)) | ScalarValue::LargeUtf8(Some(value)) => {
            Datum::string(value)
        }
        _ => return None,
    })
}

fn order(a: &ScalarValue, b: &ScalarValue) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)
}

/// A bound in the column's type, which may be wider than the type that it was written with.
fn scalar(bound: &Datum, wanted: &DataType) -> Option<ScalarValue> {
    use PrimitiveLiteral as Value;
    let zone = |zone: &Option<Arc<str>>| zone.clone();
    Some(match (bound.literal(), wanted) {
        (Value::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (Value::Int(value), DataType::Int32) => ScalarValue::Int32(Some(*value)),
        (Value::Int(value), DataType::Int64) => ScalarValue::Int64(Some(i64::from(*value))),
        (Value::Int(value), DataType::Date32) => ScalarValue::Date32(Some(*value)),
        (Value::Long(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (Value::Long(value), DataType::Time64(TimeUnit::Microsecond)) => ScalarValue::Time64Microsecond(Some(*value)),
        (Value::Long(value), DataType::Timestamp(TimeUnit::Microsecond, tz)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), zone(tz))
        }
        (Value::Long(value), DataType::Timestamp(TimeUnit::Nanosecond, tz)) => {
            ScalarValue::TimestampNanosecond(Some(*value), zone(tz))
        }
        (Value::Float(value), DataType::Float32) => ScalarValue::Float32(Some(value.0)),
        (Value::Float(value), DataType::Float64) => ScalarValue::Float64(Some(f64::from(value.0))),
        (Value::Double(value), DataType::Float64) => ScalarValue::Float64(Some(value.0)),
        (Value::String(value), DataType::Utf8) => ScalarValue::Utf8(Some(value.clone())),
        (Value::Int128(value), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*value), *precision, *scale)
        }
        _ => return None,
    })
}
