//! Asks a question in SQL and prints the answer. Needs the feature `query`.

use arrow::util::pretty::pretty_format_batches;
use millrace_client::{Client, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let statement = "select carrier, count(*) as flights from flights group by carrier order by flights desc";
    let mut rows = Client::from_env()?.query().sql(statement).await?;
    while let Some(batch) = rows.next().await? {
        if let Ok(text) = pretty_format_batches(&[batch]) {
            eprintln!("{text}");
        }
    }
    Ok(())
}
