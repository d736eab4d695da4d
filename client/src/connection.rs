//! How the server is reached: its URL, what proves it, and what proves the caller.
//!
//! The token must never be shown: not by `Debug`, not in an error.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use crate::{Error, Result};

/// HTTP/2 windows: what a peer may have under way before we have read it. The standard's 64 KiB stalls bulk reads.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that does not answer a ping for this long is gone, and the calls under way fail.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a connection proves and wants proved.
#[derive(Clone, Default)]
pub struct ConnectionSettings {
    /// The token of a principal, `ACCESS_KEY_ID.SECRET`; none where the server asks nobody.
    pub token: Option<String>,
    /// A file of certificates in PEM that the server's must be signed by; those of the system when not set.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "(hidden)");
        f.debug_struct("ConnectionSettings").field("token", &token).field("ca_file", &self.ca_file).finish()
    }
}

/// A connection that carries its caller's token.
pub(crate) type Channel = InterceptedService<tonic::transport::Channel, Credentials>;

/// What goes with each call.
#[derive(Clone, Default)]
pub(crate) struct Credentials(Option<MetadataValue<Ascii>>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Credentials(hidden)" } else { "Credentials(none)" })
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Opens connections of one server.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    /// For `https`.
    tls: Option<HttpsConnector<HttpConnector>>,
    credentials: Credentials,
}

impl Connector {
    pub(crate) fn new(endpoint: &str, settings: &ConnectionSettings) -> Result<Self> {
        let credentials = Credentials(settings.token.as_deref().map(bearer).transpose()?);
        let parsed = parse(endpoint)?;
        let is_https = parsed.uri().scheme_str() == Some("https");
        if !is_https && settings.ca_file.is_some() {
            return Err(Error::invalid(format!("a CA file is given, and endpoint \"{endpoint}\" is not https://")));
        }
        let tls = is_https.then(|| tls(settings)).transpose()?;
        let endpoint = parsed
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Ok(Self { endpoint, tls, credentials })
    }

    /// A connection of its own, which opens with the first call.
    pub(crate) fn connect(&self) -> Channel {
        let channel = match &self.tls {
            None => self.endpoint.connect_lazy(),
            Some(tls) => self.endpoint.connect_with_connector_lazy(tls.clone()),
        };
        InterceptedService::new(channel, self.credentials.clone())
    }
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>> {
    let value = MetadataValue::try_from(format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| Error::invalid("the token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(settings: &ConnectionSettings) -> Result<HttpsConnector<HttpConnector>> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => add_file(&mut roots, path)?,
        // One of the system's that cannot be read is missing then, which a handshake tells.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http2().wrap_connector(tcp))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let bad = |why: &dyn fmt::Display| Error::invalid(format!("the CA file {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| bad(&error))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(&format_args!("it is no PEM: {error}")))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() { Err(bad(&"it has no CERTIFICATE")) } else { Ok(()) }
}

/// With a scheme, and without a slash at the end.
pub(crate) fn normalize(endpoint: &str) -> String {
    let endpoint = endpoint.trim();
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.trim_end_matches('/')),
        None => format!("http://{}", endpoint.trim_end_matches('/')),
    }
}

fn parse(endpoint: &str) -> Result<Endpoint> {
    let invalid = |why: &str| Error::invalid(format!("endpoint \"{endpoint}\" is not valid: {why}"));
    let parsed = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| invalid("want http://HOST:PORT"))?;
    match (parsed.uri().scheme_str(), parsed.uri().host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(parsed),
        (Some("http" | "https"), _) => Err(invalid("it names no host")),
        _ => Err(invalid("only the schemes http and https are supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let settings = ConnectionSettings { token: Some("AKMR.hunter2".to_owned()), ca_file: None };
        assert!(!format!("{settings:?}").contains("hunter2"));
        let mut credentials = Credentials(Some(bearer("AKMR.hunter2").unwrap()));
        let sent = credentials.call(Request::new(())).unwrap();
        assert_eq!(sent.metadata().get("authorization").unwrap(), "Bearer AKMR.hunter2");
        assert!(!format!("{credentials:?}{sent:?}").contains("hunter2"));
        assert!(!bearer("hunter2\n\u{1}").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn files_that_prove_nothing_are_refused_by_name() {
        let settings = ConnectionSettings { token: None, ca_file: Some("/nowhere/ca.pem".into()) };
        let error = Connector::new("https://localhost:1", &settings).unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
        let error = Connector::new("http://localhost:1", &settings).unwrap_err().to_string();
        assert!(error.contains("not https://"), "{error}");
    }
}
