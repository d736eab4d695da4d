//! A `[[stream]]` of a pipeline file.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::Size;
use crate::streams::OverQuota;

/// A `[[stream]]`. Fields that are left out take the server's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// The stream's name.
    pub name: String,
    /// Who decides the number of shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeSpec>,
    /// How many shards; where the stream is on demand, those that it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// How long records are kept.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub retention: Option<Duration>,
    /// The most that one record may hold: data plus partition key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_size_max: Option<Size>,
    /// Whether new records are encrypted at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<bool>,
    /// What one shard takes and gives each second.
    #[serde(default, skip_serializing_if = "QuotaSpec::is_empty")]
    pub quota: QuotaSpec,
    /// What becomes of a put that is over a shard's quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_quota: Option<OverQuota>,
    /// The most that the stream holds, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_size_max: Option<RateSpec>,
    /// Whether what a delivery has not committed outlives the retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_for_deliveries: Option<bool>,
}

/// Who decides how many shards a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeSpec {
    /// Its declaration.
    Provisioned,
    /// Its load.
    OnDemand,
}

/// A `[stream.quota]`: for each shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    /// Bytes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_bytes_per_second: Option<RateSpec>,
    /// Records in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_records_per_second: Option<RateSpec>,
    /// Bytes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_bytes_per_second: Option<RateSpec>,
    /// How much of each an idle shard saves up, as time at its rate.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub burst: Option<Duration>,
}

impl QuotaSpec {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rate: a number, a size such as `"2MiB"`, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateSpec {
    /// No limit.
    Off,
    /// So many each second, at least 1.
    PerSecond(u64),
}

impl Serialize for RateSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::PerSecond(rate) => serializer.serialize_u64(*rate),
        }
    }
}

impl<'de> Deserialize<'de> for RateSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = toml::Value::deserialize(deserializer)?;
        let rate = match &value {
            toml::Value::String(text) if text == "off" => return Ok(Self::Off),
            toml::Value::String(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
            toml::Value::Integer(rate) => u64::try_from(*rate).ok(),
            _ => None,
        };
        match rate {
            Some(rate) if rate > 0 => Ok(Self::PerSecond(rate)),
            _ => Err(D::Error::custom(format!("a rate of {value} is not a number above 0, a size or \"off\""))),
        }
    }
}
