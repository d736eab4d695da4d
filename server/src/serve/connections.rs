//! The gRPC connections that are open: so many and no more. One past the limit is told so in HTTP/2's own words (`GOAWAY` with
//! `ENHANCE_YOUR_CALM` and a text) and closed; it must not take memory from those that are served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::metrics::Metrics;

/// Refusals that are told at a time; more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// How long a refused client gets to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The limit and its counts.
#[derive(Debug)]
pub(super) struct Connections {
    max: u32,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    open: IntGauge,
    refused: IntCounter,
}

impl Connections {
    pub(super) fn new(max: u32, metrics: &Metrics) -> Self {
        Self {
            max,
            places: Arc::new(Semaphore::new(max as usize)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            open: metrics.gauge("millrace_connections", "Open gRPC connections"),
            refused: metrics.counter("millrace_connections_refused_total", "gRPC connections past connections_max"),
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

    fn enter(&self, stream: TcpStream) -> Option<Connection> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            self.open.inc();
            return Some(Connection { stream, _open: Open { gauge: self.open.clone(), _place: place } });
        }
        self.refused.inc();
        if let Ok(turn) = Arc::clone(&self.refusals).try_acquire_owned() {
            let max = self.max;
            tokio::spawn(async move {
                let _turn = turn;
                // Who does not listen is closed all the same.
                let _ = tokio::time::timeout(REFUSAL_TIME, refuse(stream, max)).await;
            });
        }
        None
    }
}

/// Tells the client, and waits until it has hung up: closing earlier would throw away what it has not yet read.
async fn refuse(mut stream: TcpStream, max: u32) -> io::Result<()> {
    let text = format!("the server has {max} connections, which is its limit (connections_max); try again later");
    stream.write_all(&go_away(&text)).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// An empty `SETTINGS`, with which a server must begin, and a `GOAWAY` that has taken no call (RFC 9113, 6.5 and 6.8).
fn go_away(text: &str) -> Vec<u8> {
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

/// A connection that is served. Its place is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    _open: Open,
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
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
