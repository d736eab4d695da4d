//! What a producer may be told, with defaults that suit most services, and the limits of each.

use std::time::Duration;

use backon::ExponentialBackoff;

use crate::{Error, Result, retry};

/// The most records that a server takes in one batch.
pub(super) const BATCH_RECORDS_MAX: usize = 500;
/// The most bytes that a server takes in one batch.
pub(super) const BATCH_BYTES_MAX: usize = 10 << 20;
/// The most records that are gathered to be packed into one batch.
const GATHERED_RECORDS_MAX: usize = 50_000;
const IN_FLIGHT_MAX: usize = 256;
/// As many sequences of a producer as a server knows again.
const IN_FLIGHT_IDEMPOTENT_MAX: usize = 32;

/// Settings of a [`Producer`](crate::Producer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSettings {
    /// Records in a batch at most: 1 to 500. Default 500.
    pub batch_records_max: usize,
    /// Bytes in a batch at most, data and partition keys together: 1 to 10 MiB. A larger record travels alone.
    /// Default 1 MiB.
    pub batch_bytes_max: usize,
    /// How long a batch that is not full waits for more records while others are under way. With nothing under way
    /// it goes at once, so that a slow producer pays no wait. Default 5 ms.
    pub linger: Duration,
    /// Batches under way at most: 1 to 32, and to 256 where `idempotent` is off. Default 8.
    pub in_flight_max: usize,
    /// Gives each batch a name, so that the server stores it once however often it is sent, and a batch whose fate is unknown
    /// is sent again. Default true. What is sent again more than a day later, or after 100,000 other producers, may not be
    /// known any more; it fails then and is not stored twice.
    pub idempotent: bool,
    /// Bytes of records accepted but not yet settled at most, with 128 bytes counted on top of each record. A send
    /// waits for room, so that a slow server slows its producers rather than growing their memory. Default 32 MiB.
    pub buffer_bytes_max: usize,
    /// Packs small records for the same shard into one of at most so many bytes, key included, as the Kinesis Producer Library
    /// does: 1 to 10 MiB, and never past the stream's limit on records. A shard's quota and the log then count one record
    /// where there were many. Whoever reads must take them apart: consumer groups of this crate do, a delivery does with the
    /// transform `deaggregate`, [`Record::user_records`](crate::Record::user_records) does for other readers. The order of a
    /// key may change while its shard is split or merged. Up to 50,000 records make a batch then, whatever
    /// `batch_records_max` says. Default none: records stay as they are.
    pub aggregate_bytes_max: Option<usize>,
    /// When a record is tried again.
    pub retry: RetrySettings,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            batch_records_max: BATCH_RECORDS_MAX,
            batch_bytes_max: 1 << 20,
            linger: Duration::from_millis(5),
            in_flight_max: 8,
            idempotent: true,
            buffer_bytes_max: 32 << 20,
            aggregate_bytes_max: None,
            retry: RetrySettings::default(),
        }
    }
}

impl ProducerSettings {
    /// How many records are gathered before a batch is sent.
    pub(super) fn gathered_records_max(&self) -> usize {
        if self.aggregate_bytes_max.is_some() { GATHERED_RECORDS_MAX } else { self.batch_records_max }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        within("batch_records_max", self.batch_records_max, BATCH_RECORDS_MAX)?;
        within("batch_bytes_max", self.batch_bytes_max, BATCH_BYTES_MAX)?;
        let in_flight_max = if self.idempotent { IN_FLIGHT_IDEMPOTENT_MAX } else { IN_FLIGHT_MAX };
        within("in_flight_max", self.in_flight_max, in_flight_max)?;
        if let Some(most) = self.aggregate_bytes_max {
            within("aggregate_bytes_max", most, BATCH_BYTES_MAX)?;
        }
        within("buffer_bytes_max", self.buffer_bytes_max, u32::MAX as usize)?;
        if self.retry.delay_min > self.retry.delay_max {
            return Err(Error::invalid(format!(
                "retry.delay_min {:?} is over retry.delay_max {:?}",
                self.retry.delay_min, self.retry.delay_max
            )));
        }
        Ok(())
    }
}

fn within(name: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} {value} is out of range: 1 to {most}")))
}

/// When a producer tries a record again.
///
/// What certainly was not stored is tried again: throttled records, and records that had not left when a connection failed.
/// So is a record whose fate is unknown, because the connection broke after it left, as the server knows its batch again and
/// stores it once. Without [`ProducerSettings::idempotent`] such a record fails with
/// [`Error::may_have_applied`](crate::Error::may_have_applied).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// The first wait; each further one doubles, with jitter. Default 50 ms. A server's own advice comes first.
    pub delay_min: Duration,
    /// The longest wait. Default 5 s.
    pub delay_max: Duration,
    /// How long a record is tried while nothing is stored: since its batch was begun or since the producer's last record
    /// was stored, whichever was later, so that a throttled stream slows a producer and does not fail it. Zero never
    /// tries again. Default 120 s.
    pub time_max: Duration,
    /// Also try records again whose fate is unknown where the producer is not idempotent. Records may then be stored twice.
    /// Default false.
    pub unknown: bool,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(50),
            delay_max: Duration::from_secs(5),
            time_max: Duration::from_secs(120),
            unknown: false,
        }
    }
}

impl RetrySettings {
    pub(crate) fn delays(&self) -> ExponentialBackoff {
        retry::delays(self.delay_min, self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_at_the_limit_and_one_past_it() {
        let check = |change: fn(&mut ProducerSettings, usize), most: usize| {
            for (value, valid) in [(0, false), (1, true), (most, true), (most + 1, false)] {
                let mut settings = ProducerSettings::default();
                change(&mut settings, value);
                assert_eq!(settings.validate().is_ok(), valid, "{value} of {most}: {settings:?}");
            }
        };
        check(|settings, value| settings.batch_records_max = value, 500);
        check(|settings, value| settings.batch_bytes_max = value, 10 << 20);
        check(|settings, value| settings.aggregate_bytes_max = Some(value), 10 << 20);
        check(|settings, value| settings.in_flight_max = value, 32);
        let any =
            |settings: &mut ProducerSettings, value| (settings.idempotent, settings.in_flight_max) = (false, value);
        check(any, 256);
        check(|settings, value| settings.buffer_bytes_max = value, u32::MAX as usize);
    }

    #[test]
    fn retry_delays_that_cross_are_refused() {
        let mut settings = ProducerSettings::default();
        settings.retry.delay_min = settings.retry.delay_max + Duration::from_millis(1);
        assert!(settings.validate().unwrap_err().message().contains("retry.delay_min"));
    }
}
