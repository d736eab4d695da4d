//! SIGKILL at random moments of put and delivery.

use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace_tests::cli;
use millrace_tests::grpc;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::seed;
use millrace_tests::server::{Server, ServerSettings};
use rand::{Rng, RngCore};
use tokio::sync::watch;

use crate::producer::{Shared, produce};

const KILLS: u32 = 50;
const PRODUCERS: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_survive_fifty_kills_and_are_delivered_once() {
    let mut generator = seed::generator("kills");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let settings = ServerSettings::new(&folder.path().join("data"))
        .env("MILLRACE_STORE_URL", format!("file://{}", lake.display()));
    let mut server = Server::start(&settings);
    let mut pipeline = Pipeline::new("events");
    (pipeline.buffer_size, pipeline.buffer_interval) = ("1MiB", "1s");
    let file = pipeline.write(folder.path());
    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();

    let (publish, endpoint) = watch::channel(Some(server.endpoint()));
    let shared = Shared::new("events", endpoint);
    let mut tasks = Vec::new();
    for _ in 0..PRODUCERS {
        tasks.push(tokio::spawn(produce(shared.clone(), generator.next_u64())));
    }
    tasks.push(tokio::spawn(flush(shared.clone())));

    for round in 1..=KILLS {
        let alive = Duration::from_millis(generator.random_range(1..600));
        tokio::time::sleep(alive).await; // The random moment is what is tested; nothing is waited for.
        server.kill();
        publish.send_replace(None);
        server.restart();
        publish.send_replace(Some(server.endpoint()));
        if round % 10 == 0 {
            let rows = cli::sql_number(&server, "select count(*) from events");
            let ids = cli::sql_number(&server, "select count(distinct id) from events");
            eprintln!("after {round} kills: {rows} rows at least");
            assert!(ids >= rows, "after {round} kills {rows} rows had only {ids} ids");
        }
    }
    shared.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("a producer does not panic");
    }

    let _said = cli::millrace(&server, &["delivery", "flush", "events"]).ok();
    let ledger = std::mem::take(&mut *shared.ledger.lock());
    assert!(ledger.acknowledged.len() > 1000, "only {} records were acknowledged", ledger.acknowledged.len());
    ledger.prove(&server, "events", &lake);
    let _proof = cli::millrace(&server, &["verify", "events"]).ok();
    assert!(server.stop().success(), "the drained server exits well");
}

/// Flushes without a pause, so that most kills hit a delivery at work.
async fn flush(shared: std::sync::Arc<Shared>) {
    let mut endpoint = shared.endpoint.clone();
    while !shared.stopped() {
        let Some(address) = endpoint.borrow_and_update().clone() else {
            if endpoint.changed().await.is_err() {
                return;
            }
            continue;
        };
        let Ok(channel) = grpc::connect(&address).await else { continue };
        let mut deliveries = grpc::deliveries(&channel);
        let request = || millrace_proto::v1::FlushDeliveryRequest { name: shared.stream.clone() };
        while !shared.stopped() && deliveries.flush_delivery(request()).await.is_ok() {}
    }
}
