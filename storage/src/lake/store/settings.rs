//! The settings of a store. They come from files and the environment; this module reads neither.

use std::fmt;

use serde::Deserialize;

/// Where objects are kept and how to get at them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// `file:///absolute/folder`, `s3://bucket/prefix` or `memory:///` (which forgets all at exit).
    pub url: String,
    /// The S3-compatible service, such as `http://127.0.0.1:9000`. Default: AWS.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The S3 region. Default: `us-east-1`, which most S3-compatible services take.
    #[serde(default)]
    pub region: Option<String>,
    /// The S3 access key's id.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// The S3 access key's secret.
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
    /// Whether the endpoint may be `http://`. Default: no.
    #[serde(default)]
    pub allow_http: bool,
}

impl StoreSettings {
    /// The settings of a store that needs nothing but its URL.
    #[must_use]
    pub fn of_url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            allow_http: false,
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Call it only where it is used.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
