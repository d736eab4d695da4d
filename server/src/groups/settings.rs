//! The limits and times of consumer groups.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of `[groups]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSettings {
    /// The most groups of one stream.
    pub stream_groups_max: u32,
    /// The most members of one group.
    pub members_max: u32,
    /// A member whose last heartbeat is so long ago has lost its leases; at least 100 ms. Members send three in this time.
    #[serde(with = "humantime_serde")]
    pub lease_ttl: Duration,
    /// How long a member gets to finish what it has in hand of a shard that is to move to another member.
    #[serde(with = "humantime_serde")]
    pub hand_over_timeout: Duration,
}

/// Less than this, and a busy machine loses leases for nothing.
const LEASE_TTL_MIN: Duration = Duration::from_millis(100);

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            stream_groups_max: 20,
            members_max: 256,
            lease_ttl: Duration::from_secs(10),
            hand_over_timeout: Duration::from_secs(30),
        }
    }
}

impl GroupSettings {
    /// How long a lease lasts without a heartbeat.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        self.lease_ttl.max(LEASE_TTL_MIN)
    }

    /// How often members are to send heartbeats.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.lease_ttl() / 3
    }
}
