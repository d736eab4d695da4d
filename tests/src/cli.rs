//! The command line as a user types it, against a running server.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::{Server, program};

/// What a command said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Said {
    /// The same, if the command succeeded.
    ///
    /// # Panics
    /// With all it said, when it failed.
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "the command failed:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The same, if the command failed.
    ///
    /// # Panics
    /// When it succeeded.
    #[must_use]
    pub fn failed(self) -> Self {
        assert_ne!(self.code, Some(0), "the command succeeded:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Its standard output as JSON: one value, or one a line, which make an array.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        if let Ok(value) = serde_json::from_str(&self.stdout) {
            return value;
        }
        let lines = self.stdout.lines().filter(|line| !line.trim().is_empty());
        let values: Result<Vec<Value>, _> = lines.map(serde_json::from_str).collect();
        Value::Array(values.unwrap_or_else(|error| panic!("not JSON ({error}):\n{}", self.stdout)))
    }
}

/// Runs `millrace ARGUMENTS…` against `server`.
///
/// # Panics
/// When the program cannot be run.
#[must_use]
pub fn millrace(server: &Server, arguments: &[&str]) -> Said {
    run(Command::new(program()).args(arguments).env("MILLRACE_ENDPOINT", server.endpoint()))
}

/// Runs `millrace ARGUMENTS…` against `server`, with further environment variables.
///
/// # Panics
/// When the program cannot be run.
#[must_use]
pub fn millrace_with(server: &Server, environment: &[(&str, &str)], arguments: &[&str]) -> Said {
    let mut command = Command::new(program());
    run(command.args(arguments).env("MILLRACE_ENDPOINT", server.endpoint()).envs(environment.iter().copied()))
}

/// Runs `millrace ARGUMENTS…` with no server.
///
/// # Panics
/// When the program cannot be run.
#[must_use]
pub fn millrace_alone(arguments: &[&str]) -> Said {
    run(Command::new(program()).args(arguments))
}

/// The rows of a SQL query, each an object.
///
/// # Panics
/// When the query fails.
#[must_use]
pub fn sql(server: &Server, query: &str) -> Vec<Value> {
    match millrace(server, &["sql", "--output", "json", query]).ok().json() {
        Value::Array(rows) => rows,
        row => vec![row],
    }
}

/// The one number that a SQL query answers.
///
/// # Panics
/// When it answers anything else.
#[must_use]
pub fn sql_number(server: &Server, query: &str) -> i64 {
    let rows = sql(server, query);
    let number =
        rows.first().and_then(|row| row.as_object()).and_then(|row| row.values().next()).and_then(Value::as_i64);
    number.unwrap_or_else(|| panic!("{query} answered {rows:?}, not one number"))
}

fn run(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
