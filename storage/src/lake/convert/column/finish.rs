//! The values of a column into an Arrow array.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, LargeBinaryArray, ListArray, PrimitiveArray,
    StringArray, StructArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};

use super::Values;

impl Values {
    pub(super) fn finish(&mut self, rows: usize, nulls: Option<NullBuffer>) -> ArrayRef {
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
pub(in crate::lake::convert) fn timestamptz() -> DataType {
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
