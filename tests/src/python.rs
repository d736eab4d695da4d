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
    let interpreter = interpreter().filter(|path| path.exists());
    let interpreter = interpreter.expect("./tests/run.sh makes the Python environment of independent readers");
    run_by(&interpreter, script, arguments)
}

/// As [`run`], by an interpreter of another environment.
///
/// # Panics
/// As there.
#[must_use]
pub fn run_by(interpreter: &Path, script: &str, arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new(interpreter).arg(&script).args(arguments).output().expect("the interpreter runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?} failed:\n{said}\n{complained}", script.display());
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{} printed no JSON ({error}):\n{said}", script.display()))
}

/// The interpreter that has PySpark, where `MILLRACE_TEST_SPARK=1` had `tests/run.sh` make its environment.
#[must_use]
pub fn spark() -> Option<PathBuf> {
    std::env::var_os("MILLRACE_TEST_SPARK_PYTHON").map(PathBuf::from).filter(|path| path.exists())
}

/// The environment's interpreter, where `MILLRACE_TEST_PYTHON` or `tests/run.sh` puts it; it may not be there.
#[must_use]
pub fn interpreter() -> Option<PathBuf> {
    let named = std::env::var_os("MILLRACE_TEST_PYTHON").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/millrace/venv/bin/python")))
}
