//! The schema of a table: declared columns, system columns, and the columns that records bring.
//!
//! It is an Iceberg schema all the way; field ids are given here, so that a file and the commit that follows it agree.

mod adapt;
mod types;

pub use adapt::adapt;
pub use types::{ColumnSpec, parse_type};
pub(crate) use types::{NAME_BYTES_MAX, check_name, with_fresh_ids};

use std::sync::Arc;

use iceberg::spec::{NestedField, PrimitiveType, Schema, SchemaRef, TableMetadata, Type};

use super::event_time::TimeSource;
use super::{Error, Result};

/// When the record arrived: `timestamptz`.
pub const ARRIVAL_TIME: &str = "_arrival_time";
/// The stream's name: `string`.
pub const STREAM: &str = "_stream";
/// The record's shard: `int`.
pub const SHARD: &str = "_shard";
/// The record's offset in its shard: `long`.
pub const OFFSET: &str = "_offset";
/// The record's partition key: `string`.
pub const PARTITION_KEY: &str = "_partition_key";
/// What no column could take, as a JSON object of the record's own shape: `string`.
pub const RESCUED: &str = "_rescued";
/// The name of the partition field, `hour(<time column>)`.
pub const PARTITION_FIELD: &str = "_hour";
/// How the names of other partition fields begin, but for those that are a column's own value.
pub const PARTITION_FIELD_PREFIX: &str = "_by_";

/// Names at the top level that no field of a record may have, whatever their case: the system columns, the partition fields
/// and Iceberg's own metadata columns (<https://iceberg.apache.org/spec/#reserved-field-ids>).
const RESERVED: [&str; 17] = [
    ARRIVAL_TIME,
    STREAM,
    SHARD,
    OFFSET,
    PARTITION_KEY,
    RESCUED,
    PARTITION_FIELD,
    "_file",
    "_pos",
    "_deleted",
    "_spec_id",
    "_partition",
    "_change_type",
    "_change_ordinal",
    "_commit_snapshot_id",
    "_row_id",
    "_last_updated_sequence_number",
];

/// Whether a name at the top level is the system's.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let begins = |start: &str| name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    let is = |reserved: &&str| reserved.eq_ignore_ascii_case(name);
    name.starts_with('_') && (begins(PARTITION_FIELD_PREFIX) || RESERVED.iter().any(is))
}

/// Whether a name is that of a system column, which the converter fills.
#[must_use]
pub fn is_system(name: &str) -> bool {
    [ARRIVAL_TIME, STREAM, SHARD, OFFSET, PARTITION_KEY, RESCUED].contains(&name)
}

/// What becomes of fields that the schema does not have, and of values that their column cannot take. A table without
/// declared columns takes those of the first batch, whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SchemaPolicy {
    /// New fields become columns, numbers widen; what conflicts goes to `_rescued`.
    #[default]
    Evolve,
    /// New and conflicting fields go to `_rescued`.
    Rescue,
    /// A record with a new or conflicting field is set aside.
    Reject,
}

impl std::str::FromStr for SchemaPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "evolve" => Ok(Self::Evolve),
            "rescue" => Ok(Self::Rescue),
            "reject" => Ok(Self::Reject),
            _ => Err(Error::Invalid(format!(
                "the schema policy {text:?} is unknown; allowed are evolve, rescue and reject"
            ))),
        }
    }
}

/// A table's schema with the highest field id that was ever given in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// The schema.
    pub schema: SchemaRef,
    /// The highest field id ever given; new fields get the ids after it.
    pub last_column_id: i32,
}

impl TableSchema {
    /// The schema of a new table: the declared columns, the event-time column, then the system columns.
    ///
    /// `_rescued` is there unless the policy is `reject`, and `_arrival_time` where it is the time column, whatever
    /// `system_columns` says. All columns are optional.
    pub fn initial(
        columns: &[ColumnSpec],
        time: &TimeSource,
        policy: SchemaPolicy,
        system_columns: bool,
    ) -> Result<Self> {
        let mut names = std::collections::HashSet::new();
        let mut fields: Vec<(String, Type)> = Vec::new();
        for column in columns {
            types::check_name(&column.name)?;
            if !names.insert(column.name.to_lowercase()) {
                return Err(Error::Invalid(format!(
                    "the column {:?} is declared twice; names that differ only in case count as one",
                    column.name
                )));
            }
            fields.push((column.name.clone(), column.column_type.clone()));
        }
        if let TimeSource::Field { field, .. } = time {
            types::check_name(field)?;
            match fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)) {
                None => fields.push((field.clone(), PrimitiveType::Timestamptz.into())),
                Some((name, Type::Primitive(PrimitiveType::Timestamptz))) if name == field => {}
                Some((name, column_type)) => {
                    return Err(Error::Invalid(format!(
                        "the event time {field:?} needs a column of type timestamptz; {name:?} is declared as {column_type}"
                    )));
                }
            }
        }
        for (name, primitive) in system_fields(time, policy, system_columns) {
            fields.push((name.to_owned(), primitive.into()));
        }
        let mut last_column_id = 0;
        let fields = fields.into_iter().map(|(name, field_type)| {
            let field_type = types::with_fresh_ids(field_type, &mut last_column_id);
            last_column_id += 1;
            Arc::new(NestedField::optional(last_column_id, name, field_type))
        });
        let fields: Vec<_> = fields.collect();
        let schema = Schema::builder().with_fields(fields).build().map_err(invalid)?;
        Ok(Self { schema: Arc::new(schema), last_column_id })
    }

    /// The current schema of a table.
    #[must_use]
    pub fn of(metadata: &TableMetadata) -> Self {
        Self { schema: Arc::clone(metadata.current_schema()), last_column_id: metadata.last_column_id() }
    }
}

/// Whether a table's column may have become `to` by widening.
pub(crate) fn widens(from: &Type, to: &Type) -> bool {
    use PrimitiveType::{Double, Float, Int, Long};
    match (from, to) {
        (Type::Primitive(from), Type::Primitive(to)) => {
            matches!((from, to), (Int, Long) | (Float, Double)) || from == to
        }
        (Type::List(from), Type::List(to)) => widens(&from.element_field.field_type, &to.element_field.field_type),
        // The table's struct may have more fields than were declared.
        (Type::Struct(from), Type::Struct(to)) => from.fields().iter().all(|field| {
            to.fields().iter().any(|there| there.name == field.name && widens(&field.field_type, &there.field_type))
        }),
        _ => false,
    }
}

/// The system columns that a table has, in their order.
fn system_fields(time: &TimeSource, policy: SchemaPolicy, system_columns: bool) -> Vec<(&'static str, PrimitiveType)> {
    let all = [
        (ARRIVAL_TIME, PrimitiveType::Timestamptz, system_columns || *time == TimeSource::Arrival),
        (STREAM, PrimitiveType::String, system_columns),
        (SHARD, PrimitiveType::Int, system_columns),
        (OFFSET, PrimitiveType::Long, system_columns),
        (PARTITION_KEY, PrimitiveType::String, system_columns),
        (RESCUED, PrimitiveType::String, policy != SchemaPolicy::Reject),
    ];
    all.into_iter().filter(|(_, _, wanted)| *wanted).map(|(name, primitive, _)| (name, primitive)).collect()
}

pub(crate) fn invalid(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("the schema is not valid: {error}"))
}

#[cfg(test)]
mod tests;
