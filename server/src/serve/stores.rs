//! The log, the meta store, the object store and its catalog as the server holds them: opened together, closed last.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_storage::catalog::Catalog;
use millrace_storage::encryption::{KeyStore, MasterKeys};
use millrace_storage::lake::store::Store;
use millrace_storage::log::Log;
use millrace_storage::log::rocks::RocksLog;
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::stream::StreamIdKey;
use millrace_storage::meta::rocks::RocksMeta;
use millrace_storage::time::Clock;

use super::log_metrics::LogCollector;
use crate::api::http::Readiness;
use crate::auth::{Auth, AuthOptions};
use crate::config::Settings;
use crate::delivery::{Deliveries, DeliverySettings};
use crate::disk::Disk;
use crate::encryption;
use crate::error::{Error, Kind, Result};
use crate::imports::Imports;
use crate::maintenance::Maintenance;
use crate::metrics::Metrics;
use crate::streams::Streams;
use crate::transform::Transforms;

/// The storage of one process.
#[derive(Debug)]
pub(super) struct Stores {
    log: Arc<RocksLog>,
    meta: Arc<dyn MetaStore>,
    rocks_meta: RocksMeta,
    data_keys: Arc<KeyStore>,
    masters: MasterKeys,
    store: Store,
    catalog: Catalog,
}

impl Stores {
    /// Opens all; recovery of what a crash left takes place here.
    pub(super) async fn open(settings: &Settings, data_dir: &Path, metrics: &Metrics) -> Result<Self> {
        let masters = encryption::master_keys(&settings.encryption)?;
        let (log_settings, meta_path) = (settings.log.settings(data_dir), data_dir.join("meta"));
        let meta = blocking(move || RocksMeta::open(&meta_path).map_err(Error::from)).await?;
        let rocks_meta = meta.clone();
        let meta = Arc::new(meta) as Arc<dyn MetaStore>;
        let data_keys = Arc::new(KeyStore::open(Arc::clone(&meta), masters.clone()).await?);
        let keyring = data_keys.keyring();
        let open_log = move || RocksLog::open_with_keys(log_settings, Clock::system(), keyring).map_err(Error::from);
        let log = Arc::new(blocking(open_log).await?);
        let store_settings = settings.store.settings(data_dir);
        let store = blocking(move || Store::open(&store_settings).map_err(Error::invalid)).await?;
        let catalog = Catalog::new(Arc::clone(&meta), store.clone());
        metrics.register(LogCollector::new(Arc::clone(&log)));
        Ok(Self { log, meta, rocks_meta, data_keys, masters, store, catalog })
    }

    pub(super) fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log) as _
    }

    pub(super) fn meta(&self) -> Arc<dyn MetaStore> {
        Arc::clone(&self.meta)
    }

    pub(super) fn data_keys(&self) -> Arc<KeyStore> {
        Arc::clone(&self.data_keys)
    }

    /// Backups and checks of these stores.
    pub(super) fn maintenance(&self, settings: &Settings, data_dir: &Path, streams: &Streams) -> Maintenance {
        let place = settings.backup.settings(&settings.store, data_dir);
        let (log, meta) = (Arc::clone(&self.log), self.rocks_meta.clone());
        Maintenance::new(log, meta, streams.clone(), data_dir.to_path_buf(), place)
    }

    /// Reads the principals.
    pub(super) async fn auth(&self, options: AuthOptions, metrics: &Metrics) -> Result<Auth> {
        Auth::open(self.meta(), self.masters.clone(), options, Clock::system(), metrics).await
    }

    /// Opens the deliveries and starts their workers.
    pub(super) async fn deliveries(
        &self,
        streams: &Streams,
        settings: DeliverySettings,
        metrics: &Metrics,
        transforms: &Transforms,
    ) -> Result<Deliveries> {
        let (store, catalog) = (self.store.clone(), self.catalog.clone());
        let (log, meta, transforms) = (self.log(), self.meta(), transforms.clone());
        Deliveries::open_with(log, streams.clone(), meta, catalog, store, settings, metrics, transforms).await
    }

    /// Opens the imports and starts their workers.
    pub(super) async fn imports(
        &self,
        settings: &Settings,
        data_dir: &Path,
        streams: &Streams,
        auth: &Auth,
        metrics: &Metrics,
    ) -> Result<Imports> {
        let named = settings.stores.iter();
        let named = named.map(|(name, store)| store.named_settings(name).map(|store| (name.clone(), store)));
        let named = named.collect::<Result<_, String>>().map_err(Error::invalid)?;
        let (store, reached) = (self.store.clone(), (settings.store.settings(data_dir), named));
        let (streams, auth) = (streams.clone(), auth.clone());
        Imports::open(streams, self.meta(), store, reached, auth, settings.import.clone(), metrics).await
    }

    /// The catalog of the tables.
    pub(super) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Ready while the server serves, the log takes writes and the meta store answers. A full disk is no reason to send
    /// readers elsewhere: the answer only tells of it.
    pub(super) fn readiness(&self, serving: Arc<AtomicBool>, disk: Disk) -> Readiness {
        let (log, meta) = (Arc::clone(&self.log), Arc::clone(&self.meta));
        Arc::new(move || {
            let (log, meta, serving, disk) = (Arc::clone(&log), Arc::clone(&meta), Arc::clone(&serving), disk.clone());
            Box::pin(async move {
                if !serving.load(Ordering::Relaxed) {
                    return Err("the server is draining".to_owned());
                }
                if log.stats().poisoned {
                    return Err("the log stopped taking writes after a failed sync".to_owned());
                }
                keys::get(&*meta, &StreamIdKey).await.map_err(|error| error.to_string())?;
                Ok(disk.check().map_or_else(|full| format!("ready to read; {full}"), |()| "ready".to_owned()))
            })
        })
    }

    /// Makes durable what is queued, and releases the files.
    pub(super) async fn close(&self) -> Result<()> {
        let log = self.log.close().await;
        let meta = self.meta.close().await;
        log?;
        meta?;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::new(Kind::Internal, format_args!("opening a store ended early: {error}"))),
    }
}
