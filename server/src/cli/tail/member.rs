//! `millrace tail --group`: prints as a member of a consumer group. A record is noted once it is printed.

use std::future::pending;
use std::sync::Arc;

use millrace_client::{Checkpointing, GroupBatch, GroupSettings};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{From, Printer, TailArgs};
use crate::cli::{Endpoint, Failure, Result};

pub(super) async fn run(args: &TailArgs, group: &str, endpoint: &Endpoint) -> Result<()> {
    let From(position) = args.from;
    let (checkpointing, skip_unreadable) = (Checkpointing::Manual, args.skip_unreadable);
    let settings = GroupSettings { position, checkpointing, skip_unreadable, ..GroupSettings::default() };
    let consumer = endpoint.client()?.group_consumer(&args.stream, group).with_settings(settings);
    let output =
        Arc::new(Output { printer: Mutex::new(Printer::new(args)), ended: Notify::new(), failed: Mutex::default() });
    let shutdown = {
        let output = Arc::clone(&output);
        async move {
            tokio::select! {
                () = output.ended.notified() => {}
                () = signalled() => {}
            }
        }
    };
    let printing = Arc::clone(&output);
    consumer.run(shutdown, move |batch| Arc::clone(&printing).take(batch)).await?;
    let failed = output.failed.lock().take();
    failed.map_or(Ok(()), Err)
}

/// Where all shards are printed to, one batch at a time.
struct Output {
    printer: Mutex<Printer>,
    /// Told when no more is to be printed.
    ended: Notify,
    failed: Mutex<Option<Failure>>,
}

impl Output {
    async fn take(self: Arc<Self>, batch: GroupBatch) -> Result<()> {
        match self.print(&batch) {
            Ok(printed) => {
                if let Some(last) = printed.checked_sub(1).and_then(|last| batch.records().get(last)) {
                    batch.checkpoint(last).await?;
                }
                if printed == batch.records().len() {
                    return Ok(());
                }
                // All that was asked for is printed, and noted.
                self.end().await
            }
            Err(error) => {
                *self.failed.lock() = Some(error.into());
                self.end().await
            }
        }
    }

    /// Prints as many of the records as are still to be printed; gives how many.
    fn print(&self, batch: &GroupBatch) -> std::io::Result<usize> {
        let mut printer = self.printer.lock();
        let mut printed = 0;
        for record in batch.records() {
            if printer.left == 0 {
                break;
            }
            printer.print(record.clone())?;
            printed += 1;
        }
        printer.flush()?;
        if printer.left == 0 {
            self.ended.notify_one();
        }
        Ok(printed)
    }

    async fn end(&self) -> Result<()> {
        self.ended.notify_one();
        Err(Failure::silent(0))
    }
}

/// Waits for Ctrl-C, or for the signal by which processes are asked to end.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => pending().await,
        }
    };
    tokio::select! {
        // Without a handler the signal ends the process by itself.
        interrupted = tokio::signal::ctrl_c() => if interrupted.is_err() { pending().await },
        () = terminated => {}
    }
}
