//! Text that a command reads whole: a file, or stdin for `-`.

use std::io::{IsTerminal, Read, stdin};

use super::output::remark;
use super::{Failure, Result};

/// The most of it: a pipeline file or a statement is small.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Reads a file's text, or stdin's.
pub(super) fn read_text(path: &str) -> Result<String> {
    let mut text = String::new();
    let read = if path == "-" {
        if stdin().is_terminal() {
            remark("reading from the terminal; end with Ctrl-D");
        }
        stdin().lock().take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text))
    };
    let bytes = read.map_err(|error| Failure::new(format!("cannot read {}: {error}", named(path))))?;
    if bytes as u64 > TEXT_BYTES_MAX {
        return Err(Failure::new(format!("{} is over {TEXT_BYTES_MAX} bytes", named(path))));
    }
    Ok(text)
}

/// How messages name an input.
pub(super) fn named(path: &str) -> &str {
    if path == "-" { "stdin" } else { path }
}
