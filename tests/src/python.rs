//! Independent readers in Python: DuckDB, PyArrow and PyIceberg, from the environment that `tests/run.sh` makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Runs a script below `tests/` and gives what it printed as JSON.
///
/// # Panics
/// When the environment is missing (the message says how to make it) or the script fails.
#[must_use]
pub fn run(script: &str, arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new(interpreter()).arg(&script).args(arguments).output().expect("the interpreter runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?} failed:\n{said}\n{complained}", script.display());
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{} printed no JSON ({error}):\n{said}", script.display()))
}

fn interpreter() -> PathBuf {
    let named = std::env::var_os("MILLRACE_TEST_PYTHON").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let interpreter = named.unwrap_or_else(|| home.join(".cache/millrace/venv/bin/python"));
    let name = interpreter.display();
    assert!(interpreter.exists(), "{name} is missing: ./tests/run.sh makes the environment of independent readers");
    interpreter
}
