//! TLS for both ports: one certificate, read anew when its files change, which connections that are open do not notice.
//!
//! The key must never be shown or logged. Files that are wrong at the start keep the server from starting; files that are
//! wrong later are told, and the certificate in use stays.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::IntCounterVec;
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of `[tls]`. With none of both paths the ports are in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate chain in PEM, the server's own first.
    pub cert_path: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub key_path: Option<PathBuf>,
    /// Time between two looks at the files; SIGHUP looks at once.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { cert_path: None, key_path: None, check_interval: Duration::from_secs(10) }
    }
}

/// The certificate in use, and where it comes from.
struct Certificate {
    cert_path: PathBuf,
    key_path: PathBuf,
    current: RwLock<Loaded>,
    reloads: IntCounterVec,
}

#[derive(Clone)]
struct Loaded {
    key: Arc<CertifiedKey>,
    /// Of both files, to see a change.
    digest: Vec<u8>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("cert_path", &self.cert_path).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().key))
    }
}

/// TLS of one port. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls(TlsAcceptor);

impl Tls {
    /// Ends a client's handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.0.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// TLS of both ports, and what keeps their certificate current.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) grpc: Tls,
    pub(super) http: Tls,
    certificate: Arc<Certificate>,
    check_interval: Duration,
}

impl Ports {
    /// Reads the certificate; `None` where the settings name none.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn open(settings: &TlsSettings, metrics: &Metrics) -> Result<Option<Self>> {
        let reloads = metrics.counters(
            "millrace_tls_reloads_total",
            "Changes of the certificate's files, by whether they were taken",
            &["outcome"],
        );
        let (cert_path, key_path) = match (&settings.cert_path, &settings.key_path) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            (Some(_), None) => return Err(Error::invalid("tls.cert_path needs tls.key_path")),
            (None, Some(_)) => return Err(Error::invalid("tls.key_path needs tls.cert_path")),
        };
        let current = RwLock::new(load(&cert_path, &key_path)?);
        let certificate = Arc::new(Certificate { cert_path, key_path, current, reloads });
        Ok(Some(Self {
            grpc: acceptor(&certificate, &[b"h2"])?,
            http: acceptor(&certificate, &[b"h2", b"http/1.1"])?,
            certificate,
            check_interval: settings.check_interval.max(Duration::from_millis(10)),
        }))
    }

    /// Reads the files again as they change, until the server stops.
    ///
    /// # Errors
    /// Where the process cannot listen for SIGHUP.
    pub(super) fn watch(&self, stop: CancellationToken) -> Result<()> {
        let mut hangup = signal(SignalKind::hangup())
            .map_err(|error| Error::unavailable(format_args!("cannot listen for SIGHUP: {error}")))?;
        let (certificate, interval) = (Arc::clone(&self.certificate), self.check_interval);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(interval) => {}
                    _ = hangup.recv() => {}
                }
                let certificate = Arc::clone(&certificate);
                // A panic in there has been told by its own hook.
                let _ = tokio::task::spawn_blocking(move || certificate.check()).await;
            }
        });
        Ok(())
    }
}

impl Certificate {
    /// Takes in the files where they changed.
    fn check(&self) {
        match load(&self.cert_path, &self.key_path) {
            Ok(loaded) if loaded.digest == self.current.read().digest => {}
            Ok(loaded) => {
                *self.current.write() = loaded;
                self.reloads.with_label_values(&["ok"]).inc();
                tracing::info!(cert_path = %self.cert_path.display(), "the TLS certificate was changed");
            }
            Err(error) => {
                self.reloads.with_label_values(&["failed"]).inc();
                tracing::warn!(%error, "the TLS certificate's files are wrong; the one in use stays");
            }
        }
    }
}

fn acceptor(certificate: &Arc<Certificate>, protocols: &[&[u8]]) -> Result<Tls> {
    let failed = |error| Error::new(Kind::Internal, format_args!("TLS cannot be set up: {error}"));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Tls(TlsAcceptor::from(Arc::new(config))))
}

fn load(cert_path: &Path, key_path: &Path) -> Result<Loaded> {
    let read = |path: &Path, setting: &str| {
        std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|error| Error::invalid(format_args!("{setting}: {} cannot be read: {error}", path.display())))
    };
    let (cert, key) = (read(cert_path, "tls.cert_path")?, read(key_path, "tls.key_path")?);
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&cert).collect();
    let chain = chain
        .map_err(|error| Error::invalid(format_args!("tls.cert_path: {} is no PEM: {error}", cert_path.display())))?;
    if chain.is_empty() {
        let message = format!("tls.cert_path: {} has no CERTIFICATE", cert_path.display());
        return Err(Error::invalid(message));
    }
    let private = PrivateKeyDer::from_pem_slice(&key).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound => "it has no PRIVATE KEY".to_owned(),
            error => format!("it is no PEM: {error}"),
        };
        Error::invalid(format_args!("tls.key_path: {}: {why}", key_path.display()))
    })?;
    let signing = provider::sign::any_supported_type(&private).map_err(|_| {
        let message = format!("tls.key_path: {} is no RSA, ECDSA (P-256, P-384) or Ed25519 key", key_path.display());
        Error::invalid(message)
    })?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| {
        let (cert, key) = (cert_path.display(), key_path.display());
        Error::invalid(format_args!("the key {key} is not that of the first certificate in {cert}: {error}"))
    })?;
    let digest = [digest(&SHA256, &cert), digest(&SHA256, &key)].map(|digest| digest.as_ref().to_vec()).concat();
    Ok(Loaded { key: Arc::new(certified), digest })
}

#[cfg(test)]
mod tests;
