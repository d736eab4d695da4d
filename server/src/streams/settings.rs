//! The limits and defaults of streams. Every limit of the data plane stands here.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Settings of `[streams]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// The most streams.
    pub count_max: u32,
    /// The most open shards of one stream.
    pub shard_count_max: u32,
    /// The most shards of all streams together, closed ones whose records are still kept among them.
    pub shards_max: u32,
    /// The least open shards that a stream on demand merges down to.
    pub on_demand_shards_min: u32,
    /// The most open shards that a stream on demand splits up to.
    pub on_demand_shards_max: u32,
    /// Time between two looks at the load of streams on demand.
    #[serde(with = "humantime_serde")]
    pub on_demand_interval: Duration,
    /// How long a shard must take 80 % of its quota or more before it splits.
    #[serde(with = "humantime_serde")]
    pub on_demand_split_after: Duration,
    /// How long two neighbours must take 40 % or less of one shard's quota before they merge.
    #[serde(with = "humantime_serde")]
    pub on_demand_merge_after: Duration,
    /// The shards of a stream that is created without a number.
    pub shard_count_default: u32,
    /// How long a stream keeps records when created without a retention.
    #[serde(with = "humantime_serde")]
    pub retention_default: Duration,
    /// The shortest retention.
    #[serde(with = "humantime_serde")]
    pub retention_min: Duration,
    /// The longest retention.
    #[serde(with = "humantime_serde")]
    pub retention_max: Duration,
    /// Time between two passes that trim what is past its retention.
    #[serde(with = "humantime_serde")]
    pub retention_interval: Duration,
    /// The most that a record holds (data plus partition key) in a stream created without that limit.
    pub record_bytes_default: ByteSize,
    /// The most that a stream may allow its records.
    pub record_bytes_max: ByteSize,
    /// The most characters of a partition key.
    pub partition_key_chars_max: u32,
    /// Bytes a second into each shard of a stream created without that quota; 0 is no limit.
    pub in_bytes_per_second: ByteSize,
    /// Records a second into each shard of a stream created without that quota; 0 is no limit.
    pub in_records_per_second: u64,
    /// Bytes a second out of each shard of a stream created without that quota; 0 is no limit.
    pub out_bytes_per_second: ByteSize,
    /// How much of its quotas an idle shard saves up, as time at their rates, in a stream created without saying so.
    #[serde(with = "humantime_serde")]
    pub quota_burst_default: Duration,
    /// The most that a stream may let its shards save up.
    #[serde(with = "humantime_serde")]
    pub quota_burst_max: Duration,
    /// The longest that a put over quota waits, in streams that delay such puts; a longer wait is refused at once.
    #[serde(with = "humantime_serde")]
    pub delay_time_max: Duration,
    /// The most bytes of puts that wait for quota, of all streams together; past it they are refused.
    pub delay_bytes_max: ByteSize,
    /// The most that a stream created without that limit holds, in bytes as stored; 0 is no limit.
    pub stored_bytes_max_default: ByteSize,
    /// The most records of one put.
    pub put_records_max: u32,
    /// The most bytes of one put: data plus partition keys.
    pub put_bytes_max: ByteSize,
    /// The most bytes of all puts that are not yet durable. A `Put` past it is refused, to be tried again; a `PutStream`
    /// waits.
    pub put_in_flight_bytes_max: ByteSize,
    /// The most bytes of one stream's puts that are not yet durable, so that one busy stream leaves room to the others. What
    /// becomes of a put past it is as above.
    pub stream_in_flight_bytes_max: ByteSize,
    /// The most puts in flight on one `PutStream`.
    pub put_stream_requests_max: u32,
    /// The most bytes in flight on one `PutStream`; one put is always let in.
    pub put_stream_bytes_max: ByteSize,
    /// The most records of one answer to a reader.
    pub get_records_max: u32,
    /// The most bytes of one answer to a reader; one record is always given.
    pub get_bytes_max: ByteSize,
    /// The longest that a read may wait for a record.
    #[serde(with = "humantime_serde")]
    pub get_wait_max: Duration,
    /// The most names that a stream is read under at a time, each with an out quota of its own.
    pub consumers_max: u32,
    /// The most bytes of one message to a subscriber; one record is always given.
    pub subscribe_bytes_max: ByteSize,
    /// The most messages that wait for one subscriber.
    pub subscribe_messages_max: u32,
    /// The most streams that metrics tell apart; the others share the label `(other)`.
    pub metric_streams_max: u32,
    /// The most shards of a stream that metrics tell apart; the others share the label `other`.
    pub metric_shards_max: u32,
    /// The most shards of all streams together that metrics tell apart.
    pub metric_shards_total_max: u32,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            count_max: 1000,
            shard_count_max: 10_000,
            shards_max: 50_000,
            on_demand_shards_min: 1,
            on_demand_shards_max: 128,
            on_demand_interval: Duration::from_secs(10),
            on_demand_split_after: Duration::from_secs(60),
            on_demand_merge_after: Duration::from_secs(900),
            shard_count_default: 1,
            retention_default: 24 * HOUR,
            retention_min: HOUR,
            retention_max: 8760 * HOUR,
            retention_interval: Duration::from_secs(30),
            record_bytes_default: ByteSize::mib(1),
            record_bytes_max: ByteSize::mib(10),
            partition_key_chars_max: 256,
            in_bytes_per_second: ByteSize::mib(1),
            in_records_per_second: 1000,
            out_bytes_per_second: ByteSize::mib(2),
            quota_burst_default: Duration::from_secs(1),
            quota_burst_max: Duration::from_secs(60),
            delay_time_max: Duration::from_secs(10),
            delay_bytes_max: ByteSize::mib(24),
            stored_bytes_max_default: ByteSize::b(0),
            put_records_max: 500,
            put_bytes_max: ByteSize::mib(10),
            put_in_flight_bytes_max: ByteSize::mib(96),
            stream_in_flight_bytes_max: ByteSize::mib(32),
            put_stream_requests_max: 64,
            put_stream_bytes_max: ByteSize::mib(32),
            get_records_max: 10_000,
            get_bytes_max: ByteSize::mib(10),
            get_wait_max: Duration::from_secs(30),
            consumers_max: 50,
            subscribe_bytes_max: ByteSize::mib(1),
            subscribe_messages_max: 4,
            metric_streams_max: 256,
            metric_shards_max: 64,
            metric_shards_total_max: 1024,
        }
    }
}
