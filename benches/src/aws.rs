//! Producers on the AWS wire: `PutRecords` as signed JSON over HTTP/1.1, each request built and signed once.
//!
//! Signing at each sending would measure the client; a signature holds for five minutes, and so long a bench may run.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millrace_proto::v1::PutRecord;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::load::{Acknowledged, Producers, noise};

const REGION: &str = "us-east-1";
/// How many different requests there are: 11 MB of them at 500 records of 1 KiB.
const BATCHES: usize = 16;
/// A signature holds for five minutes.
const DURATION_MAX: Duration = Duration::from_secs(240);

/// A Kinesis endpoint and who calls it.
#[derive(Debug)]
pub struct Kinesis {
    endpoint: String,
    credential: AwsCredential,
}

impl Kinesis {
    /// An endpoint with the key of a principal; emulators take any.
    #[must_use]
    pub fn new(endpoint: &str, key_id: &str, secret: &str) -> Self {
        let credential = AwsCredential { key_id: key_id.to_owned(), secret_key: secret.to_owned(), token: None };
        Self { endpoint: endpoint.to_owned(), credential }
    }

    /// Calls an operation and gives its answer.
    ///
    /// # Errors
    /// When the server is not reached, refuses, or answers with something else than JSON.
    pub async fn call(&self, client: &reqwest::Client, operation: &str, body: &Value) -> std::io::Result<Value> {
        let request = self.signed(operation, body.to_string().into())?;
        let answer = client.execute(request).await.map_err(std::io::Error::other)?;
        let (status, text) = (answer.status(), answer.text().await.map_err(std::io::Error::other)?);
        if !status.is_success() {
            return Err(std::io::Error::other(format!("{operation} was answered by {status}: {text}")));
        }
        if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).map_err(std::io::Error::other) }
    }

    /// Creates a stream on an emulator, and waits until it takes records.
    ///
    /// # Errors
    /// When a call fails, or the stream is not active within a minute.
    pub async fn create_stream(&self, name: &str, shards: u32) -> std::io::Result<()> {
        let client = reqwest::Client::new();
        self.call(&client, "CreateStream", &json!({"StreamName": name, "ShardCount": shards})).await?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            let said = self.call(&client, "DescribeStreamSummary", &json!({"StreamName": name})).await?;
            if said["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(std::io::Error::other(format!("the stream {name} is not active after a minute")))
    }

    fn signed(&self, operation: &str, body: Bytes) -> std::io::Result<reqwest::Request> {
        let mut request = HttpRequest::new(body.clone().into());
        *request.method_mut() = reqwest::Method::POST;
        *request.uri_mut() = format!("{}/", self.endpoint).parse().map_err(std::io::Error::other)?;
        let target = format!("Kinesis_20131202.{operation}").parse().map_err(std::io::Error::other)?;
        request.headers_mut().insert("x-amz-target", target);
        let json = reqwest::header::HeaderValue::from_static("application/x-amz-json-1.1");
        request.headers_mut().insert("content-type", json);
        AwsAuthorizer::new(&self.credential, "kinesis", REGION).authorize(&mut request, None);
        let (head, _) = request.into_parts();
        let url = format!("{}/", self.endpoint).parse().map_err(std::io::Error::other)?;
        let mut request = reqwest::Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(body.into());
        Ok(request)
    }

    /// Runs the load: each producer has two connections, each with one request in flight, as two batches are over gRPC.
    ///
    /// # Errors
    /// When a request or a record is refused: a load that is not taken in full measures nothing.
    pub async fn run(&self, workload: Producers, duration: Duration) -> std::io::Result<Acknowledged> {
        assert!(duration <= DURATION_MAX, "requests are signed once, which holds for five minutes");
        let Producers { producers, batch_records, record_bytes } = workload;
        let batches = noise(BATCHES, batch_records, record_bytes);
        let requests: Result<Vec<_>, _> = batches.iter().map(|batch| self.signed("PutRecords", body(batch))).collect();
        let requests = requests?;
        let start = Instant::now();
        let connections = 2 * producers;
        let sent: Vec<_> = (0..connections)
            .map(|number| {
                let mut turn = requests.iter().filter_map(reqwest::Request::try_clone).collect::<Vec<_>>();
                turn.rotate_left(number * BATCHES / connections);
                tokio::spawn(send(turn, start + duration))
            })
            .collect();
        let mut total = Acknowledged::default();
        for connection in sent {
            total.records += connection.await.map_err(std::io::Error::other)?? * batch_records as u64;
        }
        total.bytes = total.records * record_bytes as u64;
        total.elapsed = start.elapsed();
        Ok(total)
    }
}

/// Sends the requests in turn over one connection until the time is up; gives how many were taken.
async fn send(requests: Vec<reqwest::Request>, until: Instant) -> std::io::Result<u64> {
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().map_err(std::io::Error::other)?;
    let mut taken = 0;
    for request in requests.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let request = request.try_clone().ok_or_else(|| std::io::Error::other("a body that can be sent once"))?;
        let answer = client.execute(request).await.map_err(std::io::Error::other)?;
        let status = answer.status();
        let answer = answer.bytes().await.map_err(std::io::Error::other)?;
        if !serde_json::from_slice::<PutAnswer>(&answer).is_ok_and(|answer| answer.failed_record_count == 0) {
            let said = String::from_utf8_lossy(&answer[..answer.len().min(400)]).into_owned();
            return Err(std::io::Error::other(format!("PutRecords was answered by {status}: {said}")));
        }
        taken += 1;
    }
    Ok(taken)
}

/// What is looked at of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutAnswer {
    failed_record_count: u64,
}

fn body(batch: &[PutRecord]) -> Bytes {
    let record =
        |record: &PutRecord| json!({"PartitionKey": record.partition_key, "Data": STANDARD.encode(&record.data)});
    json!({"StreamName": "bench", "Records": batch.iter().map(record).collect::<Vec<_>>()}).to_string().into()
}
