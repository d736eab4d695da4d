//! Prefixes of object names: literal text with `!{timestamp:…}` expressions, evaluated in UTC over each record's time.
//!
//! The patterns are those of Amazon Data Firehose's prefixes, as far as they tell minutes or more:
//! <https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html>.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use chrono::{DateTime, Datelike, Timelike, Utc};

use super::{Error, Result};
use crate::time::Timestamp;

/// The longest prefix, in bytes, before and after evaluation.
pub const PREFIX_BYTES_MAX: usize = 512;

/// The prefix where none is told: Hive folders down to the hour.
pub const DEFAULT_PREFIX: &str =
    "year=!{timestamp:yyyy}/month=!{timestamp:MM}/date=!{timestamp:dd}/hour=!{timestamp:HH}/";

const ALLOWED: &str = "allowed are !{timestamp:PATTERN} with yyyy, MM, dd, HH, mm, separators and 'quoted text'";

/// A checked prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

impl Prefix {
    /// The prefix of a record's time.
    #[must_use]
    pub fn evaluate(&self, time: Timestamp) -> String {
        let time = DateTime::<Utc>::from_timestamp_millis(time.0).unwrap_or_default();
        let mut prefix = String::with_capacity(self.text.len());
        for part in &self.parts {
            let written = match part {
                Part::Literal(text) => prefix.write_str(text),
                Part::Year => write!(prefix, "{:04}", time.year()),
                Part::Month => write!(prefix, "{:02}", time.month()),
                Part::Day => write!(prefix, "{:02}", time.day()),
                Part::Hour => write!(prefix, "{:02}", time.hour()),
                Part::Minute => write!(prefix, "{:02}", time.minute()),
            };
            written.expect("writing to a string cannot fail");
        }
        prefix
    }
}

impl Default for Prefix {
    fn default() -> Self {
        DEFAULT_PREFIX.parse().expect("the default prefix is valid")
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::Invalid(format!("the prefix {text:?} {why}"));
        if text.len() > PREFIX_BYTES_MAX {
            return Err(bad(format!("is {} bytes long; the limit is {PREFIX_BYTES_MAX}", text.len())));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("!{") {
            push_literal(&mut parts, &rest[..start]);
            let end = rest[start..].find('}').ok_or_else(|| bad(format!("has an expression without }}; {ALLOWED}")))?;
            parse_expression(&rest[start + 2..start + end], &mut parts).map_err(bad)?;
            rest = &rest[start + end + 1..];
        }
        push_literal(&mut parts, rest);
        let prefix = Self { text: text.to_owned(), parts };
        check_path(&prefix.evaluate(Timestamp(0))).map_err(bad)?;
        Ok(prefix)
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(last)) => last.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

fn parse_expression(expression: &str, parts: &mut Vec<Part>) -> Result<(), String> {
    let unknown = || format!("has the unknown expression !{{{expression}}}; {ALLOWED}");
    let pattern = expression.strip_prefix("timestamp:").ok_or_else(unknown)?;
    if pattern.is_empty() {
        return Err(unknown());
    }
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let quoted = &rest[1..];
            let end = quoted.find('\'').ok_or_else(|| format!("has an open quote in !{{{expression}}}; {ALLOWED}"))?;
            // Two quotes are one, as in Java's patterns.
            push_literal(parts, if end == 0 { "'" } else { &quoted[..end] });
            rest = &quoted[end + 1..];
        } else if first.is_ascii_alphabetic() {
            let run = rest.find(|c| c != first).unwrap_or(rest.len());
            parts.push(match &rest[..run] {
                "yyyy" => Part::Year,
                "MM" => Part::Month,
                "dd" => Part::Day,
                "HH" => Part::Hour,
                "mm" => Part::Minute,
                other => return Err(format!("has the unknown pattern {other:?} in !{{{expression}}}; {ALLOWED}")),
            });
            rest = &rest[run..];
        } else {
            push_literal(parts, &rest[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    if path.len() > PREFIX_BYTES_MAX {
        return Err(format!("is {} bytes long once evaluated; the limit is {PREFIX_BYTES_MAX}", path.len()));
    }
    if path.starts_with('/') || path.contains("//") {
        return Err("has an empty folder; begin without / and part folders by one /".into());
    }
    if path.chars().any(char::is_control) {
        return Err("has a control character".into());
    }
    match path.split('/').find(|folder| matches!(*folder, "." | "..")) {
        Some(folder) => Err(format!("has the folder {folder:?}, which would leave its place")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2013-01-01T10:07:00Z
    const TIME: Timestamp = Timestamp(1_357_034_820_000);

    #[track_caller]
    fn check(prefix: &str, expected: &str) {
        assert_eq!(prefix.parse::<Prefix>().unwrap().evaluate(TIME), expected);
    }

    #[test]
    fn prefixes_are_evaluated_in_utc() {
        check(DEFAULT_PREFIX, "year=2013/month=01/date=01/hour=10/");
        check("", "");
        check("raw/!{timestamp:yyyy/MM/dd/HH}/", "raw/2013/01/01/10/");
        check("!{timestamp:yyyy-MM-dd'T'HH.mm}_", "2013-01-01T10.07_");
        check("!{timestamp:'year='yyyy}/ü/", "year=2013/ü/");
        check("!{timestamp:''yyyy''}", "'2013'");
    }

    #[test]
    fn the_default_is_the_hour() {
        assert_eq!(Prefix::default().evaluate(TIME), "year=2013/month=01/date=01/hour=10/");
        assert_eq!(Prefix::default().to_string(), DEFAULT_PREFIX);
    }

    #[test]
    fn bad_prefixes_say_what_is_allowed() {
        for (prefix, why) in [
            ("!{timestamp:YYYY}", "unknown pattern \"YYYY\""),
            ("!{timestamp:yyy}", "unknown pattern \"yyy\""),
            ("!{timestamp:}", "unknown expression"),
            ("!{firehose:random-string}", "unknown expression"),
            ("!{timestamp:yyyy", "without }"),
            ("!{timestamp:'yyyy}", "open quote"),
            ("/abs/", "empty folder"),
            ("a//b", "empty folder"),
            ("a/../b", "would leave"),
            ("a\nb", "control character"),
        ] {
            let error = prefix.parse::<Prefix>().unwrap_err().to_string();
            assert!(error.contains(why), "{prefix}: {error}");
        }
    }

    #[test]
    fn the_length_is_limited() {
        assert!("a".repeat(PREFIX_BYTES_MAX).parse::<Prefix>().is_ok());
        let error = "a".repeat(PREFIX_BYTES_MAX + 1).parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains("513") && error.contains("512"), "{error}");
    }

    #[test]
    fn times_outside_the_calendar_do_not_panic() {
        assert!(!Prefix::default().evaluate(Timestamp(i64::MAX)).is_empty());
    }
}
