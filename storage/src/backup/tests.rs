//! Backups of stores that are written to: what they hold, what a second one copies, and what a damaged one does.

use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::marker::{Marker, Work};
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

impl Site {
    async fn prune(&self, keep: u32, pruning: Pruning) -> Result<Pruned> {
        prune(&self.place, NonZeroU32::new(keep).unwrap(), pruning).await
    }

    /// The marker files of one kind of work.
    fn markers(&self, work: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path().join("place").join(work)).into_iter().flatten();
        files.map(|file| file.unwrap().path()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_keeps_the_newest_and_all_that_they_need() {
    let site = Site::new();
    let mut taken = Vec::new();
    for _ in 0..4 {
        site.put(50_000).await;
        taken.push(site.take().await.0);
    }
    let before = site.objects().len();
    let told = site.prune(2, Pruning::Dry).await.unwrap();
    assert_eq!(
        (list(&site.place).await.unwrap().len(), site.objects().len()),
        (4, before),
        "a dry run removes nothing"
    );
    let pruned = site.prune(2, Pruning::Real).await.unwrap();
    assert_eq!(pruned, told);
    assert_eq!(pruned.backups, [taken[0].id.clone(), taken[1].id.clone()]);
    assert_eq!((pruned.kept, pruned.objects), (2, (before - site.objects().len()) as u64));
    assert!(pruned.objects > 0 && pruned.bytes > 0, "{pruned:?}");
    assert_eq!(list(&site.place).await.unwrap(), taken[2..]);
    for (number, backup) in taken[2..].iter().enumerate() {
        let restored = site.restore(Some(&backup.id), &format!("restored-{number}")).await.unwrap();
        let records = 3 + number as u64;
        assert_eq!(contents(&restored).await, (records, records));
    }
    // What a prune that ended early, or a backup that never came to its end, left is found by the next.
    fs::write(site.folder.path().join("place/objects").join("0".repeat(64)), b"left").unwrap();
    let again = site.prune(2, Pruning::Real).await.unwrap();
    assert_eq!((again.backups.len(), again.objects, again.bytes), (0, 1, 4));
    assert_eq!(site.prune(9, Pruning::Real).await.unwrap(), Pruned { kept: 2, ..Pruned::default() });
    assert!(site.markers("pruning").is_empty() && site.markers("taking").is_empty());
}

/// What a backup that is being taken found, and did not copy, must stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_and_a_prune_give_way_to_each_other() {
    let site = Site::new();
    site.put(10).await;
    site.take().await;
    let taking = Marker::put(&site.place, Work::Taking).await.unwrap();
    let error = site.prune(1, Pruning::Real).await.unwrap_err();
    assert!(matches!(&error, Error::Busy { .. }) && error.to_string().contains("a backup is being taken"), "{error}");
    assert!(site.markers("pruning").is_empty(), "who gave way leaves no mark");
    taking.remove().await;
    let pruning = Marker::put(&site.place, Work::Pruning).await.unwrap();
    let taken = take(&site.log, &site.meta, &site.data_dir(), &site.place, |_| {}).await;
    assert!(matches!(taken, Err(Error::Busy { .. })), "{taken:?}");
    // That process ended in the middle, an hour ago.
    let left = &site.markers("pruning")[0];
    let old = SystemTime::now() - Duration::from_secs(3600 + 60);
    fs::File::options().write(true).open(left).unwrap().set_modified(old).unwrap();
    site.take().await;
    site.prune(1, Pruning::Real).await.unwrap();
    assert!(site.markers("pruning").is_empty(), "what was left goes with the next prune");
    assert!(matches!(pruning.check().await, Err(Error::Overtaken { .. })));
}

/// The process stood still for so long that a prune went on without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_taken_for_dead_is_none() {
    let site = Site::new();
    site.put(10).await;
    let overtake = |_| site.markers("taking").into_iter().for_each(|marker| fs::remove_file(marker).unwrap());
    let taken = take(&site.log, &site.meta, &site.data_dir(), &site.place, overtake).await;
    assert!(matches!(taken, Err(Error::Overtaken { .. })), "{taken:?}");
    assert!(list(&site.place).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_pruned_where_a_manifest_cannot_be_read() {
    let site = Site::new();
    for _ in 0..2 {
        site.put(1000).await;
        site.take().await;
    }
    let before = site.objects().len();
    fs::write(site.folder.path().join("place/backups/20990101T000000.000Z.json"), "{").unwrap();
    assert!(matches!(site.prune(1, Pruning::Real).await, Err(Error::Damaged { .. })));
    assert_eq!(site.objects().len(), before);
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
