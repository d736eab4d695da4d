//! How a command fails: what happened and why, what to do about it, and the exit code.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use millrace_client::Kind;

/// The result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A command's failure, as its user reads it.
#[derive(Debug)]
pub struct Failure {
    message: Option<String>,
    hint: Option<String>,
    code: u8,
    unreachable: bool,
}

impl Failure {
    /// The command did not do what it was asked to: exit code 1.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: Some(message.to_string()), hint: None, code: 1, unreachable: false }
    }

    /// The command was asked wrongly: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// The command has said all there is to say: only an exit code.
    #[must_use]
    pub const fn silent(code: u8) -> Self {
        Self { message: None, hint: None, code, unreachable: false }
    }

    /// The same failure with what its user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The same failure; where no server was reached, with the endpoint that was tried.
    #[must_use]
    pub fn at(mut self, endpoint: &str) -> Self {
        if let Some(message) = self.message.as_mut().filter(|_| self.unreachable) {
            *message = format!("{endpoint}: {message}");
        }
        self
    }

    /// Writes the failure to stderr and gives its exit code.
    pub fn report(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        // A closed stderr leaves nobody to tell.
        if let Some(message) = &self.message {
            let _ = writeln!(stderr, "error: {message}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or_default())
    }
}

impl From<io::Error> for Failure {
    /// For stdout and stderr: a reader that went away, as `head` does, has what it wanted.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(0),
            _ => Self::new(format!("cannot write the answer: {error}")),
        }
    }
}

impl From<millrace_client::Error> for Failure {
    fn from(error: millrace_client::Error) -> Self {
        let unreachable = error.kind() == Kind::Unavailable && !error.may_have_applied();
        let hint = match error.kind() {
            _ if unreachable => Some(
                "is the server running? start it with `millrace serve`, or name it by --endpoint or MILLRACE_ENDPOINT",
            ),
            Kind::Denied if error.reason() == Some("UNAUTHENTICATED") => {
                Some("give a principal's token in MILLRACE_TOKEN; `millrace principal --help` says how to make one")
            }
            Kind::Unsupported => {
                Some("the server does not know this call; compare its version with `millrace --version`")
            }
            _ if error.may_have_applied() => Some("it may have taken effect all the same; look before you try again"),
            _ if error.is_retryable() => Some("the same command may succeed later"),
            _ => None,
        };
        let failure = match error.retry_after() {
            Some(after) => Self::new(format!("{error} (retry after {after:?})")),
            None => Self::new(error),
        };
        Self { hint: hint.map(ToOwned::to_owned), unreachable, ..failure }
    }
}
