//! `millrace completions`: a shell's completion script.

use std::io::{Write, stdout};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Result};

/// Write a shell's completion script to stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace completions bash > /etc/bash_completion.d/millrace
  millrace completions zsh > \"${fpath[1]}/_millrace\"
  millrace completions fish > ~/.config/fish/completions/millrace.fish")]
pub(super) struct CompletionsArgs {
    /// The shell to complete for.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "millrace", &mut script);
    Ok(stdout().lock().write_all(&script)?)
}
