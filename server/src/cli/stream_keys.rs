//! How `millrace stream` shows encryption: the data keys of a stream, and what wrapping them anew did.

use millrace_client::proto::{RewrapStreamKeysResponse, StreamEncryption};
use serde::Serialize;

use super::output::{count, table, time};

#[derive(Serialize)]
pub(super) struct EncryptionView {
    /// Zero where new records are stored in the clear.
    key_version: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<DataKeyView>,
}

#[derive(Serialize)]
struct DataKeyView {
    version: u32,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_at: Option<String>,
    master_key_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    unusable: String,
}

impl EncryptionView {
    pub(super) fn of(encryption: StreamEncryption) -> Self {
        let keys = encryption.keys.into_iter().map(|key| DataKeyView {
            version: key.version,
            created_at: time(key.created_at_ms),
            replaced_at: (key.replaced_at_ms > 0).then(|| time(key.replaced_at_ms)),
            master_key_id: key.master_key_id,
            unusable: key.unusable,
        });
        Self { key_version: encryption.key_version, keys: keys.collect() }
    }

    /// In a few words.
    pub(super) fn text(&self) -> String {
        match self.key_version {
            0 => "off".to_owned(),
            version => format!("on, data key {version}"),
        }
    }

    /// The data keys as a table below others; empty where there are none.
    pub(super) fn listed(&self) -> String {
        if self.keys.is_empty() {
            return String::new();
        }
        let rows = self.keys.iter().map(|key| {
            let usable = if key.unusable.is_empty() { "yes".to_owned() } else { format!("no: {}", key.unusable) };
            let replaced = key.replaced_at.clone().unwrap_or_default();
            [key.version.to_string(), key.created_at.clone(), replaced, key.master_key_id.clone(), usable]
        });
        format!("\n{}", table(["KEY", "CREATED", "REPLACED", "MASTER KEY", "USABLE"], rows))
    }
}

#[derive(Serialize)]
pub(super) struct RewrapView {
    rewrapped: u32,
    pub(super) failures: Vec<RewrapFailureView>,
}

#[derive(Serialize)]
pub(super) struct RewrapFailureView {
    stream: String,
    version: u32,
    reason: String,
}

impl RewrapView {
    pub(super) fn of(response: RewrapStreamKeysResponse) -> Self {
        let failures = response.failures.into_iter().map(|failure| RewrapFailureView {
            stream: failure.stream,
            version: failure.version,
            reason: failure.reason,
        });
        Self { rewrapped: response.rewrapped, failures: failures.collect() }
    }
}

pub(super) fn rewrapped_text(view: &RewrapView) -> String {
    let failures = view.failures.iter().map(|failure| {
        format!("\nkey {} of stream {} stays as it is: {}", failure.version, failure.stream, failure.reason)
    });
    format!("{} data keys were wrapped anew{}", count(view.rewrapped.into()), failures.collect::<String>())
}
