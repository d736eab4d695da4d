//! A master key that never leaves HashiCorp Vault, or OpenBao: a key of its transit engine wraps and unwraps by HTTP.
//!
//! `POST /v1/<mount>/encrypt/<key>` and `/decrypt/<key>`, with what the data key is bound to as `associated_data`, which the
//! engine's AES-GCM keys authenticate. Vault versions its own key; rotating it there needs nothing here.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_storage::encryption::{Error, KeyMaterial, MasterKey, Result};
use millrace_storage::lake::store::Secret;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How Vault is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSettings {
    /// The server's URL.
    pub url: String,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// The transit key's name.
    pub key: String,
    /// The namespace, where there are any.
    pub namespace: Option<String>,
    /// The token.
    pub token: Option<Secret>,
    /// A file with the token, read for each call; it goes before `token`.
    pub token_file: Option<PathBuf>,
}

/// A key of Vault's transit engine.
pub struct VaultTransit {
    id: String,
    settings: VaultSettings,
    client: Client,
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    #[serde(default)]
    errors: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    ciphertext: Option<String>,
    plaintext: Option<String>,
}

impl VaultTransit {
    /// A transit key. Vault is not called yet.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn new(settings: VaultSettings) -> Result<Self> {
        let bad = |reason: String| Error::BadMaster { what: "the setting encryption.vault_url".to_owned(), reason };
        Url::parse(&settings.url).map_err(|error| bad(error.to_string()))?;
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
        let client = client.build().map_err(|error| bad(error.to_string()))?;
        Ok(Self { id: format!("vault:{}/{}", settings.mount, settings.key), settings, client })
    }

    fn refused(&self, reason: impl fmt::Display, is_retryable: bool) -> Error {
        Error::Refused { master: self.id.clone(), reason: reason.to_string(), is_retryable }
    }

    fn unreachable(&self, reason: impl fmt::Display) -> Error {
        Error::Unreachable { master: self.id.clone(), reason: reason.to_string() }
    }

    fn url(&self, operation: &str) -> Result<Url> {
        let VaultSettings { url, mount, key, .. } = &self.settings;
        let url = format!("{}/v1/{}/{operation}/{key}", url.trim_end_matches('/'), mount.trim_matches('/'));
        Url::parse(&url).map_err(|error| self.refused(error, false))
    }

    fn token(&self) -> Result<Zeroizing<String>> {
        match (&self.settings.token_file, &self.settings.token) {
            (Some(path), _) => match std::fs::read_to_string(path) {
                Ok(token) => Ok(Zeroizing::new(token.trim().to_owned())),
                Err(error) => {
                    Err(self.unreachable(format_args!("its token file {} cannot be read: {error}", path.display())))
                }
            },
            (None, Some(token)) => Ok(Zeroizing::new(token.reveal().to_owned())),
            (None, None) => Err(self.refused("there is no token", false)),
        }
    }

    async fn call(&self, operation: &str, body: serde_json::Value) -> Result<Data> {
        let body = Zeroizing::new(body.to_string());
        let mut request = self.client.post(self.url(operation)?).header("X-Vault-Token", self.token()?.as_str());
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let request = request.header("content-type", "application/json").body(body.as_bytes().to_vec());
        // Its own words name the URL, which holds no secret.
        let answer = request.send().await.map_err(|error| self.unreachable(chain(&error)))?;
        let status = answer.status();
        let bytes = Zeroizing::new(self.bytes(answer).await?);
        let parsed = serde_json::from_slice::<Answer>(&bytes);
        if !status.is_success() {
            let said = parsed.map(|answer| answer.errors.join("; ")).unwrap_or_default();
            let reason = format!("{status} {said}");
            let away = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            // A policy or a token may be put right in Vault; bytes that it cannot open stay so.
            let is_retryable = status != StatusCode::BAD_REQUEST;
            return Err(if away { self.unreachable(reason) } else { self.refused(reason, is_retryable) });
        }
        let answer =
            parsed.map_err(|error| self.refused(format_args!("its answer is not as expected: {error}"), true))?;
        answer.data.ok_or_else(|| self.refused("its answer has no data", true))
    }

    async fn bytes(&self, mut answer: reqwest::Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(chain(&error)))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.refused(format_args!("its answer is past {ANSWER_BYTES_MAX} bytes"), true));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// An error with its causes, which say what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[async_trait]
impl MasterKey for VaultTransit {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, key: &KeyMaterial, bound_to: &[u8]) -> Result<Vec<u8>> {
        let plaintext = Zeroizing::new(STANDARD.encode(&key[..]));
        let body = json!({ "plaintext": plaintext.as_str(), "associated_data": STANDARD.encode(bound_to) });
        let data = self.call("encrypt", body).await?;
        data.ciphertext.map(String::into_bytes).ok_or_else(|| self.refused("its answer has no ciphertext", true))
    }

    async fn unwrap(&self, wrapped: &[u8], bound_to: &[u8]) -> Result<KeyMaterial> {
        let unauthentic = || Error::Unauthentic { master: self.id.clone() };
        let ciphertext = std::str::from_utf8(wrapped).map_err(|_| unauthentic())?;
        let body = json!({ "ciphertext": ciphertext, "associated_data": STANDARD.encode(bound_to) });
        let data = self.call("decrypt", body).await?;
        let plaintext = data.plaintext.ok_or_else(|| self.refused("its answer has no plaintext", true))?;
        let plaintext = Zeroizing::new(plaintext);
        let bytes = Zeroizing::new(STANDARD.decode(plaintext.as_bytes()).map_err(|_| unauthentic())?);
        Ok(Zeroizing::new(bytes.as_slice().try_into().map_err(|_| unauthentic())?))
    }
}

impl fmt::Debug for VaultTransit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultTransit").field("id", &self.id).field("url", &self.settings.url).finish_non_exhaustive()
    }
}
