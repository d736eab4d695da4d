//! The HTTP port: so many connections and no more, an end for the slow ones, and both protocols, in the clear and over TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: millrace\r\n\r\n";
const DEADLINE: Duration = Duration::from_secs(20);

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.running.http_addr()).await.unwrap()
}

/// Asks for the health; the connection stays open.
async fn healthy(connection: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    connection.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        assert_ne!(connection.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
}

/// What comes until the server closes.
async fn rest(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, connection.read_to_end(&mut answer)).await;
    // A reset is an end too.
    let _ = read.expect("the server closes in time");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_connection_past_the_limit_is_told_so_and_a_place_is_given_back() {
    let world = World::with(&[("MILLRACE_HTTP_CONNECTIONS_MAX", "2")]).await;
    let (mut first, mut second) = (connect(&world).await, connect(&world).await);
    healthy(&mut first).await;
    healthy(&mut second).await;
    let told = rest(&mut connect(&world).await).await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("http.connections_max"), "{told}");
    drop(first);
    let mut tries = tokio::time::interval(Duration::from_millis(10));
    tokio::time::timeout(DEADLINE, async {
        loop {
            tries.tick().await;
            let mut third = connect(&world).await;
            third.write_all(HEALTH.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            if third.read_exact(&mut answer).await.is_ok() && &answer == b"HTTP/1.1 200" {
                break;
            }
        }
    })
    .await
    .unwrap();
    world.close().await;
}

#[tokio::test]
async fn who_is_too_slow_with_headers_is_hung_up_on() {
    let world = World::with(&[("MILLRACE_HTTP_HEADER_TIMEOUT", "100ms")]).await;
    let mut silent = connect(&world).await;
    assert_eq!(rest(&mut silent).await, "");
    for begun in ["G", "PRI * HT", "GET / HTTP/1.1\r\nHost: m\r\nX: "] {
        let mut slow = connect(&world).await;
        slow.write_all(begun.as_bytes()).await.unwrap();
        let _answer = rest(&mut slow).await;
    }
    let mut idle = connect(&world).await;
    healthy(&mut idle).await;
    assert_eq!(rest(&mut idle).await, "", "after an answer it may be idle for as long and no longer");
    world.close().await;
}

#[tokio::test]
async fn headers_past_the_limit_are_refused() {
    let world = World::new().await;
    let mut connection = connect(&world).await;
    let long = format!("GET /healthz HTTP/1.1\r\nHost: m\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
    // The server may hang up before it has all of it.
    let _ = connection.write_all(long.as_bytes()).await;
    let told = rest(&mut connection).await;
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 431 "), "{told}");
    world.close().await;
}

async fn over_tls(world: &World, cert: &std::path::Path, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, connect(world).await).await.unwrap()
}

/// A request over HTTP/2; gives the status.
async fn http2(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, scheme: &str) -> u16 {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("{scheme}://localhost/healthz")).body(Body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok\n");
    status
}

#[tokio::test]
async fn both_protocols_are_spoken_in_the_clear_and_over_tls() {
    let world = World::new().await;
    assert_eq!(http2(connect(&world).await, "http").await, 200, "with prior knowledge");
    world.close().await;

    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let paths = [("MILLRACE_TLS_CERT_PATH", cert.to_str().unwrap()), ("MILLRACE_TLS_KEY_PATH", key.to_str().unwrap())];
    let folder_of_data = tempfile::tempdir().unwrap();
    let running = serve::start(settings(folder_of_data.path(), &paths)).await.unwrap();
    let lazy = Channel::from_shared(format!("https://{}", running.grpc_addr())).unwrap().connect_lazy();
    let (records, streams) = (RecordServiceClient::new(lazy.clone()), StreamServiceClient::new(lazy));
    let world = World { folder: folder_of_data, running, records, streams };
    let mut secure = over_tls(&world, &cert, b"http/1.1").await;
    healthy(&mut secure).await;
    let secure = over_tls(&world, &cert, b"h2").await;
    assert_eq!(secure.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(http2(secure, "https").await, 200);
    // In the clear nobody is answered.
    let mut plain = connect(&world).await;
    plain.write_all(HEALTH.as_bytes()).await.unwrap();
    assert!(!rest(&mut plain).await.contains("200"));
    let settings = millrace_client::ConnectionSettings { token: None, ca_file: Some(cert.clone()) };
    let endpoint = format!("https://localhost:{}", world.running.grpc_addr().port());
    let client = millrace_client::Client::connect_with(endpoint, &settings).unwrap();
    assert!(client.admin().list_streams().await.unwrap().is_empty());
    let stranger = millrace_client::ConnectionSettings { token: None, ca_file: None };
    let endpoint = format!("https://localhost:{}", world.running.grpc_addr().port());
    let error = millrace_client::Client::connect_with(endpoint, &stranger).unwrap().admin().list_streams().await;
    assert_eq!(error.unwrap_err().kind(), millrace_client::Kind::Unavailable);
    world.close().await;
}

#[tokio::test]
async fn the_aws_protocols_can_have_a_port_of_their_own() {
    let world = World::with(&[("MILLRACE_KINESIS_LISTEN", "127.0.0.1:0")]).await;
    let addr = world.running.kinesis_addr().unwrap();
    let ask = async |request: String| {
        let mut connection = TcpStream::connect(addr).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        rest(&mut connection).await
    };
    let list = "POST / HTTP/1.1\r\nHost: millrace\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\n\
                X-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Length: 2\r\n\r\n{}";
    let answer = ask(list.to_owned()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("StreamNames"), "{answer}");
    // Nothing else is served there.
    let answer = ask("GET /metrics HTTP/1.1\r\nHost: millrace\r\nConnection: close\r\n\r\n".to_owned()).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let endpoints = std::fs::read_to_string(world.folder.path().join("data/endpoints.json")).unwrap();
    assert!(endpoints.contains(&format!("\"kinesis\":\"http://{addr}\"")), "{endpoints}");
    world.close().await;
}
