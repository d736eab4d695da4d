//! An S3 server in this process: an independent implementation of the protocol over a folder, with faults on its wire.
//!
//! Signatures are checked. An object lies as a plain file at `<folder>/<bucket>/<key>`, so that a lister can read it.

mod faults;
mod minio;

pub use faults::{Fault, Faults};
pub use minio::Minio;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::server::ServerSettings;

/// The access key that the server knows.
pub const ACCESS_KEY_ID: &str = "millrace-test";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "millrace-test-secret";
/// The bucket that exists.
pub const BUCKET: &str = "lake";

/// A running S3 server; dropping it stops it.
#[derive(Debug)]
pub struct S3Server {
    /// The faults on its wire; none at first.
    pub faults: Arc<Faults>,
    /// Where it listens, as a URL.
    pub endpoint: String,
    folder: PathBuf,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl S3Server {
    /// Serves `folder`, with one empty bucket, on a free port.
    ///
    /// # Panics
    /// When the folder or the port cannot be had.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::start_with_key(folder, ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    }

    /// The same server, which knows this access key alone.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_with_key(folder: &Path, access_key_id: &str, secret_access_key: &str) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).expect("the bucket's folder can be made");
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder).expect("the folder can be served"));
        service.set_auth(SimpleAuth::from_single(access_key_id, secret_access_key));
        let service = service.build();
        let faults = Arc::new(Faults::default());
        let runtime = Runtime::new().expect("threads can be started");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        runtime.spawn(accept(listener, service, Arc::clone(&faults)));
        Self { faults, endpoint, folder: folder.to_path_buf(), runtime: Some(runtime) }
    }

    /// The folder that holds the bucket's objects as files.
    #[must_use]
    pub fn bucket_folder(&self) -> PathBuf {
        self.folder.join(BUCKET)
    }

    /// `settings` with this server's bucket as the store.
    #[must_use]
    pub fn as_store(&self, settings: ServerSettings) -> ServerSettings {
        as_store(&self.endpoint, settings)
    }
}

/// `settings` with the bucket of the S3 server at `endpoint` as the store.
fn as_store(endpoint: &str, settings: ServerSettings) -> ServerSettings {
    settings
        .env("MILLRACE_STORE_URL", format!("s3://{BUCKET}/tables"))
        .env("MILLRACE_STORE_ENDPOINT", endpoint)
        .env("MILLRACE_STORE_REGION", "us-east-1")
        .env("MILLRACE_STORE_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .env("MILLRACE_STORE_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .env("MILLRACE_STORE_ALLOW_HTTP", "true")
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // Not `drop`: a test's own runtime forbids to wait for another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: std::net::TcpListener, service: S3Service, faults: Arc<Faults>) {
    let listener = TcpListener::from_std(listener).expect("the socket is non-blocking");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        tokio::spawn(serve(socket, service.clone(), Arc::clone(&faults)));
    }
}

async fn serve(socket: TcpStream, service: S3Service, faults: Arc<Faults>) {
    let answer = service_fn(|request| answer(request, &service, &faults));
    // A torn connection ends in an error here: that is the fault working.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await);
}

/// Answers one request, or breaks it as the plan says. An error closes the connection without an answer.
async fn answer(request: Request<Incoming>, service: &S3Service, faults: &Faults) -> io::Result<Response<Body>> {
    if *request.method() == Method::PUT {
        let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        faults.note_put(request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect());
    }
    let writes = matches!(*request.method(), Method::PUT | Method::POST | Method::DELETE);
    if writes && faults.is_read_only() {
        return Ok(refusal(403, "AccessDenied"));
    }
    match faults.draw(writes) {
        None => pass(request, service).await,
        Some(Fault::Error) => Ok(refusal(503, "SlowDown")),
        Some(Fault::TimeOut) => {
            // Never answered; the client gives up and closes.
            std::future::pending::<Infallible>().await;
            Err(io::ErrorKind::TimedOut.into())
        }
        Some(Fault::Torn) => {
            let mut body = request.into_body();
            drop(body.frame().await);
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Some(Fault::LostSuccess) => {
            pass(request, service).await?;
            Ok(refusal(500, "InternalError"))
        }
    }
}

async fn pass(request: Request<Incoming>, service: &S3Service) -> io::Result<Response<Body>> {
    hyper::service::Service::call(service, request).await.map_err(|error| io::Error::other(format!("{error:?}")))
}

fn refusal(status: u16, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    let answer = Response::builder().status(status).header("content-type", "application/xml");
    answer.body(Body::from(text)).expect("the parts are valid")
}
