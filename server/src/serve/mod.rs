//! The process: opens what is in the data folder, starts the services, and drains them on a signal.
//!
//! Nothing is served before all of it is open, and nothing is closed before the calls that use it have ended.

mod data_dir;
mod tls;
mod connections;
mod timed;
mod listen;
mod closed;
mod logging;
mod log_metrics;
mod stores;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::OptionFuture;
use millrace_storage::backup;
use millrace_storage::catalog::Catalog;
use millrace_storage::failpoint;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

pub use listen::{HttpSettings, MetricsAccess};
pub use logging::start_logging;
pub use tls::TlsSettings;

use crate::api::aws::{Aws, Foundation};
use crate::api::{self, Services};
use crate::auth::AuthOptions;
use crate::cloudwatch::CloudWatch;
use crate::config::Settings;
use crate::delivery::Deliveries;
use crate::disk::{Disk, Space};
use crate::encryption;
use crate::error::{Error, Kind, Result};
use crate::groups::{Groups, Monotonic};
use crate::imports::Imports;
use crate::metrics::Metrics;
use crate::query::{QueryEngine, system_tables};
use crate::streams::Streams;
use crate::transform::{Registry, Transforms};
use connections::Connections;
use data_dir::DataDir;
use stores::Stores;

/// A server that runs. Dropping it drains the server in the background; [`Running::join`] waits for that.
#[derive(Debug)]
pub struct Running {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    kinesis_addr: Option<SocketAddr>,
    is_tls: bool,
    metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    /// Where gRPC listens.
    #[must_use]
    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where HTTP listens.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where the AWS protocols are served alone, where they are.
    #[must_use]
    pub const fn kinesis_addr(&self) -> Option<SocketAddr> {
        self.kinesis_addr
    }

    /// Whether all speak TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// What `/metrics` shows.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Begins to drain when cancelled.
    #[must_use]
    pub const fn shutdown(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits until the server has closed: after a shutdown, or because a part of it failed.
    ///
    /// # Errors
    /// What failed.
    pub async fn join(mut self) -> Result<()> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::new(Kind::Internal, format_args!("the server's task ended early: {error}"))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts a server in this process. Returns when it serves.
///
/// # Errors
/// Where the data folder is in use or cannot be read, or an address cannot be bound.
pub async fn start(settings: Settings) -> Result<Running> {
    start_with(settings, Registry::new()).await
}

/// Starts a server in this process, with transforms of the embedding program. Returns when it serves.
///
/// # Errors
/// As [`start`].
pub async fn start_with(settings: Settings, registry: Registry) -> Result<Running> {
    if !settings.failpoint.is_empty() {
        failpoint::arm(&settings.failpoint).map_err(Error::invalid)?;
        tracing::warn!(failpoint = settings.failpoint, "the process is to die there");
    }
    closed::check(&settings)?;
    let metrics = Metrics::new();
    let tls = tls::Ports::open(&settings.tls, &metrics)?;
    let data_dir = DataDir::lock(&settings.data_dir)?;
    let grpc = listen::bind("grpc_listen", settings.grpc_listen).await?;
    let http = listen::bind("http_listen", settings.http_listen).await?;
    let kinesis = match settings.kinesis_listen {
        Some(addr) => Some(listen::bind("kinesis_listen", addr).await?),
        None => None,
    };
    let (grpc_addr, http_addr) = (listen::local_addr(&grpc)?, listen::local_addr(&http)?);
    let kinesis_addr = kinesis.as_ref().map(listen::local_addr).transpose()?;
    closed::tell(&settings, grpc_addr, http_addr);
    backup::remove_remains(data_dir.path())?;
    let stores = Stores::open(&settings, data_dir.path(), &metrics).await?;
    let (log, meta, data_keys) = (stores.log(), stores.meta(), stores.data_keys());
    let streams = Streams::open_with_keys(log, meta, data_keys, settings.streams.clone(), &metrics).await?;
    let disk = disk(&settings, data_dir.path(), &metrics);
    streams.guard_disk(disk.clone());
    let groups = Groups::open(&streams, stores.meta(), settings.groups.clone(), Monotonic::system(), &metrics).await?;
    let compiled = data_dir.path().join("transforms");
    let transforms = Transforms::open(stores.meta(), &compiled, settings.transform.clone(), registry, &metrics).await?;
    let deliveries = stores.deliveries(&streams, settings.delivery.clone(), &metrics, &transforms).await?;
    let catalog = stores.catalog().clone();
    let maintenance = stores.maintenance(&settings, data_dir.path(), &streams);
    let auth = stores.auth(auth_options(&settings), &metrics).await?;
    let imports = stores.imports(&settings, data_dir.path(), &streams, &auth, &metrics).await?;
    let queries = queries(&settings, &data_dir, &catalog, &streams, &deliveries, &imports, &metrics)?;
    let foundation = Foundation {
        streams: streams.clone(),
        deliveries: deliveries.clone(),
        catalog: catalog.clone(),
        meta: stores.meta(),
        auth: auth.clone(),
    };
    let stop = CancellationToken::new();
    let aws = Aws::open(foundation, &settings.aws, &settings.kinesis, &settings.firehose, &metrics).await?;
    if !settings.aws.cloudwatch_period.is_zero() {
        tokio::spawn(CloudWatch::new(&metrics).run(settings.aws.cloudwatch_period, stop.clone()));
    }
    let queries = Arc::new(queries);
    let services = Services {
        maintenance,
        streams,
        groups,
        transforms,
        deliveries,
        imports,
        catalog,
        queries,
        auth: auth.clone(),
    };
    let is_tls = tls.is_some();
    let Settings { drain_timeout, connections_max, http: http_settings, .. } = settings;
    let parts = Parts { data_dir, stores, disk, services, aws, tls, drain_timeout, connections_max, http_settings };
    parts.data_dir.write_endpoints(grpc_addr, http_addr, kinesis_addr, is_tls)?;
    tokio::spawn(encryption::keep_unlocked(parts.stores.data_keys(), stop.clone()));
    tokio::spawn(auth.keep_unlocked(stop.clone()));
    if let Some(tls) = &parts.tls {
        tls.watch(stop.clone())?;
    }
    let servers = parts.serve(grpc, http, kinesis, metrics.clone(), &stop).await?;
    tracing::info!(%grpc_addr, %http_addr, data_dir = %parts.data_dir.path().display(), "serving");
    let task = tokio::spawn(parts.run(servers, stop.clone()));
    Ok(Running { grpc_addr, http_addr, kinesis_addr, is_tls, metrics, stop, task })
}

fn auth_options(settings: &Settings) -> AuthOptions {
    AuthOptions {
        mode: settings.auth,
        principals: settings.principals.clone(),
        sigv4: settings.sigv4.clone(),
        audit: settings.audit.clone(),
        record_bytes_max: settings.streams.record_bytes_max.as_u64(),
    }
}

fn disk(settings: &Settings, folder: &Path, metrics: &Metrics) -> Disk {
    let folder = folder.to_path_buf();
    Disk::new(settings.disk.clone(), move || Space::of(&folder), metrics)
}

fn queries(
    settings: &Settings,
    data_dir: &DataDir,
    catalog: &Catalog,
    streams: &Streams,
    deliveries: &Deliveries,
    imports: &Imports,
    metrics: &Metrics,
) -> Result<QueryEngine> {
    let (system, tails) = (system_tables(streams, deliveries, imports), Arc::new(deliveries.clone()));
    let spill_folder = data_dir.path().join("spill");
    let mut query = settings.query.clone();
    if settings.encryption.has_master() && !settings.encryption.allow_spill {
        // A row of an encrypted stream must not lie in the data folder in the clear.
        query.spill_bytes_max = bytesize::ByteSize::b(0);
    }
    QueryEngine::open(catalog.clone(), tails, system, query, &spill_folder, metrics)
}

/// What is open while the server runs.
struct Parts {
    data_dir: DataDir,
    stores: Stores,
    disk: Disk,
    services: Services,
    tls: Option<tls::Ports>,
    aws: Aws,
    drain_timeout: Duration,
    connections_max: u32,
    http_settings: HttpSettings,
}

/// The tasks that serve, and what ends them.
struct Servers {
    health: HealthReporter,
    /// False from the beginning of the drain on.
    serving: Arc<AtomicBool>,
    grpc: JoinHandle<Result<()>>,
    /// Ends the acceptance of calls; those in flight go on.
    grpc_stop: CancellationToken,
    http: JoinHandle<Result<()>>,
    http_stop: CancellationToken,
    retention: JoinHandle<()>,
    groups: JoinHandle<()>,
    on_demand: JoinHandle<()>,
}

impl Parts {
    async fn serve(
        &self,
        grpc: TcpListener,
        http: TcpListener,
        kinesis: Option<TcpListener>,
        metrics: Metrics,
        stop: &CancellationToken,
    ) -> Result<Servers> {
        let health = HealthReporter::new();
        api::set_serving(&health, true).await;
        let routes = api::routes(&self.services, &health)
            .map_err(|error| Error::new(Kind::Internal, format_args!("the wire's descriptors are wrong: {error}")))?;
        let is_tls = self.tls.is_some();
        let connections = Connections::of_grpc(self.connections_max, is_tls, &metrics);
        let http_connections = Connections::of_http(self.http_settings.connections_max, is_tls, &metrics);
        let tls = |of: fn(&tls::Ports) -> &tls::Tls| self.tls.as_ref().map(|tls| of(tls).clone());
        let (grpc_tls, http_tls) = (tls(|tls| &tls.grpc), tls(|tls| &tls.http));
        let serving = Arc::new(AtomicBool::new(true));
        let readiness = self.stores.readiness(Arc::clone(&serving), self.disk.clone());
        let (grpc_stop, http_stop) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(self.disk.clone().run(stop.clone()));
        let http_settings = self.http_settings.clone();
        let router =
            api::http::router(metrics, readiness, self.services.auth.clone(), http_settings.metrics, &self.aws);
        // Both ports share the limit on connections.
        let serve = |listener, router| {
            let (connections, tls) = (http_connections.clone(), http_tls.clone());
            listen::serve_http(listener, connections, tls, router, http_settings.clone(), http_stop.clone())
        };
        let kinesis = kinesis.map(|listener| serve(listener, self.aws.router()));
        let (main, kinesis) = (serve(http, router), OptionFuture::from(kinesis));
        let http = async move { tokio::try_join!(main, kinesis.map(Option::transpose)).map(drop) };
        let retention = self.services.streams.clone().run_retention(stop.clone());
        Ok(Servers {
            health,
            serving,
            grpc: tokio::spawn(listen::serve_grpc(grpc, connections, grpc_tls, routes, grpc_stop.clone())),
            grpc_stop,
            http: tokio::spawn(http),
            http_stop,
            retention: tokio::spawn(retention),
            groups: tokio::spawn(self.services.groups.clone().run(stop.clone())),
            on_demand: tokio::spawn(self.services.streams.clone().run_on_demand(stop.clone())),
        })
    }

    /// Waits for the stop, or for a server that fails, and drains.
    async fn run(self, mut servers: Servers, stop: CancellationToken) -> Result<()> {
        let failed = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = &mut servers.grpc => Err(ended_early("gRPC", ended)),
            ended = &mut servers.http => Err(ended_early("HTTP", ended)),
        };
        stop.cancel();
        let drained = self.drain(servers).await;
        failed.and(drained)
    }

    async fn drain(self, mut servers: Servers) -> Result<()> {
        tracing::info!("draining");
        servers.serving.store(false, Ordering::Relaxed);
        api::set_serving(&servers.health, false).await;
        self.services.imports.stop();
        self.services.streams.stop();
        servers.grpc_stop.cancel();
        // At the same time as gRPC's calls, which take what is left of the time.
        let aws = self.aws.clone();
        let aws = tokio::spawn(async move { aws.drain(self.drain_timeout).await });
        if !servers.grpc.is_finished() && tokio::time::timeout(self.drain_timeout, &mut servers.grpc).await.is_err() {
            tracing::warn!(drain_timeout = ?self.drain_timeout, "calls in flight did not end in time; they are cut off");
            servers.grpc.abort();
        }
        let _ = aws.await;
        self.services.imports.close().await;
        self.services.deliveries.close().await;
        // A task that was aborted or failed has nothing left to tell here.
        let _ = servers.retention.await;
        let _ = servers.groups.await;
        let _ = servers.on_demand.await;
        let closed = self.stores.close().await;
        servers.http_stop.cancel();
        if !servers.http.is_finished() {
            let _ = tokio::time::timeout(Duration::from_secs(1), &mut servers.http).await;
        }
        self.data_dir.remove_endpoints();
        tracing::info!("closed");
        closed
    }
}

fn ended_early(part: &str, ended: Result<Result<()>, tokio::task::JoinError>) -> Error {
    let reason = match ended {
        Ok(Ok(())) => "it ended by itself".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Error::new(Kind::Internal, format_args!("the {part} server failed: {reason}"))
}
