//! `millrace apply`: makes streams, tables, deliveries and imports what a file declares.

use millrace_client::proto::{Change, change::Action};
use serde::Serialize;

use super::input::read_text;
use super::output::{OutputArgs, line};
use super::{Endpoint, Result, output::Format};

/// Make streams, tables, deliveries and imports what a pipeline file declares.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace apply -f pipeline.toml             declare what the file says
  millrace apply -f pipeline.toml --dry-run   only show what would change
  cat pipeline.toml | millrace apply -f -

Applying a file again changes nothing and says so. What the file leaves out stays as it is.")]
pub(super) struct ApplyArgs {
    /// The pipeline file; `-` reads stdin.
    #[arg(long, short, value_name = "FILE")]
    file: String,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Change nothing unless a delivery has this version, as `delivery describe` shows it; `NAME=` where it must not exist yet; an import's name is `import/NAME`
    #[arg(long = "expect", value_name = "NAME=VERSION", value_parser = expectation, conflicts_with = "dry_run")]
    expected: Vec<(String, String)>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct ChangeView<'a> {
    action: &'static str,
    kind: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    diff: &'a str,
}

pub(super) async fn run(args: ApplyArgs, endpoint: &Endpoint) -> Result<()> {
    let pipeline = read_text(&args.file)?;
    let admin = endpoint.client()?.admin();
    let changes = if args.dry_run {
        admin.plan(&pipeline).await?
    } else {
        admin.apply_expecting(&pipeline, args.expected).await?
    };
    let views: Vec<ChangeView> = changes.iter().map(view).collect();
    args.output.write(&views, |views| text(views))?;
    if args.output.output == Format::Table {
        line(summary(&changes, args.dry_run))?;
    }
    Ok(())
}

fn expectation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, version)) if !name.is_empty() => Ok((name.to_owned(), version.to_owned())),
        _ => Err("want NAME=VERSION, or NAME= for a delivery that must not exist yet".to_owned()),
    }
}

fn view(change: &Change) -> ChangeView<'_> {
    let action = match change.action() {
        Action::Created => "created",
        Action::Updated => "updated",
        Action::Unchanged | Action::Unspecified => "unchanged",
    };
    ChangeView { action, kind: &change.kind, name: &change.name, diff: &change.diff }
}

fn text(views: &[ChangeView]) -> String {
    let mut text = String::new();
    for ChangeView { action, kind, name, diff } in views {
        text += &format!("{action:<9} {kind:<8} {name}\n");
        for line in diff.lines() {
            text += &format!("    {line}\n");
        }
    }
    text
}

fn summary(changes: &[Change], dry_run: bool) -> String {
    let changed = changes.iter().filter(|change| change.action() != Action::Unchanged).count();
    match (changed, dry_run) {
        (0, _) => "nothing to change".to_owned(),
        (changed, true) => format!("{changed} would change; nothing was changed"),
        (changed, false) => format!("{changed} changed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: Action, diff: &str) -> Change {
        Change { action: action.into(), kind: "stream".into(), name: "flights".into(), diff: diff.into() }
    }

    #[test]
    fn a_second_apply_says_that_nothing_changed() {
        assert_eq!(summary(&[change(Action::Unchanged, "")], false), "nothing to change");
    }

    #[test]
    fn an_update_shows_its_diff_below_its_name() {
        let changes = [change(Action::Updated, "-shards = 1\n+shards = 2\n")];
        let views: Vec<_> = changes.iter().map(view).collect();
        assert_eq!(text(&views), "updated   stream   flights\n    -shards = 1\n    +shards = 2\n");
        assert_eq!(summary(&changes, true), "1 would change; nothing was changed");
    }
}
