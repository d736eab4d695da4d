//! What stays when a process ends: a log, a meta store and an object store; and the processes that run on them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::TryStreamExt;
use millrace_storage::catalog::{Catalog, TableName, ends};
use millrace_storage::lake::store::{Store, StoreSettings};
use millrace_storage::log::memory::MemoryLog;
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::log::{Log, NewRecord, ShardId, ShardKey};
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::memory::MemoryMeta;
use millrace_storage::meta::rocks::RocksMeta;

use super::faults::{Faults, FaultyMeta, FaultyStore};
use crate::delivery::{Deliveries, DeliverySettings, Ends};
use crate::metrics::Metrics;
use crate::streams::{StreamSettings, Streams};

/// What stays when a process ends.
pub(super) struct Site {
    pub(super) log: Arc<dyn Log>,
    pub(super) meta: Arc<dyn MetaStore>,
    pub(super) store: Store,
    pub(super) faults: Arc<Faults>,
    _folder: Option<tempfile::TempDir>,
}

/// A process on a site.
pub(super) struct Process {
    pub(super) streams: Streams,
    pub(super) deliveries: Deliveries,
    pub(super) catalog: Catalog,
    pub(super) metrics: Metrics,
}

/// Two shards, and a table by event time.
pub(super) const PIPELINE: &str = r#"
    [[stream]]
    name = "s"
    shards = 2
    [[table]]
    name = "t"
    time = { field = "at" }
    [[delivery]]
    name = "d"
    stream = "s"
    table = "t"
    transforms = ["newline", "split"]
    buffer_interval = "900s"
"#;

/// Retries are quick and a stop drops what is under way, as a crash does.
pub(super) fn settings() -> DeliverySettings {
    DeliverySettings {
        retry_delay_max: Duration::from_millis(5),
        drain_timeout: Duration::ZERO,
        replaced_files_kept: Duration::ZERO,
        ..DeliverySettings::default()
    }
}

impl Site {
    pub(super) fn memory() -> Self {
        let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
        Self::new(Arc::new(MemoryLog::new()), Arc::new(MemoryMeta::new()), store, None)
    }

    pub(super) fn disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let log = RocksLog::open(LogSettings::new(path.join("log"))).unwrap();
        let meta = RocksMeta::open(&path.join("meta")).unwrap();
        let store = Store::open(&StoreSettings::of_url(format!("file://{}/lake", path.display()))).unwrap();
        Self::new(Arc::new(log), Arc::new(meta), store, Some(folder))
    }

    pub(super) fn new(
        log: Arc<dyn Log>,
        meta: Arc<dyn MetaStore>,
        store: Store,
        folder: Option<tempfile::TempDir>,
    ) -> Self {
        let faults = Faults::new();
        let meta = Arc::new(FaultyMeta(meta, Arc::clone(&faults)));
        let object_store = Arc::new(FaultyStore(store.object_store(), Arc::clone(&faults)));
        let store = Store::from_object_store(&store.root_url(), object_store).unwrap();
        Self { log, meta, store, faults, _folder: folder }
    }

    pub(super) async fn start(&self) -> Process {
        self.start_with(settings()).await
    }

    pub(super) async fn start_with(&self, settings: DeliverySettings) -> Process {
        let (log, meta, store, metrics) = (&self.log, &self.meta, &self.store, Metrics::new());
        let streams =
            Streams::open(Arc::clone(log), Arc::clone(meta), StreamSettings::default(), &metrics).await.unwrap();
        let catalog = Catalog::new(Arc::clone(meta), store.clone());
        let deliveries = Deliveries::open(
            Arc::clone(log),
            streams.clone(),
            Arc::clone(meta),
            catalog.clone(),
            store.clone(),
            settings,
            &metrics,
        );
        let deliveries = deliveries.await.unwrap();
        Process { streams, deliveries, catalog, metrics }
    }

    /// A process with the pipeline applied.
    pub(super) async fn start_applied(&self) -> Process {
        let process = self.start().await;
        process.deliveries.apply(PIPELINE, false).await.unwrap();
        process
    }

    /// The ids of all rows below a folder, as one sees them who only lists files.
    pub(super) async fn listed_ids(&self, folder: &str) -> Vec<i64> {
        let mut ids = Vec::new();
        for path in self.list(folder, ".parquet").await {
            ids.extend(self.ids_of(&path).await);
        }
        ids.sort_unstable();
        ids
    }

    async fn ids_of(&self, path: &object_store::path::Path) -> Vec<i64> {
        ids(&read_parquet(self.store.get(path).await.unwrap()))
    }

    pub(super) async fn list(&self, folder: &str, suffix: &str) -> Vec<object_store::path::Path> {
        let root = self.store.path(folder);
        let objects: Vec<_> = self.store.object_store().list(Some(&root)).try_collect().await.unwrap();
        let mut paths: Vec<_> = objects.into_iter().map(|object| object.location).collect();
        paths.retain(|path| path.as_ref().ends_with(suffix));
        paths.sort_unstable();
        paths
    }

    /// The lines of all plain objects below a folder.
    pub(super) async fn lines(&self, folder: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for path in self.list(folder, ".jsonl").await {
            let text = String::from_utf8(self.store.get(&path).await.unwrap().to_vec()).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort_unstable();
        lines
    }
}

fn read_parquet(bytes: Bytes) -> Vec<RecordBatch> {
    ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap().collect::<Result<_, _>>().unwrap()
}

/// The values of the column `id`.
pub(super) fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    let of = |batch: &RecordBatch| {
        batch.column_by_name("id").expect("rows have ids").as_primitive::<Int64Type>().values().to_vec()
    };
    batches.iter().flat_map(of).collect()
}

pub(super) fn table() -> TableName {
    "t".parse().unwrap()
}

impl Process {
    /// Puts records with these ids, alternating over two shards. Every seventh is broken, every fifth holds two events.
    /// Gives the ids that must come out as rows, and how many records must be set aside.
    pub(super) async fn put(&self, ids: std::ops::Range<i64>) -> (Vec<i64>, usize) {
        let (mut rows, mut broken) = (Vec::new(), 0);
        let mut shards = [Vec::new(), Vec::new()];
        for id in ids {
            let data = if id % 7 == 3 {
                broken += 1;
                format!("{{\"id\":{id},")
            } else if id % 5 == 1 {
                rows.extend([id, id + 1_000_000]);
                format!("{}{}", event(id), event(id + 1_000_000))
            } else {
                rows.push(id);
                event(id)
            };
            shards[usize::try_from(id % 2).unwrap()].push(data);
        }
        for (shard, data) in (0..).zip(shards) {
            self.append(shard, data).await;
        }
        (rows, broken)
    }

    pub(super) async fn append(&self, shard: u32, data: Vec<String>) {
        self.append_to("s", shard, data).await;
    }

    pub(super) async fn append_to(&self, stream: &str, shard: u32, data: Vec<String>) {
        let stream = self.streams.get(&stream.parse().unwrap()).unwrap().id();
        let record = |data: String| NewRecord { partition_key: Bytes::from_static(b"key"), data: data.into() };
        let key = ShardKey { stream, shard: ShardId(shard) };
        let ticket =
            self.streams.log().append(key, data.into_iter().map(record).collect::<Vec<_>>().into()).await.unwrap();
        ticket.durable().await.unwrap();
    }

    /// Where the table's snapshot ends.
    pub(super) async fn ends(&self) -> Ends {
        let loaded = self.catalog.load(&table()).await.unwrap();
        let of = |name: String| Some((name.clone(), ends(&loaded, &name).unwrap()?));
        self.deliveries.of_table(&table()).into_iter().filter_map(of).collect()
    }

    /// The ids of the table's rows, read by its manifests.
    pub(super) async fn table_ids(&self, site: &Site) -> Vec<i64> {
        let loaded = self.catalog.load(&table()).await.unwrap();
        let files = self.catalog.files(&loaded).await.unwrap();
        let mut ids = Vec::new();
        for file in &files.entries {
            ids.extend(site.ids_of(&site.store.path_of_url(file.url()).unwrap()).await);
        }
        ids.sort_unstable();
        ids
    }

    /// Everything is there once: by the catalog, by listing files, and by the delivery's own proof.
    pub(super) async fn check_exactly_once(&self, site: &Site, mut rows: Vec<i64>, broken: usize) {
        rows.sort_unstable();
        assert_eq!(site.listed_ids("default/t/data").await, rows, "by listing files");
        assert_eq!(self.table_ids(site).await, rows, "by the catalog");
        assert_eq!(site.lines("default/t/errors").await.len(), broken, "records set aside");
        let verified = self.deliveries.verify("d").await.unwrap();
        assert_eq!(verified.faults, Vec::<String>::new());
        assert_eq!(verified.totals.rows, rows.len() as u64);
        assert_eq!(verified.totals.set_aside, broken as u64);
    }
}

/// An event of one of three hours.
pub(super) fn event(id: i64) -> String {
    format!("{{\"id\":{id},\"at\":\"2013-01-01T{:02}:00:00Z\",\"name\":\"n{id}\"}}", 10 + id % 3)
}
