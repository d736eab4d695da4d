//! The listeners, and the shape of the connections: windows large enough that a batch never waits for a round trip.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::connections::Connections;
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
    routes: Routes,
    stop: CancellationToken,
) -> Result<()> {
    let incoming = connections.admit(TcpIncoming::from(listener).with_nodelay(Some(true)));
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(CALLS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .serve_with_incoming_shutdown(routes.prepare(), incoming, stop.cancelled_owned())
        .await
        .map_err(|error| Error::unavailable(format_args!("the gRPC server failed: {error}")))
}

/// Serves until `stop`, then until the requests in flight have ended.
pub(super) async fn serve_http(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<()> {
    // Small answers and events must not wait for an acknowledgement of those before.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|error| Error::unavailable(format_args!("the HTTP server failed: {error}")))
}
