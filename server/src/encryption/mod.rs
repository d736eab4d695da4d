//! The master keys that the settings name, and the care for data keys whose master key was away at the start.
//!
//! It must never log a key, nor the text of a setting that holds one.

mod settings;
mod vault;

use std::sync::Arc;
use std::time::Duration;

use millrace_storage::encryption::{self, KeyStore, MasterKey, MasterKeys, parse_local_keys};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub use settings::EncryptionSettings;
pub use vault::{VaultSettings, VaultTransit};

use crate::error::{Error, Kind, Result};

/// Between two attempts to reach a master key.
const UNLOCK_INTERVAL: Duration = Duration::from_secs(2);

/// The master keys that the settings name. Vault's wraps where it is set; then the first of the file, then that of the
/// environment. All of them unwrap. Without any, no stream can be encrypted.
///
/// # Errors
/// Where a file cannot be read, or holds no key.
pub fn master_keys(settings: &EncryptionSettings) -> Result<MasterKeys> {
    let mut masters: Vec<Arc<dyn MasterKey>> = Vec::new();
    if let Some(vault) = settings.vault()? {
        masters.push(Arc::new(VaultTransit::new(vault)?));
    }
    if let Some(path) = &settings.master_key_file {
        let what = format!("the master key file {}", path.display());
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| Error::invalid(format_args!("{what} cannot be read: {error}")))?;
        masters.extend(parse_local_keys(&what, &text)?);
    }
    if let Some(text) = &settings.master_key {
        masters.extend(parse_local_keys("the setting encryption.master_key", text.reveal())?);
    }
    Ok(MasterKeys::new(masters))
}

/// Tries data keys whose master key cannot be reached again and again, until the server stops.
pub async fn keep_unlocked(keys: Arc<KeyStore>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UNLOCK_INTERVAL) => {}
        }
        if keys.keyring().locked_count() == 0 {
            continue;
        }
        match keys.unlock().await {
            Ok(0) => {}
            Ok(locked) => tracing::warn!(locked, "data keys are still locked: their master key cannot be reached"),
            Err(error) => tracing::warn!(%error, "locked data keys cannot be tried again"),
        }
    }
}

impl From<encryption::Error> for Error {
    fn from(error: encryption::Error) -> Self {
        use encryption::Error as Keys;
        let kind = match &error {
            Keys::Meta(meta) => return meta.clone().into(),
            Keys::BadMaster { .. } => Kind::Invalid,
            Keys::Unauthentic { .. } => Kind::DataLoss,
            _ if error.is_retryable() => Kind::Unavailable,
            Keys::NoRandom => Kind::Internal,
            _ => Kind::FailedPrecondition,
        };
        let fault = error.fault();
        // By which callers tell it from errors about the stream that the key is for.
        Self::new(kind, error).about("data_key", "new").of_key(fault)
    }
}

#[cfg(test)]
mod tests;
