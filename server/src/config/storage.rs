//! The settings of the storage layers as operators write them: with units, defaults from the data folder, and secrets that
//! are never shown.

use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use millrace_storage::lake::store::{Secret, StoreEncryption, StoreSettings};
use millrace_storage::log::ProducerLimits;
use millrace_storage::log::rocks::LogSettings;
use serde::{Deserialize, Serialize, Serializer};

/// Settings of `[store]`, and of each `[stores.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreOptions {
    /// `file:///absolute/folder`, `s3://bucket/prefix` or `memory:///`; the folder `lake` of the data folder when not set.
    pub url: Option<String>,
    /// The S3-compatible service's URL; AWS when not set.
    pub endpoint: Option<String>,
    /// The S3 region.
    pub region: Option<String>,
    /// The S3 access key's id.
    pub access_key_id: Option<String>,
    /// The S3 access key's secret.
    #[serde(serialize_with = "hide")]
    pub secret_access_key: Option<Secret>,
    /// Whether the endpoint may be `http://`.
    pub allow_http: bool,
    /// Server-side encryption of objects; the bucket's own when not set.
    pub encryption: Option<StoreEncryption>,
    /// The KMS key of `sse-kms` and `dsse-kms`; the account's default when not set.
    pub kms_key_id: Option<String>,
    /// Whether `sse-kms` uses a bucket key.
    pub bucket_key: Option<bool>,
    /// The key of `sse-c`: 32 bytes in base64.
    #[serde(serialize_with = "hide")]
    pub customer_key: Option<Secret>,
}

/// The longest name of a store.
const NAME_BYTES_MAX: usize = 64;

fn hide<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_none()
}

impl StoreOptions {
    /// What the store is opened with.
    #[must_use]
    pub fn settings(&self, data_dir: &Path) -> StoreSettings {
        StoreSettings {
            url: self.url.clone().unwrap_or_else(|| format!("file://{}/lake", data_dir.display())),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            allow_http: self.allow_http,
            encryption: self.encryption,
            kms_key_id: self.kms_key_id.clone(),
            bucket_key: self.bucket_key,
            customer_key: self.customer_key.clone(),
        }
    }

    /// What the store `[stores.NAME]` is opened with. Else what is wrong with it.
    pub fn named_settings(&self, name: &str) -> Result<StoreSettings, String> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_name) {
            return Err(format!(
                "stores.{name}: a store's name has 1 to {NAME_BYTES_MAX} lower-case letters, digits and '-'"
            ));
        }
        if self.url.is_none() {
            return Err(format!("stores.{name}.url is not set: it says what of the store may be read"));
        }
        Ok(self.settings(Path::new("")))
    }
}

/// Settings of `[backup]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupOptions {
    /// `file:///absolute/folder` or `s3://bucket/prefix`; the folder `backups` of the data folder when not set.
    pub url: Option<String>,
}

impl BackupOptions {
    /// What the place of backups is opened with: for S3 as the tables' store is, but for the URL.
    #[must_use]
    pub fn settings(&self, store: &StoreOptions, data_dir: &Path) -> StoreSettings {
        let url = self.url.clone().unwrap_or_else(|| format!("file://{}/backups", data_dir.display()));
        StoreSettings { url, ..store.settings(data_dir) }
    }
}

/// Settings of `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// Memory for the newest blocks, which readers of the tail are served from.
    pub tail_cache_bytes_max: ByteSize,
    /// Bytes of records that wait to be durable; a put past it waits.
    pub queue_bytes_max: ByteSize,
    /// Bytes that one write and sync takes.
    pub group_bytes_max: ByteSize,
    /// Bytes of one block.
    pub block_bytes_max: ByteSize,
    /// Blocks gathered in memory before they get a file of their own.
    pub write_buffer_bytes: ByteSize,
    /// Producers that the log knows again, counted once for each shard.
    pub producers_max: usize,
    /// Sequences of each producer that the log knows again.
    pub producer_sequences_max: usize,
    /// How long it knows a producer that puts nothing.
    #[serde(with = "humantime_serde")]
    pub producer_idle_max: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        let defaults = LogSettings::new("");
        let size = |bytes: usize| ByteSize::b(bytes as u64);
        Self {
            tail_cache_bytes_max: size(defaults.tail_cache_bytes_max),
            queue_bytes_max: size(defaults.queue_bytes_max),
            group_bytes_max: size(defaults.group_bytes_max),
            block_bytes_max: size(defaults.block_bytes_max),
            write_buffer_bytes: size(defaults.write_buffer_bytes),
            producers_max: defaults.producers.producers_max,
            producer_sequences_max: defaults.producers.sequences_max,
            producer_idle_max: defaults.producers.idle_max,
        }
    }
}

impl LogOptions {
    /// What the log is opened with, in the folder `log` of the data folder.
    #[must_use]
    pub fn settings(&self, data_dir: &Path) -> LogSettings {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        LogSettings {
            tail_cache_bytes_max: bytes(self.tail_cache_bytes_max),
            queue_bytes_max: bytes(self.queue_bytes_max),
            group_bytes_max: bytes(self.group_bytes_max),
            block_bytes_max: bytes(self.block_bytes_max),
            write_buffer_bytes: bytes(self.write_buffer_bytes),
            producers: ProducerLimits {
                producers_max: self.producers_max,
                sequences_max: self.producer_sequences_max,
                idle_max: self.producer_idle_max,
            },
            ..LogSettings::new(data_dir.join("log"))
        }
    }
}
