//! The values of a column, by type, and what each type is for Arrow and Iceberg.

use arrow::array::BooleanBufferBuilder;
use arrow::datatypes::DataType;
use iceberg::spec::{PrimitiveType, Type};

use super::{Column, Columns, RowNumber, timestamptz};
use crate::lake::event_time::TimeFormat;

/// The values of a column, by type.
pub(in crate::lake::convert) enum Values {
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

impl Values {
    pub(super) fn of_type(field_type: &Type, path: &str, fresh: bool, born: RowNumber) -> Self {
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

    pub(in crate::lake::convert) fn data_type(&self) -> DataType {
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
    pub(in crate::lake::convert) fn iceberg_type(&self) -> Type {
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
}
