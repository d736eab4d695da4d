//! What stays when a process ends, and the processes that run on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use millrace_storage::encryption::MasterKeys;
use millrace_storage::lake::store::{Store, StoreSettings};
use millrace_storage::log::memory::MemoryLog;
use millrace_storage::log::{Log, Offset, ReadLimit};
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::import::{ImportKey, ImportState};
use millrace_storage::meta::memory::MemoryMeta;
use millrace_storage::time::Clock;

use crate::auth::{Auth, AuthOptions};
use crate::delivery::{Change, Deliveries, DeliverySettings};
use crate::error::Result;
use crate::imports::{Application, ImportSettings, Imports, NamedStores};
use crate::metrics::Metrics;
use crate::streams::{StreamName, StreamOptions, StreamSettings, Streams};

/// What stays when a process ends.
pub(super) struct Site {
    pub(super) log: Arc<dyn Log>,
    pub(super) meta: Arc<dyn MetaStore>,
    pub(super) store: Store,
}

/// A process on a site.
pub(super) struct Process {
    pub(super) streams: Streams,
    pub(super) imports: Imports,
    deliveries: Deliveries,
    metrics: Metrics,
}

/// A stream without quotas, and an import of the folder `in` into it.
pub(super) fn pipeline(lines: &str) -> String {
    format!(
        "[[stream]]\nname = \"s\"\nshards = 3\n[stream.quota]\nin_bytes_per_second = \"off\"\nin_records_per_second = \"off\"\n\
         [[import]]\nname = \"i\"\nstream = \"s\"\nsource = \"memory:///lake/in\"\n{lines}\n"
    )
}

/// Chunks of four rows, so that few lines are many, and quick retries.
pub(super) fn settings() -> ImportSettings {
    ImportSettings { chunk_rows_max: 4, retry_delay_max: Duration::from_millis(5), ..ImportSettings::default() }
}

impl Site {
    pub(super) fn new() -> Self {
        Self::over(Arc::new(MemoryLog::new()))
    }

    pub(super) fn over(log: Arc<dyn Log>) -> Self {
        let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
        Self { log, meta: Arc::new(MemoryMeta::new()), store }
    }

    pub(super) async fn start(&self) -> Process {
        self.start_with(settings()).await
    }

    pub(super) async fn start_with(&self, settings: ImportSettings) -> Process {
        let (log, meta, store, metrics) = (&self.log, &self.meta, &self.store, Metrics::new());
        let stream_settings = StreamSettings::default();
        let streams = Streams::open(Arc::clone(log), Arc::clone(meta), stream_settings, &metrics).await.unwrap();
        let catalog = millrace_storage::catalog::Catalog::new(Arc::clone(meta), store.clone());
        let (own_log, own_meta) = (Arc::clone(log), Arc::clone(meta));
        let deliveries = Deliveries::open(
            own_log,
            streams.clone(),
            own_meta,
            catalog,
            store.clone(),
            DeliverySettings::default(),
            &metrics,
        );
        let deliveries = deliveries.await.unwrap();
        let masters = MasterKeys::default();
        let auth =
            Auth::open(Arc::clone(meta), masters, AuthOptions::default(), Clock::system(), &metrics).await.unwrap();
        let reached = (StoreSettings::of_url("memory:///lake"), NamedStores::new());
        let imports =
            Imports::open(streams.clone(), Arc::clone(meta), store.clone(), reached, auth, settings, &metrics);
        let imports = imports.await.unwrap();
        Process { streams, imports, deliveries, metrics }
    }

    /// A process whose import was paused before it began.
    pub(super) async fn start_paused(&self) -> Process {
        let key = ImportKey { name: "i".into() };
        let mut import = keys::get(&*self.meta, &key).await.unwrap().unwrap().value;
        import.state = ImportState::Paused.into();
        self.meta.commit(vec![], vec![keys::put(&key, &import)]).await.unwrap();
        self.start().await
    }

    pub(super) async fn write(&self, name: &str, text: impl Into<Bytes>) {
        let bytes: Bytes = text.into();
        self.store.put(&self.store.path(&format!("in/{name}")), bytes).await.unwrap();
    }

    /// The lines of all objects that were set aside.
    pub(super) async fn set_aside(&self) -> Vec<serde_json::Value> {
        let root = self.store.path("errors/imports/i");
        let mut objects: Vec<_> = self.store.object_store().list(Some(&root)).try_collect().await.unwrap();
        objects.sort_by(|a: &object_store::ObjectMeta, b| a.location.cmp(&b.location));
        let mut lines = Vec::new();
        for object in objects {
            let bytes = self.store.get(&object.location).await.unwrap();
            lines.extend(
                String::from_utf8(bytes.to_vec()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()),
            );
        }
        lines
    }
}

impl Process {
    pub(super) async fn apply(&self, pipeline: &str) -> Result<Vec<Change>> {
        self.apply_expecting(pipeline, &BTreeMap::new(), false).await
    }

    pub(super) async fn apply_expecting(
        &self,
        pipeline_toml: &str,
        expected: &BTreeMap<String, String>,
        dry_run: bool,
    ) -> Result<Vec<Change>> {
        let application = Application { pipeline_toml, dry_run, expected, owner: "" };
        self.imports.apply(&self.deliveries, application, &|_| Ok(())).await
    }

    pub(super) async fn create_stream(&self, name: &str) {
        let name: StreamName = name.parse().unwrap();
        self.streams.create(&name, &StreamOptions::default()).await.unwrap();
    }

    /// The data of all records of the stream, sorted.
    pub(super) async fn records(&self) -> Vec<String> {
        self.records_of("s").await
    }

    pub(super) async fn records_of(&self, stream: &str) -> Vec<String> {
        let stream = self.streams.get(&stream.parse().unwrap()).unwrap();
        let mut found = Vec::new();
        for shard in stream.topology().shards() {
            let mut from = Offset::ZERO;
            loop {
                let limit = ReadLimit { records_max: 1000, bytes_max: 1 << 20 };
                let records = self.streams.log().read(shard.key(), from, limit).await.unwrap();
                let Some(last) = records.last() else { break };
                from = last.offset + 1;
                found.extend(records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()));
            }
        }
        found.sort();
        found
    }

    pub(super) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }

    pub(super) async fn close(self) {
        self.imports.close().await;
        self.deliveries.close().await;
    }
}

/// Lines of JSON with these ids, and what the stream has of them, sorted.
pub(super) fn lines(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("{{\"id\":{id}}}\n")).collect()
}

pub(super) fn expected(texts: &[&str]) -> Vec<String> {
    let mut expected: Vec<String> = texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    expected.sort();
    expected
}
