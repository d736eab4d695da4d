//! A `[[table]]` of a pipeline file.

use serde::{Deserialize, Serialize};

/// A `[[table]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// `name`, in the default namespace, or `namespace.name`.
    pub name: String,
    /// What happens to fields that the table has no column for.
    #[serde(default)]
    pub schema_policy: SchemaPolicy,
    /// Whether rows carry `_stream`, `_shard`, `_offset` and the like.
    #[serde(default = "yes")]
    pub system_columns: bool,
    /// The event time; left out, the arrival time partitions the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSpec>,
    /// What partitions it, such as `day(at)`, `identity(carrier)`, `bucket(16, flight)` or `truncate(2, carrier)`; left out,
    /// the hour of its time. Columns must be declared, or the table's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<String>,
    /// Declared columns.
    #[serde(default, rename = "column", skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnSpec>,
}

impl TableSpec {
    /// A table that nobody declared: everything by default.
    #[must_use]
    pub fn implied(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            schema_policy: SchemaPolicy::default(),
            system_columns: true,
            time: None,
            partition_by: Vec::new(),
            columns: Vec::new(),
        }
    }
}

const fn yes() -> bool {
    true
}

/// What happens to a field that the table has no column for, or whose value does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaPolicy {
    /// New fields become columns, numbers widen; what conflicts goes to `_rescued`.
    #[default]
    Evolve,
    /// The columns stay; what does not fit goes to `_rescued`.
    Rescue,
    /// The columns stay; a record that does not fit is set aside.
    Reject,
}

/// The event time: `{ field = "time_hour", format = "rfc3339" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSpec {
    /// A top-level field of the events.
    pub field: String,
    /// `rfc3339`, `epoch_seconds`, `epoch_millis`, or a strftime pattern.
    #[serde(default = "rfc3339")]
    pub format: String,
}

fn rfc3339() -> String {
    "rfc3339".to_owned()
}

/// A `[[table.column]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// The column, which is the event's field.
    pub name: String,
    /// An Iceberg type, for example `long`, `timestamptz` or `string`.
    pub r#type: String,
}
