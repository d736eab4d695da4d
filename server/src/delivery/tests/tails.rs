//! What queries see beside the table: everything that is acknowledged, once.

use super::faults::Fault;
use super::site::{Process, Site, event, ids, settings, table};
use crate::delivery::{DeliverySettings, Ends, TailError};
use crate::error::Kind;

async fn tail_ids(process: &Process, ends: &Ends) -> Result<Vec<i64>, TailError> {
    let tail = process.deliveries.tail(&table(), ends).await?;
    let mut found: Vec<i64> = tail.parts.iter().flat_map(|part| ids(&part.batches)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The table and the tail together, as a query has them.
async fn check_union(process: &Process, site: &Site, expected: &[i64]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let mut found = process.table_ids(site).await;
    found.extend(tail_ids(process, &process.ends().await).await.unwrap());
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn acknowledged_records_are_seen_at_once_and_once() {
    let site = Site::memory();
    let process = site.start_applied().await;
    assert!(tail_ids(&process, &Ends::new()).await.unwrap().is_empty());
    let mut rows = process.put(0..30).await.0;
    check_union(&process, &site, &rows).await;
    let before = process.ends().await;
    process.deliveries.flush("d").await.unwrap();
    check_union(&process, &site, &rows).await;
    assert!(matches!(tail_ids(&process, &before).await, Err(TailError::TooOld { .. })));
    rows.extend(process.put(30..60).await.0);
    check_union(&process, &site, &rows).await;
}

#[tokio::test]
async fn a_paused_delivery_hides_nothing() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let mut rows = process.put(0..30).await.0;
    process.deliveries.flush("d").await.unwrap();
    rows.extend(process.put(30..40).await.0);
    process.deliveries.pause("d").await.unwrap();
    rows.extend(process.put(40..60).await.0);
    check_union(&process, &site, &rows).await;
    process.deliveries.close().await;
    let process = site.start().await;
    check_union(&process, &site, &rows).await;
}

#[tokio::test]
async fn a_store_that_fails_hides_nothing() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let mut rows = process.put(0..30).await.0;
    site.faults.always(Fault::Lost);
    let deliveries = process.deliveries.clone();
    let flush = tokio::spawn(async move { deliveries.flush("d").await });
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    progress.wait_for(|progress| !progress.failing.is_empty()).await.unwrap();
    rows.extend(process.put(30..60).await.0);
    check_union(&process, &site, &rows).await;
    site.faults.none();
    flush.await.unwrap().unwrap();
    check_union(&process, &site, &rows).await;
}

#[tokio::test]
async fn a_tail_past_the_budget_says_what_to_do() {
    let site = Site::memory();
    let tight = DeliverySettings { memory_bytes_max: crate::delivery::MEMORY_BYTES_MIN, ..settings() };
    let process = site.start_with(tight).await;
    process.deliveries.apply(super::site::PIPELINE, false).await.unwrap();
    process.deliveries.pause("d").await.unwrap();
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    progress.wait_for(|progress| progress.paused).await.unwrap();
    let filler = "x".repeat(500_000);
    for id in 0..60 {
        let data = format!("{{\"id\":{id},\"at\":\"2013-01-01T10:00:00Z\",\"filler\":\"{filler}\"}}");
        process.append(0, vec![data]).await;
    }
    match tail_ids(&process, &Ends::new()).await {
        Err(TailError::Failed(error)) => {
            assert_eq!(error.kind(), &Kind::Unavailable);
            let words = error.to_string();
            assert!(words.contains("60 records") && words.contains("memory_bytes_max"), "{words}");
        }
        other => panic!("{:?}", other.map(|ids| ids.len())),
    }
    assert_eq!(process.deliveries.parts().budget.used_bytes(), 0, "nothing stays reserved");
}

/// A query whose table moves on while it reads still ends: it asks again with the mark that it began with.
#[tokio::test]
async fn a_mark_bounds_what_a_query_waits_for() {
    let site = Site::memory();
    let process = site.start_applied().await;
    process.append(0, vec![event(0)]).await;
    let (mark, ends) = (process.deliveries.mark(&table()), process.ends().await);
    process.deliveries.flush("d").await.unwrap();
    assert!(matches!(process.deliveries.tail_to(&table(), &ends, &mark).await, Err(TailError::TooOld { .. })));
    site.faults.always(Fault::Lost);
    process.append(0, vec![event(2)]).await;
    let tail = process.deliveries.tail_to(&table(), &process.ends().await, &mark).await.unwrap();
    assert!(tail.parts.iter().all(|part| ids(&part.batches) == [2]));
}
