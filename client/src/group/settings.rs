//! What a member may be told, with defaults that suit most services.

use std::time::Duration;

use backon::ExponentialBackoff;

use crate::{Error, Position, Result, retry};

/// Settings of a [`GroupConsumer`](super::GroupConsumer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// For people who look at the group; at most 256 characters. Default: the host's name, where it is known, and the
    /// process's id.
    pub member_name: String,
    /// Where a group begins that has not been there: [`Position::TrimHorizon`], [`Position::Latest`] or
    /// [`Position::Time`]. A group that exists goes on where it was. Default [`Position::TrimHorizon`].
    pub position: Position,
    /// When processed records are noted. Default [`Checkpointing::AfterBatch`].
    pub checkpointing: Checkpointing,
    /// Whether aggregates of the Kinesis Producer Library are taken apart into their user records. Default true.
    pub deaggregate: bool,
    /// Whether a member goes on past records that nobody can read: a block that the server's disk lost, or one whose data key
    /// was destroyed. They are told by a warning. Otherwise the member ends with [`Kind::DataLoss`](crate::Kind::DataLoss).
    /// Default false.
    pub skip_unreadable: bool,
    /// Batches of each shard that are read ahead while the handler works: 1 to 64. Each is at most about 1 MiB.
    /// Default 2.
    pub prefetch_batches_max: usize,
    /// How long a shutdown waits for the handlers that are at work. What they had in hand is given to another member then.
    /// Default 30 s.
    pub shutdown_timeout: Duration,
    /// The first wait before a batch is given to the handler again; each further one doubles, with jitter. Default 100 ms.
    pub retry_delay_min: Duration,
    /// The longest wait. Default 30 s.
    pub retry_delay_max: Duration,
}

/// When processed records are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpointing {
    /// After each batch that the handler returned from without an error.
    AfterBatch,
    /// When the handler calls [`GroupBatch::checkpoint`](super::GroupBatch::checkpoint), and only then.
    Manual,
}

impl Default for GroupSettings {
    fn default() -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "process".to_owned());
        Self {
            member_name: format!("{host}/{}", std::process::id()).chars().take(256).collect(),
            position: Position::TrimHorizon,
            checkpointing: Checkpointing::AfterBatch,
            deaggregate: true,
            skip_unreadable: false,
            prefetch_batches_max: 2,
            shutdown_timeout: Duration::from_secs(30),
            retry_delay_min: Duration::from_millis(100),
            retry_delay_max: Duration::from_secs(30),
        }
    }
}

impl GroupSettings {
    pub(super) fn validate(&self) -> Result<()> {
        if !(1..=64).contains(&self.prefetch_batches_max) {
            let value = self.prefetch_batches_max;
            return Err(Error::invalid(format!("prefetch_batches_max {value} is out of range: 1 to 64")));
        }
        if self.retry_delay_min > self.retry_delay_max {
            let (min, max) = (self.retry_delay_min, self.retry_delay_max);
            return Err(Error::invalid(format!("retry_delay_min {min:?} is over retry_delay_max {max:?}")));
        }
        Ok(())
    }

    pub(super) fn delays(&self) -> ExponentialBackoff {
        retry::delays(self.retry_delay_min, self.retry_delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_at_the_limit_and_one_past_it() {
        for (prefetch_batches_max, valid) in [(0, false), (1, true), (64, true), (65, false)] {
            let settings = GroupSettings { prefetch_batches_max, ..GroupSettings::default() };
            assert_eq!(settings.validate().is_ok(), valid, "{prefetch_batches_max}");
        }
        let retry_delay_min = GroupSettings::default().retry_delay_max + Duration::from_millis(1);
        assert!(GroupSettings { retry_delay_min, ..GroupSettings::default() }.validate().is_err());
    }
}
