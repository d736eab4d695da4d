//! A row: one output of a delivery's transform chain, with the record that it came from.

use std::sync::Arc;

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
    /// One row of the output, as the delivery's input is declared: one JSON object by default, where all is well.
    pub data: Bytes,
    /// The partition keys that the prefix asks for, in its order and safe in names; `None` where it asks for none. Rows
    /// with the same keys share them.
    pub keys: Option<Arc<[String]>>,
    /// The record itself, where the row is all that became of it: what is kept where the row is set aside.
    pub source: Option<Bytes>,
}

impl Row {
    /// The partition keys; none where the prefix asks for none.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        self.keys.as_deref().unwrap_or_default()
    }
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
    /// How often the step that failed tried it.
    pub attempts: u32,
}

/// Why a row was set aside. The word is the folder below `errors/` and a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Not JSON, not UTF-8, or more than one JSON value.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// Not UTF-8, quotes that do not stand right, or another number of fields than the columns that the delivery names.
    InvalidCsv,
    /// A line or a record for a column of text is not UTF-8.
    NotText,
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
    /// A partition key is absent or empty, or cannot be part of an object's name.
    PartitionKey,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 12] = [
        Self::InvalidJson,
        Self::NotAnObject,
        Self::InvalidCsv,
        Self::NotText,
        Self::TypeConflict,
        Self::UnknownField,
        Self::FieldName,
        Self::EventTime,
        Self::TooDeep,
        Self::TooManyColumns,
        Self::Transform,
        Self::PartitionKey,
    ];

    /// The word for folders, metrics and `errorCode`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::InvalidCsv => "invalid_csv",
            Self::NotText => "not_text",
            Self::TypeConflict => "type_conflict",
            Self::UnknownField => "unknown_field",
            Self::FieldName => "field_name",
            Self::EventTime => "event_time",
            Self::TooDeep => "too_deep",
            Self::TooManyColumns => "too_many_columns",
            Self::Transform => "transform",
            Self::PartitionKey => "partition_key",
        }
    }

    /// The error output type that Amazon Data Firehose has for it.
    #[must_use]
    pub const fn of_firehose(self) -> &'static str {
        match self {
            Self::Transform => "processing-failed",
            Self::PartitionKey => "partitioning-failed",
            _ => "format-conversion-failed",
        }
    }

    /// The longest word of either kind, in bytes.
    pub(super) const WORD_LEN_MAX: usize = 24;

    /// The cause that a word names.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_fit() {
        for cause in Cause::ALL {
            assert_eq!(Cause::of_word(cause.as_str()), Some(cause));
            assert!(cause.as_str().len() <= Cause::WORD_LEN_MAX && cause.of_firehose().len() <= Cause::WORD_LEN_MAX);
        }
        assert_eq!(Cause::of_word("unheard"), None);
    }
}
