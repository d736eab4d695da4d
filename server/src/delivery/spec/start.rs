//! Where a new delivery begins.

use std::fmt;

use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a new delivery begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartSpec {
    /// At the oldest record that the stream keeps.
    TrimHorizon,
    /// Behind the newest record.
    Latest,
    /// At the first record that arrived at or after a time.
    Time(Timestamp),
}

impl fmt::Display for StartSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrimHorizon => f.write_str("trim_horizon"),
            Self::Latest => f.write_str("latest"),
            Self::Time(time) => {
                let time = chrono::DateTime::from_timestamp_millis(time.0).unwrap_or_default();
                f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
            }
        }
    }
}

impl Serialize for StartSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StartSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), chrono::DateTime::parse_from_rfc3339(&text)) {
            ("trim_horizon", _) => Ok(Self::TrimHorizon),
            ("latest", _) => Ok(Self::Latest),
            (_, Ok(time)) => Ok(Self::Time(Timestamp(time.timestamp_millis()))),
            _ => Err(serde::de::Error::custom(format!(
                "the start {text:?} is not \"trim_horizon\", \"latest\" or a time such as \"2026-11-23T08:00:00Z\""
            ))),
        }
    }
}
