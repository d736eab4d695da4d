//! How a table is partitioned in Iceberg's terms: by transforms of its columns, such as `day(at)`, `identity(carrier)` or
//! `bucket(16, flight)`.
//!
//! Each file of the table has one value of each. It must never be a matter of folders: those are the prefix's.

use std::fmt;

use iceberg::spec::{PrimitiveType, Schema, TableMetadata, Transform, Type, UnboundPartitionSpec};

use crate::lake::event_time::TimeSource;
use crate::lake::schema::{PARTITION_FIELD, PARTITION_FIELD_PREFIX};
use crate::lake::{Error, Result};

/// The most transforms that a table is partitioned by.
pub const PARTITION_FIELDS_MAX: usize = 8;
/// The most buckets of a column.
const BUCKETS_MAX: u32 = 65_536;
/// The widest that values are truncated to.
const WIDTH_MAX: u32 = 1_048_576;

/// The transforms that a table is partitioned by, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitioning {
    fields: Vec<PartitionBy>,
}

/// One transform of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartitionBy {
    pub(super) column: String,
    pub(super) transform: Transform,
    /// The name of the partition field.
    name: String,
}

impl Partitioning {
    /// By the hour of the time column, as a table is that nobody says more of.
    #[must_use]
    pub fn hourly(time: &TimeSource) -> Self {
        Self { fields: vec![PartitionBy::new(time.column().to_owned(), Transform::Hour, time)] }
    }

    /// Reads transforms such as `day(at)`; none of them means [`Partitioning::hourly`].
    pub fn parse<T: AsRef<str>>(texts: &[T], time: &TimeSource) -> Result<Self> {
        if texts.is_empty() {
            return Ok(Self::hourly(time));
        }
        if texts.len() > PARTITION_FIELDS_MAX {
            let count = texts.len();
            return Err(Error::Invalid(format!("{count} transforms are more than {PARTITION_FIELDS_MAX}")));
        }
        let mut fields: Vec<PartitionBy> = Vec::new();
        for text in texts {
            let field = PartitionBy::parse(text.as_ref(), time)?;
            let is_time = |field: &PartitionBy| field.transform.dedup_name() == "time";
            if let Some(other) = fields.iter().find(|other| {
                other.column == field.column
                    && (other.transform == field.transform || (is_time(other) && is_time(&field)))
            }) {
                return Err(Error::Invalid(format!(
                    "{field} says nothing that {other} does not, or the other way round"
                )));
            }
            fields.push(field);
        }
        Ok(Self { fields })
    }

    /// Whether it is by the hour of the time column and nothing else.
    #[must_use]
    pub fn is_hourly(&self, time: &TimeSource) -> bool {
        *self == Self::hourly(time)
    }

    /// Each transform as [`Partitioning::parse`] reads it.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.fields.iter().map(ToString::to_string).collect()
    }

    /// The partition spec of a table with these columns.
    pub fn unbound(&self, schema: &Schema) -> Result<UnboundPartitionSpec> {
        let mut builder = UnboundPartitionSpec::builder();
        for field in &self.fields {
            let id = field.source_id(schema)?;
            let named = schema.field_by_name(&field.name).is_some_and(|of_name| of_name.id != id);
            if named {
                return Err(Error::Invalid(format!("no column may be named {}", field.name)));
            }
            let refused = |error: iceberg::Error| Error::Invalid(format!("{field}: {error}"));
            builder = builder.add_partition_field(id, &field.name, field.transform).map_err(refused)?;
        }
        Ok(builder.build())
    }

    /// The id that a table's spec of these transforms has; `None` where it has no such spec.
    #[must_use]
    pub fn spec_id(&self, metadata: &TableMetadata) -> Option<i32> {
        let schema = metadata.current_schema();
        let wanted: Option<Vec<_>> =
            self.fields.iter().map(|field| Some((field.source_id(schema).ok()?, field.transform))).collect();
        let wanted = wanted?;
        let is_it = |fields: &[iceberg::spec::PartitionField]| {
            fields.iter().map(|field| (field.source_id, field.transform)).eq(wanted.iter().copied())
        };
        let default = metadata.default_partition_spec();
        if is_it(default.fields()) {
            return Some(default.spec_id());
        }
        metadata.partition_specs_iter().find(|spec| is_it(spec.fields())).map(|spec| spec.spec_id())
    }

    pub(super) fn fields(&self) -> &[PartitionBy] {
        &self.fields
    }
}

impl fmt::Display for Partitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(", "))
    }
}

impl PartitionBy {
    fn new(column: String, transform: Transform, time: &TimeSource) -> Self {
        let name = match transform {
            // As Iceberg has it.
            Transform::Identity => column.clone(),
            Transform::Hour if column == time.column() => PARTITION_FIELD.to_owned(),
            Transform::Bucket(count) => format!("{PARTITION_FIELD_PREFIX}bucket_{count}_{column}"),
            Transform::Truncate(width) => format!("{PARTITION_FIELD_PREFIX}truncate_{width}_{column}"),
            _ => format!("{PARTITION_FIELD_PREFIX}{transform}_{column}"),
        };
        Self { column, transform, name }
    }

    fn parse(text: &str, time: &TimeSource) -> Result<Self> {
        let bad = || {
            Error::Invalid(format!(
                "{text:?} is none of hour(COLUMN), day(COLUMN), month(COLUMN), year(COLUMN), identity(COLUMN), \
                 bucket(1 to {BUCKETS_MAX}, COLUMN) and truncate(1 to {WIDTH_MAX}, COLUMN)"
            ))
        };
        let (word, rest) = text.trim().split_once('(').ok_or_else(bad)?;
        let inner = rest.strip_suffix(')').ok_or_else(bad)?.trim();
        let (transform, column) = match word.trim() {
            "hour" => (Transform::Hour, inner),
            "day" => (Transform::Day, inner),
            "month" => (Transform::Month, inner),
            "year" => (Transform::Year, inner),
            "identity" => (Transform::Identity, inner),
            word @ ("bucket" | "truncate") => {
                let (number, column) = inner.split_once(',').ok_or_else(bad)?;
                let number: u32 = number.trim().parse().map_err(|_| bad())?;
                let (transform, most) = match word {
                    "bucket" => (Transform::Bucket(number), BUCKETS_MAX),
                    _ => (Transform::Truncate(number), WIDTH_MAX),
                };
                if !(1..=most).contains(&number) {
                    return Err(bad());
                }
                (transform, column.trim())
            }
            _ => return Err(bad()),
        };
        if column.is_empty() {
            return Err(bad());
        }
        // Partition fields are fields of Avro in manifests, whose names take nothing else.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !column.bytes().all(fits) || column.starts_with(|first: char| first.is_ascii_digit()) {
            let words = "names a column that is not of a-z A-Z 0-9 _ alone, which partitions no table";
            return Err(Error::Invalid(format!("{text:?} {words}")));
        }
        Ok(Self::new(column.to_owned(), transform, time))
    }

    fn source_id(&self, schema: &Schema) -> Result<i32> {
        let field = schema.as_struct().field_by_name(&self.column).ok_or_else(|| {
            Error::Invalid(format!("{self}: the table has no column {:?}; declare it, at the top level", self.column))
        })?;
        let Type::Primitive(primitive) = &*field.field_type else {
            return Err(Error::Invalid(format!("{self}: {:?} is no column of single values", self.column)));
        };
        // Values that engines compare in other ways than each other, or that are too large to stand in a manifest.
        let is_unfit = matches!(
            primitive,
            PrimitiveType::Float | PrimitiveType::Double | PrimitiveType::Binary | PrimitiveType::Fixed(_)
        ) || (matches!(primitive, PrimitiveType::Uuid)
            && !matches!(self.transform, Transform::Bucket(_)));
        let is_time = !matches!(self.transform, Transform::Hour) || !matches!(primitive, PrimitiveType::Date);
        if is_unfit || !is_time || self.transform.result_type(&field.field_type).is_err() {
            let column = &self.column;
            return Err(Error::Invalid(format!(
                "{self}: {column:?} is {primitive}, which a table is not partitioned by so"
            )));
        }
        Ok(field.id)
    }
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = &self.column;
        match self.transform {
            Transform::Bucket(count) => write!(f, "bucket({count}, {column})"),
            Transform::Truncate(width) => write!(f, "truncate({width}, {column})"),
            transform => write!(f, "{transform}({column})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::NestedField;

    use super::*;
    use crate::lake::event_time::TimeFormat;

    fn time() -> TimeSource {
        TimeSource::Field { field: "at".into(), format: TimeFormat::Rfc3339 }
    }

    fn schema() -> Schema {
        let columns = [
            ("at", PrimitiveType::Timestamptz),
            ("day", PrimitiveType::Date),
            ("carrier", PrimitiveType::String),
            ("flight", PrimitiveType::Long),
            ("ratio", PrimitiveType::Double),
            ("id", PrimitiveType::Uuid),
            ("data", PrimitiveType::Binary),
        ];
        let fields = (1..)
            .zip(columns)
            .map(|(id, (name, primitive))| Arc::new(NestedField::optional(id, name, primitive.into())));
        Schema::builder().with_fields(fields).build().unwrap()
    }

    fn names(texts: &[&str]) -> Result<Vec<String>> {
        let spec = Partitioning::parse(texts, &time())?.unbound(&schema())?;
        Ok(spec.fields().iter().map(|field| field.name.clone()).collect())
    }

    #[test]
    fn transforms_are_read_and_written_back() {
        let texts = [
            " day( at ) ",
            "identity(carrier)",
            "bucket( 16,flight)",
            "truncate(2, carrier)",
            "month(day)",
            "hour(at2)",
        ];
        let parsed = Partitioning::parse(&texts, &time()).unwrap();
        let written =
            ["day(at)", "identity(carrier)", "bucket(16, flight)", "truncate(2, carrier)", "month(day)", "hour(at2)"];
        assert_eq!(parsed.texts(), written);
        assert_eq!(Partitioning::parse(&written, &time()).unwrap(), parsed);
    }

    #[test]
    fn none_is_the_hour_of_the_time() {
        let hourly = Partitioning::parse::<&str>(&[], &time()).unwrap();
        assert_eq!(hourly.texts(), ["hour(at)"]);
        assert!(hourly.is_hourly(&time()) && Partitioning::parse(&["hour(at)"], &time()).unwrap().is_hourly(&time()));
        assert_eq!(names(&["hour(at)"]).unwrap(), ["_hour"]);
    }

    #[test]
    fn fields_have_names_that_no_column_takes() {
        let found = names(&["year(at)", "identity(carrier)", "bucket(4, id)", "truncate(3, carrier)"]).unwrap();
        assert_eq!(found, ["_by_year_at", "carrier", "_by_bucket_4_id", "_by_truncate_3_carrier"]);
        assert!(found.iter().all(|name| name == "carrier" || crate::lake::schema::is_reserved(name)));
    }

    #[test]
    fn what_is_no_transform_or_fits_no_column_is_refused() {
        for (texts, why) in [
            (vec!["at"], "none of hour(COLUMN)"),
            (vec!["week(at)"], "none of hour(COLUMN)"),
            (vec!["day()"], "none of hour(COLUMN)"),
            (vec!["identity(a b)"], "a-z A-Z 0-9 _ alone"),
            (vec!["identity(1a)"], "a-z A-Z 0-9 _ alone"),
            (vec!["bucket(at)"], "none of hour(COLUMN)"),
            (vec!["bucket(0, at)"], "none of hour(COLUMN)"),
            (vec!["bucket(65537, at)"], "65536"),
            (vec!["truncate(-1, at)"], "none of hour(COLUMN)"),
            (vec!["day(at)", "hour(at)"], "hour(at) says nothing"),
            (vec!["identity(carrier)", "identity(carrier)"], "identity(carrier) says nothing"),
            (vec!["day(missing)"], "no column \"missing\""),
            (vec!["day(carrier)"], "\"carrier\" is string"),
            (vec!["hour(day)"], "\"day\" is date"),
            (vec!["identity(ratio)"], "\"ratio\" is double"),
            (vec!["bucket(2, data)"], "\"data\" is binary"),
            (vec!["identity(id)"], "\"id\" is uuid"),
            (vec!["day(at)"; 9], "9 transforms are more than 8"),
        ] {
            let error = names(&texts).unwrap_err().to_string();
            assert!(error.contains(why), "{texts:?}: {error}");
        }
        assert!(names(&["bucket(65536, flight)"]).is_ok());
    }
}
