//! The settings of the process, composed from the modules' settings. The only reader of the environment.
//!
//! Defaults < `millrace.toml` < `MILLRACE_*` < flags. A setting's environment name is its key in capitals, with `_` for `.`.

mod layers;
mod help;
mod storage;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::aws::{AwsSettings, FirehoseSettings, KinesisSettings};
use crate::auth::{AuditSettings, AuthMode, PrincipalSettings, SigV4Settings};
use crate::delivery::DeliverySettings;
use crate::disk::DiskSettings;
use crate::encryption::EncryptionSettings;
use crate::groups::GroupSettings;
use crate::imports::ImportSettings;
use crate::query::QuerySettings;
use crate::serve::{HttpSettings, TlsSettings};
use crate::streams::StreamSettings;
use crate::transform::TransformSettings;

pub use help::settings_help;
pub use layers::{ConfigError, Layers, Loaded};
pub use storage::{BackupOptions, LogOptions, StoreOptions};

/// All settings of `millrace serve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Everything the process keeps on this machine's disk.
    pub data_dir: PathBuf,
    /// Where gRPC listens; port 0 takes a free one.
    pub grpc_listen: SocketAddr,
    /// Where `/healthz`, `/readyz`, `/metrics` and the AWS protocols are served; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Where the AWS protocols are served alone, beside `http_listen`; nowhere when not set.
    pub kinesis_listen: Option<SocketAddr>,
    /// Whether callers are authenticated.
    pub auth: AuthMode,
    /// Whether ports may be open to other machines although auth is off.
    pub auth_off_anywhere: bool,
    /// The most gRPC connections at a time; one more is refused.
    pub connections_max: u32,
    /// The most time that calls in flight get to finish at shutdown.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// Where the process dies, for crash tests; empty: nowhere. See `millrace_storage::failpoint`.
    pub failpoint: String,
    /// The process's own log lines.
    pub logging: LoggingSettings,
    /// The HTTP port.
    pub http: HttpSettings,
    /// TLS of both ports.
    pub tls: TlsSettings,
    /// Principals and their limits.
    pub principals: PrincipalSettings,
    /// What Signature V4 must keep to.
    pub sigv4: SigV4Settings,
    /// The audit log.
    pub audit: AuditSettings,
    /// The disk that the data folder lies on, and when it counts as full.
    pub disk: DiskSettings,
    /// The object store that tables and exports lie in.
    pub store: StoreOptions,
    /// Further stores, by name, that imports may read.
    pub stores: BTreeMap<String, StoreOptions>,
    /// Where backups go.
    pub backup: BackupOptions,
    /// The log of records.
    pub log: LogOptions,
    /// The master key of encryption at rest.
    pub encryption: EncryptionSettings,
    /// Streams and their limits.
    pub streams: StreamSettings,
    /// Consumer groups and their limits.
    pub groups: GroupSettings,
    /// Transforms and their limits.
    pub transform: TransformSettings,
    /// Deliveries and their limits.
    pub delivery: DeliverySettings,
    /// Imports and their limits.
    pub import: ImportSettings,
    /// SQL and its limits.
    pub query: QuerySettings,
    /// The AWS protocols.
    pub aws: AwsSettings,
    /// Limits of Kinesis that streams do not have themselves.
    pub kinesis: KinesisSettings,
    /// Firehose.
    pub firehose: FirehoseSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("millrace-data"),
            grpc_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            http_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7080)),
            kinesis_listen: None,
            auth: AuthMode::default(),
            auth_off_anywhere: false,
            connections_max: 4096,
            drain_timeout: Duration::from_secs(20),
            failpoint: String::new(),
            logging: LoggingSettings::default(),
            http: HttpSettings::default(),
            tls: TlsSettings::default(),
            principals: PrincipalSettings::default(),
            sigv4: SigV4Settings::default(),
            audit: AuditSettings::default(),
            disk: DiskSettings::default(),
            store: StoreOptions::default(),
            stores: BTreeMap::new(),
            backup: BackupOptions::default(),
            log: LogOptions::default(),
            encryption: EncryptionSettings::default(),
            streams: StreamSettings::default(),
            groups: GroupSettings::default(),
            transform: TransformSettings::default(),
            delivery: DeliverySettings::default(),
            import: ImportSettings::default(),
            query: QuerySettings::default(),
            aws: AwsSettings::default(),
            kinesis: KinesisSettings::default(),
            firehose: FirehoseSettings::default(),
        }
    }
}

/// Settings of `[logging]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingSettings {
    /// Text for people or JSON for machines.
    pub format: LoggingFormat,
    /// A level, or directives such as `info,millrace_server::streams=debug`.
    pub level: String,
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self { format: LoggingFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoggingFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}
