//! Settings of the AWS protocols: what is told to clients, and the limits of Kinesis that streams do not have themselves.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Settings of `[aws]`: all services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsSettings {
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs: 12 digits.
    pub account_id: String,
    /// The most bytes of one request.
    pub request_bytes_max: ByteSize,
    /// The most bytes of all requests in memory; one more waits before it is read.
    pub request_in_flight_bytes_max: ByteSize,
    /// How long a request may take to arrive.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            // 10 MiB of records in base64, their keys, and the JSON around them.
            request_bytes_max: ByteSize::mib(16),
            request_in_flight_bytes_max: ByteSize::mib(128),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Settings of `[kinesis]`. A rate of 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KinesisSettings {
    /// How long a shard iterator or a page's token is good.
    #[serde(with = "humantime_serde")]
    pub token_lifetime: Duration,
    /// `GetRecords` calls a second for each shard.
    pub get_records_per_second: u32,
    /// `GetShardIterator` calls a second for each shard.
    pub shard_iterators_per_second: u32,
    /// Registered consumers of one stream.
    pub consumers_max: u32,
    /// Tags of one stream or consumer.
    pub tags_max: u32,
    /// `UpdateShardCount` calls for one stream within 24 hours.
    pub shard_count_updates_per_day: u32,
    /// The shards that a stream on demand begins with where its creator names none.
    pub on_demand_shard_count: u32,
    /// How long one `SubscribeToShard` lasts.
    #[serde(with = "humantime_serde")]
    pub subscription_time_max: Duration,
    /// How old a subscription must be before another of the same consumer takes it over.
    #[serde(with = "humantime_serde")]
    pub takeover_after: Duration,
    /// Between two events of a subscription that has no records to give.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
}

impl Default for KinesisSettings {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(300),
            get_records_per_second: 5,
            shard_iterators_per_second: 5,
            consumers_max: 20,
            tags_max: 50,
            shard_count_updates_per_day: 10,
            on_demand_shard_count: 4,
            subscription_time_max: Duration::from_secs(300),
            takeover_after: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(5),
        }
    }
}
