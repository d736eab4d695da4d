//! When an import runs: a cron expression in a time zone.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use millrace_storage::time::Timestamp;

/// The most bytes of an expression.
const EXPRESSION_BYTES_MAX: usize = 256;

/// A cron expression and the zone that it is told in.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

impl Schedule {
    /// Reads an expression of five fields, or of six with seconds before them; `@daily` and the like are known.
    ///
    /// # Errors
    /// In words.
    pub fn parse(expression: &str, zone: Option<&str>) -> Result<Self, String> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("{} bytes are more than {EXPRESSION_BYTES_MAX}", expression.len()));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron =
            parser.parse(expression).map_err(|error| format!("{expression:?} is no cron expression: {error}"))?;
        let zone = zone.unwrap_or("UTC");
        let zone =
            Tz::from_str(zone).map_err(|_| format!("the time zone {zone:?} is not one such as Europe/Berlin"))?;
        Ok(Self { cron, zone })
    }

    /// The first time after another one; `None` where there is none, as for the 30th of February.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let time = DateTime::<Utc>::from_timestamp_millis(time.as_millis())?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&time, false).ok()?;
        Some(Timestamp(next.timestamp_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    #[test]
    fn times_follow_the_zone() {
        for (expression, zone, after, wanted) in [
            ("0 * * * *", None, "2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z"),
            ("*/5 * * * * *", None, "2026-11-25T10:00:01.5Z", "2026-11-25T10:00:05Z"),
            ("@daily", None, "2026-11-25T10:00:00Z", "2026-11-26T00:00:00Z"),
            ("0 3 * * *", Some("Europe/Berlin"), "2026-07-01T02:00:00Z", "2026-07-02T01:00:00Z"),
            ("0 3 * * *", Some("Europe/Berlin"), "2026-12-01T01:00:00Z", "2026-12-01T02:00:00Z"),
            ("0 9 * * MON", Some("America/New_York"), "2026-11-25T00:00:00Z", "2026-11-30T14:00:00Z"),
        ] {
            let schedule = Schedule::parse(expression, zone).unwrap();
            assert_eq!(schedule.next_after(at(after)), Some(at(wanted)), "{expression} {zone:?} {after}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for (expression, zone, words) in [
            ("", None, "no cron expression"),
            ("0 25 * * *", None, "0 25 * * *"),
            ("* * *", None, "* * *"),
            ("0 0 0 1 1 * 2027", None, "2027"),
            ("0 * * * *", Some("Mars/North"), "Mars/North"),
        ] {
            let error = Schedule::parse(expression, zone).unwrap_err();
            assert!(error.contains(words), "{expression}: {error}");
        }
        assert!(Schedule::parse(&format!("0 * * * *{}", " ".repeat(300)), None).unwrap_err().contains("256"));
        assert_eq!(Schedule::parse("0 0 30 2 *", None).unwrap().next_after(at("2026-01-01T00:00:00Z")), None);
    }
}
