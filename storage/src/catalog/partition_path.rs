//! A partition as people read it, such as `_hour=2013-01-01-05/carrier=UA`: as Iceberg's readers have it.
//!
//! The table may have changed since the partition was written, and another engine may have written it: whatever stands there
//! must get some text.

use chrono::DateTime;
use iceberg::spec::{PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Transform, Type};

/// Each field with its value; `null` where it has none.
pub(super) fn path<'v>(
    spec: &PartitionSpec,
    schema: &Schema,
    values: impl Iterator<Item = Option<&'v PrimitiveLiteral>>,
) -> String {
    let fields = spec.fields().iter().zip(values).map(|(field, value)| {
        let column = schema.field_by_id(field.source_id).map(|column| &*column.field_type);
        let text = value.map_or_else(|| "null".to_owned(), |value| text(field.transform, column, value));
        format!("{}={text}", field.name)
    });
    fields.collect::<Vec<_>>().join("/")
}

fn text(transform: Transform, column: Option<&Type>, value: &PrimitiveLiteral) -> String {
    let primitive = match column {
        Some(Type::Primitive(primitive)) => Some(primitive),
        _ => None,
    };
    match (transform, value) {
        (Transform::Year, PrimitiveLiteral::Int(years)) => (1970 + i64::from(*years)).to_string(),
        (Transform::Month, PrimitiveLiteral::Int(months)) => {
            let months = i64::from(*months);
            format!("{:04}-{:02}", 1970 + months.div_euclid(12), months.rem_euclid(12) + 1)
        }
        (Transform::Day, PrimitiveLiteral::Int(days)) => date(i64::from(*days)),
        (Transform::Hour, PrimitiveLiteral::Int(hours)) => {
            let hours = i64::from(*hours);
            format!("{}-{:02}", date(hours.div_euclid(24)), hours.rem_euclid(24))
        }
        (Transform::Identity, PrimitiveLiteral::Int(days)) if primitive == Some(&PrimitiveType::Date) => {
            date(i64::from(*days))
        }
        (_, PrimitiveLiteral::Long(micros))
            if matches!(primitive, Some(PrimitiveType::Timestamp | PrimitiveType::Timestamptz)) =>
        {
            DateTime::from_timestamp_micros(*micros).map_or_else(|| micros.to_string(), |time| time.to_rfc3339())
        }
        (_, PrimitiveLiteral::Int(value)) => value.to_string(),
        (_, PrimitiveLiteral::Long(value)) => value.to_string(),
        (_, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (_, PrimitiveLiteral::String(value)) => value.clone(),
        (_, PrimitiveLiteral::Int128(value)) => match primitive {
            Some(PrimitiveType::Decimal { scale, .. }) => decimal(*value, *scale),
            _ => value.to_string(),
        },
        (_, value) => format!("{value:?}"),
    }
}

fn date(days: i64) -> String {
    let midnight = days.checked_mul(86_400).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    midnight.map_or_else(|| days.to_string(), |midnight| midnight.format("%Y-%m-%d").to_string())
}

fn decimal(unscaled: i128, scale: u32) -> String {
    let (sign, scale) = (if unscaled < 0 { "-" } else { "" }, scale as usize);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs().to_string(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_as_their_columns_are() {
        let decimal = Type::decimal(9, 2).unwrap();
        let (day, time): (Type, Type) = (PrimitiveType::Date.into(), PrimitiveType::Timestamptz.into());
        let int = PrimitiveLiteral::Int;
        for (transform, column, value, expected) in [
            (Transform::Hour, &time, int(376_949), "2013-01-01-05"),
            (Transform::Hour, &time, int(-1), "1969-12-31-23"),
            (Transform::Day, &time, int(0), "1970-01-01"),
            (Transform::Month, &day, int(-1), "1969-12"),
            (Transform::Year, &day, int(43), "2013"),
            (Transform::Identity, &day, int(1), "1970-01-02"),
            (Transform::Identity, &time, PrimitiveLiteral::Long(0), "1970-01-01T00:00:00+00:00"),
            (Transform::Bucket(4), &time, int(3), "3"),
            (Transform::Identity, &decimal, PrimitiveLiteral::Int128(125), "1.25"),
            (Transform::Identity, &decimal, PrimitiveLiteral::Int128(-5), "-0.05"),
            // A column that was an int when the file was written.
            (Transform::Identity, &PrimitiveType::Long.into(), int(7), "7"),
        ] {
            assert_eq!(text(transform, Some(column), &value), expected, "{transform} of {value:?}");
        }
        assert_eq!(text(Transform::Identity, None, &int(7)), "7", "a column that is gone");
        assert_eq!(text(Transform::Day, None, &int(i32::MAX)), i32::MAX.to_string(), "no date has so many days");
    }
}
