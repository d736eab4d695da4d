//! A row: one output of a delivery's transform chain, with the record that it came from.

use bytes::Bytes;

use crate::log::{Offset, ShardId};
use crate::time::Timestamp;

/// One output of the transform chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The shard of its record.
    pub shard: ShardId,
    /// The offset of its record.
    pub offset: Offset,
    /// Its number among the outputs of that record, from 0.
    pub sub: u32,
    /// When the record arrived.
    pub arrival_time: Timestamp,
    /// The record's partition key: UTF-8.
    pub partition_key: Bytes,
    /// The output: one JSON object, where all is well.
    pub data: Bytes,
}

/// A row that does not become part of the table, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The row.
    pub row: Row,
    /// Why, as one word.
    pub cause: Cause,
    /// Why, in a sentence.
    pub message: String,
}

/// Why a row was set aside. The word is the folder below `errors/` and a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Not JSON, not UTF-8, or more than one JSON value.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// A value is not of its column's type (policy `reject`).
    TypeConflict,
    /// A field is not in the schema (policy `reject`).
    UnknownField,
    /// A field cannot be or name a column: a duplicate, a reserved name, a name that differs only in case, an empty or an
    /// overlong name (policy `reject`).
    FieldName,
    /// The event time is absent or cannot be read.
    EventTime,
    /// Objects and arrays are nested deeper than the limit.
    TooDeep,
    /// The record would give the table more columns than the limit.
    TooManyColumns,
    /// A transform failed on the record.
    Transform,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 9] = [
        Self::InvalidJson,
        Self::NotAnObject,
        Self::TypeConflict,
        Self::UnknownField,
        Self::FieldName,
        Self::EventTime,
        Self::TooDeep,
        Self::TooManyColumns,
        Self::Transform,
    ];

    /// The word for folders, metrics and `errorCode`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::TypeConflict => "type_conflict",
            Self::UnknownField => "unknown_field",
            Self::FieldName => "field_name",
            Self::EventTime => "event_time",
            Self::TooDeep => "too_deep",
            Self::TooManyColumns => "too_many_columns",
            Self::Transform => "transform",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
