//! Prints every event of a stream, from the oldest on, until interrupted.

use millrace_client::{Client, Position, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_env()?;
    let mut records = client.consumer().subscribe("flights", Position::TrimHorizon).await?;
    while let Some(record) = records.next().await? {
        let text = String::from_utf8_lossy(&record.data);
        eprintln!("{}/{} {}: {text}", record.shard, record.offset, record.partition_key);
    }
    Ok(())
}
