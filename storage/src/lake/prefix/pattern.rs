//! The letters of Java's `DateTimeFormatter`, as far as they mean the same everywhere.
//!
//! Left out are weeks (`w`, `e`, `Y`), which begin on another day in each country, zones, and eras.

use std::fmt;

use chrono::{DateTime, Datelike, Timelike};
use chrono_tz::Tz;

use crate::lake::names::HOUR_MILLIS;

/// One field of a time, in at least so many digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeField {
    /// `y`, `yyy`, `yyyy`.
    Year(usize),
    /// `yy`: its last two digits.
    YearOfCentury,
    /// `M`, `MM`.
    Month(usize),
    /// `MMM`: `Jan`. `MMMM`: `January`.
    MonthName { full: bool },
    /// `d`, `dd`.
    Day(usize),
    /// `D`, `DD`, `DDD`: from 1.
    DayOfYear(usize),
    /// `E` to `EEE`: `Tue`. `EEEE`: `Tuesday`.
    DayName { full: bool },
    /// `H`, `HH`: 0 to 23.
    Hour(usize),
    /// `h`, `hh`: 1 to 12.
    HourOfHalf(usize),
    /// `a`: `AM` or `PM`.
    Half,
    /// `m`, `mm`.
    Minute(usize),
    /// `s`, `ss`.
    Second(usize),
    /// `S` to `SSS`: the first digits of the fraction.
    Fraction(usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A field of a time, to be written.
pub(super) struct Shown<'t> {
    field: TimeField,
    time: &'t DateTime<Tz>,
}

impl TimeField {
    /// The field of a run of one letter.
    pub(super) fn of_letters(letters: &str) -> Option<Self> {
        let count = letters.len();
        Some(match (letters.as_bytes().first()?, count) {
            (b'y', 2) => Self::YearOfCentury,
            (b'y', 1 | 3 | 4) => Self::Year(count),
            (b'M', 1 | 2) => Self::Month(count),
            (b'M', 3 | 4) => Self::MonthName { full: count == 4 },
            (b'd', 1 | 2) => Self::Day(count),
            (b'D', 1..=3) => Self::DayOfYear(count),
            (b'E', 1..=4) => Self::DayName { full: count == 4 },
            (b'H', 1 | 2) => Self::Hour(count),
            (b'h', 1 | 2) => Self::HourOfHalf(count),
            (b'a', 1) => Self::Half,
            (b'm', 1 | 2) => Self::Minute(count),
            (b's', 1 | 2) => Self::Second(count),
            (b'S', 1..=3) => Self::Fraction(count),
            _ => return None,
        })
    }

    pub(super) const fn of(self, time: &DateTime<Tz>) -> Shown<'_> {
        Shown { field: self, time }
    }

    /// The most bytes that any time makes of it.
    pub(super) const fn width_max(self) -> usize {
        match self {
            Self::Year(_) => 6,
            Self::MonthName { full: true } | Self::DayName { full: true } => 9,
            Self::MonthName { .. } | Self::DayName { .. } | Self::DayOfYear(_) | Self::Fraction(_) => 3,
            _ => 2,
        }
    }

    /// How long it stays the same at least.
    pub(super) const fn resolution_millis(self) -> i64 {
        match self {
            Self::Fraction(_) => 1,
            Self::Second(_) => 1_000,
            Self::Minute(_) => 60_000,
            _ => HOUR_MILLIS,
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time;
        let name =
            |f: &mut fmt::Formatter<'_>, name: &str, full: bool| f.write_str(if full { name } else { &name[..3] });
        match self.field {
            TimeField::Year(width) => write!(f, "{:0width$}", time.year()),
            TimeField::YearOfCentury => write!(f, "{:02}", time.year().rem_euclid(100)),
            TimeField::Month(width) => write!(f, "{:0width$}", time.month()),
            TimeField::MonthName { full } => name(f, MONTHS[time.month0() as usize], full),
            TimeField::Day(width) => write!(f, "{:0width$}", time.day()),
            TimeField::DayOfYear(width) => write!(f, "{:0width$}", time.ordinal()),
            TimeField::DayName { full } => name(f, DAYS[time.weekday().num_days_from_monday() as usize], full),
            TimeField::Hour(width) => write!(f, "{:0width$}", time.hour()),
            TimeField::HourOfHalf(width) => write!(f, "{:0width$}", time.hour12().1),
            TimeField::Half => f.write_str(if time.hour() < 12 { "AM" } else { "PM" }),
            TimeField::Minute(width) => write!(f, "{:0width$}", time.minute()),
            TimeField::Second(width) => write!(f, "{:0width$}", time.second()),
            TimeField::Fraction(width) => {
                let millis = time.timestamp_subsec_millis();
                write!(f, "{:0width$}", millis / 10_u32.pow(3 - width as u32))
            }
        }
    }
}
