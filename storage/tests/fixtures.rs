//! Data that older builds wrote opens, and holds what they wrote. Each archive in `storage/fixtures` is such data.
#![expect(clippy::unwrap_used, reason = "a test says by its panic what failed")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use millrace_storage::encryption::{KeyStore, Keyring, MasterKeys, parse_local_keys};
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::log::{Error, Log, NewRecord, Offset, ProducerSequence, ReadLimit, ShardId, ShardKey, StreamId};
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::keys::batch::BatchKey;
use millrace_storage::meta::keys::checkpoint::CheckpointKey;
use millrace_storage::meta::keys::data_key::DataKeyKey;
use millrace_storage::meta::keys::delivery::DeliveryKey;
use millrace_storage::meta::keys::group::{GroupCheckpointKey, GroupIdKey, GroupKey};
use millrace_storage::meta::keys::intent::IntentKey;
use millrace_storage::meta::keys::shard::ShardMetaKey;
use millrace_storage::meta::keys::stream::{StreamIdKey, StreamKey};
use millrace_storage::meta::keys::table::TableKey;
use millrace_storage::meta::keys::{self, Key};
use millrace_storage::meta::rocks::RocksMeta;
use millrace_storage::time::Clock;
use serde_json::Value;

const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

fn archives() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut archives: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "gz")).collect();
    archives.sort();
    archives
}

fn unpack(archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    let tar = tar.args(["--extract", "--gzip", "--file"]).arg(archive).arg("--directory").arg(folder.path());
    assert!(tar.status().unwrap().success(), "{} does not unpack", archive.display());
    folder
}

fn expected(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn shard_key(expected: &Value) -> ShardKey {
    let part = |name: &str| u32::try_from(number(&expected[name])).unwrap();
    ShardKey { stream: StreamId(part("stream")), shard: ShardId(part("shard")) }
}

async fn check_log(log: &RocksLog, expected: &Value, archive: &Path) {
    let mut records = 0;
    for expected in expected["shards"].as_array().unwrap() {
        let shard = shard_key(expected);
        let at = format!("{} {shard}", archive.display());
        let offsets = log.offsets(shard);
        assert_eq!((offsets.start.0, offsets.end.0), (number(&expected["trim"]), number(&expected["next"])), "{at}");
        let found = log.read(shard, Offset::ZERO, ALL).await.unwrap();
        let expected = expected["records"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{at}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.offset.0, number(&expected["offset"]), "{at}");
            assert_eq!(Some(found.arrival_time.as_millis()), expected["arrival_time_ms"].as_i64(), "{at}");
            assert_eq!(found.partition_key, bytes(&expected["partition_key"]), "{at}");
            assert_eq!(found.data, bytes(&expected["data"]), "{at}");
            records += 1;
        }
    }
    assert!(records > 100, "{} proves too little", archive.display());
    if !expected["shredded"].is_null() {
        check_shredded(log, &expected["shredded"]).await;
        check_producers(log, &expected["producers"]);
    }
    assert_eq!(log.verify(|_| {}).await.unwrap().fault_count, 0, "{}", archive.display());
}

/// The data keys of the archive's meta store, unwrapped; none where nothing in it was encrypted yet.
async fn keyring(folder: &Path, expected: &Value) -> Arc<Keyring> {
    let Some(master) = expected["master_key"].as_str() else { return Arc::default() };
    let meta = Arc::new(RocksMeta::open(&folder.join("meta")).unwrap());
    let masters = MasterKeys::new(parse_local_keys("the fixture", master).unwrap());
    let store = KeyStore::open(Arc::clone(&meta) as Arc<dyn MetaStore>, masters).await.unwrap();
    let keys = store.keyring();
    assert_eq!(keys.locked_count(), 0);
    meta.close().await.unwrap();
    keys
}

/// What was shredded is told as such, and not as damage.
async fn check_shredded(log: &RocksLog, expected: &Value) {
    let (shard, offset) = (shard_key(expected), Offset(number(&expected["offset"])));
    let error = log.read(shard, offset, ALL).await.unwrap_err();
    assert!(matches!(error, Error::Shredded { .. }), "{error}");
    assert_eq!(log.offsets(shard).end.0, number(&expected["next"]));
}

/// What is sent again is known.
fn check_producers(log: &RocksLog, expected: &Value) {
    for expected in expected.as_array().unwrap() {
        let (producer, sequence) = (number(&expected["producer"]), number(&expected["sequence"]));
        let name = ProducerSequence { producer, sequence, age: Duration::from_secs(1) };
        let stored = log.stored(shard_key(expected), name, number(&expected["count"])).unwrap().unwrap();
        assert_eq!(stored.offsets.start.0, number(&expected["first_offset"]));
    }
}

/// Opened by this build, appended to and opened again, the log holds all it held.
#[tokio::test]
async fn every_log_that_was_ever_written_opens() {
    assert!(archives().len() >= 2, "the fixtures are missing");
    for archive in archives() {
        let folder = unpack(&archive);
        let expected = expected(folder.path());
        let settings = LogSettings::new(folder.path().join("log"));
        let keys = keyring(folder.path(), &expected).await;
        let open = || RocksLog::open_with_keys(settings.clone(), Clock::system(), Arc::clone(&keys)).unwrap();
        let log = open();
        check_log(&log, &expected, &archive).await;
        let fresh = ShardKey { stream: StreamId(77), shard: ShardId(0) };
        let record = NewRecord { partition_key: "k".into(), data: "new".into() };
        log.append(fresh, vec![record].into()).await.unwrap().durable().await.unwrap();
        log.close().await.unwrap();

        let log = open();
        check_log(&log, &expected, &archive).await;
        assert_eq!(log.read(fresh, Offset::ZERO, ALL).await.unwrap()[0].data, "new");
    }
}

async fn scan<K: Key>(meta: &RocksMeta) -> usize {
    keys::scan::<K>(meta).await.unwrap().len()
}

#[tokio::test]
async fn every_meta_store_that_was_ever_written_opens_and_decodes() {
    for archive in archives() {
        let folder = unpack(&archive);
        let meta = RocksMeta::open(&folder.path().join("meta")).unwrap();
        let found = meta.scan(b"").await.unwrap();
        let expected = expected(folder.path());
        let pairs: Vec<_> = expected["meta"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (bytes(&pair["key"]), bytes(&pair["value"])))
            .collect();
        let found: Vec<_> = found.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(found, pairs, "{}", archive.display());
        let decoded = [
            scan::<StreamKey>(&meta).await,
            scan::<StreamIdKey>(&meta).await,
            scan::<DeliveryKey>(&meta).await,
            scan::<CheckpointKey>(&meta).await,
            scan::<IntentKey>(&meta).await,
            scan::<BatchKey>(&meta).await,
            scan::<TableKey>(&meta).await,
        ];
        assert!(decoded.iter().all(|family| *family > 0), "{}: {decoded:?}", archive.display());
        let later = [
            scan::<ShardMetaKey>(&meta).await,
            scan::<DataKeyKey>(&meta).await,
            scan::<GroupKey>(&meta).await,
            scan::<GroupIdKey>(&meta).await,
            scan::<GroupCheckpointKey>(&meta).await,
        ];
        let has_later = !expected["master_key"].is_null();
        assert!(later.iter().all(|family| (*family > 0) == has_later), "{}: {later:?}", archive.display());
    }
}
