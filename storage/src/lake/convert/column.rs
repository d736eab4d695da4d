//! Columns while they grow: plain buffers that take one value after another, give back the values of a row that failed, and
//! become Arrow arrays at the end.
//!
//! A column may be shorter than the rows before it: what is missing is null, and filled in when it is next touched.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, LargeBinaryArray, ListArray, PrimitiveArray,
    StringArray, StructArray, new_null_array,
};
use arrow::array::{BooleanBufferBuilder, NullBufferBuilder};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, FieldRef, Fields as ArrowFields, Float32Type, Float64Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::lake::event_time::TimeFormat;

/// Which row a change of the schema came from, over the converter's life; 0 for what was there before.
pub(super) type RowNumber = u64;

/// The values of a column, by type.
pub(super) enum Values {
    Bool(BooleanBufferBuilder),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Text {
        ends: Vec<i32>,
        bytes: Vec<u8>,
    },
    Binary {
        ends: Vec<i64>,
        bytes: Vec<u8>,
    },
    Uuid(Vec<u8>),
    Date(Vec<i32>),
    Time(Vec<i64>),
    /// Without a zone.
    Timestamp(Vec<i64>),
    /// In UTC, with the format of an event time where it is one.
    Timestamptz(Vec<i64>, Option<TimeFormat>),
    Struct(Box<Columns>),
    List {
        ends: Vec<i32>,
        element: Box<Column>,
    },
    /// A type that records cannot fill; always null.
    Foreign(Type, DataType),
}

/// One column.
pub(super) struct Column {
    pub(super) id: i32,
    pub(super) name: String,
    pub(super) values: Values,
    nulls: NullBufferBuilder,
    /// What another writer of the table demands; records that lack it are set aside.
    pub(super) required: bool,
    pub(super) doc: Option<String>,
    /// Not in the table yet.
    pub(super) fresh: bool,
    /// No batch has it yet: the type may still widen from long to double, which Iceberg does not let a table's column do.
    open: bool,
    /// The row that brought the column.
    pub(super) born: RowNumber,
    /// The row that widened it, with the type before.
    widened: Option<(RowNumber, Widened)>,
    /// Whether each whole number so far is exact as a double.
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Widened {
    IntToLong,
    LongToDouble,
}

/// The whole numbers up to here are exact as doubles.
const EXACT_MAX: u64 = 1 << 53;

impl Column {
    /// A column of a type, with the ids that the type has.
    pub(super) fn of_field(field: &NestedField, path: &str, fresh: bool, born: RowNumber) -> Self {
        Self {
            id: field.id,
            name: field.name.clone(),
            values: Values::of_type(&field.field_type, &format!("{path}{}.", field.name.to_lowercase()), fresh, born),
            nulls: NullBufferBuilder::new(0),
            required: field.required,
            doc: field.doc.clone(),
            fresh,
            open: born > 0,
            born,
            widened: None,
            exact: true,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Fills the column with nulls up to `rows`.
    pub(super) fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        if missing == 0 {
            return;
        }
        self.nulls.append_n_nulls(missing);
        match &mut self.values {
            Values::Bool(values) => values.append_n(missing, false),
            Values::Int(values) | Values::Date(values) => values.resize(rows, 0),
            Values::Long(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::Timestamptz(values, _) => {
                values.resize(rows, 0);
            }
            Values::Float(values) => values.resize(rows, 0.0),
            Values::Double(values) => values.resize(rows, 0.0),
            Values::Decimal { values, .. } => values.resize(rows, 0),
            Values::Text { ends, bytes } => ends.resize(rows, bytes.len() as i32),
            Values::Binary { ends, bytes } => ends.resize(rows, bytes.len() as i64),
            Values::Uuid(bytes) => bytes.resize(rows * 16, 0),
            Values::List { ends, element } => ends.resize(rows, element.len() as i32),
            // Their columns are filled when they are next touched.
            Values::Struct(_) | Values::Foreign(..) => {}
        }
    }

    /// Appends a null.
    pub(super) fn push_null(&mut self) {
        self.pad(self.len() + 1);
    }

    /// Says that a value was appended to the buffers.
    pub(super) fn push_valid(&mut self) {
        self.nulls.append_non_null();
    }

    /// Appends a whole number to a column of longs.
    pub(super) fn push_long(values: &mut Vec<i64>, nulls_exact: &mut bool, value: i64) {
        *nulls_exact &= value.unsigned_abs() <= EXACT_MAX;
        values.push(value);
    }

    /// The flag that [`Column::push_long`] keeps, beside the values.
    pub(super) fn values_and_exact(&mut self) -> (&mut Values, &mut bool) {
        (&mut self.values, &mut self.exact)
    }

    /// Whether the value at the end of the column is one.
    pub(super) fn is_valid(&self, row: usize) -> bool {
        row < self.len() && self.nulls.is_valid(row)
    }

    /// Makes the column one of doubles, where that loses nothing and no batch tells its type yet.
    pub(super) fn widen_to_double(&mut self, row: RowNumber) -> bool {
        match &mut self.values {
            Values::Long(values) if self.open && self.exact => {
                self.values = Values::Double(std::mem::take(values).into_iter().map(|value| value as f64).collect());
                self.widened = Some((row, Widened::LongToDouble));
                true
            }
            _ => false,
        }
    }

    /// Makes a column of ints one of longs.
    pub(super) fn widen_to_long(&mut self, row: RowNumber) -> bool {
        match &mut self.values {
            Values::Int(values) => {
                self.values = Values::Long(std::mem::take(values).into_iter().map(i64::from).collect());
                self.widened = Some((row, Widened::IntToLong));
                true
            }
            _ => false,
        }
    }

    /// Whether `row` changed the column's type.
    pub(super) fn is_widened_by(&self, row: RowNumber) -> bool {
        matches!(self.widened, Some((by, _)) if by == row)
    }

    /// Whether rows are filed under the column's value.
    pub(super) fn is_event_time(&self) -> bool {
        matches!(self.values, Values::Timestamptz(_, Some(_)))
    }

    /// Whether the column, or one below it, is not what the table has.
    pub(super) fn is_evolved(&self) -> bool {
        let below = match &self.values {
            Values::Struct(columns) => columns.list.iter().any(Self::is_evolved),
            Values::List { element, .. } => element.is_evolved(),
            _ => false,
        };
        self.fresh || self.widened.is_some() || below
    }

    /// Takes back all after the first `rows` values, also what a value that broke off left below.
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.len() > rows {
            self.nulls.truncate(rows);
        }
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows.min(values.len())),
            Values::Int(values) | Values::Date(values) => values.truncate(rows),
            Values::Long(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::Timestamptz(values, _) => {
                values.truncate(rows);
            }
            Values::Float(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Text { ends, bytes } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Binary { ends, bytes } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Uuid(bytes) => bytes.truncate(rows * 16),
            Values::List { ends, element } => {
                ends.truncate(rows);
                element.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Struct(columns) => columns.truncate(rows),
            Values::Foreign(..) => {}
        }
    }

    /// Takes back the changes of type that `row` made, here and below. Call it after [`Column::truncate`].
    fn forget(&mut self, row: RowNumber, gone: &mut Vec<String>) {
        if let Some((at, widened)) = self.widened
            && at == row
        {
            self.widened = None;
            match (widened, &mut self.values) {
                (Widened::IntToLong, Values::Long(values)) => {
                    self.values = Values::Int(std::mem::take(values).into_iter().map(|value| value as i32).collect());
                }
                (Widened::LongToDouble, Values::Double(values)) => {
                    self.values = Values::Long(std::mem::take(values).into_iter().map(|value| value as i64).collect());
                }
                _ => {}
            }
        }
        match &mut self.values {
            Values::Struct(columns) => columns.forget(row, gone),
            Values::List { element, .. } => element.forget(row, gone),
            _ => {}
        }
    }

    /// Says that a batch has the column now, with this type.
    pub(super) fn close(&mut self) {
        self.open = false;
        match &mut self.values {
            Values::Struct(columns) => columns.list.iter_mut().for_each(Self::close),
            Values::List { element, .. } => element.close(),
            _ => {}
        }
    }

    /// Says that the table has the column now, with this type.
    pub(super) fn settle(&mut self) {
        self.fresh = false;
        self.born = 0;
        self.widened = None;
        match &mut self.values {
            Values::Struct(columns) => columns.list.iter_mut().for_each(Self::settle),
            Values::List { element, .. } => element.settle(),
            _ => {}
        }
    }

    /// The Arrow field, with the Iceberg id.
    pub(super) fn field(&self) -> FieldRef {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), self.id.to_string())]);
        Arc::new(Field::new(&self.name, self.values.data_type(), true).with_metadata(metadata))
    }

    /// The Iceberg field.
    pub(super) fn nested_field(&self) -> NestedFieldRef {
        let mut field = NestedField::new(self.id, &self.name, self.values.iceberg_type(), self.required);
        field.doc.clone_from(&self.doc);
        Arc::new(field)
    }

    /// Turns the first `rows` values into an array; the column is empty then.
    pub(super) fn finish(&mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        let nulls = self.nulls.finish();
        self.values.finish(rows, nulls)
    }
}

impl Values {
    fn of_type(field_type: &Type, path: &str, fresh: bool, born: RowNumber) -> Self {
        let foreign = || {
            let data_type = iceberg::arrow::type_to_arrow_type(field_type).unwrap_or(DataType::Null);
            Self::Foreign(field_type.clone(), data_type)
        };
        match field_type {
            Type::Primitive(primitive) => match primitive {
                PrimitiveType::Boolean => Self::Bool(BooleanBufferBuilder::new(0)),
                PrimitiveType::Int => Self::Int(Vec::new()),
                PrimitiveType::Long => Self::Long(Vec::new()),
                PrimitiveType::Float => Self::Float(Vec::new()),
                PrimitiveType::Double => Self::Double(Vec::new()),
                PrimitiveType::Decimal { precision, scale } => match (u8::try_from(*precision), i8::try_from(*scale)) {
                    (Ok(precision), Ok(scale)) => Self::Decimal { values: Vec::new(), precision, scale },
                    _ => foreign(),
                },
                PrimitiveType::Date => Self::Date(Vec::new()),
                PrimitiveType::Time => Self::Time(Vec::new()),
                PrimitiveType::Timestamp => Self::Timestamp(Vec::new()),
                PrimitiveType::Timestamptz => Self::Timestamptz(Vec::new(), None),
                PrimitiveType::String => Self::Text { ends: Vec::new(), bytes: Vec::new() },
                PrimitiveType::Uuid => Self::Uuid(Vec::new()),
                PrimitiveType::Binary => Self::Binary { ends: Vec::new(), bytes: Vec::new() },
                PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs | PrimitiveType::Fixed(_) => foreign(),
            },
            Type::Struct(fields) => {
                let list = fields.fields().iter().map(|field| Column::of_field(field, path, fresh, born)).collect();
                Self::Struct(Box::new(Columns::new(path.to_owned(), list)))
            }
            Type::List(list) => {
                let element = Column::of_field(&list.element_field, path, fresh, born);
                Self::List { ends: Vec::new(), element: Box::new(element) }
            }
            Type::Map(_) => foreign(),
        }
    }

    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Bool(_) => DataType::Boolean,
            Self::Int(_) => DataType::Int32,
            Self::Long(_) => DataType::Int64,
            Self::Float(_) => DataType::Float32,
            Self::Double(_) => DataType::Float64,
            Self::Decimal { precision, scale, .. } => DataType::Decimal128(*precision, *scale),
            Self::Text { .. } => DataType::Utf8,
            Self::Binary { .. } => DataType::LargeBinary,
            Self::Uuid(_) => DataType::FixedSizeBinary(16),
            Self::Date(_) => DataType::Date32,
            Self::Time(_) => DataType::Time64(arrow::datatypes::TimeUnit::Microsecond),
            Self::Timestamp(_) => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
            Self::Timestamptz(..) => timestamptz(),
            Self::Struct(columns) => DataType::Struct(columns.fields()),
            Self::List { element, .. } => DataType::List(element.field()),
            Self::Foreign(_, data_type) => data_type.clone(),
        }
    }

    /// The type by its Iceberg name.
    pub(super) fn iceberg_type(&self) -> Type {
        match self {
            Self::Bool(_) => PrimitiveType::Boolean.into(),
            Self::Int(_) => PrimitiveType::Int.into(),
            Self::Long(_) => PrimitiveType::Long.into(),
            Self::Float(_) => PrimitiveType::Float.into(),
            Self::Double(_) => PrimitiveType::Double.into(),
            Self::Decimal { precision, scale, .. } => {
                PrimitiveType::Decimal { precision: u32::from(*precision), scale: u32::from(scale.unsigned_abs()) }
                    .into()
            }
            Self::Text { .. } => PrimitiveType::String.into(),
            Self::Binary { .. } => PrimitiveType::Binary.into(),
            Self::Uuid(_) => PrimitiveType::Uuid.into(),
            Self::Date(_) => PrimitiveType::Date.into(),
            Self::Time(_) => PrimitiveType::Time.into(),
            Self::Timestamp(_) => PrimitiveType::Timestamp.into(),
            Self::Timestamptz(..) => PrimitiveType::Timestamptz.into(),
            Self::Struct(columns) => {
                let fields = columns.list.iter().map(Column::nested_field).collect();
                Type::Struct(iceberg::spec::StructType::new(fields))
            }
            Self::List { element, .. } => Type::List(iceberg::spec::ListType::new(element.nested_field())),
            Self::Foreign(field_type, _) => field_type.clone(),
        }
    }

    fn finish(&mut self, rows: usize, nulls: Option<NullBuffer>) -> ArrayRef {
        match self {
            Self::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Self::Int(values) => primitive::<Int32Type>(values, nulls),
            Self::Long(values) => primitive::<Int64Type>(values, nulls),
            Self::Float(values) => primitive::<Float32Type>(values, nulls),
            Self::Double(values) => primitive::<Float64Type>(values, nulls),
            Self::Decimal { values, precision, scale } => {
                let array = Decimal128Array::new(std::mem::take(values).into(), nulls);
                Arc::new(array.with_data_type(DataType::Decimal128(*precision, *scale)))
            }
            Self::Text { ends, bytes } => {
                let offsets = offsets(ends);
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                // Checked once more as a whole, which is cheaper than any proof that each piece was.
                Arc::new(StringArray::new(offsets, bytes, nulls))
            }
            Self::Binary { ends, bytes } => {
                let all = std::iter::once(0).chain(std::mem::take(ends));
                let offsets = OffsetBuffer::new(all.collect::<Vec<i64>>().into());
                Arc::new(LargeBinaryArray::new(offsets, Buffer::from_vec(std::mem::take(bytes)), nulls))
            }
            Self::Uuid(bytes) => {
                Arc::new(FixedSizeBinaryArray::new(16, Buffer::from_vec(std::mem::take(bytes)), nulls))
            }
            Self::Date(values) => primitive::<Date32Type>(values, nulls),
            Self::Time(values) => primitive::<Time64MicrosecondType>(values, nulls),
            Self::Timestamp(values) => primitive::<TimestampMicrosecondType>(values, nulls),
            Self::Timestamptz(values, _) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls).with_data_type(timestamptz()))
            }
            Self::Struct(columns) => {
                let fields = columns.fields();
                let arrays = columns.finish(rows);
                Arc::new(
                    StructArray::try_new_with_length(fields, arrays, nulls, rows)
                        .expect("all columns have `rows` values"),
                )
            }
            Self::List { ends, element } => {
                let offsets = offsets(ends);
                let elements = element.len();
                let field = element.field();
                Arc::new(ListArray::new(field, offsets, element.finish(elements), nulls))
            }
            Self::Foreign(_, data_type) => new_null_array(data_type, rows),
        }
    }
}

/// The Arrow type of a `timestamptz`.
pub(super) fn timestamptz() -> DataType {
    DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("+00:00".into()))
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(std::mem::take(values)), nulls))
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut all = Vec::with_capacity(ends.len() + 1);
    all.push(0);
    all.append(ends);
    OffsetBuffer::new(all.into())
}

/// The columns of one object: of the record itself, or of a struct.
pub(super) struct Columns {
    /// The columns, in the order of the schema.
    pub(super) list: Vec<Column>,
    by_name: HashMap<String, usize>,
    /// The names above, each with a dot after it, in lower case.
    pub(super) path: String,
}

impl Columns {
    pub(super) fn new(path: String, list: Vec<Column>) -> Self {
        let by_name = list.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect();
        Self { list, by_name, path }
    }

    /// The column of a field; `hint` is where it is expected.
    pub(super) fn find(&self, name: &str, hint: usize) -> Option<usize> {
        match self.list.get(hint) {
            Some(column) if column.name == name => Some(hint),
            _ => self.by_name.get(name).copied(),
        }
    }

    /// Adds a column at the end.
    pub(super) fn push(&mut self, column: Column) -> usize {
        let index = self.list.len();
        self.by_name.insert(column.name.clone(), index);
        self.list.push(column);
        index
    }

    /// Takes back all after the first `rows` values.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.list.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// Takes back the columns and changes of type that `row` brought. The paths of the columns are added to `gone`.
    pub(super) fn forget(&mut self, row: RowNumber, gone: &mut Vec<String>) {
        while let Some(column) = self.list.pop_if(|column| column.born == row) {
            self.by_name.remove(&column.name);
            paths_of(&column, &self.path, gone);
        }
        self.list.iter_mut().for_each(|column| column.forget(row, gone));
    }

    fn fields(&self) -> ArrowFields {
        self.list.iter().map(Column::field).collect()
    }

    fn finish(&mut self, rows: usize) -> Vec<ArrayRef> {
        self.list.iter_mut().map(|column| column.finish(rows)).collect()
    }
}

/// Adds the full path of a column and of all below it, in lower case: what Iceberg and case-insensitive engines know it by.
pub(super) fn paths_of(column: &Column, above: &str, paths: &mut Vec<String>) {
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
