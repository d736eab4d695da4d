//! The settings of a store. They come from files and the environment; this module reads neither.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// Server-side encryption of objects. Default: the bucket's own.
    #[serde(default)]
    pub encryption: Option<StoreEncryption>,
    /// The KMS key of [`StoreEncryption::Kms`] and [`StoreEncryption::DualKms`]. Default: the account's own.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// Whether KMS encryption uses a bucket key. Default: the bucket's own setting.
    #[serde(default)]
    pub bucket_key: Option<bool>,
    /// The key of [`StoreEncryption::Customer`]: 32 bytes in base64.
    #[serde(default)]
    pub customer_key: Option<Secret>,
}

/// How an S3-compatible service encrypts the objects that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreEncryption {
    /// By keys of the service.
    #[serde(rename = "sse-s3")]
    Service,
    /// By a key of the key management service.
    #[serde(rename = "sse-kms")]
    Kms,
    /// Twice, by a key of the key management service.
    #[serde(rename = "dsse-kms")]
    DualKms,
    /// By a key that comes with every request, and that the service does not keep.
    #[serde(rename = "sse-c")]
    Customer,
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
            encryption: None,
            kms_key_id: None,
            bucket_key: None,
            customer_key: None,
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
