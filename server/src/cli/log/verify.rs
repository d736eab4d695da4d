//! `millrace log verify`: reads every block of the log and says which are not as they were written.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use millrace_client::proto::{LogFault, VerifyLogResponse};
use serde::Serialize;

use super::offline::Offline;
use crate::api::maintenance::verified_log;
use crate::cli::output::{OutputArgs, bytes, count, table};
use crate::cli::{Endpoint, Failure, Result};

/// Read every block of the log: check sums, decoding, the index, gaps between offsets.
///
/// Exit code 1 when something is not as it was written. Encrypted blocks whose key is not at hand are checked for rot, and
/// counted as not proven authentic.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The data folder of a stopped server; without it the running server reads its own
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The settings file of that server, where blocks are encrypted [env: MILLRACE_CONFIG]
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Default, Serialize)]
struct View {
    ok: bool,
    shards: u64,
    blocks: u64,
    records: u64,
    stored_bytes: u64,
    /// Whole, but without their key nobody can say that they are authentic.
    unauthenticated_blocks: u64,
    fault_count: u64,
    faults: Vec<FaultView>,
}

#[derive(Debug, Serialize)]
struct FaultView {
    stream: String,
    stream_id: u32,
    shard: u32,
    from_offset: u64,
    to_offset: u64,
    reason: String,
}

pub(super) async fn run(args: VerifyArgs, endpoint: &Endpoint) -> Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let view = match args.data_dir {
        Some(data_dir) => offline(&Offline::open(&data_dir, args.config).await?, &bar).await?,
        None => {
            let told = |at: &VerifyLogResponse| tell(&bar, at.blocks, at.records, at.stored_bytes, at.fault_count);
            View::of(endpoint.client()?.admin().verify_log(told).await?)
        }
    };
    bar.finish_and_clear();
    args.output.write(&view, text)?;
    match view.fault_count {
        0 => Ok(()),
        faults => Err(Failure::new(format!("the log does not verify: {} faults", count(faults)))
            .with_hint("restore a backup, or read past the lost offsets; ARCHITECTURE.md, \"When the disk rots\"")),
    }
}

async fn offline(stores: &Offline, bar: &ProgressBar) -> Result<View> {
    let bar = bar.clone();
    let verified =
        stores.log.verify(move |at| tell(&bar, at.blocks, at.records, at.stored_bytes, at.fault_count)).await;
    let verified = verified.map_err(Failure::new)?;
    Ok(View::of(verified_log(&verified, &stores.names().await?)))
}

fn tell(bar: &ProgressBar, blocks: u64, records: u64, stored_bytes: u64, faults: u64) {
    let (blocks, records, stored) = (count(blocks), count(records), bytes(stored_bytes));
    bar.set_message(format!("{blocks} blocks, {records} records, {stored}, {} faults", count(faults)));
}

impl View {
    fn of(answer: VerifyLogResponse) -> Self {
        let fault = |fault: LogFault| FaultView {
            stream: fault.stream,
            stream_id: fault.stream_id,
            shard: fault.shard,
            from_offset: fault.from_offset,
            to_offset: fault.to_offset,
            reason: fault.reason,
        };
        Self {
            ok: answer.fault_count == 0,
            shards: answer.shards,
            blocks: answer.blocks,
            records: answer.records,
            stored_bytes: answer.stored_bytes,
            unauthenticated_blocks: answer.unauthenticated_blocks,
            fault_count: answer.fault_count,
            faults: answer.faults.into_iter().map(fault).collect(),
        }
    }
}

fn text(view: &View) -> String {
    let row = |fault: &FaultView| {
        let stream = if fault.stream.is_empty() { format!("#{}", fault.stream_id) } else { fault.stream.clone() };
        let [from, to] = [fault.from_offset, fault.to_offset].map(|offset| offset.to_string());
        [stream, fault.shard.to_string(), from, to, fault.reason.clone()]
    };
    let mut text = String::new();
    if !view.faults.is_empty() {
        text = table(["STREAM", "SHARD", "FROM", "TO", "WHAT IS WRONG"], view.faults.iter().map(row)) + "\n";
    }
    let [shards, blocks, records] = [view.shards, view.blocks, view.records].map(count);
    text += &format!("{blocks} blocks with {records} records of {shards} shards, {}", bytes(view.stored_bytes));
    if view.unauthenticated_blocks > 0 {
        let blocks = count(view.unauthenticated_blocks);
        text += &format!("\n{blocks} encrypted blocks are whole, but cannot be proven authentic without their keys");
    }
    text + if view.ok { "\nall as they were written" } else { "" }
}
