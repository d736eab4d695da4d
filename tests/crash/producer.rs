//! A producer on the bare wire: many batches in flight over one connection, no retries, and a ledger of what is known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use millrace_proto::v1::PutRequest;
use millrace_tests::grpc;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::sync::{mpsc, watch};

use crate::ledger::Ledger;

/// Batches that may be unanswered.
const IN_FLIGHT_MAX: usize = 8;
/// Time between two batches of a producer: enough load for every moment to matter, and a run that ends.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// What producers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stream: String,
    pub(crate) ledger: Mutex<Ledger>,
    /// Where the server is; `None` while it is down.
    pub(crate) endpoint: watch::Receiver<Option<String>>,
    pub(crate) stop: AtomicBool,
    next_id: AtomicI64,
}

impl Shared {
    pub(crate) fn new(stream: &str, endpoint: watch::Receiver<Option<String>>) -> Arc<Self> {
        Arc::new(Self {
            stream: stream.to_owned(),
            ledger: Mutex::default(),
            endpoint,
            stop: AtomicBool::new(false),
            next_id: AtomicI64::new(0),
        })
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// A batch of 1 to 200 records, each with an id of its own.
    fn batch(&self, generator: &mut StdRng) -> (Vec<i64>, PutRequest) {
        let count = generator.random_range(1..=200);
        let ids: Vec<i64> = (0..count).map(|_| self.next_id.fetch_add(1, Ordering::SeqCst)).collect();
        let records = ids.iter().map(|id| {
            let pad = "x".repeat(generator.random_range(0..400));
            (format!("key-{}", generator.next_u32()), format!("{{\"id\":{id},\"pad\":\"{pad}\"}}").into_bytes())
        });
        let request = grpc::put_request(&self.stream, records);
        (ids, request)
    }
}

/// Produces until told to stop, connecting anew whenever the server is back.
pub(crate) async fn produce(shared: Arc<Shared>, seed: u64) {
    let mut generator = StdRng::seed_from_u64(seed);
    let mut endpoint = shared.endpoint.clone();
    while !shared.stopped() {
        let Some(address) = endpoint.borrow_and_update().clone() else {
            if endpoint.changed().await.is_err() {
                return;
            }
            continue;
        };
        let died = run_connection(&shared, &mut generator, &address).await;
        if died && !shared.stopped() && *endpoint.borrow() == Some(address) {
            // The killer has not published the next address yet.
            let _told = endpoint.changed().await;
        }
    }
}

/// Produces over one connection until it breaks (true) or the run stops (false).
async fn run_connection(shared: &Shared, generator: &mut StdRng, address: &str) -> bool {
    let Ok(channel) = grpc::connect(address).await else { return true };
    let (requests, queued) = mpsc::channel::<PutRequest>(1);
    let mut unanswered: VecDeque<Vec<i64>> = VecDeque::new();
    let queued = tokio_stream_of(queued);
    let Ok(answers) = grpc::records(&channel).put_stream(queued).await else { return true };
    let mut answers = answers.into_inner();
    let mut pace = tokio::time::interval(BATCH_INTERVAL);
    let broken = loop {
        pace.tick().await;
        if shared.stopped() {
            break false;
        }
        let (ids, request) = shared.batch(generator);
        unanswered.push_back(ids);
        if requests.send(request).await.is_err() {
            break true;
        }
        if unanswered.len() >= IN_FLIGHT_MAX && !take_answer(shared, &mut answers, &mut unanswered).await {
            break true;
        }
    };
    drop(requests);
    // What was answered before the end still counts.
    while !unanswered.is_empty() && take_answer(shared, &mut answers, &mut unanswered).await {}
    shared.ledger.lock().unknown.extend(unanswered.into_iter().flatten());
    broken
}

/// Notes the answer to the oldest batch; false when none comes.
async fn take_answer(
    shared: &Shared,
    answers: &mut tonic::Streaming<millrace_proto::v1::PutResponse>,
    unanswered: &mut VecDeque<Vec<i64>>,
) -> bool {
    let Some(Ok(answer)) = answers.next().await else { return false };
    let ids = unanswered.pop_front().expect("an answer belongs to the oldest unanswered batch");
    assert_eq!(answer.results.len(), ids.len(), "an answer has one fate a record");
    let mut ledger = shared.ledger.lock();
    for (id, place) in ids.into_iter().zip(grpc::places(&answer)) {
        match place {
            Some(place) => drop(ledger.acknowledged.insert(id, place)),
            None => drop(ledger.unknown.insert(id)),
        }
    }
    true
}

fn tokio_stream_of(receiver: mpsc::Receiver<PutRequest>) -> impl futures::Stream<Item = PutRequest> + Send + 'static {
    futures::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|request| (request, receiver)) })
}
