//! A disk that is full, and a disk that lies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_proto::v1::position::Position as At;
use millrace_proto::v1::put_error::Kind;
use millrace_proto::v1::put_result::Result as Fate;
use millrace_proto::v1::{CreateStreamRequest, GetRequest, Position, Record};
use millrace_tests::grpc;
use millrace_tests::listing;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::site::{Site, text};
use rand::RngCore;
use tonic::Status;
use tonic::transport::Channel;

/// A file system of its own in memory, for a full disk. Needs root.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("the test's folder can be written");
        let options = format!("size={mebibytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "millrace-test", text(folder)]).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then(|| Self { folder: folder.to_path_buf() })
    }

    fn grow(&self, mebibytes: u32) {
        let options = format!("remount,size={mebibytes}m");
        let grown = Command::new("mount").args(["-o", &options, text(&self.folder)]).status();
        assert!(grown.is_ok_and(|status| status.success()), "the small disk can be grown");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l", text(&self.folder)]).status());
    }
}

async fn create_unlimited(channel: &Channel, name: &str) {
    let request = CreateStreamRequest {
        name: name.to_owned(),
        in_bytes_per_second: Some(0),
        in_records_per_second: Some(0),
        out_bytes_per_second: Some(0),
        ..CreateStreamRequest::default()
    };
    grpc::streams(channel).create_stream(request).await.expect("a stream can be created");
}

/// Bytes that no codec shrinks.
fn noise(bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    rand::rng().fill_bytes(&mut data);
    data
}

async fn get(channel: &Channel, stream: &str, offset: u64) -> Result<Vec<Record>, Status> {
    let request = GetRequest {
        stream: stream.to_owned(),
        shard: 0,
        position: Some(Position { position: Some(At::Offset(offset)) }),
        records_max: 1,
        bytes_max: 0,
        ..GetRequest::default()
    };
    grpc::records(channel).get(request).await.map(|response| response.into_inner().records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_puts_and_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    // Without a mark, so that the disk is filled to its last byte.
    let settings = ServerSettings::new(&data)
        .env("MILLRACE_STORE_URL", format!("file://{}/lake", folder.path().display()))
        .env("MILLRACE_DISK_FREE_BYTES_MIN", "0");
    let disk = SmallDisk::mount(&data, 400);
    let mut limited = settings.clone();
    if disk.is_none() {
        eprintln!(
            "NOT A REAL FULL DISK: no file system can be mounted here (it needs root); a limit on file sizes stands in"
        );
        limited.shell_prefix = Some("trap '' XFSZ; ulimit -f 65536;".to_owned());
    }
    let mut server = Server::start(&limited);
    let channel = grpc::connect(&server.endpoint()).await.expect("the server listens");
    create_unlimited(&channel, "full").await;

    let mut acknowledged: Vec<(u64, Vec<u8>)> = Vec::new();
    let refusal = loop {
        assert!(acknowledged.len() < 1024, "a disk of 400 MiB took 1 GB");
        let data = noise(1_000_000);
        match grpc::records(&channel).put(grpc::put_request("full", [("k".to_owned(), data.clone())])).await {
            Err(status) => break status.message().to_owned(),
            Ok(response) => match grpc::places(response.get_ref())[0] {
                Some((_, offset)) => acknowledged.push((offset, data)),
                None => break format!("{:?}", response.get_ref().results[0]),
            },
        }
    };
    eprintln!("after {} MB: {refusal}", acknowledged.len());
    assert!(!acknowledged.is_empty(), "nothing fitted: {refusal}");
    assert_eq!(server.http_get("/healthz").0, 200, "the server lives on");
    let (status, words) = server.http_get("/readyz");
    assert_eq!((status, words.contains("failed sync")), (503, true), "{words}");

    server.kill();
    if let Some(disk) = &disk {
        disk.grow(1024);
    }
    server.restart_with(&settings);
    let channel = grpc::connect(&server.endpoint()).await.expect("the server listens");
    for (offset, data) in &acknowledged {
        let records = get(&channel, "full", *offset).await.expect("an acknowledged record is readable");
        assert!(records.first().is_some_and(|record| record.data == *data), "record {offset} is not what was put");
    }
    let more = grpc::put_request("full", [("k".to_owned(), noise(1000))]);
    let response = grpc::records(&channel).put(more).await.expect("there is room again");
    assert!(grpc::places(response.get_ref())[0].is_some(), "there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_at_its_mark_refuses_puts_while_the_rest_goes_on_and_recovers_by_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let Some(disk) = SmallDisk::mount(&data, 600) else {
        eprintln!("NOT TESTED: no file system can be mounted here (it needs root), so no disk reaches its mark");
        return;
    };
    let site = Site::start_with(|settings| {
        ServerSettings { data_dir: data.clone(), ..settings }
            .env("MILLRACE_DISK_FREE_BYTES_MIN", "300MiB")
            .env("MILLRACE_DISK_CHECK_INTERVAL", "50ms")
    });
    let _said = site.apply(&Pipeline::new("events"));
    let _said = site.put_lines("events", (0..10).map(|n| format!("{{\"n\":{n}}}")));
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    create_unlimited(&channel, "filler").await;
    let put = async || {
        let request = grpc::put_request("filler", [("k".to_owned(), noise(1_000_000))]);
        let response = grpc::records(&channel).put(request).await.expect("a put is answered");
        match response.into_inner().results.remove(0).result.expect("a fate is set") {
            Fate::Placed(_) => Ok(()),
            Fate::Error(error) => Err(error),
        }
    };
    let mut taken = 0;
    let error = loop {
        assert!(taken < 600, "a disk of 600 MiB took 600 MB past its mark");
        match put().await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(taken > 0, "nothing fitted: {error:?}");
    assert_eq!(error.kind(), Kind::DiskFull, "{error:?}");
    assert!(error.message.contains("puts are refused until 330.0 MiB are"), "{error:?}");
    assert!(error.retry_after_ms > 0, "{error:?}");

    // Reads, deliveries and the control plane go on.
    assert_eq!(get(&channel, "filler", taken - 1).await.expect("a read").len(), 1);
    site.flush("events");
    assert_eq!(site.count("events"), 10);
    create_unlimited(&channel, "another").await;
    let (status, words) = site.server.http_get("/readyz");
    assert_eq!((status, words.contains("ready to read")), (200, true), "{words}");
    let metrics = site.server.http_get("/metrics").1;
    assert!(metrics.contains("millrace_disk_full 1") && metrics.contains("millrace_log_poisoned 0"), "{metrics}");

    // Room again, and puts are taken without a restart.
    disk.grow(1200);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while let Err(error) = put().await {
        assert_eq!(error.kind(), Kind::DiskFull, "{error:?}");
        assert!(std::time::Instant::now() < deadline, "there is room, and puts are still refused: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_block_fails_by_name_and_the_rest_stays_readable() {
    let mut site = Site::start();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    create_unlimited(&channel, "noise").await;
    // Each put is a block of its own; enough of them that they leave the write-ahead log.
    let mut records = Vec::new();
    for offset in 0..160_u64 {
        let data = noise(1_000_000);
        let response = grpc::records(&channel).put(grpc::put_request("noise", [("k".to_owned(), data.clone())])).await;
        let place = grpc::places(response.expect("a put is taken").get_ref())[0];
        assert_eq!(place, Some((0, offset)));
        records.push(data);
    }
    assert!(site.server.stop().success(), "the drained server exits well");

    let hit = (0..records.len()).find_map(|i| find(&site.settings.data_dir, &records[i][5000..5064]).map(|at| (i, at)));
    let (hit, (file, position)) = hit.expect("a block has left the write-ahead log");
    let mut bytes = fs::read(&file).expect("the file can be read");
    bytes[position] ^= 0x01;
    fs::write(&file, bytes).expect("the file can be written");

    site.server.restart();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    for (offset, data) in records.iter().enumerate() {
        match get(&channel, "noise", offset as u64).await {
            Ok(found) => {
                assert_ne!(offset, hit, "the corrupt block was read as if it were well");
                assert!(
                    found.first().is_some_and(|record| record.data == *data),
                    "record {offset} is not what was put"
                );
            }
            Err(status) => {
                assert_eq!(offset, hit, "a block that is well cannot be read: {status:?}");
                assert_eq!(status.code(), tonic::Code::DataLoss, "{status:?}");
                let message = status.message();
                assert!(message.contains("corrupt") && message.contains(&offset.to_string()), "{message}");
            }
        }
    }
}

/// Where `needle` lies in RocksDB's table and blob files below `folder`.
fn find(folder: &Path, needle: &[u8]) -> Option<(PathBuf, usize)> {
    let files = ["sst", "blob"].iter().flat_map(|extension| listing::files(folder, extension));
    files.into_iter().find_map(|path| {
        let bytes = fs::read(&path).expect("the file can be read");
        let first = needle[0];
        let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first).map(|(i, _)| i);
        let at = starts.into_iter().find(|start| bytes[*start..].starts_with(needle))?;
        Some((path, at))
    })
}
