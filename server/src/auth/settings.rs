//! The settings of authentication.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether callers are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody may do everything. Binds to loopback only, unless forced.
    #[default]
    Off,
    /// Nobody may do anything without a principal's grant.
    On,
}

/// Settings of `[principals]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrincipalSettings {
    /// The most principals.
    pub count_max: u32,
    /// The most grants of one principal.
    pub grants_max: u32,
    /// The most principals that metrics tell apart; the others share the label `(other)`.
    pub metric_principals_max: u32,
}

impl Default for PrincipalSettings {
    fn default() -> Self {
        Self { count_max: 1000, grants_max: 100, metric_principals_max: 256 }
    }
}

/// Settings of `[sigv4]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigV4Settings {
    /// The region that signatures must name; any, when not set.
    pub region: Option<String>,
    /// The most that a client's clock may be off; a signature is refused when it is older.
    #[serde(with = "humantime_serde")]
    pub clock_skew_max: Duration,
    /// The longest life of a presigned URL.
    #[serde(with = "humantime_serde")]
    pub presigned_life_max: Duration,
    /// Whether a request may leave its body out of the signature (`UNSIGNED-PAYLOAD`).
    pub allow_unsigned_payload: bool,
}

impl Default for SigV4Settings {
    fn default() -> Self {
        Self {
            region: None,
            clock_skew_max: Duration::from_secs(300),
            presigned_life_max: Duration::from_secs(7 * 24 * 3600),
            allow_unsigned_payload: false,
        }
    }
}
