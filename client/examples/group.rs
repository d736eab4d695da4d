//! Processes a stream's events as one of a group's members: start it several times, and they share the shards. Ctrl-C
//! finishes what is in hand and gives the shards to the others.

use millrace_client::{Client, GroupBatch, Result};

async fn store(batch: &GroupBatch) -> std::io::Result<()> {
    for record in batch.records() {
        eprintln!("{}/{}: {} bytes", record.shard, record.offset, record.data.len());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    let consumer = Client::from_env()?.group_consumer("flights", "billing");
    consumer.run(shutdown, |batch| async move { store(&batch).await }).await
}
