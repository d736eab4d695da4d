//! Data that older builds wrote opens, and holds what they wrote. Each archive in `storage/fixtures` is such data.
#![expect(clippy::unwrap_used, reason = "a test says by its panic what failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::log::{Log, NewRecord, Offset, ReadLimit, ShardId, ShardKey, StreamId};
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::keys::batch::BatchKey;
use millrace_storage::meta::keys::checkpoint::CheckpointKey;
use millrace_storage::meta::keys::delivery::DeliveryKey;
use millrace_storage::meta::keys::intent::IntentKey;
use millrace_storage::meta::keys::stream::{StreamIdKey, StreamKey};
use millrace_storage::meta::keys::table::TableKey;
use millrace_storage::meta::keys::{self, Key};
use millrace_storage::meta::rocks::RocksMeta;
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
}

/// Opened by this build, appended to and opened again, the log holds all it held.
#[tokio::test]
async fn every_log_that_was_ever_written_opens() {
    assert!(archives().len() >= 2, "the fixtures are missing");
    for archive in archives() {
        let folder = unpack(&archive);
        let expected = expected(folder.path());
        let settings = LogSettings::new(folder.path().join("log"));
        let log = RocksLog::open(settings.clone()).unwrap();
        check_log(&log, &expected, &archive).await;
        let fresh = ShardKey { stream: StreamId(77), shard: ShardId(0) };
        let record = NewRecord { partition_key: "k".into(), data: "new".into() };
        log.append(fresh, vec![record].into()).await.unwrap().durable().await.unwrap();
        log.close().await.unwrap();

        let log = RocksLog::open(settings).unwrap();
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
        let expected: Vec<_> = expected["meta"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (bytes(&pair["key"]), bytes(&pair["value"])))
            .collect();
        let found: Vec<_> = found.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(found, expected, "{}", archive.display());
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
    }
}
