//! `millrace log repair`: the way on when a write-ahead log is damaged, for log and meta store of a stopped server.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use chrono::Utc;
use millrace_storage::log::rocks::{self, LogRepair};
use millrace_storage::meta::rocks::{self as meta, MetaRepair};
use serde::Serialize;

use super::offline::{Offline, settings};
use crate::cli::output::{OutputArgs, count};
use crate::cli::{Failure, Result};

/// Take damage out of the write-ahead logs of a stopped server, and say what is lost.
///
/// Without --accept-loss nothing is changed: the command tells what a repair would do, with exit code 1 where there is damage.
/// A backup that is recent enough is the better way. Of the log only the damaged blocks are lost; their offsets stay taken, so
/// that readers, deliveries and producers see a gap and never other records. The meta store goes back to before the damage.
#[derive(Debug, clap::Args)]
pub(super) struct RepairArgs {
    /// The data folder of the stopped server
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Repair, and lose what is told
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct View {
    repaired: bool,
    damages: Vec<DamageView>,
    /// Groups of appends with damage.
    groups: u64,
    /// Of which it cannot be told what they held.
    groups_unknown: u64,
    blocks_saved: u64,
    blocks_lost: Vec<LostView>,
    /// Commits of the meta store: the damaged one and those after it.
    meta_commits_lost: u64,
    /// Where the damaged files are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_in: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct DamageView {
    file: PathBuf,
    at_byte: u64,
    reason: String,
}

#[derive(Debug, Serialize)]
struct LostView {
    stream: String,
    stream_id: u32,
    shard: u32,
    from_offset: u64,
    to_offset: u64,
}

pub(super) async fn run(args: RepairArgs) -> Result<()> {
    let (data_dir, output) = (args.data_dir, args.output);
    if !data_dir.join("log").is_dir() {
        return Err(Failure::usage(format!("{} holds no log", data_dir.display())));
    }
    let log = settings(&data_dir, None)?.log.settings(&data_dir);
    let aside = data_dir.join(format!("damaged-{}", Utc::now().format("%Y%m%dT%H%M%SZ")));
    let of = |store: &str| args.accept_loss.then(|| aside.join(store));
    // The meta store first: the log is opened at the end of its repair, and knows streams by it.
    let meta = meta::repair(&data_dir.join("meta"), of("meta").as_deref()).map_err(Failure::new)?;
    let repaired = rocks::repair(&log, of("log").as_deref()).map_err(Failure::new)?;
    let is_damaged = !meta.damages.is_empty() || !repaired.damages.is_empty();
    let names = if args.accept_loss && is_damaged { names(&data_dir).await } else { HashMap::new() };
    let kept_in = (args.accept_loss && is_damaged).then_some(aside);
    let view = View::of(repaired, meta, &names, kept_in);
    output.write(&view, text)?;
    if is_damaged && !args.accept_loss {
        return Err(Failure::new("the write-ahead logs are damaged, and nothing was changed")
            .with_hint("restore a backup, or accept the loss with --accept-loss"));
    }
    Ok(())
}

/// Names of streams are for people only; a store that does not open leaves their numbers.
async fn names(data_dir: &Path) -> HashMap<u32, String> {
    match Offline::open(data_dir, None).await {
        Ok(stores) => stores.names().await.unwrap_or_default().into_iter().map(|(id, name)| (id.0, name)).collect(),
        Err(_) => HashMap::new(),
    }
}

impl View {
    fn of(log: LogRepair, meta: MetaRepair, names: &HashMap<u32, String>, kept_in: Option<PathBuf>) -> Self {
        let damages = log.damages.into_iter().chain(meta.damages);
        let damages = damages.map(|(file, at_byte, reason)| DamageView { file, at_byte, reason }).collect();
        let lost = log.blocks_lost.into_iter().map(|lost| LostView {
            stream: names.get(&lost.shard.stream.0).cloned().unwrap_or_default(),
            stream_id: lost.shard.stream.0,
            shard: lost.shard.shard.0,
            from_offset: lost.offsets.start.0,
            to_offset: lost.offsets.end.0,
        });
        Self {
            repaired: kept_in.is_some(),
            damages,
            groups: log.groups,
            groups_unknown: log.groups_unknown,
            blocks_saved: log.blocks_saved,
            blocks_lost: lost.collect(),
            meta_commits_lost: meta.commits,
            kept_in,
        }
    }
}

fn text(view: &View) -> String {
    if view.damages.is_empty() {
        return "the write-ahead logs are as they were written".to_owned();
    }
    let mut lines: Vec<String> = view
        .damages
        .iter()
        .map(|damage| format!("{} is damaged at byte {}: {}", damage.file.display(), damage.at_byte, damage.reason))
        .collect();
    let verb = if view.repaired { "were" } else { "would be" };
    for lost in &view.blocks_lost {
        let stream = if lost.stream.is_empty() { format!("#{}", lost.stream_id) } else { lost.stream.clone() };
        let LostView { shard, from_offset, to_offset, .. } = lost;
        lines.push(format!("lost: stream {stream} shard {shard}, offsets {from_offset} to {to_offset}"));
    }
    let [groups, unknown, saved] = [view.groups, view.groups_unknown, view.blocks_saved].map(count);
    lines.push(format!("{groups} groups of appends {verb} repaired, {saved} of their blocks {verb} saved"));
    if view.groups_unknown > 0 {
        lines.push(format!("{unknown} groups do not tell what they held; offsets after them may be given again"));
    }
    if view.meta_commits_lost > 0 {
        lines.push(format!("{} commits of the meta store {verb} lost", count(view.meta_commits_lost)));
    }
    lines.extend(view.kept_in.iter().map(|folder| format!("the damaged files are kept in {}", folder.display())));
    lines.join("\n")
}
