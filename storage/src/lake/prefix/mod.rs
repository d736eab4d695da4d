//! Prefixes of object names: literal text and `!{…}` expressions of each record's time, its partition keys and its fate.
//!
//! The expressions are those of Amazon Data Firehose's prefixes
//! (<https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html>), with `millrace` for `firehose` where one likes. What
//! a prefix gives must depend on the batch and the record alone: a "random" string is derived from both, see
//! [`FileNames::folder`](super::FileNames::folder). It must never leave the folder that it is below.

mod parse;
mod pattern;

use std::fmt::{self, Write as _};
use std::str::FromStr;

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;

use self::pattern::TimeField;
use super::names::HOUR_MILLIS;
use super::row::Cause;
use super::{Error, Result};
use crate::time::Timestamp;

/// The longest prefix, in bytes, before and after evaluation.
pub const PREFIX_BYTES_MAX: usize = 512;
/// The longest folder in an evaluated prefix, in bytes: what file systems take.
pub const FOLDER_BYTES_MAX: usize = 255;
/// The longest text after an evaluated prefix's last `/`, in bytes: the object's name follows it.
pub const STEM_BYTES_MAX: usize = 64;

/// The prefix where none is told: Hive folders down to the hour.
pub const DEFAULT_PREFIX: &str =
    "year=!{timestamp:yyyy}/month=!{timestamp:MM}/date=!{timestamp:dd}/hour=!{timestamp:HH}/";

/// The prefix of error files where none is told.
pub const DEFAULT_ERROR_PREFIX: &str = "errors/!{millrace:error-output-type}/year=!{timestamp:yyyy}/month=!{timestamp:MM}/date=!{timestamp:dd}/hour=!{timestamp:HH}/";

/// Stands in an evaluated prefix where a random string comes; no other control character can.
pub(super) const RANDOM: char = '\0';
/// How long a random string is.
pub(super) const RANDOM_LEN: usize = 11;

/// A checked prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    parts: Vec<Part>,
    keys: Vec<KeyName>,
    zone: Tz,
}

/// A partition key that a prefix asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyName {
    /// `!{partitionKeyFromQuery:NAME}`: the answer to one of the delivery's queries.
    Query(String),
    /// `!{partitionKeyFromTransform:NAME}`: what the transform chain told of the output.
    Transform(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Time(TimeField),
    /// The place among `keys`.
    Key(usize),
    Random,
    /// The cause as Millrace calls it, or in Firehose's words.
    ErrorType {
        of_firehose: bool,
    },
}

/// What a prefix is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Data: keys are known, causes are not.
    Data,
    /// Records that were set aside: the other way round.
    Errors,
}

impl Prefix {
    /// Reads the prefix of files for records that were set aside.
    pub fn of_errors(text: &str) -> Result<Self> {
        Self::parse(text, Use::Errors)
    }

    /// The same prefix with its times in another zone than UTC, by its name in the IANA database, such as `Europe/Berlin`.
    pub fn in_zone(mut self, zone: &str) -> Result<Self> {
        self.zone = zone.parse().map_err(|_| {
            Error::Invalid(format!("the time zone {zone:?} is unknown; allowed are IANA names such as Europe/Berlin"))
        })?;
        Ok(self)
    }

    /// The partition keys that it needs, in the order in which [`Prefix::evaluate`] takes them.
    #[must_use]
    pub fn keys(&self) -> &[KeyName] {
        &self.keys
    }

    /// The prefix of a record's time and of its partition keys, which are safe already.
    ///
    /// Random strings are left out; [`FileNames::folder`](super::FileNames::folder) fills them in.
    #[must_use]
    pub fn evaluate(&self, time: Timestamp, keys: &[String]) -> String {
        self.evaluate_as(time, keys, None)
    }

    /// The prefix of a record that was set aside.
    #[must_use]
    pub fn evaluate_error(&self, time: Timestamp, cause: Cause) -> String {
        self.evaluate_as(time, &[], Some(cause))
    }

    fn evaluate_as(&self, time: Timestamp, keys: &[String], cause: Option<Cause>) -> String {
        let time = DateTime::<Utc>::from_timestamp_millis(time.0).unwrap_or_default();
        let time = self.zone.from_utc_datetime(&time.naive_utc());
        let mut prefix = String::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                Part::Literal(text) => prefix.push_str(text),
                Part::Time(field) => {
                    write!(prefix, "{}", field.of(&time)).expect("writing to a string cannot fail");
                }
                Part::Key(index) => prefix.push_str(keys.get(*index).map_or("", String::as_str)),
                Part::Random => prefix.push(RANDOM),
                Part::ErrorType { of_firehose } => {
                    let word = |cause: Cause| if *of_firehose { cause.of_firehose() } else { cause.as_str() };
                    prefix.push_str(cause.map_or("", word));
                }
            }
        }
        prefix
    }

    /// Checks that no time makes the prefix of these keys one that a store or a file system refuses; says why one would.
    pub fn check_keys(&self, keys: &[String]) -> Result<(), String> {
        let mut widest = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => widest.push_str(text),
                Part::Time(field) => (0..field.width_max()).for_each(|_| widest.push('0')),
                Part::Key(index) => widest.push_str(keys.get(*index).map_or("0", String::as_str)),
                Part::Random => (0..RANDOM_LEN).for_each(|_| widest.push('0')),
                Part::ErrorType { .. } => (0..Cause::WORD_LEN_MAX).for_each(|_| widest.push('0')),
            }
        }
        check_path(&widest)
    }

    /// For how long after a whole multiple of itself the prefix stays the same, in milliseconds.
    pub(super) fn resolution_millis(&self) -> i64 {
        let of = |part: &Part| match part {
            Part::Time(field) => field.resolution_millis(),
            _ => HOUR_MILLIS,
        };
        let finest = self.parts.iter().map(of).min().unwrap_or(HOUR_MILLIS);
        // Of old, clocks differed from UTC by odd seconds.
        if self.zone == Tz::UTC { finest } else { finest.min(1_000) }
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
        Self::parse(text, Use::Data)
    }
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
    if let Some(folder) = path.split('/').find(|folder| matches!(*folder, "." | "..")) {
        return Err(format!("has the folder {folder:?}, which would leave its place"));
    }
    let stem = path.rsplit('/').next().unwrap_or_default().len();
    if stem > STEM_BYTES_MAX {
        return Err(format!("has {stem} bytes after its last /; the limit is {STEM_BYTES_MAX}"));
    }
    match path.split('/').map(str::len).max() {
        Some(longest) if longest > FOLDER_BYTES_MAX => {
            Err(format!("has a folder of {longest} bytes; the limit is {FOLDER_BYTES_MAX}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
