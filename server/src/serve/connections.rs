//! The connections that are open on a port: so many and no more. One past the limit is told so in HTTP/2's own words (`GOAWAY` with
//! `ENHANCE_YOUR_CALM` and a text) and closed; it must not take memory from those that are served.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::tls::Tls;
use crate::metrics::Metrics;

/// Refusals that are told at a time; more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// How long a refused client gets to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The limit and its counts. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    max: u32,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    /// How a refusal is told; by nothing where the client would not understand it.
    refusal: Option<fn(u32) -> Vec<u8>>,
    open: IntGauge,
    refused: IntCounter,
}

impl Connections {
    /// Of gRPC. Refusals are told in the clear only.
    pub(super) fn of_grpc(max: u32, is_tls: bool, metrics: &Metrics) -> Self {
        Self {
            max,
            places: Arc::new(Semaphore::new(max as usize)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            refusal: (!is_tls).then_some(go_away),
            open: metrics.gauge("millrace_connections", "Open gRPC connections"),
            refused: metrics.counter("millrace_connections_refused_total", "gRPC connections past connections_max"),
        }
    }

    /// Of HTTP. Refusals are told in the clear only.
    pub(super) fn of_http(max: u32, is_tls: bool, metrics: &Metrics) -> Self {
        Self {
            max,
            places: Arc::new(Semaphore::new(max as usize)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            refusal: (!is_tls).then_some(service_unavailable),
            open: metrics.gauge("millrace_http_connections", "Open HTTP connections"),
            refused: metrics
                .counter("millrace_http_connections_refused_total", "HTTP connections past http.connections_max"),
        }
    }

    /// The connections that may be served, of those that arrive.
    pub(super) fn admit(
        self,
        arriving: impl Stream<Item = io::Result<TcpStream>>,
    ) -> impl Stream<Item = io::Result<Connection>> {
        arriving.filter_map(move |arrived| {
            let admitted = arrived.map(|stream| self.enter(stream)).transpose();
            std::future::ready(admitted)
        })
    }

    /// A place for a connection; where there is none it is told so and closed.
    pub(super) fn enter(&self, stream: TcpStream) -> Option<Connection> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            self.open.inc();
            let open = Open { gauge: self.open.clone(), _place: place };
            return Some(Connection { stream: Io::Plain(stream), _open: open });
        }
        self.refused.inc();
        if let Some(refusal) = self.refusal
            && let Ok(turn) = Arc::clone(&self.refusals).try_acquire_owned()
        {
            let text = refusal(self.max);
            tokio::spawn(async move {
                let _turn = turn;
                // Who does not listen is closed all the same.
                let _ = tokio::time::timeout(REFUSAL_TIME, refuse(stream, &text)).await;
            });
        }
        None
    }
}

/// Tells the client, and waits until it has hung up: closing earlier would throw away what it has not yet read.
async fn refuse(mut stream: TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// An empty `SETTINGS`, with which a server must begin, and a `GOAWAY` that has taken no call (RFC 9113, 6.5 and 6.8).
fn go_away(max: u32) -> Vec<u8> {
    let text = format!("the server has {max} connections, which is its limit (connections_max); try again later");
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    let length = u32::try_from(8 + text.len()).expect("the text is short").to_be_bytes();
    let mut frames = SETTINGS.to_vec();
    frames.extend_from_slice(&length[1..]);
    frames.extend_from_slice(&[7, 0, 0, 0, 0, 0]);
    frames.extend_from_slice(&0_u32.to_be_bytes());
    frames.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frames.extend_from_slice(text.as_bytes());
    frames
}

/// An answer that every client of HTTP/1.1 understands before it has asked.
fn service_unavailable(max: u32) -> Vec<u8> {
    let text =
        format!("the server has {max} connections, which is its limit (http.connections_max); try again later\n");
    let length = text.len();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    (head + &text).into_bytes()
}

/// A connection that is served. Its place is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Io,
    _open: Open,
}

/// The bytes of a connection, in the clear or not.
#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// The same connection after its handshake.
    pub(super) async fn handshake(self, tls: &Tls) -> io::Result<Self> {
        match self.stream {
            Io::Plain(stream) => {
                let stream = Io::Tls(Box::new(tls.accept(stream).await?));
                Ok(Self { stream, _open: self._open })
            }
            Io::Tls(_) => Ok(self),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Io::Plain(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The other side.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.tcp().peer_addr().ok()
    }
}

#[derive(Debug)]
struct Open {
    gauge: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.tcp().connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
