//! The settings of `[encryption]`: where the master key is. What holds a key or a token is never shown.

use std::path::PathBuf;

use millrace_storage::lake::store::Secret;
use serde::{Deserialize, Serialize, Serializer};

use super::vault::VaultSettings;
use crate::error::{Error, Result};

/// Settings of `[encryption]`. With none of them no stream can be encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncryptionSettings {
    /// A file of master keys: 32 bytes in base64 or hexadecimal on each line. The first wraps data keys, the others, older
    /// ones, only unwrap.
    pub master_key_file: Option<PathBuf>,
    /// Whether queries may spill to disk although a master key is set. What they spill lies there in the clear until they
    /// end.
    pub allow_spill: bool,
    /// The same text as the file's, for an environment that holds secrets.
    #[serde(serialize_with = "hide")]
    pub master_key: Option<Secret>,
    /// A Vault server's URL: a key of its transit engine is then the master key.
    pub vault_url: Option<String>,
    /// Where Vault's transit engine is mounted.
    pub vault_mount: String,
    /// The transit key's name.
    pub vault_key: String,
    /// The Vault namespace, where there are any.
    pub vault_namespace: Option<String>,
    /// The token that Vault is called with.
    #[serde(serialize_with = "hide")]
    pub vault_token: Option<Secret>,
    /// A file with the token, read for each call, so that an agent may renew it.
    pub vault_token_file: Option<PathBuf>,
}

fn hide<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_none()
}

impl Default for EncryptionSettings {
    fn default() -> Self {
        Self {
            master_key_file: None,
            allow_spill: false,
            master_key: None,
            vault_url: None,
            vault_mount: "transit".to_owned(),
            vault_key: "millrace".to_owned(),
            vault_namespace: None,
            vault_token: None,
            vault_token_file: None,
        }
    }
}

impl EncryptionSettings {
    /// Whether a master key is set.
    #[must_use]
    pub const fn has_master(&self) -> bool {
        self.master_key_file.is_some() || self.master_key.is_some() || self.vault_url.is_some()
    }

    /// How Vault is called, where it is.
    pub(super) fn vault(&self) -> Result<Option<VaultSettings>> {
        let Some(url) = self.vault_url.clone() else { return Ok(None) };
        if self.vault_token.is_none() && self.vault_token_file.is_none() {
            let message = "encryption.vault_url needs encryption.vault_token_file or encryption.vault_token";
            return Err(Error::invalid(message));
        }
        Ok(Some(VaultSettings {
            url,
            mount: self.vault_mount.clone(),
            key: self.vault_key.clone(),
            namespace: self.vault_namespace.clone(),
            token: self.vault_token.clone(),
            token_file: self.vault_token_file.clone(),
        }))
    }
}
