//! Writes the on-disk fixtures of the present build: `cargo run -p millrace-storage --example fixture -- NAME`.
//!
//! Makes `storage/fixtures/NAME-closed.tar.gz`, of a log and a meta store that were closed, and `NAME-killed.tar.gz`, of ones
//! whose process ended in the middle. Each holds `expected.json`: what every later build must find in it. An archive that is
//! committed must never be made anew; `storage/fixtures/README.md` says when to add one.

#![expect(clippy::print_stdout, reason = "a program for people: it names what it wrote")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use millrace_storage::log::rocks::{LogSettings, RocksLog};
use millrace_storage::log::{Log, NewRecord, Offset, ReadLimit, ShardId, ShardKey, StreamId};
use millrace_storage::meta::keys::batch::{BatchKey, BatchObject, BatchValue};
use millrace_storage::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};
use millrace_storage::meta::keys::delivery::{DeliveryKey, DeliveryState, DeliveryValue};
use millrace_storage::meta::keys::intent::{IntentKey, IntentValue};
use millrace_storage::meta::keys::stream::{StreamIdKey, StreamIdValue, StreamKey, StreamValue};
use millrace_storage::meta::keys::table::{TableKey, TableValue};
use millrace_storage::meta::keys::{OffsetRange, Totals, put};
use millrace_storage::meta::rocks::RocksMeta;
use millrace_storage::meta::{MetaStore, Write};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let name = std::env::args().nth(1).ok_or("say the fixture's name, such as 1")?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folder = tempfile::tempdir()?;
    let (open, closed) = (folder.path().join("open"), folder.path().join("closed"));
    fs::create_dir_all(&open)?;
    let log = RocksLog::open(LogSettings::new(open.join("log")))?;
    let meta = RocksMeta::open(&open.join("meta"))?;
    let shards = fill_log(&log).await?;
    meta.commit(vec![], meta_writes()).await?;
    let expected = json!({ "shards": expected_shards(&log, &shards).await?, "meta": expected_meta(&meta).await? });
    fs::write(open.join("expected.json"), serde_json::to_vec_pretty(&expected)?)?;
    // The files as they are now are what a killed process leaves.
    pack(&open, &fixtures.join(format!("{name}-killed.tar.gz")))?;
    log.close().await?;
    meta.close().await?;
    fs::rename(&open, &closed)?;
    pack(&closed, &fixtures.join(format!("{name}-closed.tar.gz")))
}

/// Blocks of every kind: one record and many, compressed and not, trimmed in part and whole, and those of a deleted stream.
async fn fill_log(log: &RocksLog) -> Outcome<Vec<ShardKey>> {
    let record = |key: &str, data: Vec<u8>| NewRecord { partition_key: key.to_owned().into(), data: data.into() };
    let text = |number: u32| format!("{{\"number\":{number},\"text\":\"as ever, as ever, as ever\"}}").into_bytes();
    // Bytes that no codec makes smaller, and the same at each run.
    let noise = |mut state: u32| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..900).map(|_| next()).collect::<Vec<u8>>()
    };
    let shards: Vec<ShardKey> = [(1, 0), (1, 1), (1, 7), (2, 0), (u32::MAX - 1, 3)]
        .map(|(stream, shard)| ShardKey { stream: StreamId(stream), shard: ShardId(shard) })
        .to_vec();
    for (index, shard) in (0..).zip(&shards) {
        for round in 0..4 {
            let many = (0..20).map(|number| record(&format!("key-{number}"), text(round * 20 + number)));
            log.append(*shard, many.collect::<Vec<_>>().into()).await?.durable().await?;
            let one = vec![record("é", noise(index * 10 + round)), record("", Vec::new())];
            log.append(*shard, one.into()).await?.durable().await?;
        }
    }
    log.trim(shards[1], Offset(30)).await?;
    log.trim(shards[2], Offset(88)).await?;
    log.delete_stream(StreamId(2)).await?;
    Ok(shards)
}

async fn expected_shards(log: &RocksLog, shards: &[ShardKey]) -> Outcome<Vec<Value>> {
    let mut expected = Vec::new();
    for shard in shards {
        let offsets = log.offsets(*shard);
        let limit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };
        let records = log.read(*shard, Offset::ZERO, limit).await?;
        let records = records.into_iter().map(|record| {
            json!({
                "offset": record.offset.0,
                "arrival_time_ms": record.arrival_time.as_millis(),
                "partition_key": text(&record.partition_key),
                "data": text(&record.data),
            })
        });
        expected.push(json!({
            "stream": shard.stream.0,
            "shard": shard.shard.0,
            "trim": offsets.start.0,
            "next": offsets.end.0,
            "records": records.collect::<Vec<_>>(),
        }));
    }
    Ok(expected)
}

async fn expected_meta(meta: &RocksMeta) -> Outcome<Vec<Value>> {
    let pairs = meta.scan(b"").await?;
    Ok(pairs.iter().map(|(key, value)| json!({ "key": text(key), "value": text(value) })).collect())
}

/// Bytes as JSON can hold them.
fn text(bytes: &Bytes) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// A value of every family, with every field set.
fn meta_writes() -> Vec<Write> {
    let (name, ranges) = ("flights".to_owned(), BTreeMap::from([(0, OffsetRange { from: 3, to: 9 })]));
    let totals = Some(Totals {
        records: 6,
        outputs: 7,
        rows: 5,
        set_aside: 1,
        dropped: 1,
        files: 2,
        bytes_in: 600,
        bytes_out: 300,
        lost: 0,
    });
    let object = BatchObject { url: "file:///lake/errors/1.jsonl".to_owned(), bytes: 10, rows: 1 };
    let stream = StreamValue {
        id: 1,
        shard_count: 2,
        retention_ms: 86_400_000,
        record_bytes_max: 1 << 20,
        in_bytes_per_second: 1 << 20,
        in_records_per_second: 1000,
        out_bytes_per_second: 2 << 20,
        created_at_ms: 1_700_000_000_000,
        spec_toml: "name = \"flights\"".to_owned(),
        deleting: false,
        ..StreamValue::default()
    };
    let delivery = DeliveryValue {
        spec_toml: "name = \"flights\"".to_owned(),
        state: DeliveryState::Paused.into(),
        stream: name.clone(),
        table: "default.flights".to_owned(),
        created_at_ms: 1_700_000_000_000,
    };
    let checkpoint = CheckpointValue {
        next_batch: 2,
        offsets: BTreeMap::from([(0, 9), (1, 0)]),
        totals,
        last_commit_at_ms: 1_700_000_000_500,
        stream_id: 1,
        first_batch: 1,
    };
    let intent = IntentValue {
        batch: 2,
        ranges: ranges.clone(),
        spec_toml: "name = \"flights\"".to_owned(),
        cut_at_ms: 1_700_000_000_400,
        modules: Vec::new(),
        table_spec_toml: "name = \"flights\"".to_owned(),
    };
    let batch = BatchValue {
        ranges,
        objects: vec![object.clone()],
        totals,
        committed_at_ms: 1_700_000_000_500,
        set_aside_objects: vec![object],
    };
    let table = TableValue {
        metadata_location: "file:///lake/metadata/1.json".to_owned(),
        spec_toml: "name = \"flights\"".to_owned(),
    };
    vec![
        put(&StreamKey { name: name.clone() }, &stream),
        put(&StreamIdKey, &StreamIdValue { next: 3 }),
        put(&DeliveryKey { name: name.clone() }, &delivery),
        put(&CheckpointKey { delivery: name.clone() }, &checkpoint),
        put(&IntentKey { delivery: name.clone() }, &intent),
        put(&BatchKey { delivery: name.clone(), batch: 1 }, &batch),
        put(&TableKey { namespace: "default".to_owned(), name }, &table),
    ]
}

/// Packs a folder without what RocksDB only tells people.
fn pack(folder: &Path, archive: &Path) -> Outcome<()> {
    if archive.exists() {
        return Err(format!("{} exists, and a fixture is never made anew", archive.display()).into());
    }
    let packed = Command::new("tar")
        .args([
            "--create",
            "--gzip",
            "--exclude=LOG*",
            "--exclude=OPTIONS-*",
            "--exclude=LOCK",
            "--owner=0",
            "--group=0",
        ])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .args(["log", "meta", "expected.json"])
        .status()?;
    if !packed.success() {
        return Err("tar failed".into());
    }
    println!("{}", archive.display());
    Ok(())
}
