//! `millrace import`: shows and steers imports.

use clap::Subcommand;
use millrace_client::proto::import::State;
use millrace_client::proto::{Import, ImportCounts, ImportObject, ImportRun};
use serde::Serialize;

use super::confirm::{ConfirmArgs, confirm};
use super::output::{NamedArgs, OutputArgs, bytes, count, facts, table, time};
use super::{Endpoint, Failure, Result};

/// Show and steer imports: files of an object store, put into a stream, each once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace import list
  millrace import run orders --wait       import what is new, and wait for it
  millrace import history orders          what its runs did
  millrace import objects orders          what became of each file
  millrace import replay orders           take up again what was set aside

Imports are declared in a pipeline file: see `millrace apply --help`.")]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List imports.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show an import: declaration, the run under way, totals, last error.
    Describe(NamedArgs),
    /// Run an import now, or after the run under way.
    Run {
        #[command(flatten)]
        named: NamedArgs,
        /// Return when the run has ended; fails where it ended early or gave an object up.
        #[arg(long)]
        wait: bool,
        /// Try objects again that were given up.
        #[arg(long)]
        retry_failed: bool,
    },
    /// Take up again the rows that were set aside, each once, whatever crashes come between.
    ///
    /// They are read as the import declares its format now; what fails again is set aside again.
    /// `select * from system.import_failed_rows where not replayed` shows what is open, with its cause and bytes.
    Replay {
        #[command(flatten)]
        named: NamedArgs,
        /// Make a record of each row's bytes as they are, for a delivery or a consumer to deal with.
        #[arg(long)]
        as_is: bool,
    },
    /// Stop after the chunk in flight; a run under way goes on when the import is resumed.
    Pause(NamedArgs),
    /// Go on where the import was paused.
    Resume(NamedArgs),
    /// Show the runs of an import, newest first.
    History {
        #[command(flatten)]
        named: NamedArgs,
        /// The most runs to show.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show what became of each version of each object.
    Objects(NamedArgs),
    /// Remove an import; what it put stays. One of the same name over the same stream goes on where it ended.
    Delete {
        /// The import's name.
        name: String,
        /// Forget what was imported, so that one of the same name imports all of it again.
        #[arg(long)]
        forget: bool,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

pub(super) async fn run(args: ImportArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    let (import, output) = match args.command {
        Command::List { output } => {
            let imports: Vec<_> = admin.list_imports().await?.into_iter().map(ImportView::of).collect();
            return output.write(&imports, |imports| listed(imports));
        }
        Command::History { named, limit } => {
            let runs: Vec<_> = admin.list_import_runs(&named.name, limit).await?.into_iter().map(RunView::of).collect();
            return named.output.write(&runs, |runs| history(runs));
        }
        Command::Objects(NamedArgs { name, output }) => {
            let objects: Vec<_> = admin.list_import_objects(&name).await?.into_iter().map(ObjectView::of).collect();
            return output.write(&objects, |objects| object_table(objects));
        }
        Command::Delete { name, forget, confirm: flags } => {
            let what = if forget { " and forget what it imported" } else { "" };
            confirm(flags, &format!("delete import {name}{what}"))?;
            return Ok(admin.delete_import(&name, forget).await?);
        }
        Command::Run { named: NamedArgs { name, output }, wait, retry_failed } => {
            let import = ImportView::of(admin.run_import(&name, wait, retry_failed).await?);
            output.write(&import, described)?;
            return if wait { ended_well(&import) } else { Ok(()) };
        }
        Command::Replay { named: NamedArgs { name, output }, as_is } => {
            let run = RunView::of(admin.replay_import(&name, as_is).await?);
            output.write(&run, replayed)?;
            return run_ended_well(&name, &run);
        }
        Command::Describe(NamedArgs { name, output }) => (admin.describe_import(&name).await?, output),
        Command::Pause(NamedArgs { name, output }) => (admin.pause_import(&name).await?, output),
        Command::Resume(NamedArgs { name, output }) => (admin.resume_import(&name).await?, output),
    };
    output.write(&ImportView::of(import), described)
}

/// The command fails where the run that it waited for did not do all that was asked.
fn ended_well(import: &ImportView) -> Result<()> {
    import.last_run.as_ref().map_or(Ok(()), |run| run_ended_well(&import.name, run))
}

fn run_ended_well(import: &str, run: &RunView) -> Result<()> {
    let (number, failed) = (run.number, run.counts.failed);
    if !run.error.is_empty() {
        return Err(Failure::new(format!("run {number} of import {import} failed: {}", run.error)));
    }
    if failed > 0 {
        let words = format!("run {number} of import {import} gave {failed} objects up");
        return Err(Failure::new(format!("{words}: `millrace import objects {import}` tells why")));
    }
    Ok(())
}

#[derive(Serialize)]
struct ImportView {
    name: String,
    stream: String,
    source: String,
    state: &'static str,
    last_error: String,
    retries: u64,
    object: String,
    next_run_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<RunView>,
    totals: CountsView,
    owner: String,
    version: String,
    spec_toml: String,
}

#[derive(Serialize)]
struct RunView {
    number: u64,
    trigger: String,
    begun_at: String,
    ended_at: String,
    #[serde(flatten)]
    counts: CountsView,
    error: String,
}

#[derive(Serialize)]
struct CountsView {
    seen: u64,
    imported: u64,
    skipped: u64,
    failed: u64,
    records: u64,
    bytes: u64,
    set_aside: u64,
    replayed: u64,
}

#[derive(Serialize)]
struct ObjectView {
    url: String,
    state: String,
    rows: u64,
    records: u64,
    set_aside: u64,
    run: u64,
    size_bytes: u64,
    written_at: String,
    ended_at: String,
    error: String,
}

impl ImportView {
    fn of(import: Import) -> Self {
        let state = match import.state() {
            State::Unspecified => "unknown",
            State::Idle => "idle",
            State::Running => "running",
            State::Paused => "paused",
            State::Retrying => "retrying",
        };
        Self {
            state,
            run: import.run.map(RunView::of),
            last_run: import.last_run.map(RunView::of),
            totals: CountsView::of(import.totals.unwrap_or_default()),
            name: import.name,
            stream: import.stream,
            source: import.source,
            last_error: import.last_error,
            retries: import.retries,
            object: import.object,
            next_run_at: time(import.next_run_at_ms),
            owner: import.owner,
            version: import.version,
            spec_toml: import.spec_toml,
        }
    }
}

impl RunView {
    fn of(run: ImportRun) -> Self {
        Self {
            number: run.number,
            trigger: run.trigger,
            begun_at: time(run.begun_at_ms),
            ended_at: time(run.ended_at_ms),
            counts: CountsView::of(run.counts.unwrap_or_default()),
            error: run.error,
        }
    }
}

impl CountsView {
    const fn of(counts: ImportCounts) -> Self {
        let ImportCounts { seen, imported, skipped, failed, records, bytes, set_aside, replayed } = counts;
        Self { seen, imported, skipped, failed, records, bytes, set_aside, replayed }
    }

    fn text(&self) -> String {
        facts([
            ("objects", format!("{} imported, {} failed", count(self.imported), count(self.failed))),
            ("records", count(self.records)),
            ("bytes", bytes(self.bytes)),
            ("set aside", count(self.set_aside)),
            ("replayed", count(self.replayed)),
        ])
    }
}

impl ObjectView {
    fn of(object: ImportObject) -> Self {
        Self {
            url: object.url,
            state: object.state,
            rows: object.rows,
            records: object.records,
            set_aside: object.set_aside,
            run: object.run,
            size_bytes: object.size_bytes,
            written_at: time(object.written_at_ms),
            ended_at: time(object.ended_at_ms),
            error: object.error,
        }
    }
}

fn listed(imports: &[ImportView]) -> String {
    let heading = ["NAME", "STREAM", "STATE", "NEXT RUN", "OBJECTS", "FAILED", "RECORDS", "SET ASIDE", "SOURCE"];
    table(
        heading,
        imports.iter().map(|import| {
            [
                import.name.clone(),
                import.stream.clone(),
                import.state.to_owned(),
                import.next_run_at.clone(),
                count(import.totals.imported),
                count(import.totals.failed),
                count(import.totals.records),
                count(import.totals.set_aside),
                import.source.clone(),
            ]
        }),
    )
}

fn described(import: &ImportView) -> String {
    let mut state = import.state.to_owned();
    if !import.last_error.is_empty() {
        state += &match import.retries {
            0 => format!("; the last run failed: {}", import.last_error),
            retries => format!(" ({retries} failed tries): {}", import.last_error),
        };
    }
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let facts = facts([
        ("name", import.name.clone()),
        ("stream", import.stream.clone()),
        ("source", import.source.clone()),
        ("state", state),
        ("next run", import.next_run_at.clone()),
        ("object", or_none(&import.object)),
        ("owner", or_none(&import.owner)),
        ("version", import.version.clone()),
    ]);
    let runs: Vec<&RunView> = import.run.iter().chain(&import.last_run).collect();
    format!("{facts}\n{}\n{}\n{}", history(&runs), import.totals.text(), import.spec_toml.trim_end())
}

fn replayed(run: &RunView) -> String {
    facts([
        ("replayed", count(run.counts.replayed)),
        ("records", count(run.counts.records)),
        ("set aside again", count(run.counts.set_aside)),
    ])
}

fn history<R: std::borrow::Borrow<RunView>>(runs: &[R]) -> String {
    let heading =
        ["RUN", "TRIGGER", "BEGUN", "ENDED", "SEEN", "IMPORTED", "SKIPPED", "FAILED", "RECORDS", "SET ASIDE", "ERROR"];
    table(
        heading,
        runs.iter().map(|run| {
            let run: &RunView = run.borrow();
            [
                run.number.to_string(),
                run.trigger.clone(),
                run.begun_at.clone(),
                run.ended_at.clone(),
                count(run.counts.seen),
                count(run.counts.imported),
                count(run.counts.skipped),
                count(run.counts.failed),
                count(run.counts.records),
                count(run.counts.set_aside),
                run.error.clone(),
            ]
        }),
    )
}

fn object_table(objects: &[ObjectView]) -> String {
    let heading = ["OBJECT", "STATE", "RUN", "ROWS", "RECORDS", "SET ASIDE", "SIZE", "ENDED", "ERROR"];
    table(
        heading,
        objects.iter().map(|object| {
            [
                object.url.clone(),
                object.state.clone(),
                object.run.to_string(),
                count(object.rows),
                count(object.records),
                count(object.set_aside),
                bytes(object.size_bytes),
                object.ended_at.clone(),
                object.error.clone(),
            ]
        }),
    )
}
