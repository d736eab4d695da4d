//! `millrace verify`: proves a delivery from the table itself.

use millrace_client::proto::VerifyDeliveryResponse;
use serde::Serialize;

use super::delivery::TotalsView;
use super::output::{OutputArgs, count, remark, table};
use super::{Endpoint, Failure, Result};

/// Prove from the table itself that a delivery lost no record and repeated none.
///
/// For each shard the offset ranges in the snapshots must follow one another without gap or overlap, and rows, set-aside
/// and dropped records must add up. Exit code 1 and the place when they do not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  millrace delivery flush flights && millrace verify flights")]
pub(super) struct VerifyArgs {
    /// The delivery's name.
    delivery: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct ProofView {
    delivery: String,
    ok: bool,
    batches: u64,
    faults: Vec<String>,
    shards: Vec<ShardView>,
    totals: TotalsView,
}

#[derive(Serialize)]
struct ShardView {
    shard: u32,
    from_offset: u64,
    to_offset: u64,
}

pub(super) async fn run(args: VerifyArgs, endpoint: &Endpoint) -> Result<()> {
    let proof = endpoint.client()?.admin().verify_delivery(&args.delivery).await?;
    let view = ProofView::of(args.delivery, proof);
    args.output.write(&view, text)?;
    if view.ok {
        return Ok(());
    }
    for fault in &view.faults {
        remark(format!("fault: {fault}"));
    }
    let faults = count(view.faults.len() as u64);
    Err(Failure::new(format!("delivery {} does not verify: {faults} faults", view.delivery)))
}

impl ProofView {
    fn of(delivery: String, proof: VerifyDeliveryResponse) -> Self {
        let shard = |shard: millrace_client::proto::VerifiedShard| ShardView {
            shard: shard.shard,
            from_offset: shard.from_offset,
            to_offset: shard.to_offset,
        };
        Self {
            delivery,
            ok: proof.ok,
            batches: proof.batches,
            faults: proof.faults,
            shards: proof.shards.into_iter().map(shard).collect(),
            totals: proof.totals.unwrap_or_default().into(),
        }
    }
}

fn text(proof: &ProofView) -> String {
    let row = |shard: &ShardView| {
        let records = count(shard.to_offset.saturating_sub(shard.from_offset));
        [shard.shard.to_string(), shard.from_offset.to_string(), shard.to_offset.to_string(), records]
    };
    let shards = table(["SHARD", "FROM", "TO", "RECORDS"], proof.shards.iter().map(row));
    let outcome = if proof.ok { "each record was delivered once" } else { "the proof fails" };
    let batches = count(proof.batches);
    format!("{shards}\n{}\n{}: {outcome}; {batches} batches read", proof.totals.text(), proof.delivery)
}
