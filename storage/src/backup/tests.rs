//! Backups of stores that are written to: what they hold, what a second one copies, and what a damaged one does.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::lake::store::{Store, StoreSettings};
use crate::log::rocks::{LogSettings, RocksLog};
use crate::log::{Log, NewRecord, Offset, ReadLimit, ShardId, ShardKey, StreamId};
use crate::meta::rocks::RocksMeta;
use crate::meta::{MetaStore, Write};

const SHARD: ShardKey = ShardKey { stream: StreamId(1), shard: ShardId(0) };
const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

struct Site {
    folder: tempfile::TempDir,
    log: Arc<RocksLog>,
    meta: RocksMeta,
    place: Store,
}

fn open(folder: &std::path::Path) -> (Arc<RocksLog>, RocksMeta) {
    let log = RocksLog::open(LogSettings::new(folder.join("log"))).unwrap();
    (Arc::new(log), RocksMeta::open(&folder.join("meta")).unwrap())
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, meta) = open(&folder.path().join("data"));
        let place = StoreSettings::of_url(format!("file://{}/place", folder.path().display()));
        Self { log, meta, place: Store::open(&place).unwrap(), folder }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Appends a record, and commits to meta how many there are, as a delivery does with its position.
    async fn put(&self, bytes: usize) {
        let data = (0..bytes).map(|index| (index * index % 251) as u8).collect::<Vec<_>>();
        let record = NewRecord { partition_key: "k".into(), data: data.into() };
        let end = self.log.append(SHARD, vec![record].into()).await.unwrap().durable().await.unwrap().offsets.end;
        let write = Write::Put { key: "position".into(), value: end.0.to_string().into() };
        self.meta.commit(vec![], vec![write]).await.unwrap();
    }

    async fn take(&self) -> (Backup, Progress) {
        take(&self.log, &self.meta, &self.data_dir(), &self.place, |_| {}).await.unwrap()
    }

    async fn restore(&self, id: Option<&str>, name: &str) -> Result<PathBuf> {
        let into = self.folder.path().join(name);
        restore(&self.place, id, &into, |_| {}).await?;
        Ok(into)
    }

    fn objects(&self) -> Vec<PathBuf> {
        let objects = fs::read_dir(self.folder.path().join("place/objects")).unwrap();
        objects.map(|object| object.unwrap().path()).collect()
    }
}

/// The position that meta holds, and the records that the log holds.
async fn contents(folder: &std::path::Path) -> (u64, u64) {
    let (log, meta) = open(folder);
    let position = meta.get(b"position").await.unwrap().unwrap();
    let records = log.read(SHARD, Offset::ZERO, ALL).await.unwrap().len() as u64;
    assert_eq!(log.verify(|_| {}).await.unwrap().fault_count, 0);
    (String::from_utf8(position.to_vec()).unwrap().parse().unwrap(), records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_backup_restores_to_its_own_moment_after_writes_went_on() {
    let site = Site::new();
    for _ in 0..30 {
        site.put(30_000).await;
    }
    let (first, _) = site.take().await;
    for _ in 0..10 {
        site.put(30_000).await;
    }
    let (second, progress) = site.take().await;
    assert!(progress.bytes_copied < progress.bytes, "what was there is not copied again: {progress:?}");
    site.put(10).await;
    assert!(first.id < second.id);
    assert_eq!(list(&site.place).await.unwrap(), [first.clone(), second]);
    assert_eq!(contents(&site.restore(Some(&first.id), "first").await.unwrap()).await, (30, 30));
    assert_eq!(contents(&site.restore(None, "newest").await.unwrap()).await, (40, 40));
    assert!(!site.data_dir().join("backup-copies").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn meta_never_refers_to_more_than_the_log_of_its_backup_holds() {
    let site = Arc::new(Site::new());
    site.put(10).await;
    let writer = tokio::spawn({
        let site = Arc::clone(&site);
        async move {
            for round in 0..300 {
                site.put(100 + round * 20).await;
            }
        }
    });
    let mut taken = Vec::new();
    while !writer.is_finished() {
        taken.push(site.take().await.0.id);
    }
    writer.await.unwrap();
    for (number, id) in taken.iter().enumerate().take(5) {
        let (position, records) = contents(&site.restore(Some(id), &format!("at-{number}")).await.unwrap()).await;
        assert!(position <= records && position >= 1, "{position} of {records}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_refused_by_the_object_that_is_wrong() {
    let site = Site::new();
    site.put(100_000).await;
    let (backup, _) = site.take().await;
    let object = site.objects().into_iter().max_by_key(|object| object.metadata().unwrap().len()).unwrap();
    let whole = fs::read(&object).unwrap();
    let name = object.file_name().unwrap().to_str().unwrap().to_owned();

    let mut rotten = whole.clone();
    rotten[whole.len() / 2] ^= 1;
    fs::write(&object, &rotten).unwrap();
    let error = site.restore(None, "rotten").await.unwrap_err();
    assert!(matches!(&error, Error::Damaged { object, .. } if object.contains(&name)), "{error}");
    assert!(site.folder.path().join("rotten").join(RESTORING).exists(), "no server opens it");

    fs::remove_file(&object).unwrap();
    let error = site.restore(None, "missing").await.unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    assert!(!site.folder.path().join("missing").exists(), "nothing was written before the check");

    // A restore that failed is done again by the same call, once the backup is whole.
    fs::write(&object, &whole).unwrap();
    assert_eq!(contents(&site.restore(None, "rotten").await.unwrap()).await, (1, 1));

    let manifest = site.folder.path().join(format!("place/backups/{}.json", backup.id));
    let text = fs::read_to_string(&manifest).unwrap().replace("log/CURRENT", "log/CURRENX");
    fs::write(&manifest, text).unwrap();
    let error = site.restore(None, "forged").await.unwrap_err();
    assert!(error.to_string().contains("check sum"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_overwrites_nothing_and_a_name_that_is_not_there_is_told() {
    let site = Site::new();
    let error = site.restore(None, "none").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    site.put(10).await;
    site.take().await;
    let error = site.restore(Some("1999"), "none").await.unwrap_err();
    assert!(error.to_string().contains("1999"), "{error}");
    let error = restore(&site.place, None, &site.data_dir(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
}
