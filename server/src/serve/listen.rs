//! The listeners, and the shape of the connections: windows large enough that a batch never waits for a round trip, and an
//! end for clients that are too slow.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use futures::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::ServiceExt;

use super::connections::{Connection, Connections};
use super::timed::timed;
use super::tls::Tls;
use crate::error::{Error, Kind, Result};

/// What one call may have on its way before the server takes it.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// What all calls of one connection may have on their way.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Fewer frames mean fewer headers to read; small enough that calls of one connection take turns.
const FRAME_BYTES_MAX: u32 = 256 << 10;
/// Calls at a time on one connection; more wait at the client.
const CALLS_MAX: u32 = 256;
/// A silent connection is asked for a sign of life, and closed without one.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// TLS handshakes at a time.
const HANDSHAKES_MAX: usize = 256;
/// The most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long the listener rests after an error that will not go away at once, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsAccess {
    /// Anybody who reaches the port, as scrapers are used to.
    #[default]
    Open,
    /// Principals with the action `metrics`, by their token.
    Closed,
}

/// Settings of `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// The most connections at a time; one more is refused.
    pub connections_max: u32,
    /// How long a connection may take until the headers of its next request are there, the time that it is idle included.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a request's body may take.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            metrics: MetricsAccess::Open,
        }
    }
}

/// Binds an address; the error names the setting.
pub(super) async fn bind(setting: &str, addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| Error::unavailable(format_args!("cannot listen on {addr} ({setting}): {error}")))
}

pub(super) fn local_addr(listener: &TcpListener) -> Result<SocketAddr> {
    listener
        .local_addr()
        .map_err(|error| Error::new(Kind::Internal, format_args!("a listener has no address: {error}")))
}

/// Serves until `stop`, then until the calls in flight have ended.
pub(super) async fn serve_grpc(
    listener: TcpListener,
    connections: Connections,
    tls: Option<Tls>,
    routes: Routes,
    stop: CancellationToken,
) -> Result<()> {
    let admitted = connections.admit(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(CALLS_MAX)
        .http2_max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("it is small"))
        .http2_keepalive_interval(Some(KEEPALIVE));
    let failed = |error| Error::unavailable(format_args!("the gRPC server failed: {error}"));
    let (routes, stopped) = (routes.prepare(), stop.cancelled_owned());
    match tls {
        None => run(server, routes, admitted, stopped).await.map_err(failed),
        Some(tls) => run(server, routes, shaken(admitted, tls), stopped).await.map_err(failed),
    }
}

async fn run(
    server: Server,
    routes: Routes,
    connections: impl Stream<Item = std::io::Result<Connection>>,
    stopped: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    server.serve_with_incoming_shutdown(routes, connections, stopped).await
}

/// Connections after their handshakes, as they end; those that fail are closed.
fn shaken(
    connections: impl Stream<Item = std::io::Result<Connection>>,
    tls: Tls,
) -> impl Stream<Item = std::io::Result<Connection>> {
    let handshake = move |connection: std::io::Result<Connection>| {
        let tls = tls.clone();
        async move {
            match connection {
                Ok(connection) => connection.handshake(&tls).await.inspect_err(tell_handshake).ok().map(Ok),
                Err(error) => Some(Err(error)),
            }
        }
    };
    connections.map(handshake).buffer_unordered(HANDSHAKES_MAX).filter_map(std::future::ready)
}

fn tell_handshake(error: &std::io::Error) {
    tracing::debug!(%error, "a TLS handshake failed");
}

/// Serves HTTP/1.1 and HTTP/2 until `stop`, then until the requests in flight have ended.
pub(super) async fn serve_http(
    listener: TcpListener,
    connections: Connections,
    tls: Option<Tls>,
    router: Router,
    settings: HttpSettings,
    stop: CancellationToken,
) -> Result<()> {
    let (open, builder) = (TaskTracker::new(), Arc::new(builder(settings.header_timeout)));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        // A connection that cannot be told so is closing already.
        let _ = stream.set_nodelay(true);
        let Some(connection) = connections.enter(stream) else { continue };
        let served = Served { router: router.clone(), settings: settings.clone(), builder: Arc::clone(&builder) };
        let (tls, stop) = (tls.clone(), stop.clone());
        open.spawn(async move {
            let shaken = match &tls {
                Some(tls) => connection.handshake(tls).await,
                None => Ok(connection),
            };
            match shaken {
                Ok(connection) => served.serve(connection, stop).await,
                Err(error) => tell_handshake(&error),
            }
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
    Ok(())
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CALLS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("it is small"))
        .keep_alive_interval(KEEPALIVE);
    builder
}

/// What one HTTP connection is served with.
struct Served {
    router: Router,
    settings: HttpSettings,
    builder: Arc<auto::Builder<TokioExecutor>>,
}

impl Served {
    async fn serve(self, connection: Connection, stop: CancellationToken) {
        let (peer, began) = (connection.peer(), Arc::new(AtomicBool::new(false)));
        let (router, body_timeout, seen) = (self.router, self.settings.body_timeout, Arc::clone(&began));
        let service = service_fn(move |request: Request<Incoming>| {
            seen.store(true, Relaxed);
            let mut request = request.map(|body| timed(Body::new(body), body_timeout));
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            router.clone().oneshot(request)
        });
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(connection), service).into_owned();
        // Until the first request it is not known which protocol is spoken, and neither has a time-out of its own yet.
        let silent = async {
            tokio::time::sleep(self.settings.header_timeout).await;
            if began.load(Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(connection, silent);
        let mut is_stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an HTTP connection ended early");
                    }
                    return;
                }
                () = &mut silent => {
                    tracing::debug!("an HTTP connection sent no request in time");
                    return;
                }
                // What is asked already is answered, and nothing more.
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
