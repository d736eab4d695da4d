//! The crash matrix: the server dies at each named failpoint and at random moments while clients put, read, reshard, rotate
//! keys, trim and deliver; then the whole history is checked against what is left.
//!
//! A sample runs with the other tests. `MILLRACE_CRASH_RUNS=1000` runs so many crashes, from one seed.

mod history;
mod checker;
mod clients;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_tests::cli;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::seed;
use millrace_tests::server::{Server, ServerSettings};
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

use crate::ledger::Ledger;
use clients::Run;
use history::History;

/// Each failpoint, and how many times the server may come by before it dies there. See `millrace_storage::failpoint`.
const FAILPOINTS: [(&str, u32); 34] = [
    ("log.seal.before", 300),
    ("log.seal.after", 300),
    ("log.append.before", 200),
    ("log.append.after", 200),
    ("log.append.shown", 200),
    ("log.trim.before", 2),
    ("log.trim.after", 2),
    ("log.delete.before", 3),
    ("log.delete.after", 3),
    ("meta.stream.before", 4),
    ("meta.stream.after", 4),
    ("meta.shard.before", 4),
    ("meta.shard.after", 4),
    ("meta.data-key.before", 4),
    ("meta.data-key.after", 4),
    ("meta.intent.before", 3),
    ("meta.intent.after", 3),
    ("meta.checkpoint.before", 2),
    ("meta.checkpoint.after", 2),
    ("meta.table.before", 2),
    ("meta.table.after", 2),
    // What a sync was to keep is there in part, and the power is gone; or the sync fails. See `disk.c`.
    ("disk.tear", 200),
    ("disk.sectors", 200),
    ("disk.fail", 200),
    ("disk.tear", 20),
    ("disk.sectors", 20),
    ("disk.fail", 20),
    // At any moment.
    ("", 0),
    ("", 0),
    ("", 0),
    ("", 0),
    ("", 0),
    ("", 0),
    ("", 0),
];
/// Crashes on one data folder; then its history is checked.
const CRASHES_PER_FOLDER: usize = 15;
/// Where a server that does not come by its failpoint is killed instead.
const REACH_MAX: Duration = Duration::from_secs(5);
const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// How many crashes, of which some servers died elsewhere than they were told to.
#[derive(Debug, Default)]
struct Tally {
    crashes: usize,
    at_failpoint: BTreeMap<&'static str, usize>,
    missed: BTreeMap<&'static str, usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_anywhere_keeps_one_history() {
    let mut generator = seed::generator("crash matrix");
    let runs =
        std::env::var("MILLRACE_CRASH_RUNS").ok().map(|runs| runs.parse().expect("MILLRACE_CRASH_RUNS is a number"));
    let runs: usize = runs.unwrap_or(FAILPOINTS.len());
    let mut tally = Tally::default();
    let mut failpoints = FAILPOINTS.iter().cycle();
    while tally.crashes < runs {
        let count = CRASHES_PER_FOLDER.min(runs - tally.crashes);
        let plan: Vec<_> = failpoints.by_ref().take(count).copied().collect();
        one_folder(&plan, &mut generator, &mut tally).await;
        eprintln!("{} crashes", tally.crashes);
    }
    eprintln!("died at: {:?}\nkilled before they came there: {:?}", tally.at_failpoint, tally.missed);
    let reached: usize = tally.at_failpoint.values().sum();
    assert!(reached * 2 > runs, "few servers died where they were told to; does this build have failpoints?");
}

async fn one_folder(plan: &[(&'static str, u32)], generator: &mut StdRng, tally: &mut Tally) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = settings(folder.path());
    let mut server = Server::start(&settings);
    let mut pipeline = Pipeline::new("events");
    (pipeline.buffer_size, pipeline.buffer_interval) = ("1MiB", "1s");
    let toml = pipeline.toml().replace("retention = \"168h\"", "retention = \"168h\"\nencryption = true");
    let file = folder.path().join("events.toml");
    std::fs::write(&file, toml).expect("the test's folder can be written");
    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();
    let _said = cli::millrace(&server, &["stream", "create", "short", "--retention", "1s"]).ok();

    let run = Arc::new(Run {
        endpoint: server.endpoint(),
        stream: "events".to_owned(),
        history: History::new(),
        stop: AtomicBool::new(false),
    });
    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(tokio::spawn(clients::put_once(Arc::clone(&run), generator.next_u64())));
        tasks.push(tokio::spawn(clients::put_named(Arc::clone(&run), generator.next_u64())));
        tasks.push(tokio::spawn(clients::put_expecting(Arc::clone(&run), generator.next_u64())));
        tasks.push(tokio::spawn(clients::read(Arc::clone(&run), generator.next_u64())));
    }
    tasks.push(tokio::spawn(clients::put_by_sdk(Arc::clone(&run))));
    tasks.push(tokio::spawn(clients::operate(Arc::clone(&run), generator.next_u64())));

    for (name, hits) in plan {
        server.kill();
        crash(&mut server, &settings, name, *hits, generator, tally);
        tally.crashes += 1;
    }
    server.restart_with(&settings);
    run.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("a client does not panic");
    }
    prove(&run, &server, &folder.path().join("lake")).await;
    assert!(server.stop().success(), "the drained server exits well");
}

fn settings(folder: &Path) -> ServerSettings {
    let key = folder.join("master.key");
    std::fs::write(&key, MASTER_KEY).expect("the test's folder can be written");
    ServerSettings::new(&folder.join("data"))
        .on_fixed_port()
        .env("MILLRACE_STORE_URL", format!("file://{}", folder.join("lake").display()))
        .env("MILLRACE_STREAMS_RETENTION_MIN", "1s")
        .env("MILLRACE_STREAMS_RETENTION_INTERVAL", "200ms")
        .env("MILLRACE_ENCRYPTION_MASTER_KEY_FILE", key.display())
}

/// Starts the server and sees it die: at the failpoint, or at any moment where there is none.
fn crash(
    server: &mut Server,
    settings: &ServerSettings,
    name: &'static str,
    hits: u32,
    generator: &mut StdRng,
    tally: &mut Tally,
) {
    if name.is_empty() {
        server.restart_with(settings);
        let alive = Duration::from_millis(generator.random_range(1..800));
        std::thread::sleep(alive); // The random moment is what is tested; nothing is waited for.
        server.kill();
        return;
    }
    let at = generator.random_range(1..=hits);
    let settings = match name.strip_prefix("disk.") {
        Some(mode) => settings
            .clone()
            .env("LD_PRELOAD", disk(&settings.data_dir).display())
            .env("MILLRACE_TEST_DISK", format!("{mode}:{at}:{}", generator.next_u32())),
        None => settings.clone().env("MILLRACE_FAILPOINT", format!("{name}:{at}")),
    };
    let started = server.try_restart_with(&settings);
    let deadline = Instant::now() + REACH_MAX;
    // A server may die there while it starts.
    let died = !started || server.dies_before(deadline, |server| name == "disk.fail" && has_failed(server));
    *(if died { &mut tally.at_failpoint } else { &mut tally.missed }).entry(name).or_default() += 1;
    server.kill();
}

/// The disk that fails, beside a data folder; built where it is not there yet.
fn disk(data_dir: &Path) -> PathBuf {
    let built = data_dir.with_file_name("disk.so");
    if !built.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crash/matrix/disk.c");
        let compiler =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&built, &source]).arg("-ldl").status();
        assert!(compiler.expect("cc, which RocksDB needs too").success(), "disk.c does not compile");
    }
    built
}

/// Whether a write-ahead log's sync failed: that of the log stops all puts.
fn has_failed(server: &Server) -> bool {
    server.http_get("/metrics").1.lines().any(|line| line == "millrace_log_poisoned 1")
}

/// Reads all that is left, and checks the history against it, and the delivered table too.
async fn prove(run: &Run, server: &Server, lake: &Path) {
    let channel = run.channel();
    let mut log = checker::Log::new();
    for shard in clients::shards(run, &channel).await.expect("the server is up") {
        assert_eq!(shard.trim_offset, 0, "nothing of {} is past its retention", run.stream);
        let ids = log.entry(shard.shard).or_default();
        while (ids.len() as u64) < shard.next_offset {
            let more = clients::read_shard(run, &channel, shard.shard, ids.len() as u64, 1000).await;
            ids.extend(more.filter(|more| !more.is_empty()).expect("records up to the next offset"));
        }
    }
    let (appends, reads) = (run.history.appends.lock().clone(), run.history.reads.lock().clone());
    match checker::check(&appends, &reads, &log) {
        Ok(proof) => eprintln!("one history: {proof:?} in {} shards", log.len()),
        Err(faults) => panic!("{} faults, the first of them: {:#?}", faults.len(), &faults[..faults.len().min(10)]),
    }
    let _said = cli::millrace(server, &["delivery", "flush", "events"]).ok();
    let mut ledger = Ledger::default();
    for (shard, ids) in &log {
        ledger.acknowledged.extend((0..).zip(ids).map(|(offset, id)| (*id, (*shard, offset))));
    }
    ledger.prove(server, "events", lake);
}
