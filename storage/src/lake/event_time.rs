//! The time of a row: its record's arrival, or a field of its own.
//!
//! It must never guess a zone: an RFC 3339 time without one is an error. A pattern without one is UTC, because it was chosen.

use std::fmt;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveTime};

use super::{Error, Result};

/// The first time that is taken: 0001-01-01, in microseconds since the Unix epoch.
const MICROS_MIN: i64 = -62_135_596_800_000_000;
/// The first time that is not taken: 10000-01-01, in microseconds since the Unix epoch.
const MICROS_END: i64 = 253_402_300_800_000_000;

/// Which time a row is filed under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TimeSource {
    /// When the record arrived.
    #[default]
    Arrival,
    /// A field of the row's JSON object, at its top level.
    Field {
        /// The field's name; it becomes a column of type `timestamptz`.
        field: String,
        /// How it is written.
        format: TimeFormat,
    },
}

impl TimeSource {
    /// The name of the column that the table is partitioned by.
    #[must_use]
    pub fn column(&self) -> &str {
        match self {
            Self::Arrival => super::schema::ARRIVAL_TIME,
            Self::Field { field, .. } => field,
        }
    }
}

/// How a time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    /// A string as RFC 3339 has it. A space for the `T` and a zone of hours alone (`+00`) are taken too.
    Rfc3339,
    /// Seconds since the Unix epoch: a number, with a fraction or without, or a string of one.
    EpochSeconds,
    /// Milliseconds since the Unix epoch: a number, or a string of one.
    EpochMillis,
    /// A string in a pattern of `strftime`; in UTC where the pattern has no zone, at midnight where it has no time.
    Pattern(String),
}

impl TimeFormat {
    /// Reads `rfc3339`, `epoch_seconds`, `epoch_millis` or a pattern such as `%Y-%m-%d %H:%M:%S`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::Invalid(format!(
                "the time format {text:?} {why}; allowed are rfc3339, epoch_seconds, epoch_millis and a strftime pattern \
                 such as %Y-%m-%d %H:%M:%S"
            ))
        };
        match text {
            "rfc3339" => Ok(Self::Rfc3339),
            "epoch_seconds" => Ok(Self::EpochSeconds),
            "epoch_millis" => Ok(Self::EpochMillis),
            pattern if !pattern.contains('%') => Err(bad("is unknown")),
            pattern if StrftimeItems::new(pattern).any(|item| item == Item::Error) => {
                Err(bad("is not a valid pattern"))
            }
            pattern => {
                let sample = DateTime::from_timestamp_micros(1_357_034_820_000_000).unwrap_or_default();
                let mut written = String::new();
                // A pattern that cannot write a time, or not read what it wrote, tells no point in time.
                let format = Self::Pattern(pattern.to_owned());
                match fmt::write(&mut written, format_args!("{}", sample.format(pattern))) {
                    Ok(()) if format.read_text(&written).is_some() => Ok(format),
                    _ => Err(bad("does not tell a whole date")),
                }
            }
        }
    }

    /// The time that a JSON string tells, in microseconds since the Unix epoch.
    pub(crate) fn read_text(&self, text: &str) -> Option<i64> {
        match self {
            Self::Rfc3339 => read_rfc3339(text),
            Self::EpochSeconds | Self::EpochMillis => self.read_number(text),
            Self::Pattern(pattern) => read_pattern(text, pattern),
        }
        .and_then(in_range)
    }

    /// The time that a JSON number tells, in microseconds since the Unix epoch.
    pub(crate) fn read_number(&self, number: &str) -> Option<i64> {
        let scale = match self {
            Self::EpochSeconds => 1_000_000,
            Self::EpochMillis => 1_000,
            Self::Rfc3339 | Self::Pattern(_) => return None,
        };
        read_scaled(number, scale).and_then(in_range)
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rfc3339 => "rfc3339",
            Self::EpochSeconds => "epoch_seconds",
            Self::EpochMillis => "epoch_millis",
            Self::Pattern(pattern) => pattern,
        })
    }
}

fn in_range(micros: i64) -> Option<i64> {
    (MICROS_MIN..MICROS_END).contains(&micros).then_some(micros)
}

/// RFC 3339, with the two liberties of [`TimeFormat::Rfc3339`], in microseconds since the Unix epoch.
pub(crate) fn read_rfc3339(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z"));
    time.ok().map(|time| time.timestamp_micros())
}

fn read_pattern(text: &str, pattern: &str) -> Option<i64> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, StrftimeItems::new(pattern)).ok()?;
    if let Ok(time) = parsed.to_datetime() {
        return Some(time.timestamp_micros());
    }
    if parsed.offset().is_some() {
        return None;
    }
    if let Ok(time) = parsed.to_naive_datetime_with_offset(0) {
        return Some(time.and_utc().timestamp_micros());
    }
    // Only a pattern without any time of day means midnight.
    let timeless = parsed.hour_mod_12().is_none() && parsed.minute().is_none() && parsed.second().is_none();
    let date = parsed.to_naive_date().ok().filter(|_| timeless)?;
    Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

/// A decimal number times `scale`, exact as far as whole microseconds go.
fn read_scaled(number: &str, scale: i64) -> Option<i64> {
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale);
    }
    let (whole, fraction) = number.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(fraction) {
        // An exponent: rare, and no clock counts so finely that the nearest double were wrong.
        let value = number.parse::<f64>().ok()? * scale as f64;
        return (value.is_finite() && value.abs() < 9e18).then_some(value as i64);
    }
    let mut rest = 0;
    let mut unit = scale / 10;
    for digit in fraction.bytes().take(6) {
        rest += i64::from(digit - b'0') * unit;
        unit /= 10;
    }
    let whole_scaled = whole.parse::<i64>().ok()?.checked_mul(scale)?;
    if number.starts_with('-') { whole_scaled.checked_sub(rest) } else { whole_scaled.checked_add(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROS: i64 = 1_357_034_820_000_000; // 2013-01-01T10:07:00Z

    #[test]
    fn times_are_read_in_their_format() {
        for (format, text, expected) in [
            ("rfc3339", "2013-01-01T10:07:00Z", Some(MICROS)),
            ("rfc3339", "2013-01-01T11:07:00.000001+01:00", Some(MICROS + 1)),
            ("rfc3339", "2013-01-01 10:07:00+00", Some(MICROS)),
            ("rfc3339", "2013-01-01 10:07:00", None),
            ("rfc3339", "yesterday", None),
            ("epoch_seconds", "1357034820", Some(MICROS)),
            ("epoch_millis", "1357034820001", Some(MICROS + 1000)),
            ("%Y-%m-%d %H:%M:%S", "2013-01-01 10:07:00", Some(MICROS)),
            ("%d/%m/%Y %H:%M %z", "01/01/2013 11:07 +0100", Some(MICROS)),
            ("%Y%m%d", "20130101", Some(1_356_998_400_000_000)),
            ("%Y%m%d", "20130132", None),
            ("%s", "1357034820", Some(MICROS)),
        ] {
            let format = TimeFormat::parse(format).unwrap();
            assert_eq!(format.read_text(text), expected, "{format} {text}");
        }
    }

    #[test]
    fn numbers_are_read_exactly() {
        let seconds = TimeFormat::EpochSeconds;
        assert_eq!(seconds.read_number("1357034820"), Some(MICROS));
        assert_eq!(seconds.read_number("1357034820.123456789"), Some(MICROS + 123_456));
        assert_eq!(seconds.read_number("-0.5"), Some(-500_000));
        assert_eq!(seconds.read_number("1.35703482e9"), Some(MICROS));
        assert_eq!(TimeFormat::EpochMillis.read_number("1357034820000.5"), Some(MICROS + 500));
        assert_eq!(TimeFormat::Rfc3339.read_number("1"), None);
        for number in ["9223372036854775807", "-1e300", "1e300", "999999999999999999999", "253402300800", ".", "-."] {
            assert_eq!(seconds.read_number(number), None, "{number}");
        }
        assert_eq!(seconds.read_number("253402300799"), Some(253_402_300_799_000_000));
    }

    #[test]
    fn bad_formats_say_what_is_allowed() {
        for (format, why) in [("iso", "unknown"), ("%Q", "not a valid pattern"), ("%H:%M", "whole date")] {
            let error = TimeFormat::parse(format).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("epoch_millis"), "{format}: {error}");
        }
    }
}
