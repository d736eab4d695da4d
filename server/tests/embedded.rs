//! A program that embeds the server with a transform of its own.
#![expect(clippy::unwrap_used, reason = "a test says by its panic what failed")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use millrace_client::{Client, PutRecord};
use millrace_server::config::Settings;
use millrace_server::serve;
use millrace_server::transform::{Input, Outcome, Registry, Transform};

/// Keeps even numbers, leaves odd ones out, fails on 7 and panics at 8.
#[derive(Debug)]
struct Even;

impl Transform for Even {
    fn name(&self) -> &str {
        "even"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let outcome = |input: &Input| {
            let number: u64 = std::str::from_utf8(&input.data).unwrap().parse().unwrap();
            match number {
                7 => Outcome::Failed("no sevens".to_owned().into()),
                8 => panic!("as asked"),
                even if even.is_multiple_of(2) => Outcome::One(Bytes::from(format!("{{\"number\":{even}}}")).into()),
                _ => Outcome::Dropped,
            }
        };
        inputs.iter().map(outcome).collect()
    }
}

const PIPELINE: &str = r#"
[[stream]]
name = "numbers"
shards = 1
[[delivery]]
name = "numbers"
stream = "numbers"
transforms = [{ type = "registered", name = "even" }]
buffer_interval = "900s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_transform_runs_and_can_hurt_only_its_own_records() {
    let folder = tempfile::tempdir().unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings =
        Settings { data_dir: folder.path().to_path_buf(), grpc_listen: any, http_listen: any, ..Settings::default() };
    let running = serve::start_with(settings, Registry::new().with(Arc::new(Even))).await.unwrap();
    let client = Client::connect(format!("http://{}", running.grpc_addr())).unwrap();
    let unknown = client.admin().apply(&PIPELINE.replace("\"even\" }", "\"odd\" }")).await.unwrap_err().to_string();
    assert!(unknown.contains("\"odd\"") && unknown.contains("\"even\""), "{unknown}");
    client.admin().apply(PIPELINE).await.unwrap();
    let producer = client.producer("numbers");
    for number in 0..20_u32 {
        producer.send(PutRecord::new("k", number.to_string())).await.unwrap().await.unwrap();
    }
    producer.close().await.unwrap();
    let totals = client.admin().flush_delivery("numbers").await.unwrap().totals.unwrap();
    assert_eq!((totals.records, totals.rows, totals.dropped, totals.set_aside), (20, 9, 9, 2));
    running.shutdown().cancel();
    running.join().await.unwrap();
}
