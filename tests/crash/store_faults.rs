//! A store that errs, hangs, tears uploads and hides successes: delivery retries until all is there once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace_tests::cli;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::s3::{Fault, S3Server};
use millrace_tests::seed;
use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::wait;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::sync::watch;

use crate::producer::{Shared, produce};

const ALL: [Fault; 4] = [Fault::Error, Fault::TimeOut, Fault::Torn, Fault::LostSuccess];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_store_delays_delivery_but_loses_and_doubles_nothing() {
    let mut generator = seed::generator("store faults");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = S3Server::start(&folder.path().join("s3"));
    let settings = store.as_store(ServerSettings::new(&folder.path().join("data")));
    let mut server = Server::start(&settings);
    let mut pipeline = Pipeline::new("events");
    (pipeline.buffer_size, pipeline.buffer_interval) = ("1MiB", "1s");
    let file = pipeline.write(folder.path());
    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();

    store.faults.inject(StdRng::seed_from_u64(generator.next_u64()), 30, &ALL, 1);
    let (_publish, endpoint) = watch::channel(Some(server.endpoint()));
    let shared = Shared::new("events", endpoint);
    let producer = tokio::spawn(produce(shared.clone(), generator.next_u64()));
    // Until each kind of fault has struck, and often.
    wait::until("all kinds of fault to strike", Duration::from_secs(120), || {
        let injected = store.faults.injected();
        (ALL.iter().all(|fault| injected.contains_key(fault)) && injected.values().sum::<u32>() >= 40).then_some(())
    });
    shared.stop.store(true, Ordering::SeqCst);
    producer.await.expect("the producer does not panic");
    store.faults.heal();
    eprintln!("injected: {:?}", store.faults.injected());

    let _said = cli::millrace(&server, &["delivery", "flush", "events"]).ok();
    let ledger = std::mem::take(&mut *shared.ledger.lock());
    assert!(ledger.unknown.is_empty(), "the log does not depend on the store, yet puts failed");
    ledger.prove(&server, "events", &store.bucket_folder());
    let _proof = cli::millrace(&server, &["verify", "events"]).ok();
    assert!(server.stop().success(), "the drained server exits well");
}
