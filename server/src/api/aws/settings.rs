//! Settings of the AWS protocols: what is told to clients, and the limits of Kinesis that streams do not have themselves.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most bytes of the folder's name.
const FOLDER_BYTES_MAX: usize = 128;

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
    /// How many times AWS' own rates the calls of the control plane may come; 0 is no limit. Off, as they protect what
    /// many accounts share.
    pub control_rates_multiple: u32,
    /// What one value of the metrics under CloudWatch's names covers; 0 is none of them.
    #[serde(with = "humantime_serde")]
    pub cloudwatch_period: Duration,
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
            control_rates_multiple: 0,
            cloudwatch_period: Duration::ZERO,
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

/// Settings of `[firehose]`. A rate of 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirehoseSettings {
    /// The folder of the store that buckets are folders of.
    pub folder: String,
    /// Delivery streams.
    pub delivery_streams_max: u32,
    /// Bytes a second into each delivery stream that takes records directly.
    pub in_bytes_per_second: ByteSize,
    /// Records a second into each.
    pub in_records_per_second: u64,
    /// `PutRecord` and `PutRecordBatch` calls a second for each.
    pub put_requests_per_second: u32,
    /// Tags of one delivery stream.
    pub tags_max: u32,
    /// How long a deletion waits for what is buffered to be delivered.
    #[serde(with = "humantime_serde")]
    pub delete_flush_timeout: Duration,
}

impl Default for FirehoseSettings {
    fn default() -> Self {
        Self {
            folder: "firehose".to_owned(),
            delivery_streams_max: 500,
            in_bytes_per_second: ByteSize::mib(5),
            in_records_per_second: 5_000,
            put_requests_per_second: 2_000,
            tags_max: 50,
            delete_flush_timeout: Duration::from_secs(20),
        }
    }
}

impl FirehoseSettings {
    /// Checks the folder, which all objects lie below.
    pub(super) fn validate(&self) -> Result<()> {
        let part_is_bad =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
        if self.folder.len() > FOLDER_BYTES_MAX || self.folder.split('/').any(part_is_bad) {
            let folder = &self.folder;
            let words = format_args!("firehose.folder {folder:?} is not a relative folder such as \"firehose\"");
            return Err(Error::invalid(words));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_buckets_cannot_leave_the_store() {
        for (folder, fits) in
            [("firehose", true), ("a/b", true), ("", false), ("/a", false), ("a/../b", false), ("a//b", false)]
        {
            let settings = FirehoseSettings { folder: folder.to_owned(), ..FirehoseSettings::default() };
            assert_eq!(settings.validate().is_ok(), fits, "{folder:?}");
        }
    }
}
