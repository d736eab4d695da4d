//! Declares a stream, a table and the delivery between them, then shows what runs.

use millrace_client::{Client, Result};

const PIPELINE: &str = r#"
[[stream]]
name = "flights"
shards = 2

[[table]]
name = "flights"

[[delivery]]
name = "flights"
stream = "flights"
table = "flights"
format = "parquet"
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let admin = Client::from_env()?.admin();
    for change in admin.apply(PIPELINE).await? {
        eprintln!("{} {}: {:?}", change.kind, change.name, change.action());
    }
    for delivery in admin.list_deliveries().await? {
        eprintln!("{} reads {}: {:?}", delivery.name, delivery.stream, delivery.state());
    }
    Ok(())
}
