//! Puts ten events and prints where each lies. Run `millrace serve`, then `millrace stream create flights`, first.

use millrace_client::{Client, PutRecord, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_env()?;
    let producer = client.producer("flights");
    let mut fates = Vec::new();
    for flight in 0..10 {
        let event = format!(r#"{{"carrier":"UA","flight":{flight}}}"#);
        // Waits only while the producer's buffer is full.
        fates.push(producer.send(PutRecord::new("UA", event)).await?);
    }
    for fate in fates {
        let placed = fate.await?;
        eprintln!("durable: shard {} offset {}", placed.shard, placed.offset);
    }
    producer.close().await
}
