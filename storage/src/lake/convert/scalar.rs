//! Numbers and texts into the values of a column, exactly or not at all.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::column::{Column, RowNumber, Values};
use crate::lake::event_time::read_rfc3339;

/// Appends a JSON number. Gives false, and appends nothing, where the column cannot take it; `may_widen` lets the column
/// change its type for it.
pub(super) fn push_number(column: &mut Column, text: &str, may_widen: bool, row: RowNumber) -> bool {
    if push_number_as_is(column, text) {
        column.push_valid();
        return true;
    }
    let widened = may_widen
        && match &column.values {
            Values::Int(_) if read_long(text).is_some() => column.widen_to_long(row),
            Values::Long(_) if is_fractional(text) && read_double(text).is_some() => column.widen_to_double(row),
            _ => false,
        };
    widened && push_number(column, text, false, row)
}

fn push_number_as_is(column: &mut Column, text: &str) -> bool {
    let (values, exact) = column.values_and_exact();
    match values {
        Values::Long(values) => read_long(text).map(|value| Column::push_long(values, exact, value)),
        Values::Double(values) => read_double(text).map(|value| values.push(value)),
        Values::Int(values) => {
            read_long(text).and_then(|value| i32::try_from(value).ok()).map(|value| values.push(value))
        }
        Values::Float(values) => {
            text.parse::<f32>().ok().filter(|value| value.is_finite()).map(|value| values.push(value))
        }
        Values::Decimal { values, precision, scale } => {
            read_decimal(text, *precision, *scale).map(|value| values.push(value))
        }
        Values::Timestamptz(values, Some(format)) => format.read_number(text).map(|value| values.push(value)),
        _ => None,
    }
    .is_some()
}

/// Appends a JSON string. Gives false, and appends nothing, where the column cannot take it.
pub(super) fn push_text(column: &mut Column, text: &str) -> bool {
    let pushed = match &mut column.values {
        Values::Text { ends, bytes } => {
            Column::push_text(ends, bytes, text);
            Some(())
        }
        Values::Binary { ends, bytes } => BASE64_STANDARD.decode(text).ok().map(|decoded| {
            bytes.extend_from_slice(&decoded);
            ends.push(bytes.len() as i64);
        }),
        Values::Decimal { values, precision, scale } => {
            read_decimal(text, *precision, *scale).map(|value| values.push(value))
        }
        Values::Uuid(bytes) => uuid::Uuid::try_parse(text).ok().map(|uuid| bytes.extend_from_slice(uuid.as_bytes())),
        Values::Date(values) => read_date(text).map(|value| values.push(value)),
        Values::Time(values) => read_time(text).map(|value| values.push(value)),
        Values::Timestamp(values) => read_timestamp(text).map(|value| values.push(value)),
        Values::Timestamptz(values, None) => read_rfc3339(text).map(|value| values.push(value)),
        Values::Timestamptz(values, Some(format)) => format.read_text(text).map(|value| values.push(value)),
        _ => None,
    };
    if pushed.is_some() {
        column.push_valid();
    }
    pushed.is_some()
}

/// Appends bytes as they are. Gives false, and appends nothing, where the column cannot take them.
pub(super) fn push_bytes(column: &mut Column, data: &[u8]) -> bool {
    let Values::Binary { ends, bytes } = &mut column.values else { return false };
    bytes.extend_from_slice(data);
    ends.push(bytes.len() as i64);
    column.push_valid();
    true
}

/// Appends `true` or `false`. Gives false, and appends nothing, where the column cannot take it.
pub(super) fn push_bool(column: &mut Column, value: bool) -> bool {
    let Values::Bool(values) = &mut column.values else { return false };
    values.append(value);
    column.push_valid();
    true
}

/// Whether a number is written with a point or an exponent.
pub(super) fn is_fractional(number: &str) -> bool {
    number.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// A whole number; `2.0` and `2e0` count where they are exact.
pub(super) fn read_long(number: &str) -> Option<i64> {
    match number.parse::<i64>() {
        Ok(value) => Some(value),
        Err(_) if is_fractional(number) => i64::try_from(read_decimal(number, 19, 0)?).ok(),
        Err(_) => None,
    }
}

/// The nearest double; a whole number only where the double is exactly it.
pub(super) fn read_double(number: &str) -> Option<f64> {
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite())?;
    // Below 2^53 every whole number is a double; beyond, only some are.
    let exact = value.abs() < 9_007_199_254_740_992.0 || is_fractional(number) || format!("{value:.0}") == number;
    exact.then_some(value)
}

/// A decimal with `scale` digits behind the point, where the number needs no more than these and `precision` in all.
fn read_decimal(number: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number),
    };
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent = exponent.trim_start_matches('+').parse::<i32>().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let mut value = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    // How many zeros bring the digits to the column's scale.
    let mut zeros = i64::from(scale) - fraction.len() as i64 + i64::from(exponent);
    while zeros < 0 && value != 0 && value % 10 == 0 {
        value /= 10;
        zeros += 1;
    }
    if value != 0 {
        if !(0..=38).contains(&zeros) {
            return None;
        }
        value = value.checked_mul(10i128.checked_pow(u32::try_from(zeros).ok()?)?)?;
    }
    (value < 10i128.checked_pow(u32::from(precision))?).then_some(if negative { -value } else { value })
}

/// Days since the Unix epoch.
fn read_date(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds since midnight.
fn read_time(text: &str) -> Option<i64> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    // A leap second is none of the day's microseconds.
    let nanos = time.nanosecond();
    (nanos < 1_000_000_000).then(|| i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(nanos / 1_000))
}

/// Microseconds since the Unix epoch on a clock without a zone.
fn read_timestamp(text: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"));
    time.ok().map(|time| time.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact_or_refused() {
        for (number, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("2.0", Some(2)),
            ("2.5", None),
            ("1e3", Some(1000)),
            ("1.5e1", Some(15)),
            ("1.00000000000000000001", None),
            ("10000000000000000000001e-22", None),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("9.3e18", None),
            ("1e400", None),
        ] {
            assert_eq!(read_long(number), expected, "{number}");
        }
    }

    #[test]
    fn doubles_take_whole_numbers_only_where_they_are_exact() {
        assert_eq!(read_double("9007199254740992"), Some(9_007_199_254_740_992.0));
        assert_eq!(read_double("9007199254740993"), None);
        assert_eq!(read_double("100000000000000000000"), Some(1e20));
        assert_eq!(read_double("0.1"), Some(0.1));
        assert_eq!(read_double("1e400"), None);
        assert_eq!(read_double("2.2250738585072011e-308"), Some(2.225_073_858_507_201e-308));
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        for (number, expected) in [
            ("1.23", Some(123)),
            ("-1.2", Some(-120)),
            ("1.230", Some(123)),
            ("1.234", None),
            ("99999.99", Some(9_999_999)),
            ("100000", None),
            ("1e2", Some(10_000)),
            ("1e-2", Some(1)),
            ("1e-3", None),
            ("0e-99", Some(0)),
            ("1e999", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(read_decimal(number, 7, 2), expected, "{number}");
        }
    }

    #[test]
    fn dates_and_times_are_read() {
        assert_eq!(read_date("1970-01-02"), Some(1));
        assert_eq!(read_date("2013-13-01"), None);
        assert_eq!(read_time("00:00:01.5"), Some(1_500_000));
        assert_eq!(read_timestamp("1970-01-01T00:00:01"), Some(1_000_000));
        assert_eq!(read_timestamp("1970-01-01 00:00:01.000001"), Some(1_000_001));
        assert_eq!(read_timestamp("1970-01-01T00:00:01Z"), None);
    }
}
