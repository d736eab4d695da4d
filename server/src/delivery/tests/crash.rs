//! A process ends at each write of a batch in turn: before it, and after it. The next one loses and doubles nothing.

use super::faults::Fault;
use super::site::Site;

/// Ends a process at the write after `skip` others; says whether there was one.
async fn crash_at(skip: u32, fault: Fault) -> bool {
    let site = Site::memory();
    let process = site.start_applied().await;
    let (mut rows, mut broken) = process.put(0..60).await;
    process.deliveries.flush("d").await.unwrap();
    let (more, more_broken) = process.put(60..120).await;
    rows.extend(more);
    broken += more_broken;
    site.faults.at(skip, fault);
    let reached = tokio::select! {
        flushed = process.deliveries.flush("d") => { flushed.unwrap(); false }
        () = site.faults.hung() => true,
    };
    process.deliveries.close().await;
    site.faults.none();

    let process = site.start().await;
    let (more, more_broken) = process.put(120..150).await;
    rows.extend(more);
    broken += more_broken;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows, broken).await;
    reached
}

#[tokio::test]
async fn a_crash_at_any_write_loses_and_doubles_nothing() {
    for fault in [Fault::HangsLost, Fault::HangsApplied] {
        let mut writes = 0;
        while crash_at(writes, fault).await {
            writes += 1;
            assert!(writes < 100, "a batch has fewer writes");
        }
        // Intent, three hours, set-aside files, manifest, manifest list, metadata, pointer.
        assert!(writes >= 9, "{fault:?} was tried at {writes} writes only");
    }
}

/// The process ends again while it finishes what the one before it had begun.
#[tokio::test]
async fn a_second_crash_while_finishing_loses_and_doubles_nothing() {
    for skip in 0..10 {
        let site = Site::memory();
        let process = site.start_applied().await;
        let (rows, broken) = process.put(0..60).await;
        site.faults.at(4, Fault::HangsApplied);
        tokio::select! {
            _ = process.deliveries.flush("d") => panic!("a write hangs"),
            () = site.faults.hung() => {}
        }
        process.deliveries.close().await;
        site.faults.none();

        site.faults.at(skip, Fault::HangsApplied);
        let process = site.start().await;
        tokio::select! {
            flushed = process.deliveries.flush("d") => drop(flushed.unwrap()),
            () = site.faults.hung() => {}
        }
        process.deliveries.close().await;
        site.faults.none();

        let process = site.start().await;
        process.deliveries.flush("d").await.unwrap();
        process.check_exactly_once(&site, rows, broken).await;
    }
}
