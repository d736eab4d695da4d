//! Asks before what cannot be undone: at a terminal by a question, elsewhere by the flag `--yes`.

use std::io::{IsTerminal, stdin};

use super::output::remark;
use super::{Failure, Result};

#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct ConfirmArgs {
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
}

/// Returns when the user wants what cannot be undone.
pub(super) fn confirm(args: ConfirmArgs, what: &str) -> Result<()> {
    if args.yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        return Err(Failure::usage(format!("to {what} needs --yes where nobody can be asked")));
    }
    remark(format!("{what}? type yes to go on"));
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::new("not confirmed; nothing was changed")) }
}
