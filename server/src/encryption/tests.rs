//! Master keys by their settings, and Vault's transit engine as an HTTP server that really encrypts.

use std::collections::HashMap;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_storage::encryption::KeyMaterial;
use millrace_storage::lake::store::Secret;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const TOKEN: &str = "s.a-token";

/// A transit engine with one key: ciphertexts are those of a real cipher, and associated data is authenticated.
struct Transit {
    key: Arc<dyn MasterKey>,
    sealed: Mutex<bool>,
}

type Reply = (StatusCode, Json<Value>);

fn refuse(status: StatusCode, why: &str) -> Reply {
    (status, Json(json!({ "errors": [why] })))
}

impl Transit {
    fn check(&self, headers: &HeaderMap, mount: &str, key: &str) -> Result<(), Reply> {
        if *self.sealed.lock() {
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed"));
        }
        if headers.get("x-vault-token").is_none_or(|token| token != TOKEN) {
            return Err(refuse(StatusCode::FORBIDDEN, "permission denied"));
        }
        if mount != "transit" {
            return Err(refuse(StatusCode::NOT_FOUND, "no handler for route"));
        }
        if key != "millrace" {
            return Err(refuse(StatusCode::BAD_REQUEST, "encryption key not found"));
        }
        Ok(())
    }

    async fn operate(&self, operation: &str, body: &HashMap<String, String>) -> Option<Value> {
        let bound_to = STANDARD.decode(body.get("associated_data")?).ok()?;
        match operation {
            "encrypt" => {
                let plaintext: [u8; 32] = STANDARD.decode(body.get("plaintext")?).ok()?.try_into().ok()?;
                let wrapped = self.key.wrap(&KeyMaterial::new(plaintext), &bound_to).await.ok()?;
                Some(json!({ "ciphertext": format!("vault:v1:{}", STANDARD.encode(wrapped)), "key_version": 1 }))
            }
            "decrypt" => {
                let wrapped = STANDARD.decode(body.get("ciphertext")?.strip_prefix("vault:v1:")?).ok()?;
                let plaintext = self.key.unwrap(&wrapped, &bound_to).await.ok()?;
                Some(json!({ "plaintext": STANDARD.encode(&plaintext[..]) }))
            }
            _ => None,
        }
    }
}

async fn transit(
    State(transit): State<Arc<Transit>>,
    Path((mount, operation, key)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    if let Err(refusal) = transit.check(&headers, &mount, &key) {
        return refusal;
    }
    let Ok(body) = serde_json::from_slice(&body) else { return refuse(StatusCode::BAD_REQUEST, "no JSON") };
    match transit.operate(&operation, &body).await {
        Some(data) => (StatusCode::OK, Json(json!({ "request_id": "x", "data": data }))),
        None => refuse(StatusCode::BAD_REQUEST, "cipher: message authentication failed"),
    }
}

async fn serve() -> (Arc<Transit>, SocketAddr) {
    let key = parse_local_keys("the test", HEX).unwrap().remove(0);
    let engine = Arc::new(Transit { key, sealed: Mutex::new(false) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/{mount}/{operation}/{key}", post(transit)).with_state(Arc::clone(&engine));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (engine, addr)
}

fn settings(addr: SocketAddr) -> EncryptionSettings {
    let (url, token) = (format!("http://{addr}/"), Secret::new(TOKEN));
    EncryptionSettings { vault_url: Some(url), vault_token: Some(token), ..EncryptionSettings::default() }
}

fn master(settings: &EncryptionSettings) -> Arc<dyn MasterKey> {
    Arc::clone(master_keys(settings).unwrap().current().unwrap())
}

#[tokio::test]
async fn vault_wraps_and_unwraps_and_binds() {
    let (_, addr) = serve().await;
    let vault = master(&settings(addr));
    assert_eq!(vault.id(), "vault:transit/millrace");
    let key = KeyMaterial::new(std::array::from_fn(|at| at as u8));
    let wrapped = vault.wrap(&key, b"stream 1").await.unwrap();
    assert!(wrapped.starts_with(b"vault:v1:"));
    assert_eq!(vault.unwrap(&wrapped, b"stream 1").await.unwrap(), key);
    let error = vault.unwrap(&wrapped, b"stream 2").await.unwrap_err();
    assert!(error.to_string().contains("message authentication failed") && !error.is_retryable(), "{error}");
    let error = vault.unwrap(b"vault:v1:AAAA", b"stream 1").await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn vaults_refusals_are_told_without_the_token() {
    let (engine, addr) = serve().await;
    let good = settings(addr);
    let key = KeyMaterial::new([7; 32]);
    let wrong = EncryptionSettings { vault_token: Some(Secret::new("s.wrong")), ..good.clone() };
    let other_key = EncryptionSettings { vault_key: "nothing".to_owned(), ..good.clone() };
    let other_mount = EncryptionSettings { vault_mount: "/secret/".to_owned(), ..good.clone() };
    for (settings, words, is_retryable) in
        [(&wrong, "permission denied", true), (&other_key, "key not found", false), (&other_mount, "404", true)]
    {
        let error = master(settings).wrap(&key, b"").await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("s.wrong"), "{error}");
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
    }
    *engine.sealed.lock() = true;
    let error = master(&good).wrap(&key, b"").await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("Vault is sealed"), "{error}");
    let nobody = EncryptionSettings { vault_url: Some("http://127.0.0.1:9".to_owned()), ..good.clone() };
    let error = master(&nobody).wrap(&key, b"").await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("cannot be reached"), "{error}");
    let shown = format!("{good:?}{:?}{}", master(&good), serde_json::to_string(&good).unwrap());
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[tokio::test]
async fn a_token_file_is_read_for_each_call() {
    let (_, addr) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let settings = EncryptionSettings { vault_token: None, vault_token_file: Some(path.clone()), ..settings(addr) };
    let (vault, key) = (master(&settings), KeyMaterial::new([7; 32]));
    assert!(vault.wrap(&key, b"").await.unwrap_err().to_string().contains("token file"));
    std::fs::write(&path, "s.wrong").unwrap();
    assert!(vault.wrap(&key, b"").await.is_err());
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    assert!(vault.wrap(&key, b"").await.is_ok());
}

#[test]
fn the_file_goes_before_the_environment_and_both_unwrap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    std::fs::write(&path, format!("{HEX}\n")).unwrap();
    let other = "0123456789abcdef".repeat(4);
    let settings = EncryptionSettings {
        master_key_file: Some(path.clone()),
        master_key: Some(Secret::new(&*other)),
        ..EncryptionSettings::default()
    };
    let of_file = parse_local_keys("it", HEX).unwrap();
    assert_eq!(master(&settings).id(), of_file[0].id());
    assert!(!format!("{settings:?}{}", serde_json::to_string(&settings).unwrap()).contains(&other));
    assert!(master_keys(&EncryptionSettings::default()).unwrap().current().is_err());
    std::fs::write(&path, "hunter2").unwrap();
    let error = master_keys(&settings).unwrap_err().to_string();
    assert!(error.contains("master.key") && !error.contains("hunter2"), "{error}");
    let without_token = EncryptionSettings { vault_url: Some("http://x".to_owned()), ..EncryptionSettings::default() };
    assert!(master_keys(&without_token).unwrap_err().to_string().contains("vault_token_file"));
}
