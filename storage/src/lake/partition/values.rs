//! The partition values of rows: each set of values once, and for each row which one.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int32Type};
use arrow::row::{RowConverter, SortField};
use iceberg::arrow::{arrow_primitive_to_literal, arrow_type_to_type};
use iceberg::spec::{Literal, Struct};
use iceberg::transform::create_transform_function;

use super::partitioning::Partitioning;
use crate::lake::schema::invalid;
use crate::lake::{Error, Result};

/// A value for each transform of a partitioning. They are equal, and in order, as the values are.
#[derive(Debug, Clone)]
pub struct PartitionValue {
    /// Bytes that compare as the values do.
    order: Arc<[u8]>,
    values: Arc<[Option<Literal>]>,
}

impl PartitionValue {
    /// As Iceberg has it in a manifest.
    #[must_use]
    pub fn to_struct(&self) -> Struct {
        self.values.iter().cloned().collect()
    }
}

impl PartialEq for PartitionValue {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for PartitionValue {}

impl PartialOrd for PartitionValue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PartitionValue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

impl Hash for PartitionValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.order.hash(state);
    }
}

/// The partition values of a batch.
#[derive(Debug, Clone)]
pub struct PartitionValues {
    distinct: Vec<PartitionValue>,
    of_rows: Vec<u32>,
}

impl PartitionValues {
    /// The place of a row's values among those of the batch, and the values.
    #[must_use]
    pub fn of_row(&self, row: usize) -> (u32, &PartitionValue) {
        let place = self.of_rows[row];
        (place, &self.distinct[place as usize])
    }
}

impl Partitioning {
    /// The values of a batch's rows. The batch must have the columns.
    pub fn values(&self, batch: &RecordBatch) -> Result<PartitionValues> {
        let mut columns = Vec::with_capacity(self.fields().len());
        for field in self.fields() {
            let missing = || Error::Invalid(format!("the batch has no column {:?}, which {self} needs", field.column));
            let column = batch.column_by_name(&field.column).ok_or_else(missing)?;
            let transformed = create_transform_function(&field.transform)
                .and_then(|transform| transform.transform(Arc::clone(column)))
                .map_err(|error| Error::Invalid(format!("{self}: {error}")))?;
            columns.push(transformed);
        }
        let (order, of_rows) = match columns.as_slice() {
            [column] if matches!(column.data_type(), DataType::Int32 | DataType::Date32) => of_numbers(column)?,
            columns => of_columns(columns)?,
        };
        let literals = literals(&columns, &first_rows(&of_rows, order.len()))?;
        let distinct = order.into_iter().zip(literals).map(|(order, values)| PartitionValue { order, values });
        Ok(PartitionValues { distinct: distinct.collect(), of_rows })
    }
}

type Places = (Vec<Arc<[u8]>>, Vec<u32>);

/// Gives each key a place, in the order in which they first come.
struct Numbering<K> {
    places: HashMap<K, u32>,
    last: Option<(K, u32)>,
    of_rows: Vec<u32>,
}

impl<K: Hash + Eq + Copy> Numbering<K> {
    fn new(rows: usize) -> Self {
        Self { places: HashMap::new(), last: None, of_rows: Vec::with_capacity(rows) }
    }

    /// Whether the row's key is a new one.
    fn push(&mut self, key: K) -> bool {
        let next = self.places.len() as u32;
        let place = match self.last {
            Some((last, place)) if last == key => place,
            _ => *self.places.entry(key).or_insert(next),
        };
        self.last = Some((key, place));
        self.of_rows.push(place);
        place == next
    }
}

/// Hours, days, months, years or buckets alone, as most tables have them.
fn of_numbers(column: &ArrayRef) -> Result<Places> {
    let numbers = cast(column, &DataType::Int32).map_err(invalid)?;
    let numbers: &Int32Array = numbers.as_primitive::<Int32Type>();
    let mut numbering = Numbering::new(numbers.len());
    let mut order = Vec::new();
    for number in numbers {
        if numbering.push(number) {
            let mut bytes = vec![u8::from(number.is_some())];
            // Without its sign, a number's bytes are in its order.
            bytes.extend(number.map(|number| (number ^ i32::MIN).to_be_bytes()).unwrap_or_default());
            order.push(bytes.into());
        }
    }
    Ok((order, numbering.of_rows))
}

fn of_columns(columns: &[ArrayRef]) -> Result<Places> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields).and_then(|converter| converter.convert_columns(columns)).map_err(invalid)?;
    let mut numbering = Numbering::new(rows.num_rows());
    let mut order = Vec::new();
    for row in &rows {
        if numbering.push(row) {
            order.push(row.as_ref().into());
        }
    }
    Ok((order, numbering.of_rows))
}

/// The first row of each place.
fn first_rows(of_rows: &[u32], places: usize) -> UInt32Array {
    let mut first = Vec::with_capacity(places);
    for (row, place) in of_rows.iter().enumerate() {
        if *place as usize == first.len() {
            first.push(row as u32);
        }
    }
    first.into()
}

fn literals(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<Arc<[Option<Literal>]>>> {
    let mut of_columns = Vec::with_capacity(columns.len());
    for column in columns {
        let distinct = take(column, rows, None).map_err(invalid)?;
        let iceberg_type = arrow_type_to_type(distinct.data_type()).map_err(invalid)?;
        of_columns.push(arrow_primitive_to_literal(&distinct, &iceberg_type).map_err(invalid)?);
    }
    let of_row = |row: usize| of_columns.iter().map(|values| values[row].clone()).collect();
    Ok((0..rows.len()).map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Decimal128Array, StringArray, TimestampMicrosecondArray};
    use iceberg::spec::PrimitiveLiteral;

    use super::*;
    use crate::lake::event_time::TimeSource;

    const HOUR: i64 = 3_600_000_000;

    fn batch() -> RecordBatch {
        let at = TimestampMicrosecondArray::from(vec![-1, 0, 25 * HOUR, 1]).with_timezone("+00:00");
        let carrier = StringArray::from(vec![Some("UA"), None, Some("AA"), None]);
        let day = Date32Array::from(vec![Some(-1), Some(0), None, Some(0)]);
        let fare = Decimal128Array::from(vec![1, 2, 3, 2]).with_precision_and_scale(9, 2).unwrap();
        RecordBatch::try_from_iter([
            ("at", Arc::new(at) as ArrayRef),
            ("carrier", Arc::new(carrier)),
            ("day", Arc::new(day)),
            ("fare", Arc::new(fare)),
        ])
        .unwrap()
    }

    fn values(texts: &[&str]) -> (Vec<u32>, Vec<Vec<Option<PrimitiveLiteral>>>) {
        let values = Partitioning::parse(texts, &TimeSource::Arrival).unwrap().values(&batch()).unwrap();
        let primitive = |literal: &Option<Literal>| match literal {
            Some(Literal::Primitive(literal)) => Some(literal.clone()),
            _ => None,
        };
        let distinct = values.distinct.iter().map(|value| value.values.iter().map(primitive).collect()).collect();
        (values.of_rows, distinct)
    }

    #[test]
    fn rows_of_the_same_values_share_a_place() {
        let int = |value| Some(PrimitiveLiteral::Int(value));
        let text = |value: &str| Some(PrimitiveLiteral::String(value.to_owned()));
        assert_eq!(values(&["hour(at)"]), (vec![0, 1, 2, 1], vec![vec![int(-1)], vec![int(0)], vec![int(25)]]));
        assert_eq!(values(&["day(at)"]), (vec![0, 1, 2, 1], vec![vec![int(-1)], vec![int(0)], vec![int(1)]]));
        assert_eq!(values(&["year(at)"]), (vec![0, 1, 1, 1], vec![vec![int(-1)], vec![int(0)]]));
        assert_eq!(
            values(&["identity(carrier)"]),
            (vec![0, 1, 2, 1], vec![vec![text("UA")], vec![None], vec![text("AA")]])
        );
        assert_eq!(values(&["identity(day)"]).1, [vec![int(-1)], vec![int(0)], vec![None]]);
        assert_eq!(values(&["identity(fare)"]).1[1], [Some(PrimitiveLiteral::Int128(2))]);
        let (of_rows, distinct) = values(&["month(at)", "truncate(1, carrier)"]);
        assert_eq!(of_rows, [0, 1, 2, 1]);
        assert_eq!(distinct, [vec![int(-1), text("U")], vec![int(0), None], vec![int(0), text("A")]]);
    }

    /// The value of the specification's own example (<https://iceberg.apache.org/spec/#appendix-b-32-bit-hash-requirements>).
    #[test]
    fn buckets_are_those_of_the_specification() {
        let hash = |text: &str| {
            let column = StringArray::from(vec![text]);
            let batch = RecordBatch::try_from_iter([("s", Arc::new(column) as ArrayRef)]).unwrap();
            let by = Partitioning::parse(&["bucket(65536, s)"], &TimeSource::Arrival).unwrap();
            by.values(&batch).unwrap().distinct[0].values[0].clone()
        };
        let expected = (1_210_000_089_i32 & i32::MAX) % 65_536;
        assert_eq!(hash("iceberg"), Some(Literal::int(expected)));
    }

    #[test]
    fn values_are_in_their_order() {
        for texts in [&["hour(at)"][..], &["hour(at)", "identity(carrier)"]] {
            let values = Partitioning::parse(texts, &TimeSource::Arrival).unwrap().values(&batch()).unwrap();
            assert!(values.distinct.is_sorted(), "{texts:?}");
        }
    }
}
